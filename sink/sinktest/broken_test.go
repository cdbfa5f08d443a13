package sinktest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"dredge/row"
	"dredge/sink"
	"dredge/stream"
)

// broken is a Memory whose Writers break one sentence of the contract.
type broken struct {
	*Memory
	how string
}

func (b broken) Open(ctx context.Context, partition string) (sink.Writer, stream.Position, error) {
	w, at, err := b.Memory.Open(ctx, partition)
	return &brokenWriter{Writer: w, how: b.how}, at, err
}

type brokenWriter struct {
	sink.Writer
	how   string
	last  func(error)
	batch *row.Batch
}

func (w *brokenWriter) Write(ctx context.Context, b *row.Batch, last stream.Position, done func(error)) error {
	switch w.how {
	case "done twice":
		once := done
		done = func(err error) { once(err); once(err) }
	case "done before durable":
		done(nil)
		done = func(error) {}
	case "done out of order":
		// Each done is run by the Write after it, so the newest of all is never behind an older one when it matters.
		earlier, now := w.last, done
		w.last = now
		done = func(err error) {
			if earlier != nil {
				now(err)
				earlier(err)
			}
		}
	case "batch kept":
		// What is written is what the batch held at the time of the Write after this one.
		kept := w.batch
		w.batch = b
		if kept == nil {
			kept = &row.Batch{Partition: b.Partition}
		}
		return w.Writer.Write(ctx, kept, last, done)
	case "done after error":
		if err := w.Writer.Write(ctx, b, last, done); err != nil {
			done(err)
			return err
		}
		return nil
	case "payload split":
		// Every Write is made to look as if its position advanced.
		return w.Writer.Write(ctx, b, last+stream.Position(b.Origins[0].Position)+stream.Position(rune('a'+b.Rows[0].Index/50)), done)
	}
	return w.Writer.Write(ctx, b, last, done)
}

func (w *brokenWriter) Close(ctx context.Context) error {
	if w.how == "close forgets" {
		return nil
	}
	return w.Writer.Close(ctx)
}

const breakVariable = "DREDGE_SINKTEST_BREAK"

// TestBrokenSink is run by TestSuiteCatches only, in a process of its own, and has to fail there.
func TestBrokenSink(t *testing.T) {
	how := os.Getenv(breakVariable)
	if how == "" {
		return
	}
	Run(t, Options{Virtual: true, ExactlyOnce: true, New: func(*testing.T) Harness {
		m := &Memory{Fencing: true}
		switch how {
		case "rows lost":
			m.Lose(1)
		case "rows doubled":
			m.Duplicate(1)
		}
		h := memoryHarness(m)
		h.Sink = broken{m, how}
		return h
	}})
}

// A contract suite that cannot fail is worth nothing: each way to break the contract must be found by the check named for it.
func TestSuiteCatches(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for how, check := range map[string]string{
		"rows lost":           "Durable",
		"rows doubled":        "Durable",
		"done twice":          "DoneInOrder",
		"done before durable": "NotDoneBeforeDurable",
		"done out of order":   "DoneInOrder",
		"batch kept":          "NothingIsKept",
		"done after error":    "CanceledWrite",
		"close forgets":       "CloseReportsTheRest",
		"payload split":       "PayloadsAreNotSplit",
	} {
		t.Run(strings.ReplaceAll(how, " ", "_"), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestBrokenSink$/^"+check+"$", "-test.v")
			cmd.Env = append(os.Environ(), breakVariable+"="+how)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBrokenSink/"+check) {
				t.Errorf("%s passed a sink with %s (%v):\n%s", check, how, err, out)
			}
			if strings.Contains(string(out), "panic:") {
				t.Errorf("the suite panicked:\n%s", out)
			}
		})
	}
}
