package sonar_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/blob"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/sonar"
	"dredge/metadata/store"

	"github.com/rs/zerolog"
)

// turnover is a source whose addresses change hands all the time. It knows the truth.
type turnover struct {
	mu      sync.Mutex
	tenures [][]tenure // by address, in order
	n       int
}

type tenure struct {
	app  string
	from int64
}

const turnoverAddresses = 400

func turnoverIP(slot int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 1, byte(slot >> 8), byte(slot)})
}

func (s *turnover) Names() []string  { return []string{"turnover"} }
func (s *turnover) Faults() []string { return nil }

// Run gives five addresses a second to others, and tells so.
func (s *turnover) Run(ctx context.Context, emit event.Emit) error {
	r := rand.New(rand.NewPCG(9, 9))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	s.tenures = make([][]tenure, turnoverAddresses)
	first := make([]int, turnoverAddresses)
	for i := range first {
		first[i] = i
	}
	for slots := first; ; slots = []int{r.IntN(turnoverAddresses), r.IntN(turnoverAddresses), r.IntN(turnoverAddresses)} {
		if err := emit(append(s.change(slots), event.Event{Op: event.Progress, Src: "turnover", To: time.Now().UnixMilli()})); err != nil {
			return nil // nobody listens any more
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *turnover) change(slots []int) (events []event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UnixMilli()
	for _, slot := range slots {
		ip := turnoverIP(slot).String()
		if had := s.tenures[slot]; len(had) > 0 {
			last := had[len(had)-1]
			if last.from == now {
				continue
			}
			events = append(events, event.Event{Op: event.Release, Src: "turnover", Obs: now, Scope: "vpc-1", IP: ip, Owner: "pod-" + last.app, To: now})
		}
		s.n++
		app := fmt.Sprint("app-", s.n)
		s.tenures[slot] = append(s.tenures[slot], tenure{app, now})
		events = append(events, event.Event{
			Op: event.Assign, Src: "turnover", Obs: now, Scope: "vpc-1", IP: ip, Owner: "pod-" + app, From: now, WL: &event.Workload{App: app},
		})
	}
	return events
}

// owner returns who held the address in all of [from, to) and a minute before, "" when that was not one.
func (s *turnover) owner(slot int, from, to int64) (app string, alone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range s.tenures[slot] {
		end := time.Now().UnixMilli()
		if i+1 < len(s.tenures[slot]) {
			end = s.tenures[slot][i+1].from
		}
		if t.from <= from && from < end {
			return t.app, to < end-2000 && (t.from <= from-62_000 || i == 0)
		}
	}
	return "", false
}

type storeTarget struct{ *store.Store }

func (t storeTarget) Observe(s idlog.Sighting) { t.Store.Observe(sonar.StoreSighting(t.Store, s)) }

// TestS9 holds the row S9: a worker that starts cold beside a sonar names at least 99 % of the flows that have one owner within 60 s of
// its start, by snapshot and replay, and names none wrongly, before it is ready or after.
func TestS9(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket, err := blob.New("file://" + t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := bucket.Close(); err != nil {
				t.Error(err)
			}
		}()
		cfg, settings, log := metadata.DefaultConfig(), idlog.DefaultSettings(), idlog.Config{URL: "file:///log"}
		settings.SnapshotInterval = 2 * time.Minute
		world := &turnover{}
		known, err := store.New(cfg, store.Dependencies{})
		if err != nil {
			t.Fatal(err)
		}
		svc, err := sonar.New(log, settings, cfg, time.Minute, sonar.Deps{Store: known, Bucket: bucket, Sources: []event.Source{world}, Name: "one", Logger: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := svc.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		<-time.After(11*time.Minute + 300*time.Millisecond)

		cold, err := store.New(cfg, store.Dependencies{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := idlog.NewReader(log, settings, idlog.ReaderDeps{Bucket: bucket, Target: storeTarget{cold}, State: cold, Logger: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		running.Go(func() { _ = r.Run(ctx) }) // it returns nil
		named, owned, ready := 0, 0, time.Duration(-1)
		for range 1000 {
			if ready < 0 && r.Ready() == nil {
				ready = time.Since(start)
			}
			for slot := range turnoverAddresses {
				end := time.Now().Add(-time.Minute).UnixMilli() // records come that late
				app, alone := world.owner(slot, end-20_000, end)
				a := cold.Lookup(cold.Scope("vpc-1"), turnoverIP(slot), metadata.Window{Start: end - 20_000, End: end})
				if a.Grade.Names() && cold.Workload(a.Workload).App != app {
					t.Fatalf("%s after the start, ready after %s: %s is said to be %q's, truth is %q", time.Since(start), ready, turnoverIP(slot), cold.Workload(a.Workload).App, app)
				}
				if alone && time.Since(start) >= time.Minute {
					owned++
					if a.Grade.Names() {
						named++
					}
				}
			}
			<-time.After(100 * time.Millisecond)
		}
		if ready < 0 || ready > time.Minute {
			t.Errorf("ready after %s", ready)
		}
		if owned < 10_000 || float64(named) < 0.99*float64(owned) {
			t.Errorf("%d of %d flows are named", named, owned)
		}
		t.Logf("ready after %s; %d of %d flows named from a minute after the start on", ready, named, owned)
		stop()
		running.Wait()
	})
}

// BenchmarkWarmStart is a worker's start from a log whose snapshot holds 10 M versions of 2 M addresses; one operation is one start.
func BenchmarkWarmStart(b *testing.B) {
	const addresses, versions = 2_000_000, 5
	bucket, err := blob.New("file://" + b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	cfg, settings, log := metadata.DefaultConfig(), idlog.DefaultSettings(), idlog.Config{URL: "file:///log"}
	cfg.Retention = 31 * 24 * time.Hour
	settings.SnapshotInterval = time.Second
	full, err := store.New(cfg, store.Dependencies{})
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now().Add(-24 * time.Hour).UnixMilli()
	for v := range versions {
		for i := range addresses {
			owner := (i + v*7919) % (addresses / 10)
			if err := full.Apply(&event.Event{
				Op: event.Assign, Src: "bench", Scope: "vpc-1", IP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(),
				Owner: fmt.Sprintf("eni:eni-%07x", owner), From: begin + int64(v)*3600_000, WL: &event.Workload{App: fmt.Sprint("app-", owner%500)},
			}); err != nil {
				b.Fatal(err)
			}
		}
	}
	w, err := idlog.NewWriter(settings, idlog.Tracker, cfg.Retention, idlog.WriterDeps{Bucket: bucket, Logger: zerolog.Nop(), Snapshotter: idlog.NewFold(time.Hour), State: full})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	var writing sync.WaitGroup
	writing.Go(func() { _ = w.Run(ctx) }) // it returns nil
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		manifest, err := bucket.Read(b.Context(), "manifest/"+w.Stream()+"/0", 1<<20)
		if err == nil && bytes.Contains(manifest, []byte(`"snapshots"`)) {
			tick.Stop()
			break
		}
	}
	stop()
	writing.Wait()
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		cold, err := store.New(cfg, store.Dependencies{})
		if err != nil {
			b.Fatal(err)
		}
		r, err := idlog.NewReader(log, settings, idlog.ReaderDeps{Bucket: bucket, Target: storeTarget{cold}, State: cold, Logger: zerolog.Nop()})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
		if n := cold.Size().Tenures; n < addresses*(versions-1) {
			b.Fatalf("%d tenures were read", n)
		}
	}
}
