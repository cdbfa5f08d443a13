package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

const shard0 = "shard-0"

// author writes to one partition, one payload of rows after the other.
type author struct {
	t *testing.T
	sink.Writer
	partition string
	next      int
	mu        sync.Mutex
	errs      []error
	done      int
}

func (a *author) reported() (done int, errs []error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done, a.errs
}

func (s *txStage) open(p *process, partition string, from stream.Position) *author {
	s.t.Helper()
	w, at, err := p.Open(s.t.Context(), partition)
	if err != nil {
		s.t.Fatalf("Open = %v", err)
	}
	if at != from {
		s.t.Fatalf("Open of %q stands at %q, want %q", partition, at, from)
	}
	return &author{t: s.t, Writer: w, partition: partition, next: number(s.t, at)}
}

func number(t *testing.T, at stream.Position) (n int) {
	t.Helper()
	if at == "" {
		return 0
	}
	if _, err := fmt.Sscanf(string(at), "%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

const rowsEach = 5

func (a *author) write() error {
	a.next++
	at := sinktest.Position(a.next)
	return a.Write(context.Background(), sinktest.Batch(a.partition, at, 0, rowsEach, 300), at, func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err == nil {
			a.done++
		} else {
			a.errs = append(a.errs, err)
		}
	})
}

func (a *author) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// goesOn opens shard-0 in p, which stands at payload from, writes one more and closes it: everything up to payload n must be there once.
func (s *txStage) goesOn(p *process, from, n int) {
	s.t.Helper()
	a := s.open(p, shard0, sinktest.Position(from))
	a.must(a.write())
	a.must(a.Flush(s.t.Context()))
	s.once(shard0, n)
	a.must(a.Close(s.t.Context()))
}

// once checks that a reader of committed rows finds payloads 1 to n of partition, each row once.
func (s *txStage) once(partition string, n int) {
	s.t.Helper()
	var want, got []sinktest.RowID
	for i := range n {
		for k := range rowsEach {
			want = append(want, sinktest.RowID{Partition: partition, Position: sinktest.Position(i + 1), Index: k})
		}
	}
	for _, id := range s.rows() {
		if id.Partition == partition {
			got = append(got, id)
		}
	}
	if d := cmp.Diff(want, sinktest.Sorted(got)); d != "" {
		s.t.Errorf("committed rows of %q (-want +got):\n%s", partition, d)
	}
}

func bubble(t *testing.T, body func(t *testing.T, s *txStage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newTxStage(t, nil)
		defer s.cluster.Close()
		body(t, s)
	})
}

// A transaction ends by its own clock: nothing further has to arrive, and nobody has to flush.
func TestCommitsByItsOwnTimer(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		defer p.Close()
		a := s.open(p, shard0, "")
		a.must(a.write())
		pass(s.cfg.ExactlyOnce.CommitInterval - 10*time.Millisecond)
		synctest.Wait()
		if done, _ := a.reported(); done != 0 || p.oldestTransaction() < 0.9 {
			t.Errorf("%d writes were done before the interval, the open transaction is %v s old", done, p.oldestTransaction())
		}
		for range 20 { // the commit itself takes some time
			pass(100 * time.Millisecond)
			synctest.Wait()
			if done, errs := a.reported(); done+len(errs) > 0 {
				break
			}
		}
		if done, errs := a.reported(); done != 1 || p.oldestTransaction() != 0 {
			t.Errorf("%d writes are done after the interval, errors %v, the open transaction is %v s old", done, errs, p.oldestTransaction())
		}
		s.once(shard0, 1)
		a.must(a.Close(t.Context()))
		if problems, err := testutil.GatherAndLint(p.reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	})
}

// What is committed of one shard is committed in the order of its positions.
func TestCommitsInOrderOfPosition(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		defer p.Close()
		a := s.open(p, shard0, "")
		const writes = 40
		for range writes {
			a.must(a.write())
			pass(170 * time.Millisecond)
		}
		a.must(a.Flush(t.Context()))
		at := s.positionsOf(shard0)
		if len(at) < 5 {
			t.Errorf("%d commits, want several", len(at))
		}
		for i := 1; i < len(at); i++ {
			if at[i] <= at[i-1] {
				t.Errorf("position %q was committed after %q", at[i], at[i-1])
			}
		}
		s.once(shard0, writes)
		a.must(a.Close(t.Context()))
	})
}

// The last stable offset of the checkpoints partition stands before a stranger's open transaction, and behind it lies the
// predecessor's last commit. A take-over waits for it instead of going back.
func TestTakeOverReadsBehindAForeignTransaction(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p, q := s.process("one"), s.process("two")
		defer p.Close()
		defer q.Close()
		a := s.open(p, shard0, "")
		a.must(a.write())
		a.must(a.Flush(t.Context()))

		stranger, err := q.fence(t.Context(), "stranger")
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.client.Close()
		if err := stranger.client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		key := transactionalID("flows-app", "123456789012/eu-west-1/flows:1700000000/"+shard0)
		other := ""
		for i := 0; other == "" || checkpointPartition(other) != checkpointPartition(key); i++ {
			other = fmt.Sprintf("another-%d", i)
		}
		if err := produce(t.Context(), stranger.client, &kgo.Record{Topic: checkpointsTopic, Key: []byte(other), Value: []byte("{}")}); err != nil {
			t.Fatal(err)
		}

		a.must(a.write())
		a.must(a.Flush(t.Context())) // behind the stranger's record
		info := s.cluster.PartitionInfo(checkpointsTopic, checkpointPartition(key))
		if info.LastStableOffset >= info.HighWatermark-1 {
			t.Fatalf("the stable offset %d is not held back below %d: this test shows nothing", info.LastStableOffset, info.HighWatermark)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			pass(3 * time.Second)
			if err := stranger.client.EndTransaction(context.Background(), kgo.TryCommit); err != nil {
				t.Error(err)
			}
		}()
		start := time.Now()
		s.table.take(shard0, "two")
		b := s.open(q, shard0, sinktest.Position(2))
		if waited := time.Since(start); waited < 2*time.Second {
			t.Errorf("the take-over waited %s, and the stranger's transaction was open for 3s", waited)
		}
		<-ended
		b.must(b.write())
		b.must(b.Flush(t.Context()))
		s.once(shard0, 3)
		b.must(b.Close(t.Context()))
		a.must(a.Close(t.Context()))
	})
}

// A worker dies with 20 open transactions. Whoever takes its shards over starts where each was committed, and no row of what was
// open is ever seen.
func TestKilledWithOpenTransactions(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p, q := s.process("one"), s.process("two")
		const shards = 20
		var dead []*author
		for i := range shards {
			a := s.open(p, fmt.Sprintf("shard-%d", i), "")
			a.must(a.write())
			a.must(a.Flush(t.Context()))
			a.must(a.write()) // stays open
			dead = append(dead, a)
		}
		pass(100 * time.Millisecond) // the rows are with the broker
		synctest.Wait()
		p.link.cut(true)
		for i := range shards {
			s.table.take(fmt.Sprintf("shard-%d", i), "two")
			b := s.open(q, fmt.Sprintf("shard-%d", i), sinktest.Position(1))
			b.must(b.write())
			b.must(b.write())
			b.must(b.Flush(t.Context()))
			b.must(b.Close(t.Context()))
		}
		p.link.mend()
		for _, a := range dead {
			if err := a.Flush(t.Context()); !errors.Is(err, stream.ErrFenced) {
				t.Errorf("Flush of a dead worker's shard = %v, want %v", err, stream.ErrFenced)
			}
			a.must(a.Close(t.Context()))
		}
		for i := range shards {
			s.once(fmt.Sprintf("shard-%d", i), 3)
		}
		q.Close()
		p.Close()
	})
}

// A worker that lost its lease without noticing opens the shard again, and fences the rightful owner with that. It learns that it
// may not go on; the owner takes the shard back and repeats only what was not committed.
func TestZombieReopens(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p, q := s.process("one"), s.process("two")
		defer p.Close()
		defer q.Close()
		a := s.open(p, shard0, "")
		a.must(a.write())
		a.must(a.Flush(t.Context()))
		a.must(a.Close(t.Context()))

		s.table.take(shard0, "two")
		b := s.open(q, shard0, sinktest.Position(1))
		b.must(b.write())
		b.must(b.Flush(t.Context()))
		b.must(b.write()) // open when the zombie comes

		if _, _, err := p.Open(t.Context(), shard0); !errors.Is(err, stream.ErrFenced) {
			t.Fatalf("Open of the zombie = %v, want %v", err, stream.ErrFenced)
		}
		s.rewound(b, sinktest.Position(2))
		s.goesOn(q, 2, 3)
	})
}

// rewound checks that a's transaction is lost and a is asked to go back to want.
func (s *txStage) rewound(a *author, want stream.Position) {
	s.t.Helper()
	rewind, ok := errors.AsType[*stream.RewindError](a.Flush(s.t.Context()))
	if !ok || rewind.To != want {
		s.t.Fatalf("Flush = %v, want a rewind to %q", a.Flush(s.t.Context()), want)
	}
	a.must(a.Close(s.t.Context()))
}

// A worker stands still between winning its lease and fencing, as under SIGSTOP, until another has the shard and has committed.
func TestPausedBetweenLeaseAndFencing(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p, q := s.process("one"), s.process("two")
		defer p.Close()
		defer q.Close()
		s.table.take(shard0, "one")
		p.leases.stopped = make(chan struct{})
		paused := make(chan error)
		go func() {
			_, _, err := p.Open(context.Background(), shard0)
			paused <- err
		}()
		synctest.Wait()
		s.table.take(shard0, "two")
		b := s.open(q, shard0, "")
		b.must(b.write())
		b.must(b.Flush(t.Context()))
		b.must(b.write())
		close(p.leases.stopped)
		if err := <-paused; !errors.Is(err, stream.ErrFenced) {
			t.Fatalf("Open of the paused worker = %v, want %v", err, stream.ErrFenced)
		}
		s.rewound(b, sinktest.Position(1))
		s.goesOn(q, 1, 2)
	})
}

// The answer to a commit is lost after the brokers had carried it out. The re-read says so, and the Write is reported as done.
func TestCommitAnswerLost(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		defer p.Close()
		a := s.open(p, shard0, "")
		a.must(a.write())
		s.lose(p, a, loseAnswer)
		a.must(a.Flush(t.Context()))
		if done, errs := a.reported(); done != 1 || len(errs) > 0 {
			t.Errorf("%d writes are done, errors %v; want the write done", done, errs)
		}
		a.must(a.write()) // the Writer goes on
		a.must(a.Flush(t.Context()))
		s.once(shard0, 2)
		if n := testutil.ToFloat64(p.metrics.tx.outcomes[txUnknown]); n != 1 {
			t.Errorf("%v unknown commits were counted, want 1", n)
		}
		a.must(a.Close(t.Context()))
	})
}

// The request is lost on its way. The re-read finds the position before, and the rows have to be read again.
func TestCommitRequestLost(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		defer p.Close()
		a := s.open(p, shard0, "")
		a.must(a.write())
		a.must(a.Flush(t.Context()))
		a.must(a.write())
		s.lose(p, a, loseRequest)
		s.rewound(a, sinktest.Position(1))
		if n := testutil.ToFloat64(p.metrics.tx.outcomes[txUnknown]); n != 1 {
			t.Errorf("%v unknown commits were counted, want 1", n)
		}
		s.goesOn(p, 1, 2)
	})
}

// lose makes a's commit lose its request or answer, keeps the link down until the client has given up asking, and mends it.
func (s *txStage) lose(p *process, a *author, what lost) {
	s.t.Helper()
	met := p.link.arm(what)
	flushed := make(chan error, 1)
	go func() { flushed <- a.Flush(context.Background()) }()
	<-met
	pass(10 * time.Minute) // longer than the client retries
	p.link.mend()
	if err := <-flushed; err != nil {
		s.t.Logf("the flush ended with %v", err) // either end is right here; what was delivered is judged after
	}
}

// Positions are kept over a time in the other mode: the start is the later of the sink's position and the lease's, which only
// the source can compare. The sink says what it has and refuses nothing.
func TestModeChangedThereAndBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		a := s.open(p, shard0, "")
		a.must(a.write())
		a.must(a.Flush(t.Context()))
		a.must(a.Close(t.Context()))
		p.Close()

		s.cfg.Mode = AtLeastOnce
		p = s.process("one")
		b := s.open(p, shard0, "")
		b.next = 1
		b.must(b.write())
		b.must(b.Flush(t.Context()))
		b.must(b.Close(t.Context()))
		p.Close()
		s.table.checkpoint(shard0, sinktest.Position(2))

		s.cfg.Mode = ExactlyOnce
		p = s.process("one")
		defer p.Close()
		c := s.open(p, shard0, sinktest.Position(1))
		c.next = 2 // the later of the two
		c.must(c.write())
		c.must(c.Flush(t.Context()))
		c.must(c.Close(t.Context()))
		s.once(shard0, 3)
		// A shard that came up meanwhile has a lease with a position and no record.
		s.table.checkpoint("shard-new", sinktest.Position(7))
		if _, _, err := p.Open(t.Context(), "shard-new"); !permanentWith(err, "write adopt: true once") {
			t.Errorf("Open = %v, want a refusal that names adopt", err)
		}
	})
}

func permanentWith(err error, text string) bool {
	_, ok := errors.AsType[*stream.PermanentError](err)
	return ok && strings.Contains(err.Error(), text)
}

// A topic that was lost is not taken for a fresh start: leases with positions say that there was one. Adopting is for once:
// afterwards every shard has its record.
func TestCheckpointsTopicLost(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		a := s.open(p, shard0, "")
		a.must(a.write())
		a.must(a.Flush(t.Context()))
		a.must(a.Close(t.Context()))
		s.table.checkpoint(shard0, sinktest.Position(1))

		if err := s.cluster.DeleteTopic(checkpointsTopic); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Open(t.Context(), shard0); !permanentWith(err, "does not exist") {
			t.Fatalf("Open without the topic = %v", err)
		}
		if err := s.cluster.CreateTopic(checkpointsTopic, checkpointPartitions, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Open(t.Context(), shard0); !permanentWith(err, "write adopt: true once") {
			t.Fatalf("Open with the empty topic = %v", err)
		}
		p.Close()
		s.cfg.ExactlyOnce.Adopt = true
		p = s.process("one")
		b := s.open(p, shard0, sinktest.Position(1))
		b.must(b.Close(t.Context()))
		if n := testutil.ToFloat64(p.metrics.tx.adoptions); n != 1 {
			t.Errorf("%v positions were adopted, want 1", n)
		}
		p.Close()
		s.cfg.ExactlyOnce.Adopt = false
		p = s.process("one")
		defer p.Close()
		s.goesOn(p, 1, 2)
	})
}

// Dead letters are in the transaction that passes their line: of an aborted one none is seen, and none is there twice.
func TestLettersAreInTheTransaction(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		defer p.Close()
		letter := func(n int) {
			err := p.letters.Put(t.Context(), sink.Letter{Partition: shard0, At: sinktest.Position(n), Reason: "bad", Data: fmt.Appendf(nil, "line %d", n)})
			if err != nil {
				t.Fatal(err)
			}
		}
		a := s.open(p, shard0, "")
		letter(1)
		letter(2) // of a later payload
		a.must(a.write())
		a.must(a.Flush(t.Context()))
		if got := len(s.committed(lettersTopic)); got != 1 {
			t.Errorf("%d letters are committed with position 1, want 1", got)
		}
		// The transaction of payload 2 is lost, and its letter with it.
		a.must(a.write())
		pass(50 * time.Millisecond)
		p.link.cut(true)
		a.must(a.Close(t.Context()))
		p.link.mend()
		a = s.open(p, shard0, sinktest.Position(1))
		letter(2)
		a.must(a.Write(t.Context(), sinktest.Batch(shard0, sinktest.Position(2), 0, 0, 0), sinktest.Position(2), func(error) {}))
		a.must(a.Flush(t.Context()))
		if got := s.committed(lettersTopic); len(got) != 2 || !strings.Contains(string(got[1].Value), "line 2") {
			t.Errorf("%d letters are committed with position 2, want one for each line", len(got))
		}
		if at := s.positionsOf(shard0); at[len(at)-1] != sinktest.Position(2) {
			t.Errorf("the letter's transaction left the position at %q", at[len(at)-1])
		}
		a.must(a.Close(t.Context()))
	})
}

// A row that no batch can hold is a letter in the transaction, and the books can tell it from a delivered one.
func TestRowTooLargeInATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTxStage(t, func(c *Config) { c.BatchMaxBytes, c.DeadLetter.MaxDataBytes = 16<<10, 1<<10 })
		defer s.cluster.Close()
		p := s.process("one")
		defer p.Close()
		a := s.open(p, shard0, "")
		b := sinktest.Batch(shard0, sinktest.Position(1), 0, 9, 300)
		b.Rows[4].Packets = 20_000
		var lettered []map[string]int64
		taker, ok := a.Writer.(interface{ TakeDeadLettered() map[string]int64 })
		if !ok {
			t.Fatal("the Writer does not tell dead-lettered rows")
		}
		for n, batch := range []int{1, 2} {
			if batch == 2 {
				b = sinktest.Batch(shard0, sinktest.Position(2), 0, 3, 300)
			}
			a.must(a.Write(t.Context(), b, sinktest.Position(n+1), func(error) { lettered = append(lettered, taker.TakeDeadLettered()) }))
		}
		a.must(a.Flush(t.Context()))
		if d := cmp.Diff([]map[string]int64{{ReasonRowTooLarge: 1}, nil}, lettered); d != "" {
			t.Errorf("dead-lettered rows of two writes (-want +got):\n%s", d)
		}
		if got := len(s.rows()); got != 8+3 {
			t.Errorf("%d rows, want 11", got)
		}
		if got := len(s.committed(lettersTopic)); got != 1 {
			t.Errorf("%d letters, want 1", got)
		}
		a.must(a.Close(t.Context()))
	})
}

// pass lets d of virtual time go by; only inside a bubble.
func pass(d time.Duration) { <-time.After(d) }
