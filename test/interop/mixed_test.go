//go:build interop

package interop

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// TestGoAndJavaShareAnApplication lets Amazon's Java KCL, in its mode compatible with 2.x, and our workers share one lease table: each
// joins the other, takes its share, dies and is succeeded, over reshards with mixed owners. Most records are aggregates, and both
// sides checkpoint in the middle of them. Every record is delivered, in order within each shard and worker, and no checkpoint
// ever moves back.
func TestGoAndJavaShareAnApplication(t *testing.T) {
	for _, reader := range []string{kinesis.ReaderPolling, kinesis.ReaderFanOut} {
		t.Run(reader, func(t *testing.T) { shareAnApplication(t, reader) })
	}
}

func shareAnApplication(t *testing.T, reader string) {
	srv := awsfake.New(awsfake.Config{Limits: awsfake.AllLimits()})
	if err := srv.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	k := srv.Kinesis()
	if err := k.CreateStream(streamName, 4); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, k, true)
	table := watchTable(t, srv)

	javaArgs := []string{"--checkpoint-sub", "1"}
	goConfig := func(c *kinesis.Config) { c.Reader = kinesis.ReaderPolling }
	if reader == kinesis.ReaderFanOut {
		javaArgs = append(javaArgs, "--reader", "fan-out")
		// The application's name is what Java calls its stream consumer, so both read as the same one.
		goConfig = func(c *kinesis.Config) { c.Reader = kinesis.ReaderFanOut }
	}
	java := func(name string) *javaWorker { return startJava(t, name, srv.URL(), streamName, "compat", javaArgs...) }

	j1 := java("java-1")
	await(t, "Java to read all four shards of an empty table", limit, func() bool { return len(shardsRead(t, j1)) >= 4 })
	g1 := startGo(t, "go-1", srv, goConfig)
	await(t, "Go to join and take its share", limit, func() bool { return table.owned("go-1") == 2 && table.owned("java-1") == 2 })
	await(t, "Go to read its share", limit, func() bool { return len(shardsRead(t, g1)) >= 2 })

	t.Log("reshard with mixed owners: one split, one merge of a Java shard with a Go shard")
	open := openShards(k)
	if err := k.Split(streamName, open[0]); err != nil {
		t.Fatal(err)
	}
	a, b := table.neighbours(k, "java-1", "go-1")
	if err := k.Merge(streamName, a, b); err != nil {
		t.Fatal(err)
	}
	await(t, "the children to be read", limit, func() bool { return len(union(shardsRead(t, j1), shardsRead(t, g1))) >= 7 })

	await(t, "both to checkpoint in the middle of aggregates", limit, func() bool { return table.middles("go-1") >= 2 && table.middles("java-1") >= 2 })

	t.Log("Go dies")
	g1.end(t, kinesis.ErrAbandon)
	table.inTheMiddle("go-1")
	await(t, "Java to take over every shard", limit, func() bool { return table.owned("java-1") == len(openShards(k)) })
	mark := p.count()
	await(t, "Java to have read on", limit, func() bool { return p.deliveredUpTo(t, mark, j1, g1) })

	g2 := startGo(t, "go-2", srv, goConfig)
	await(t, "the next Go worker to take its share", limit, func() bool { return table.owned("go-2") >= 2 })
	await(t, "Java to checkpoint in the middle of aggregates", limit, func() bool { return table.middles("java-1") >= 2 })
	t.Log("kill -9 of Java")
	j1.signal(syscall.SIGKILL)
	j1.wait(t, 10*time.Second)
	table.inTheMiddle("java-1")
	await(t, "Go to take over every shard", limit, func() bool { return table.owned("go-2") == len(openShards(k)) })
	mark = p.count()
	await(t, "Go to have read on", limit, func() bool { return p.deliveredUpTo(t, mark, j1, g1, g2) })

	j2 := java("java-2")
	await(t, "the next Java worker to take its share", limit, func() bool { return table.owned("java-2") >= 2 })
	t.Log("Go stops cleanly")
	g2.end(t, context.Canceled)
	await(t, "Java to take what Go released", limit, func() bool { return table.owned("java-2") == len(openShards(k)) })
	mark = p.count()
	await(t, "Java to have read on", limit, func() bool { return p.deliveredUpTo(t, mark, j1, g1, g2, j2) })

	g3 := startGo(t, "go-3", srv, goConfig)
	await(t, "Go to take its share", limit, func() bool { return table.owned("go-3") >= 2 })
	t.Log("Java stops cleanly")
	j2.signal(syscall.SIGTERM)
	j2.wait(t, 40*time.Second)
	await(t, "Go to take what Java left", limit, func() bool { return table.owned("go-3") == len(openShards(k)) })

	total := p.stop()
	workers := []worker{j1, g1, g2, j2, g3}
	await(t, fmt.Sprintf("all %d records", total), limit, func() bool { return p.deliveredUpTo(t, total, workers...) })
	deliveries := 0
	for _, w := range workers {
		deliveries += len(w.deliveries(t))
		checkOrder(t, w)
	}
	seen := distinct(t, workers...)
	table.stop()
	logDoubles(t, []string{"java-1", "go-1", "go-2", "java-2", "go-3"}, workers)
	t.Logf("user records %d, lost %d, delivered twice %d; checkpoints seen %d, of which %d in the middle of an aggregate; requests %v",
		total, total-len(seen), deliveries-len(seen), table.checkpoints, table.middle, srv.Counts())
	if table.middle == 0 {
		t.Error("no checkpoint fell into the middle of an aggregate: the test did not test it")
	}
	if n := srv.Count("GetRecords"); (reader == kinesis.ReaderFanOut) != (n == 0) {
		t.Errorf("%d GetRecords with reader %s", n, reader)
	}
}

// TestHandOffWithJava3x lets the leader of Java's 3.x mode balance a fleet of Java workers and one of ours, by graceful hand-offs in both
// directions.
func TestHandOffWithJava3x(t *testing.T) {
	srv := awsfake.New(awsfake.Config{Limits: awsfake.AllLimits()})
	if err := srv.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	k := srv.Kinesis()
	if err := k.CreateStream(streamName, 6); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, k, true)
	table := watchTable(t, srv)

	j1 := startJava(t, "java-1", srv.URL(), streamName, "3x")
	await(t, "Java to read all six shards of an empty table", limit, func() bool { return len(shardsRead(t, j1)) >= 6 })
	g := startGo(t, "go-1", srv, func(c *kinesis.Config) { c.Mode = kinesis.Mode3x })
	await(t, "Java's leader to hand leases to Go", limit, func() bool { return table.handOffs("java-1", "go-1") >= 1 && len(shardsRead(t, g)) >= 1 })
	await(t, "balance", limit, func() bool { return table.owned("go-1") >= 2 })
	j2 := startJava(t, "java-2", srv.URL(), streamName, "3x")
	await(t, "the leader to hand one of Go's leases to the second Java worker", limit, func() bool { return table.handOffs("go-1", "java-2") >= 1 })
	await(t, "the second Java worker to read", limit, func() bool { return len(shardsRead(t, j2)) >= 1 })
	t.Log("Go stops cleanly")
	g.end(t, context.Canceled)
	await(t, "the leader to assign what Go released", limit, func() bool { return table.owned("java-1")+table.owned("java-2") == 6 })

	total := p.stop()
	workers := []worker{j1, g, j2}
	await(t, fmt.Sprintf("all %d records", total), limit, func() bool { return p.deliveredUpTo(t, total, workers...) })
	deliveries := 0
	for _, w := range workers {
		deliveries += len(w.deliveries(t))
		checkOrder(t, w)
	}
	table.stop()
	t.Logf("user records %d, lost %d, delivered twice %d; hand-offs seen: Java to Go %d, Go to Java %d",
		total, total-len(distinct(t, workers...)), deliveries-len(distinct(t, workers...)), table.handOffs("java-1", "go-1"), table.handOffs("go-1", "java-2"))
}

// tableWatch looks at the lease table again and again, and reports a checkpoint that moves back.
type tableWatch struct {
	*testing.T
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu                  sync.Mutex
	leases              map[string]lease.Lease
	checkpoints, middle int
	handed              map[[2]string]int // from and to: hand-offs seen under way
}

func watchTable(t *testing.T, srv *awsfake.Server) *tableWatch {
	t.Helper()
	store, err := lease.NewDynamoDB("interop", awsfaketest.DynamoDB(srv))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &tableWatch{T: t, cancel: cancel, leases: map[string]lease.Lease{}, handed: map[[2]string]int{}}
	w.wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if listing, err := store.List(ctx); err == nil { // the table comes with the first worker
				w.look(listing.Leases)
			}
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *tableWatch) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *tableWatch) look(leases []lease.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := map[string]lease.Lease{}
	for _, l := range leases {
		old, known := w.leases[l.Key]
		switch n := l.Checkpoint.Compare(old.Checkpoint); {
		case known && n < 0:
			w.Errorf("checkpoint of %s moved back from %s to %s, by %q", l.Key, old.Checkpoint, l.Checkpoint, l.Owner)
		case n > 0 && l.Checkpoint.IsSequence():
			w.checkpoints++
			if isMiddle(l.Checkpoint) {
				w.middle++
			}
		}
		if l.InHandOff() && !old.InHandOff() {
			w.handed[[2]string{l.CheckpointOwner, l.Owner}]++
		}
		next[l.Key] = l
	}
	w.leases = next
}

func isMiddle(c lease.Checkpoint) bool { return c.IsSequence() && c.Sub > 0 && c.Sub < aggregated-1 }

func (w *tableWatch) snapshot() map[string]lease.Lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leases
}

// owned counts the leases of shards not read to their end that name the worker.
func (w *tableWatch) owned(worker string) int {
	n := 0
	for _, l := range w.snapshot() {
		if l.Owner == worker && !l.Checkpoint.IsShardEnd() {
			n++
		}
	}
	return n
}

func (w *tableWatch) handOffs(from, to string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.handed[[2]string{from, to}]
}

// middles counts the worker's checkpoints that lie in the middle of an aggregate.
func (w *tableWatch) middles(worker string) int {
	n := 0
	for _, l := range w.snapshot() {
		if l.Owner == worker && isMiddle(l.Checkpoint) {
			n++
		}
	}
	return n
}

// inTheMiddle logs how many of a dead worker's checkpoints lie in the middle of an aggregate.
func (w *tableWatch) inTheMiddle(worker string) {
	w.Logf("%s left %d of %d checkpoints in the middle of an aggregate", worker, w.middles(worker), w.owned(worker))
}

// neighbours returns two open shards that lie side by side, one of each owner if there are such.
func (w *tableWatch) neighbours(k *awsfake.Kinesis, one, other string) (a, b string) {
	leases := w.snapshot()
	var open []awsfake.Shard
	for _, s := range k.Shards(streamName) {
		if s.Closed.IsZero() {
			open = append(open, s)
		}
	}
	for _, x := range open {
		for _, y := range open {
			if !adjacent(x, y) || a != "" && (leases[x.ID].Owner == leases[y.ID].Owner) {
				continue
			}
			a, b = x.ID, y.ID
			if owners := [2]string{leases[a].Owner, leases[b].Owner}; owners == [2]string{one, other} || owners == [2]string{other, one} {
				w.Logf("merging %s of %s and %s of %s", a, owners[0], b, owners[1])
				return a, b
			}
		}
	}
	return a, b
}

// logDoubles logs between which workers, and of which shards, records came twice.
func logDoubles(t *testing.T, names []string, workers []worker) {
	t.Helper()
	type change struct{ from, to, shard string }
	first, doubles := map[string]string{}, map[change]int{}
	for i, w := range workers {
		for _, d := range w.deliveries(t) {
			if from, again := first[d.data]; again {
				doubles[change{from, names[i], d.shard}]++
			} else {
				first[d.data] = names[i]
			}
		}
	}
	for c, n := range doubles {
		t.Logf("%d records of %s given to %s and to %s", n, c.shard, c.from, c.to)
	}
}
