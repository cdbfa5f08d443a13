package idlog_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/idlog"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
)

// run runs f beside until the returned function is called, which waits for its end.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("eni:%05d", i))
	}
	return out
}

// What is told is in every reader's hands within the flush and poll intervals, and a reader that comes later knows it, too.
func TestToldIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := newLife(t, d, settings())
		stopWriter := run(t, w.Run)
		early := newLedger()
		r := newReader(t, d, early)
		stopReader := run(t, r.Run)
		<-time.After(time.Second)
		if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "have not told everything yet") {
			t.Errorf("ready before the sources were: %v", err)
		}
		for i := range 300 { // many segments, so that they are merged
			w.tell(t, assign(i))
			<-time.After(100 * time.Millisecond)
		}
		w.tell(t, progress())
		w.SetLoaded()
		<-time.After(idlog.DefaultSettings().FlushInterval + idlog.DefaultSettings().PollInterval)
		synctest.Wait()
		if diff := cmp.Diff(names(300), early.names()); diff != "" {
			t.Error(diff)
		}
		if early.progress["s"] == 0 {
			t.Error("progress did not arrive")
		}
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		stopReader()
		if diff := cmp.Diff(names(300), readAll(t, d).names()); diff != "" {
			t.Error(diff)
		}
		<-time.After(2 * time.Minute) // merged ones stay for a while
		if n := len(d.keys("segment/")); n > 60 {
			t.Errorf("%d segments are left of 150 flushes; they are not merged", n)
		}
		stopWriter()
	})
}

// Snapshots let segments go; a reader that begins with a snapshot knows what one knows that read all segments.
func TestSnapshotsReplaceSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := newLife(t, d, settings(func(s *idlog.Settings) { s.SnapshotInterval = 5 * time.Second }))
		stop := run(t, w.Run)
		for i := range 600 {
			w.tell(t, assign(i))
			if i%50 == 0 {
				w.tell(t, progress())
			}
			<-time.After(250 * time.Millisecond)
		}
		stop()
		late := readAll(t, d)
		if diff := cmp.Diff(names(600), late.names()); diff != "" {
			t.Error(diff)
		}
		if late.progress["s"] == 0 {
			t.Error("progress is not in the snapshot")
		}
		if n := len(d.keys("snapshot/")) / 2; n < 2 || n > 2+60/5+1 {
			t.Errorf("%d snapshots are kept", n)
		}
		if n := len(d.keys("segment/")); n > 400 {
			t.Errorf("%d segments are kept", n)
		}
	})
}

// A damaged snapshot, or one that is gone: the one before it and the segments since tell the same. It is counted.
func TestDamagedSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := newLife(t, d, settings(func(s *idlog.Settings) { s.SnapshotInterval = 5 * time.Second }))
		stop := run(t, w.Run)
		for i := range 100 {
			w.tell(t, assign(i), progress())
			<-time.After(250 * time.Millisecond)
		}
		stop()
		published := d.manifests()                                                  // the end may have come before the newest snapshot was
		snapshots := slices.DeleteFunc(d.keys("snapshot/"), func(key string) bool { // of events
			return !strings.HasSuffix(key, "-0000") || !strings.Contains(published, `"`+key+`"`)
		})
		d.damage(t, snapshots[len(snapshots)-1])
		reg := prometheus.NewPedanticRegistry()
		l := newLedger()
		r := newReader(t, d, l, func(deps *idlog.ReaderDeps) { deps.Registerer = reg })
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names(100), l.names()); diff != "" {
			t.Error(diff)
		}
		if got := damaged(t, reg, "snapshot"); got != 1 {
			t.Errorf("%v damaged snapshots were counted, want 1", got)
		}
		if l.progress["s"] == 0 {
			t.Error("nothing is lost, but progress was not believed")
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

// The compact form is taken where both sides know it, and not twice; where it is damaged, or of another codec, the events of the same
// snapshot are.
func TestCompactForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := newLife(t, d, settings(func(s *idlog.Settings) { s.SnapshotInterval = time.Minute }))
		stop := run(t, w.Run)
		const more = 100_000 // the compact form has several sections
		for i := range more {
			w.state.owners[fmt.Sprintf("pod-%06d", i)]++ // without a segment: only the compact form says it
		}
		w.tell(t, assign(0), progress())
		<-time.After(time.Minute + time.Second)
		w.tell(t, assign(1))
		stop()
		c := readCompact(t, d)
		if got := c.names(); len(got) != more+2 || !slices.Equal(got[:2], names(2)) || c.read != 1 || c.progress["s"] == 0 {
			t.Errorf("%d owners, read %d times, progress %d", len(c.names()), c.read, c.progress["s"])
		}
		if c.owners["eni:00000"] != 1 {
			t.Error("what is in the snapshot was told once more")
		}
		other := &compact{ledger: newLedger(), codec: "lines/2"}
		if err := newReader(t, d, other.ledger, func(deps *idlog.ReaderDeps) { deps.State = other }).Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := other.names(); len(got) != 2 || other.read != 0 {
			t.Errorf("of another codec %v were read", got)
		}
		state := slices.DeleteFunc(d.keys("snapshot/"), func(key string) bool { return strings.HasSuffix(key, "-0000") })
		d.damage(t, state[len(state)-1])
		reg := prometheus.NewPedanticRegistry()
		c = readCompact(t, d, func(deps *idlog.ReaderDeps) { deps.Registerer = reg })
		if got := c.names(); len(got) != 2 || c.read != 0 || c.progress["s"] == 0 || damaged(t, reg, "snapshot") != 1 {
			t.Errorf("with a damaged one %d owners are known, progress %d", len(got), c.progress["s"])
		}
	})
}

func damaged(t *testing.T, reg *prometheus.Registry, object string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "dredge_identity_log_damaged_objects_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "object" && l.GetValue() == object {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	t.Fatal("no such metric")
	return 0
}

// A damaged segment: what stands in the others is known, but progress is believed only when a snapshot has made up for it, since
// it would vouch for what is not known.
func TestDamagedSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := newLife(t, d, settings(func(s *idlog.Settings) { s.SnapshotInterval = time.Minute }))
		stop := run(t, w.Run)
		for i := range 5 {
			w.tell(t, assign(i), progress())
			<-time.After(250 * time.Millisecond)
		}
		synctest.Wait()
		for _, k := range d.keys("segment/")[2:3] {
			d.damage(t, k)
		}
		l := newLedger()
		r := newReader(t, d, l)
		stopReader := run(t, r.Run)
		<-time.After(time.Second)
		if got := l.names(); len(got) != 4 {
			t.Errorf("known are %v, want all but one", got)
		}
		w.tell(t, progress())
		<-time.After(2 * time.Second)
		before := l.progress["s"]
		if before == time.Now().Add(-2*time.Second).UnixMilli() {
			t.Error("progress was believed although events are missing")
		}
		if s := r.Status(); !strings.Contains(s.Fault, "damaged") {
			t.Errorf("status %+v", s)
		}
		<-time.After(time.Minute + 2*time.Second) // a snapshot
		if diff := cmp.Diff(names(5), l.names()); diff != "" {
			t.Error(diff)
		}
		w.tell(t, progress())
		told := time.Now().UnixMilli()
		<-time.After(2 * time.Second)
		if l.progress["s"] != told || r.Status().Fault != "" {
			t.Errorf("progress %d, told %d; status %+v", l.progress["s"], told, r.Status())
		}
		stopReader()
		stop()
	})
}

// A full disk: nothing is lost, sources wait when too much waits, and readers keep what they had.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := newLife(t, d, settings())
		reg := prometheus.NewPedanticRegistry()
		w2, err := idlog.NewWriter(settings(), idlog.Tracker, time.Hour, idlog.WriterDeps{Bucket: d, Logger: zerolog.Nop(), Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		w.Writer = w2
		stop := run(t, w.Run)
		w.tell(t, assign(0))
		<-time.After(time.Second)
		d.mu.Lock()
		d.fault = func(op, _ string, _ int) fault {
			if op == "write" {
				return half
			}
			return none
		}
		d.mu.Unlock()
		told := 1
		long := strings.Repeat("x", 1000)
		for {
			e := assign(told)
			e.EP = &event.Endpoint{Name: long, Instance: long, Subnet: long, Kind: long, AZ: long}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := w.Emit(ctx, []event.Event{e})
			cancel()
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				break
			}
			told++
		}
		if told < 1000 || told > 10_000 {
			t.Errorf("%d events of 5 kB were taken while the disk was full", told)
		}
		if got := readAll(t, d).names(); len(got) != 1 {
			t.Errorf("readers know %d owners, want what they had", len(got))
		}
		d.mu.Lock()
		d.fault = nil
		d.mu.Unlock()
		<-time.After(5 * time.Second)
		if diff := cmp.Diff(names(told), readAll(t, d).names()); diff != "" {
			t.Error(diff)
		}
		stop()
	})
}

// TestCrash kills the writer at every call that it makes to the store: before it is done, when it is half done by a store that is
// not atomic, and after it was done. What readers knew they still know, nothing that was not told appears, progress never vouches
// for what is missing, and the next writer goes on.
func TestCrash(t *testing.T) {
	for _, how := range []fault{refused, half, unsure} {
		t.Run([]string{"", "before", "half", "after"}[how], func(t *testing.T) {
			for at, over := 1, false; !over; at++ {
				synctest.Test(t, func(t *testing.T) { over = crash(t, how, at) })
				if at > 2000 {
					t.Fatal("the story does not end")
				}
			}
		})
	}
}

// crash lets the writer die at its call number at. It says whether the story ended before that.
func crash(t *testing.T, how fault, at int) (over bool) {
	t.Helper()
	d := newDisk()
	d.fault = func(_, _ string, n int) fault {
		switch {
		case n == at:
			return how
		case n > at:
			return refused
		}
		return none
	}
	w := newLife(t, d, settings(func(s *idlog.Settings) { s.SnapshotInterval = 4 * time.Second }))
	stop := run(t, w.Run)
	known := 0
	const told = 60
	for i := range told {
		w.tell(t, assign(i), event.Event{Src: fmt.Sprintf("upto-%05d", i), Op: event.Progress, To: time.Now().UnixMilli()})
		<-time.After(200 * time.Millisecond)
		synctest.Wait()
		d.mu.Lock()
		dead := d.ops >= at
		d.mu.Unlock()
		if !dead {
			known = i // all before it was flushed
		}
	}
	stop()
	d.mu.Lock()
	over = d.ops < at
	d.fault = nil
	d.mu.Unlock()

	l := readAll(t, d)
	got := l.names()
	if c := readCompact(t, d); !cmp.Equal(c.names(), got) || !cmp.Equal(c.progress, l.progress) {
		t.Errorf("killed at call %d: by the compact form %d owners are known, by events %d", at, len(c.names()), len(got))
	}
	if len(got) < known || !slices.Equal(got, names(told)[:len(got)]) {
		t.Errorf("killed at call %d: known are %d owners %v…, at least %d were before", at, len(got), got[max(0, len(got)-3):], known)
	}
	for src := range l.progress {
		if owner := "eni:" + strings.TrimPrefix(src, "upto-"); !slices.Contains(got, owner) {
			t.Errorf("killed at call %d: progress vouches for %s, which is not there", at, owner)
		}
	}
	next := newLife(t, d, settings())
	stop = run(t, next.Run)
	next.tell(t, assign(told))
	stop()
	if after := readAll(t, d).names(); len(after) != len(got)+1 {
		t.Errorf("killed at call %d: the next writer's event makes %d owners of %d", at, len(after), len(got))
	}
	return over
}

// Streams of dead processes go away when two snapshots hold what they said, and not before.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		dead := newLife(t, d, settings())
		stop := run(t, dead.Run)
		dead.tell(t, assign(0), assign(1))
		stop()
		f := idlog.NewFold(time.Hour)
		r := newReader(t, d, f)
		stopReader := run(t, r.Run)
		<-time.After(time.Second)
		w := newLife(t, d, settings(), func(deps *idlog.WriterDeps) { deps.Snapshotter, deps.Covers = f, r.Covers })
		stop = run(t, w.Run)
		<-time.After(59 * time.Minute)
		if len(d.keys("manifest/"+dead.Stream())) == 0 {
			t.Error("swept too early")
		}
		<-time.After(12 * time.Minute)
		for _, prefix := range []string{"manifest/", "segment/", "snapshot/"} {
			if left := d.keys(prefix + dead.Stream()); len(left) > 0 {
				t.Errorf("left are %v", left)
			}
		}
		if diff := cmp.Diff(names(2), readAll(t, d).names()); diff != "" {
			t.Error(diff)
		}
		stopReader()
		stop()
	})
}

// A worker's segments go away when a sonar's snapshots hold them.
func TestWorkerForgetsWhatIsCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		f := idlog.NewFold(time.Hour)
		sonarReads := newReader(t, d, f)
		stopSonarReader := run(t, sonarReads.Run)
		sonar := newLife(t, d, settings(func(s *idlog.Settings) { s.SnapshotInterval = 10 * time.Second }),
			func(deps *idlog.WriterDeps) { deps.Snapshotter, deps.Covers = f, sonarReads.Covers })
		stopSonar := run(t, sonar.Run)
		workerReads := newReader(t, d, newLedger())
		stopWorkerReader := run(t, workerReads.Run)
		w, err := idlog.NewWriter(settings(), idlog.Worker, time.Hour, idlog.WriterDeps{Bucket: d, Logger: zerolog.Nop(), Covered: workerReads.Covered})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, w.Run)
		const n = 300
		for i := range n {
			if !w.Observe(sighting(i)) {
				t.Fatal("refused")
			}
			<-time.After(time.Second)
		}
		<-time.After(2 * time.Minute)
		l := readAll(t, d)
		if len(l.sightings) != n {
			t.Errorf("%d sightings are known, want %d", len(l.sightings), n)
		}
		if left := len(d.keys("segment/" + w.Stream())); left > 40 {
			t.Errorf("%d segments of the worker are left", left)
		}
		stopWorkerReader()
		stop()
		stopSonar()
		stopSonarReader()
	})
}

func sighting(i int) idlog.Sighting {
	at := time.Now().Add(-time.Minute).Truncate(time.Second).UnixMilli()
	return idlog.Sighting{
		Scope: "vpc-1", ENI: fmt.Sprintf("eni-%05d", i), IP: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Start: at, End: at + 1000, Primary: true,
	}
}

func TestConfig(t *testing.T) {
	if err := idlog.DefaultSettings().Validate(); err != nil {
		t.Error(err)
	}
	err := errors.Join(idlog.Config{URL: "x", Remote: true}.Validate(), idlog.Config{URL: url, Remote: true, SightingsOnly: true}.Validate(),
		idlog.Settings{MaxLag: time.Second, PollInterval: time.Second}.Validate())
	for _, want := range []string{`url: "x" names no store`, "sightings_only: true has no sense", "flush_interval: 0s", "sightings_per_second: 0", "max_lag: 1s leaves no time"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
