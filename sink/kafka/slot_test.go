package kafka

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// work is the Work of one partition, of a piece of work that job names.
type work struct {
	worker    *worker
	job       string
	partition string
}

func (w *work) Prove(ctx context.Context) error {
	_, err := w.worker.Prove(ctx, w.job)
	return err
}

func (w *work) Whole(at stream.Position) (stream.Position, error) {
	return stream.Position(w.job+"|"+w.partition+"|") + at, nil
}

func (w *work) Part(whole stream.Position) (stream.Position, error) {
	at, ok := strings.CutPrefix(string(whole), w.job+"|"+w.partition+"|")
	if !ok {
		return "", nil
	}
	return stream.Position(at), nil
}

func (w *work) Compare(a, b stream.Position) int { return w.worker.Compare(a, b) }

// slotted is a Sink whose partitions are worked on by a slot each, opened anew each time.
type slotted struct {
	*process
	slots map[string]*Slot
}

// plainWork commits positions as they are, as the suite reads them.
type plainWork struct{ *work }

func (plainWork) Whole(at stream.Position) (stream.Position, error)   { return at, nil }
func (plainWork) Part(whole stream.Position) (stream.Position, error) { return whole, nil }

func (s *slotted) Open(ctx context.Context, partition string) (sink.Writer, stream.Position, error) {
	if old := s.slots[partition]; old != nil {
		old.Close()
	}
	sl := s.Slot("123456789012/eu-west-1/flows:1700000000/" + partition)
	s.slots[partition] = sl
	sl.Enter(partition, plainWork{&work{worker: s.leases, job: partition, partition: partition}})
	return s.Sink.Open(ctx, partition)
}

func (s *slotted) Close() {
	s.Sink.Close()
	for _, sl := range s.slots {
		sl.Close()
	}
}

func TestSlotContract(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Virtual: true, Unordered: true, ExactlyOnce: true, New: func(t *testing.T) sinktest.Harness {
		t.Helper()
		s := newTxStage(t, nil)
		one := &slotted{process: s.process("one"), slots: map[string]*Slot{}}
		two := &slotted{process: s.process("two"), slots: map[string]*Slot{}}
		return s.harness(one, two, func() sinktest.Fault { return s.cut() })
	}})
}

// A slot works on a file, half of it is committed, some of the rest is written: another takes the work over, is told what was
// committed, and the first one's rows that were not are never seen, whatever it still tries.
func TestSlotTakesOver(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		one, two := s.process("one"), s.process("two")
		defer one.Close()
		defer two.Close()
		s.table.take("job", "one")
		first := one.Slot("s3/one")
		defer first.Close()
		if last, err := first.Succeed(t.Context(), nil); err != nil || len(last) != 0 {
			t.Fatalf("Succeed = %q, %v", last, err)
		}
		first.Enter("file", &work{worker: one.leases, job: "job", partition: "file"})
		a := s.open(one, "file", "")
		a.must(a.write())
		a.must(a.write())
		a.must(a.Flush(t.Context()))
		a.must(a.write()) // stays open

		s.table.take("job", "two")
		second := two.Slot("s3/two")
		defer second.Close()
		last, err := second.Succeed(t.Context(), []string{"s3/one", "s3/never"})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]stream.Position{stream.Position("job|file|" + string(sinktest.Position(2))), ""}, last); d != "" {
			t.Fatalf("committed last (-want +got):\n%s", d)
		}
		if err := a.Flush(t.Context()); !errors.Is(err, stream.ErrFenced) {
			t.Errorf("the first slot flushes: %v", err)
		}
		a.must(a.Close(t.Context()))
		first.Leave("file")

		second.Enter("file", &work{worker: two.leases, job: "job", partition: "file"})
		b := s.open(two, "file", "")
		b.next = 2
		b.must(b.write())
		b.must(b.Flush(t.Context()))
		s.once("file", 3)
		// What the first one committed says nothing any more.
		if at, err := two.committed(t.Context(), producerID{name: "s3/one", key: transactionalID("flows-app", "s3/one")}); at != "" || err != nil {
			t.Errorf("the record of the first slot stands at %q, %v", at, err)
		}
		b.must(b.Close(t.Context()))
	})
}

// Files that follow each other in a slot share its producer, and a slot that forgets leaves nothing in the checkpoints topic.
func TestSlotWorksOnOneFileAfterAnother(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		defer p.Close()
		sl := p.Slot("s3/one")
		defer sl.Close()
		if _, err := sl.Succeed(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		before := sl.producer
		for _, file := range []string{"a", "b", "c"} {
			sl.Enter(file, &work{worker: p.leases, job: "job", partition: file})
			a := s.open(p, file, "")
			a.must(a.write())
			<-time.After(2 * s.cfg.ExactlyOnce.CommitInterval)
			a.must(a.write())
			a.must(a.Flush(t.Context()))
			a.must(a.Close(t.Context()))
			sl.Leave(file)
			s.once(file, 2)
		}
		if sl.producer != before {
			t.Error("the slot has another producer than before")
		}
		if at, err := p.committed(t.Context(), sl.id); at != stream.Position("job|c|"+string(sinktest.Position(2))) || err != nil {
			t.Errorf("committed %q, %v", at, err)
		}
		if err := sl.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		if at, err := p.committed(t.Context(), sl.id); at != "" || err != nil {
			t.Errorf("forgotten, committed %q, %v", at, err)
		}
	})
}
