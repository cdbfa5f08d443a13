package window

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"dredge/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustNew(t testing.TB, limit int) *Window {
	t.Helper()
	w, err := New(limit)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustOpen(t testing.TB, w *Window, last stream.Position) *Ticket {
	t.Helper()
	k, err := w.Open(t.Context(), last)
	if err != nil {
		t.Fatalf("Open(%q): %v", last, err)
	}
	return k
}

func TestSafeFollowsTheOldestOpenTicket(t *testing.T) {
	w := mustNew(t, 4)
	a, b, c := mustOpen(t, w, "3"), mustOpen(t, w, "6"), mustOpen(t, w, "9")
	step := func(k *Ticket, p stream.Position, want stream.Position, inFlight int) {
		t.Helper()
		k.Progress(p, nil)
		if got := w.Safe(); got != want {
			t.Errorf("after Progress(%q): Safe = %q, want %q", p, got, want)
		}
		if got := w.InFlight(); got != inFlight {
			t.Errorf("after Progress(%q): InFlight = %d, want %d", p, got, inFlight)
		}
	}
	step(b, "6", "", 3)  // delivered, but a is not
	step(a, "", "", 3)   // says nothing
	step(a, "2", "2", 3) // part of a
	step(c, "8", "2", 3)
	step(a, "3", "8", 1) // a and b settled, part of c
	step(a, "1", "8", 1) // settled tickets are deaf
	step(c, "9", "9", 0)
}

func TestErrorStopsSafeForGood(t *testing.T) {
	w := mustNew(t, 4)
	a, b, c := mustOpen(t, w, "3"), mustOpen(t, w, "6"), mustOpen(t, w, "9")
	cause := errors.New("broker gone")
	b.Progress("5", nil)
	b.Progress("", cause)
	b.Progress("6", nil)
	c.Progress("9", nil)
	select {
	case <-w.Failed():
	default:
		t.Error("Failed is not closed after an error")
	}
	a.Progress("3", nil) // before the failure: still counts
	if got := w.Safe(); got != "5" {
		t.Errorf("Safe = %q, want 5: the last good position of the failed ticket", got)
	}
	if err := w.Err(); !errors.Is(err, cause) {
		t.Errorf("Err = %v, want %v", err, cause)
	}
	if _, err := w.Open(t.Context(), "12"); !errors.Is(err, cause) {
		t.Errorf("Open after failure = %v, want %v", err, cause)
	}
}

func TestCloseFreezes(t *testing.T) {
	w := mustNew(t, 2)
	a := mustOpen(t, w, "3")
	a.Progress("1", nil)
	if got := w.Close(); got != "1" {
		t.Errorf("Close = %q, want 1", got)
	}
	a.Progress("3", nil)
	a.Progress("", errors.New("late"))
	if got := w.Close(); got != "1" {
		t.Errorf("second Close = %q, want 1: reports after Close must not count", got)
	}
	if err := w.Err(); err != nil {
		t.Errorf("Err after Close = %v, want nil", err)
	}
	if _, err := w.Open(t.Context(), "6"); !errors.Is(err, ErrClosed) {
		t.Errorf("Open after Close = %v, want ErrClosed", err)
	}
}

func TestOpenBlocksAtTheLimit(t *testing.T) {
	for name, release := range map[string]func(*Window, *Ticket, context.CancelFunc){
		"settled": func(_ *Window, k *Ticket, _ context.CancelFunc) { k.Progress("1", nil) },
		"failed":  func(_ *Window, k *Ticket, _ context.CancelFunc) { k.Progress("", errors.New("x")) },
		"closed":  func(w *Window, _ *Ticket, _ context.CancelFunc) { w.Close() },
		"ctx":     func(_ *Window, _ *Ticket, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := mustNew(t, 1)
				k := mustOpen(t, w, "1")
				result := make(chan error, 1)
				go func() {
					_, err := w.Open(ctx, "2")
					result <- err
				}()
				synctest.Wait()
				select {
				case err := <-result:
					t.Fatalf("second Open returned %v at a limit of 1", err)
				default:
				}
				release(w, k, cancel)
				if err := <-result; (err == nil) != (name == "settled") {
					t.Errorf("Open after release = %v", err)
				}
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	if _, err := New(0); err == nil {
		t.Error("New(0) succeeded")
	}
	if _, err := mustNew(t, 1).Open(t.Context(), ""); err == nil {
		t.Error(`Open("") succeeded`)
	}
}

// TestModel holds the window against the obvious slow answer: walk all payloads ever opened and stop at the first that was
// not reported.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 6).Draw(t, "limit")
		w, err := New(limit)
		if err != nil {
			t.Fatal(err)
		}
		type modelTicket struct {
			*Ticket
			size, reported int
			failed         bool
		}
		var (
			tickets []*modelTicket
			failed  bool
		)
		pos := func(ticket, payload int) stream.Position {
			return stream.Position(fmt.Sprintf("%d.%d", ticket, payload))
		}
		model := func() (safe stream.Position, unsettled int) {
			for i, k := range tickets {
				if k.reported > 0 {
					safe = pos(i, k.reported)
				}
				if k.reported < k.size {
					return safe, len(tickets) - i
				}
			}
			return safe, 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				if _, n := model(); n >= limit {
					return // full: Open would block
				}
				size := rapid.IntRange(1, 4).Draw(t, "size")
				k, err := w.Open(context.Background(), pos(len(tickets), size))
				if failed != (err != nil) {
					t.Fatalf("Open = %v with failed=%t", err, failed)
				}
				if err == nil {
					tickets = append(tickets, &modelTicket{Ticket: k, size: size})
				}
			},
			"progress": func(t *rapid.T) {
				if len(tickets) == 0 {
					return
				}
				i := rapid.IntRange(0, len(tickets)-1).Draw(t, "ticket")
				k := tickets[i]
				to := rapid.IntRange(k.reported, k.size).Draw(t, "to")
				if to == 0 {
					k.Progress("", nil)
					return
				}
				k.Progress(pos(i, to), nil)
				if !k.failed {
					k.reported = to
				}
			},
			"fail": func(t *rapid.T) {
				if len(tickets) == 0 {
					return
				}
				k := tickets[rapid.IntRange(0, len(tickets)-1).Draw(t, "ticket")]
				k.Progress("", errors.New("refused"))
				if k.reported < k.size {
					k.failed, failed = true, true
				}
			},
			"": func(t *rapid.T) {
				safe, unsettled := model()
				if got := w.Safe(); got != safe {
					t.Fatalf("Safe = %q, want %q", got, safe)
				}
				if got := w.InFlight(); got != unsettled {
					t.Fatalf("InFlight = %d, want %d", got, unsettled)
				}
				if got := w.Err() != nil; got != failed {
					t.Fatalf("Err set = %t, want %t", got, failed)
				}
			},
		})
	})
}
