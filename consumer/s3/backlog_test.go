package s3

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/retry"
)

// B2: in-flight stays low. 500,000 notifications within an hour while all workers are stopped: the notifications in flight stay below
// 10,000 throughout, every file is in the ledger afterwards, and mouthfuls are filled to 90 % in the mean. Then ten workers start, which can
// read three times what arrived, and drain it unattended at twice the arrival or faster, each file once. `make full` (DREDGE_FULL=1)
// runs that number; `make test` announces 4,000 in the same hour, and holds gatherers of a fiftieth to a fiftieth.
func TestB2InFlightStaysLow(t *testing.T) {
	files, bound := 4_000, 200
	if os.Getenv("DREDGE_FULL") != "" {
		files, bound = 500_000, 10_000
	}
	const (
		hour     = 3600
		workers  = 10
		capacity = 3.0 // of the arrival
	)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			share := float64(bound) / 10_000
			part := func(n int) int { return int(float64(n) * share) }
			c.Gather.MaxHeld, c.Gather.MaxFiles, c.Gather.MaxBytes = part(c.Gather.MaxHeld), part(c.Gather.MaxFiles), int64(part(int(c.Gather.MaxBytes)))
			if files < 10_000 {
				c.Gather.MaxAge = 5 * time.Minute // so few files a second don't fill a mouthful in a minute
			}
		})
		random := rand.New(rand.NewPCG(2, 2))
		stops := []func(){start(t, r.gatherer(nil).Run), start(t, r.gatherer(nil).Run)}
		highest, announced := 0, 0
		look := func() {
			_, inFlight, _ := r.aws.SQS().Depth("announced")
			if highest = max(highest, inFlight); inFlight >= bound {
				t.Fatalf("%d in flight", inFlight)
			}
		}
		s, line := newStore(), []byte("2 123456789012 eni-1 10.0.0.1 10.0.0.2 40000 443 6 1 40 1760000000 1760000059 ACCEPT OK\n")
		announce := func() {
			name := fmt.Sprintf("f%06d.log", announced)
			s.files[name] = line // nobody reads yet
			r.announce(name, 1+random.Int64N(3<<19))
			announced++
		}
		// A fifth is there when the gatherers start; the rest comes evenly.
		for range files / 5 {
			announce()
		}
		for second := range hour {
			for announced < files/5+(files-files/5)*(second+1)/hour {
				announce()
			}
			<-time.After(time.Second)
			look()
		}
		if announced != files {
			t.Fatalf("%d announced", announced)
		}
		r.wait(10*time.Minute, "all announcements taken", func() bool { look(); return r.drained("announced")() })
		r.everyFileOnce(files)
		formed := r.mouthfuls()
		sent, inFlight, _ := r.aws.SQS().Depth("mouthfuls")
		if sent != len(formed) {
			t.Errorf("%d mouthfuls are in their queue of %d in the ledger", sent, len(formed))
		}
		var bytes int64
		for _, m := range formed {
			bytes += m.Bytes
		}
		fill := float64(bytes) / float64(r.cfg.Gather.MaxBytes) / float64(len(formed))
		t.Logf("at most %d in flight; %d mouthfuls wait for workers, filled to %.3f in the mean", highest, sent+inFlight, fill)
		if fill < 0.9 {
			t.Errorf("mean fill %.3f", fill)
		}

		k := newTaker()
		k.tally = true
		lanes := workers * r.cfg.Work.Slots * r.cfg.Work.Files
		each := time.Duration(float64(hour*time.Second) * float64(lanes) / (capacity * float64(files)))
		k.hold = func(ctx context.Context, _ string) error { return retry.Sleep(ctx, each) }
		began, before := time.Now(), processorTime(t)
		for range workers {
			stops = append(stops, start(t, r.worker(nil, s, k).Run))
		}
		r.wait(time.Hour, "all mouthfuls read", r.drained("mouthfuls"))
		took, used := time.Since(began), processorTime(t)-before
		for _, stop := range stops {
			stop()
		}
		ratio := float64(hour*time.Second) / float64(took)
		t.Logf("drained in %s, at %.2f times the arrival; reading took %s of a processor with the fake's share, for %s of arrivals", took, ratio, used, hour*time.Second)
		if ratio < 2 {
			t.Errorf("drained at %.2f times the arrival", ratio)
		}
		if len(k.rows) != files || k.twice() != 0 {
			t.Errorf("%d of %d files were read, %d of them twice", len(k.rows), files, k.twice())
		}
	})
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
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
