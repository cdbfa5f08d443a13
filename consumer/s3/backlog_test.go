package s3

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/retry"
)

// B2: in-flight stays low. 500,000 notifications within an hour while all workers are stopped: the notifications in flight stay below
// 10,000 throughout, and every file is in the ledger afterwards. `make full` (DREDGE_FULL=1) runs that number; `make test` announces
// 4,000 in the same hour, and holds the gatherers to a fiftieth.
func TestB2InFlightStaysLow(t *testing.T) {
	files, bound := 4_000, 200
	if os.Getenv("DREDGE_FULL") != "" {
		files, bound = 500_000, 10_000
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Gather.MaxHeld = c.Gather.MaxHeld * bound / 10_000
			c.Gather.MaxBytes = int64(files/50) * 1000
		})
		stops := []func(){start(t, r.gatherer(nil).Run), start(t, r.gatherer(nil).Run)}
		highest, announced := 0, 0
		look := func() {
			_, inFlight, _ := r.aws.SQS().Depth("announced")
			if highest = max(highest, inFlight); inFlight >= bound {
				t.Fatalf("%d in flight", inFlight)
			}
		}
		// A fifth is there when the gatherers start; the rest comes evenly.
		for range files / 5 {
			r.announce(fmt.Sprintf("f%06d.log.gz", announced), 1000)
			announced++
		}
		for second := range 3600 {
			for announced < files/5+(files-files/5)*(second+1)/3600 {
				r.announce(fmt.Sprintf("f%06d.log.gz", announced), 1000)
				announced++
			}
			<-time.After(time.Second)
			look()
		}
		if announced != files {
			t.Fatalf("%d announced", announced)
		}
		r.wait(10*time.Minute, "all announcements taken", func() bool { look(); return r.drained("announced")() })
		for _, stop := range stops {
			stop()
		}
		r.everyFileOnce(files)
		sent, inFlight, _ := r.aws.SQS().Depth("mouthfuls")
		t.Logf("at most %d in flight; %d mouthfuls wait for workers", highest, sent+inFlight)
		if sent != len(r.mouthfuls()) {
			t.Errorf("%d mouthfuls are in their queue of %d in the ledger", sent, len(r.mouthfuls()))
		}
	})
}

// B5: the backlog burns off. Files arrive all day; for 6 hours there is no dredge at all. Then two workers start, which can read 2.5
// times what arrives, and nobody touches anything. docs/s3.md states the time: outage × arrival ÷ (capacity − arrival), here
// 4 hours. In these they must read at least twice what arrives.
func TestB5BacklogBurnsOff(t *testing.T) {
	const (
		outage   = 6 * time.Hour
		every    = time.Minute // a file arrives
		capacity = 2.5         // of the arrival
		stated   = 4 * time.Hour
	)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Gather.MaxBytes, c.Work.Slots, c.Work.Files = 5000, 1, 1 })
		s, k := newStore(), newTaker()
		lanes := 2 * r.cfg.Work.Slots * r.cfg.Work.Files
		each := time.Duration(float64(every) * float64(lanes) / capacity)
		k.hold = func(ctx context.Context, _ string) error { return retry.Sleep(ctx, each) }
		arrived := 0
		arrive := func() {
			name := fmt.Sprintf("f%05d.log", arrived)
			text, _ := logFile(name, 1)
			s.mu.Lock()
			s.files[name] = text
			s.mu.Unlock()
			r.announce(name, 1000)
			arrived++
		}
		read := func() int { k.mu.Lock(); defer k.mu.Unlock(); return len(k.rows) }
		for range int(outage / every) {
			arrive()
			<-time.After(every)
		}
		if v, _, _ := r.aws.SQS().Depth("announced"); v != int(outage/every) {
			t.Fatalf("%d notifications wait after the outage", v)
		}
		stops := []func(){start(t, r.gatherer(nil).Run), start(t, r.worker(nil, s, k).Run), start(t, r.worker(nil, s, k).Run)}
		began, before := time.Now(), arrived
		// What arrived within the last minutes is no backlog: it waits for company first, then for its turn in a mouthful.
		const fresh = 10 * time.Minute
		for read() < arrived-int(fresh/every) {
			arrive()
			<-time.After(every)
			if time.Since(began) > 2*stated {
				t.Fatalf("%d of %d files after %s", read(), arrived, time.Since(began))
			}
		}
		took, came := time.Since(began), arrived-before
		ratio := float64(read()) / float64(came)
		t.Logf("the backlog of %s burnt off in %s; %.2f times what arrived was read", outage, took, ratio)
		if took > stated {
			t.Errorf("it took %s, stated are %s", took, stated)
		}
		if ratio < 2 {
			t.Errorf("%.2f times what arrived was read", ratio)
		}
		for _, stop := range stops {
			stop()
		}
		if n := k.twice(); n != 0 {
			t.Errorf("%d rows were delivered twice", n)
		}
	})
}
