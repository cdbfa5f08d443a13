//go:build interop

package interop

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"dredge/consumer/kinesis"
	"dredge/internal/awsfake"
)

// TestL8TableIsReadByKCL2x lets Amazon's KCL 2.7.2, which knows nothing of version 3's attributes, read the lease table that a Go worker made and
// a Java worker of version 3 wrote in: it lists the leases, takes its share, goes on at their checkpoints, and gives back what Go goes on with.
func TestL8TableIsReadByKCL2x(t *testing.T) {
	const shards = 4
	srv := awsfake.New(awsfake.Config{Limits: awsfake.AllLimits()})
	if err := srv.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	k := srv.Kinesis()
	if err := k.CreateStream(streamName, shards); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, k, true)
	table := watchTable(t, srv)

	goConfig := func(c *kinesis.Config) { c.Reader = kinesis.ReaderPolling }
	g1 := startGo(t, "go-1", srv, goConfig)
	await(t, "Go to read all shards of an empty table", limit, func() bool { return len(shardsRead(t, g1)) == shards })
	await(t, "Go to checkpoint in the middle of aggregates", limit, func() bool { return table.middles("go-1") >= shards/2 })

	j1 := startJava(t, "java-1", srv.URL(), streamName, mode2x, "--checkpoint-sub", "1")
	await(t, "KCL 2.7.2 to take its share and read it", limit, func() bool {
		return table.owned("java-1") == shards/2 && len(shardsRead(t, j1)) >= shards/2
	})
	if err := k.Split(streamName, openShards(k)[0]); err != nil {
		t.Fatal(err)
	}
	await(t, "the children to be read", limit, func() bool { return len(union(shardsRead(t, j1), shardsRead(t, g1))) == shards+2 })

	t.Log("Go stops cleanly")
	g1.end(t, context.Canceled)
	await(t, "KCL 2.7.2 to own every shard", limit, func() bool { return table.owned("java-1") == len(openShards(k)) })
	mark := p.count()
	await(t, "it to have read on", limit, func() bool { return p.deliveredUpTo(t, mark, g1, j1) })

	t.Log("a worker of version 3 joins it, and a Go worker both")
	j2 := startJava(t, "java-2", srv.URL(), streamName, "compat", "--checkpoint-sub", "1")
	await(t, "version 3 to take its share", limit, func() bool { return table.owned("java-2") >= 2 })
	g2 := startGo(t, "go-2", srv, goConfig)
	await(t, "Go to take its share", limit, func() bool { return table.owned("go-2") >= 1 })

	t.Log("kill -9 of KCL 2.7.2, SIGTERM of version 3")
	j1.signal(syscall.SIGKILL)
	j1.wait(t, 10*time.Second)
	j2.signal(syscall.SIGTERM)
	j2.wait(t, 40*time.Second)
	await(t, "Go to own every shard", limit, func() bool { return table.owned("go-2") == len(openShards(k)) })

	total := p.stop()
	workers := []worker{g1, j1, j2, g2}
	await(t, fmt.Sprintf("all %d records", total), limit, func() bool { return p.deliveredUpTo(t, total, workers...) })
	deliveries := 0
	for _, w := range workers {
		deliveries += len(w.deliveries(t))
		checkOrder(t, w)
	}
	table.stop()
	seen := len(distinct(t, workers...))
	logDoubles(t, []string{"go-1", "java-1", "java-2", "go-2"}, workers)
	t.Logf("user records %d, lost %d, delivered twice %d; checkpoints seen %d, of which %d in the middle of an aggregate",
		total, total-seen, deliveries-seen, table.checkpoints, table.middle)
}
