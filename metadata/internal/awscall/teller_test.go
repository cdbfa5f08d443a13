package awscall

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTeller(t *testing.T) {
	now := time.UnixMilli(5000)
	told := prometheus.NewCounter(prometheus.CounterOpts{Name: "told"})
	tell := Teller{Src: "ec2/1/r", Now: func() time.Time { return now }, Events: told}
	var heard []event.Event
	var sizes []int
	listen := func(events []event.Event) error {
		heard = append(heard, slices.Clone(events)...)
		sizes = append(sizes, len(events))
		return nil
	}
	tell.Begin(listen)
	now = time.UnixMilli(6000)
	if err := errors.Join(tell.Tell(make([]event.Event, 2*tellMost+1)), tell.Tell(nil)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{tellMost, tellMost, 1}, sizes); diff != "" {
		t.Errorf("handed over: %s", diff)
	}
	for i := range heard {
		if want := (event.Event{V: event.Version, Src: "ec2/1/r", Epoch: 5000, Seq: int64(i + 1), Obs: 6000}); !cmp.Equal(heard[i], want) {
			t.Fatalf("event %d is %+v, want %+v", i, heard[i], want)
		}
	}
	if n := testutil.ToFloat64(told); n != 2*tellMost+1 {
		t.Errorf("%v events are counted", n)
	}
	// A new life is a new epoch with numbers of its own.
	tell.Begin(listen)
	if err := tell.Tell([]event.Event{{Op: event.Progress}}); err != nil || heard[len(heard)-1].Epoch != 6000 || heard[len(heard)-1].Seq != 1 {
		t.Errorf("%v, the new epoch's first event is %+v", err, heard[len(heard)-1])
	}
	// Nobody listens any more: what is left is not handed over.
	gone, calls := errors.New("gone"), 0
	tell.Begin(func([]event.Event) error { calls++; return gone })
	if err := tell.Tell(make([]event.Event, tellMost+1)); !errors.Is(err, gone) || calls != 1 {
		t.Errorf("error %v after %d calls", err, calls)
	}
}

func TestVouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, gone := time.Now(), errors.New("gone")
		var at []time.Duration
		err := Vouch(t.Context(), func() error {
			if at = append(at, time.Since(begun)); len(at) == 3 {
				return gone
			}
			return nil
		})
		if want := []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}; !errors.Is(err, gone) || !slices.Equal(at, want) {
			t.Errorf("%v; told at %v, want %v", err, at, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Vouch(ctx, func() error { return gone }); err != nil {
			t.Errorf("the end of the context is the error %v", err)
		}
	})
}
