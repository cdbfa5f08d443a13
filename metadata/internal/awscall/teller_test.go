package awscall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
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

// A watermark is told again while listings are complete, and never goes back.
func TestVouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, gone := time.Now(), errors.New("gone")
		var told []string
		tell := Teller{Src: "s", Now: time.Now, Events: prometheus.NewCounter(prometheus.CounterOpts{Name: "told"})}
		var mu sync.Mutex
		tell.Begin(func(events []event.Event) error {
			told = append(told, fmt.Sprint(time.Since(begun), " ", events[0].Op, " ", events[0].To))
			if len(told) == 3 {
				return gone
			}
			return nil
		})
		ended := make(chan error, 1)
		go func() { ended <- Vouch(t.Context(), &mu, &tell) }()
		at := func(second int, f func()) {
			<-time.After(time.Until(begun.Add(time.Duration(second) * time.Second)))
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		at(15, func() { tell.Recall(70) }) // known, but no listing of this life vouches for it
		at(27, func() { tell.Complete(50) })
		at(41, tell.Fail)
		at(55, func() { tell.Complete(90) })
		if err := <-ended; !errors.Is(err, gone) {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"30s progress 70", "40s progress 70", "1m0s progress 90"}, told); diff != "" || !tell.Whole() {
			t.Error(diff)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Vouch(ctx, &mu, &tell); err != nil {
			t.Errorf("the end of the context is the error %v", err)
		}
	})
}

// A fault is listed while it lasts, and logged when it changes, whatever request it was.
func TestFaults(t *testing.T) {
	var log bytes.Buffer
	logger := zerolog.New(&log)
	var f Faults
	f.Note(logger, "flow-logs", nil)
	for n := range 3 {
		f.Note(logger, "listing", fmt.Errorf("EC2: RequestID: %d, denied", n))
	}
	f.Note(logger, "flow-logs", errors.New("slow"))
	if diff := cmp.Diff([]string{"s: flow-logs: slow", "s: listing: EC2: denied"}, f.List("s: ")); diff != "" || !f.Has("listing") {
		t.Error(diff)
	}
	f.Note(logger, "listing", nil)
	if diff := cmp.Diff([]string{"flow-logs: slow"}, f.List("")); diff != "" || f.Has("listing") {
		t.Error(diff)
	}
	if n := strings.Count(log.String(), "\n"); n != 3 {
		t.Errorf("%d lines were logged, want two faults and one end:\n%s", n, &log)
	}
}
