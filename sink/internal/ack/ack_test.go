package ack

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Pieces are released in any order, some with an error, some Writes are aborted: what is reported is the Writes in order, good
// ones up to the first bad one and only bad ones from there.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Queue
		var got []int
		var errs []error
		bad := errors.New("bad")
		type piece struct {
			e   *Entry
			err error
		}
		var pieces []piece
		var want []int
		wantBad := -1
		n := rapid.IntRange(1, 12).Draw(t, "writes")
		for i := range n {
			e, err := q.Add(func(err error) { got = append(got, i); errs = append(errs, err) })
			if err != nil {
				t.Fatalf("Add = %v", err)
			}
			k := rapid.IntRange(0, 3).Draw(t, "pieces")
			e.Hold(k)
			aborted := rapid.IntRange(0, 5).Draw(t, "abort") == 0
			for range k {
				p := piece{e: e}
				if rapid.IntRange(0, 9).Draw(t, "fails") == 0 {
					p.err = bad
					if !aborted && wantBad < 0 {
						wantBad = len(want)
					}
				}
				pieces = append(pieces, p)
			}
			if aborted {
				e.Abort()
				continue
			}
			want = append(want, i)
			if err := e.Handed(); err != nil {
				t.Fatalf("Handed = %v", err)
			}
		}
		for _, p := range rapid.Permutation(pieces).Draw(t, "order") {
			p.e.Release(p.err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("reported writes (-want +got):\n%s", d)
		}
		for i, err := range errs {
			if isBad := wantBad >= 0 && i >= wantBad; isBad != (err != nil) {
				t.Fatalf("write %d reported %v, first bad is %d", i, err, wantBad)
			}
		}
		if err := q.Flush(context.Background()); (err != nil) != (wantBad >= 0) {
			t.Fatalf("Flush = %v, first bad is %d", err, wantBad)
		}
	})
}

func TestConcurrentReleases(t *testing.T) {
	const writes, pieces = 200, 4
	var q Queue
	var got []int // done calls never overlap, so no lock: the race detector is the check
	var wg sync.WaitGroup
	for i := range writes {
		e, err := q.Add(func(error) { got = append(got, i) })
		if err != nil {
			t.Fatal(err)
		}
		e.Hold(pieces)
		for range pieces {
			wg.Go(func() { e.Release(nil) })
		}
		if err := e.Handed(); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for i, v := range got {
		if v != i {
			t.Fatalf("place %d reports write %d", i, v)
		}
	}
	if len(got) != writes {
		t.Fatalf("%d writes reported, want %d", len(got), writes)
	}
}

func TestCloseWaitsForRunningDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		gate := make(chan struct{})
		e, err := q.Add(func(error) { <-gate })
		if err != nil {
			t.Fatal(err)
		}
		e.Hold(1)
		if err := e.Handed(); err != nil {
			t.Fatal(err)
		}
		var second error
		f, err := q.Add(func(err error) { second = err })
		if err != nil {
			t.Fatal(err)
		}
		f.Hold(1)
		if err := f.Handed(); err != nil {
			t.Fatal(err)
		}
		go e.Release(nil)
		synctest.Wait()

		closed := make(chan struct{})
		go func() { defer close(closed); q.Close(errClosed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("Close returned while done was running")
		default:
		}
		close(gate)
		<-closed
		if !errors.Is(second, errClosed) {
			t.Errorf("second write was reported %v, want %v", second, errClosed)
		}
		if _, err := q.Add(func(error) {}); !errors.Is(err, errClosed) {
			t.Errorf("Add after Close = %v, want %v", err, errClosed)
		}
		if !e.Dead() {
			t.Error("the reported entry is not dead")
		}
	})
}

var errClosed = errors.New("closed")

func TestFlushGivesUpWithItsContext(t *testing.T) {
	var q Queue
	e, err := q.Add(func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	e.Hold(1)
	if err := e.Handed(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush = %v, want %v", err, context.Canceled)
	}
	e.Release(nil)
	if err := q.Flush(t.Context()); err != nil {
		t.Errorf("Flush = %v", err)
	}
}

// A Write that is still handing over when an earlier one fails returns the error itself; its done never runs.
func TestFailureDuringWrite(t *testing.T) {
	var q Queue
	bad := errors.New("bad")
	first, err := q.Add(func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	first.Hold(1)
	if err := first.Handed(); err != nil {
		t.Fatal(err)
	}
	open, err := q.Add(func(err error) { t.Errorf("done ran with %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	open.Hold(1)
	first.Release(bad)
	open.Release(nil)
	if err := open.Handed(); !errors.Is(err, bad) {
		t.Errorf("Handed = %v, want %v", err, bad)
	}
	if n := q.Len(); n != 0 {
		t.Errorf("%d entries left", n)
	}
}
