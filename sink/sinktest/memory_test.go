package sinktest

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dredge/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type refusal struct{ m *Memory }

func (r refusal) Await(ctx context.Context) error { return r.m.Refused(ctx) }
func (r refusal) Mend()                           { r.m.Accept() }

func memoryHarness(m *Memory) Harness {
	h := Harness{
		Sink: m,
		Durable: func(*testing.T) []RowID {
			var ids []RowID
			for _, s := range m.All() {
				ids = append(ids, s.ID())
			}
			return ids
		},
		Break: func(*testing.T) Fault { m.Refuse(); return refusal{m} },
		Forbid: func(*testing.T) {
			m.Fail("shard-0", &stream.PermanentError{Err: context.DeadlineExceeded})
		},
		Close: func(*testing.T) {},
	}
	if m.Fencing {
		h.Commits = func(_ *testing.T, partition string) [][]RowID { return m.Commits(partition) }
		h.Fence = func(_ *testing.T, partition string) { m.Fence(partition) }
		h.Undo = func(_ *testing.T, partition string) stream.Position { return m.Rewind(partition) }
	}
	return h
}

func TestMemory(t *testing.T) {
	for name, open := range map[string]func() *Memory{
		"AtOnce":  func() *Memory { return &Memory{MaxHeld: 3000} },
		"Delayed": func() *Memory { return &Memory{MaxHeld: 3000, Delay: time.Second} },
		"Fencing": func() *Memory { return &Memory{MaxHeld: 3000, Fencing: true, Delay: time.Second} },
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, Options{
				New:     func(*testing.T) Harness { return memoryHarness(open()) },
				Virtual: true, ExactlyOnce: open().Fencing,
			})
		})
	}
}
