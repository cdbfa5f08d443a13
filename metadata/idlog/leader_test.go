package idlog_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata/idlog"

	"github.com/rs/zerolog"
)

// candidate waits for its turn and counts itself while it leads.
type candidate struct {
	leads *atomic.Int32
	turn  atomic.Bool
	ended chan error
	stop  context.CancelFunc
}

func newCandidate(t *testing.T, d idlog.Bucket, name string, leads *atomic.Int32) *candidate {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &candidate{leads: leads, ended: make(chan error, 1), stop: cancel}
	l := idlog.Leader{Bucket: d, Name: name, Lease: 10 * time.Second, Logger: zerolog.Nop()}
	go func() {
		c.ended <- l.Run(ctx, func(ctx context.Context) error {
			c.leads.Add(1)
			c.turn.Store(true)
			<-ctx.Done()
			c.turn.Store(false)
			c.leads.Add(-1)
			return nil
		})
	}()
	return c
}

// One of three leads; who ends in order hands over at once, who dies within the lease's duration.
func TestLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		var leads atomic.Int32
		all := []*candidate{newCandidate(t, d, "a", &leads), newCandidate(t, d, "b", &leads), newCandidate(t, d, "c", &leads)}
		for left := 3; left > 0; left-- {
			<-time.After(6 * time.Second) // less than the lease: its holder gave it back
			synctest.Wait()
			if n := leads.Load(); n != 1 {
				t.Errorf("%d lead with %d candidates, want 1", n, left)
			}
			for i, c := range all {
				if c.turn.Load() {
					c.stop()
					if err := <-c.ended; err != nil {
						t.Error(err)
					}
					all = append(all[:i:i], all[i+1:]...)
					break
				}
			}
		}
	})
}

// A leader that is cut off from the store goes on as long as nobody can take over; when somebody has, it steps back as soon as it
// sees that.
func TestLeaderThatWasCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		var leads atomic.Int32
		cut := &cable{disk: d}
		first := newCandidate(t, cut, "first", &leads)
		<-time.After(time.Second)
		cut.out.Store(true)
		<-time.After(time.Minute)
		if !first.turn.Load() {
			t.Error("it stopped although nobody took over")
		}
		second := newCandidate(t, d, "second", &leads)
		<-time.After(15 * time.Second)
		if !second.turn.Load() {
			t.Error("nobody took over from a leader that was cut off")
		}
		cut.out.Store(false)
		<-time.After(5 * time.Second)
		if err := <-first.ended; !errors.Is(err, idlog.ErrSuperseded) {
			t.Errorf("error %v, want ErrSuperseded", err)
		}
		if n := leads.Load(); n != 1 || !second.turn.Load() {
			t.Errorf("%d lead", n)
		}
		second.stop()
		if err := <-second.ended; err != nil {
			t.Error(err)
		}
	})
}
