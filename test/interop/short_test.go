//go:build interop

package interop

import (
	"context"
	"fmt"
	"testing"

	"dredge/consumer/kinesis"
	"dredge/internal/awsfake"
)

// TestShort is one short scenario for each mode of Java's, which `make integration` runs too: Java starts on an empty table, a Go worker joins
// and reads its share, then stops, and Java reads on. Every user record is delivered, in order within each shard and worker, and no checkpoint
// moves back.
func TestShort(t *testing.T) {
	for name, mode := range map[string]struct{ java, ours string }{
		"compatible with 2.x": {"compat", kinesis.Mode2x},
		"follower in 3.x":     {"3x", kinesis.Mode3x},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting for Java's timers
			short(t, mode.java, mode.ours)
		})
	}
}

func short(t *testing.T, java, ours string) {
	const shards = 4
	srv := awsfake.New(awsfake.Config{Limits: awsfake.AllLimits()})
	if err := srv.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	if err := srv.Kinesis().CreateStream(streamName, shards); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, srv.Kinesis(), true)
	table := watchTable(t, srv)

	j := startJava(t, "java-1", srv.URL(), streamName, java, "--checkpoint-sub", "1")
	await(t, "Java to read all shards of an empty table", limit, func() bool { return len(shardsRead(t, j)) == shards })
	await(t, "Java to checkpoint in the middle of aggregates", limit, func() bool { return table.middles("java-1") >= shards/2 })
	g := startGo(t, "go-1", srv, func(c *kinesis.Config) { c.Mode = ours })
	await(t, "Go to get a lease and read", limit, func() bool { return table.owned("go-1") >= 1 && len(shardsRead(t, g)) >= 1 })
	t.Log("Go stops cleanly")
	g.end(t, context.Canceled)
	await(t, "Java to own all shards", limit, func() bool { return table.owned("java-1") == shards })

	total := p.stop()
	await(t, fmt.Sprintf("all %d records", total), limit, func() bool { return p.deliveredUpTo(t, total, j, g) })
	checkOrder(t, j)
	checkOrder(t, g)
	table.stop()
	seen := len(distinct(t, j, g))
	t.Logf("user records %d, delivered twice %d; checkpoints seen %d, of which %d in the middle of an aggregate",
		total, len(j.deliveries(t))+len(g.deliveries(t))-seen, table.checkpoints, table.middle)
	if table.middle == 0 {
		t.Error("no checkpoint fell into the middle of an aggregate: the test did not test it")
	}
}
