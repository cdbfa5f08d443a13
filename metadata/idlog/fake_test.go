package idlog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dredge/internal/blob"
	"dredge/metadata/event"
	"dredge/metadata/idlog"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is a bucket in memory that fails on order.
type disk struct {
	mu      sync.Mutex
	objects map[string]stored
	writes  int
	// fault is asked before every call; nil does it.
	fault func(op, key string, n int) fault
	ops   int
}

type stored struct {
	data    []byte
	at      time.Time
	version int
}

// fault is what goes wrong with one call.
type fault uint8

const (
	none    fault = iota
	refused       // nothing is done
	half          // half of it is written, by a store that is not atomic
	unsure        // it is done, and the answer is lost
)

var errDisk = errors.New("disk on fire")

func newDisk() *disk { return &disk{objects: map[string]stored{}} }

func (d *disk) begin(ctx context.Context, op, key string) (fault, error) {
	if err := ctx.Err(); err != nil {
		return none, err
	}
	d.ops++
	if d.fault != nil {
		return d.fault(op, key, d.ops), nil
	}
	return none, nil
}

func (d *disk) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, err := d.begin(ctx, "read", key); err != nil || f != none {
		return nil, errors.Join(err, errDisk)
	}
	o, ok := d.objects[key]
	if !ok {
		return nil, fmt.Errorf("reading %q: %w", key, blob.ErrNotExist)
	}
	if int64(len(o.data)) > limit {
		return nil, blob.ErrTooLarge
	}
	return slices.Clone(o.data), nil
}

func (d *disk) Write(ctx context.Context, key string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.begin(ctx, "write", key)
	if err != nil {
		return err
	}
	switch f {
	case refused:
		return errDisk
	case half:
		data = data[:len(data)/2]
	default:
	}
	d.writes++
	d.objects[key] = stored{slices.Clone(data), time.Now(), d.writes}
	if f != none {
		return errDisk
	}
	return nil
}

func (d *disk) Create(ctx context.Context, key string, data []byte) error {
	d.mu.Lock()
	_, there := d.objects[key]
	d.mu.Unlock()
	if there {
		return blob.ErrExist
	}
	return d.Write(ctx, key, data)
}

func (d *disk) List(ctx context.Context, prefix string) ([]blob.Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, err := d.begin(ctx, "list", prefix); err != nil || f != none {
		return nil, errors.Join(err, errDisk)
	}
	var out []blob.Info
	for _, key := range slices.Sorted(maps.Keys(d.objects)) {
		if o := d.objects[key]; strings.HasPrefix(key, prefix) {
			out = append(out, blob.Info{Key: key, Size: int64(len(o.data)), Version: strconv.Itoa(o.version), Modified: o.at})
		}
	}
	return out, nil
}

func (d *disk) Delete(ctx context.Context, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, err := d.begin(ctx, "delete", key); err != nil || f != none {
		return errors.Join(err, errDisk)
	}
	delete(d.objects, key)
	return nil
}

// keys returns the keys that begin with prefix.
func (d *disk) keys(prefix string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, k := range slices.Sorted(maps.Keys(d.objects)) {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	return out
}

// manifests is the text of all manifests.
func (d *disk) manifests() string {
	keys := d.keys("manifest/")
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, k := range keys {
		b.Write(d.objects[k].data)
	}
	return b.String()
}

// damage changes one byte in the middle of an object.
func (d *disk) damage(t *testing.T, key string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	o, ok := d.objects[key]
	if !ok {
		t.Fatalf("no object %q", key)
	}
	data := slices.Clone(o.data)
	data[len(data)/2] ^= 0x40
	d.writes++
	d.objects[key] = stored{data, time.Now(), d.writes}
}

// ledger is a target that writes down what it is told.
type ledger struct {
	mu        sync.Mutex
	owners    map[string]int
	progress  map[string]int64
	sightings map[idlog.Sighting]int
}

func newLedger() *ledger {
	return &ledger{owners: map[string]int{}, progress: map[string]int64{}, sightings: map[idlog.Sighting]int{}}
}

func (l *ledger) Apply(e *event.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Op == event.Progress {
		l.progress[e.Src] = max(l.progress[e.Src], e.To)
		return nil
	}
	l.owners[e.Owner]++
	return nil
}

func (l *ledger) Observe(s idlog.Sighting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sightings[s]++
}

func (l *ledger) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.owners))
}

// compact is the compact form of a ledger: lines, the last of which says how many there are.
type compact struct {
	*ledger
	codec string
	read  int // how often it was read to its end
}

func (c *compact) SnapshotCodec() string { return c.codec }

func (c *compact) WriteSnapshot(w io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, owner := range slices.Sorted(maps.Keys(c.owners)) {
		fmt.Fprintf(w, "owner %s\n", owner)
		n++
	}
	for _, src := range slices.Sorted(maps.Keys(c.progress)) {
		fmt.Fprintf(w, "progress %s %d\n", src, c.progress[src])
		n++
	}
	_, err := fmt.Fprintf(w, "end %d\n", n)
	return err
}

func (c *compact) ReadSnapshot(r io.Reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	progress := map[string]int64{}
	n := 0
	for lines := bufio.NewScanner(r); lines.Scan(); n++ {
		switch words := strings.Fields(lines.Text()); {
		case len(words) == 2 && words[0] == "owner":
			c.owners[words[1]]++
		case len(words) == 3 && words[0] == "progress":
			t, err := strconv.ParseInt(words[2], 10, 64)
			if err != nil {
				return err
			}
			progress[words[1]] = t
		case len(words) == 2 && words[0] == "end" && words[1] == strconv.Itoa(n):
			for src, t := range progress {
				c.progress[src] = max(c.progress[src], t)
			}
			c.read++
			return nil
		default:
			return fmt.Errorf("line %q", lines.Text())
		}
	}
	return errors.New("cut short")
}

const url = "file:///nowhere"

func settings(change ...func(*idlog.Settings)) idlog.Settings {
	s := idlog.DefaultSettings()
	for _, f := range change {
		f(&s)
	}
	return s
}

func newReader(t *testing.T, d idlog.Bucket, target idlog.Target, change ...func(*idlog.ReaderDeps)) *idlog.Reader {
	t.Helper()
	deps := idlog.ReaderDeps{Bucket: d, Target: target, Logger: zerolog.Nop()}
	for _, f := range change {
		f(&deps)
	}
	r, err := idlog.NewReader(idlog.Config{URL: url}, settings(), deps)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// readAll returns what a new reader finds.
func readAll(t *testing.T, d idlog.Bucket) *ledger {
	t.Helper()
	l := newLedger()
	if err := newReader(t, d, l).Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// readCompact returns what a new reader finds that takes the compact form.
func readCompact(t *testing.T, d idlog.Bucket, change ...func(*idlog.ReaderDeps)) *compact {
	t.Helper()
	c := &compact{ledger: newLedger(), codec: "lines/1"}
	if err := newReader(t, d, c.ledger, append(change, func(deps *idlog.ReaderDeps) { deps.State = c })...).Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func assign(n int) event.Event {
	at := time.Now().Add(-time.Minute).UnixMilli()
	return event.Event{Src: "s", Op: event.Assign, From: at, Obs: at, Scope: "vpc-1", IP: fmt.Sprintf("10.0.%d.%d", n/250, n%250+1), Owner: fmt.Sprintf("eni:%05d", n)}
}

func progress() event.Event {
	return event.Event{Src: "s", Op: event.Progress, To: time.Now().UnixMilli()}
}

// life is a writer with its fold, as dredge sonar runs them.
type life struct {
	*idlog.Writer
	fold  *idlog.Fold
	state *ledger
}

func newLife(t *testing.T, d idlog.Bucket, s idlog.Settings, change ...func(*idlog.WriterDeps)) *life {
	t.Helper()
	f, state := idlog.NewFold(time.Hour), newLedger()
	deps := idlog.WriterDeps{Bucket: d, Logger: zerolog.Nop(), Snapshotter: f, State: &compact{ledger: state, codec: "lines/1"}}
	for _, c := range change {
		c(&deps)
	}
	w, err := idlog.NewWriter(s, idlog.Tracker, time.Hour, deps)
	if err != nil {
		t.Fatal(err)
	}
	return &life{w, f, state}
}

func (l *life) tell(t *testing.T, events ...event.Event) {
	t.Helper()
	for i := range events {
		if err := errors.Join(l.fold.Apply(&events[i]), l.state.Apply(&events[i])); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Emit(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

// cable is a way to a disk that can be out.
type cable struct {
	*disk
	out atomic.Bool
}

func (c *cable) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	if c.out.Load() {
		return nil, errDisk
	}
	return c.disk.Read(ctx, key, limit)
}

func (c *cable) Write(ctx context.Context, key string, data []byte) error {
	if c.out.Load() {
		return errDisk
	}
	return c.disk.Write(ctx, key, data)
}

func (c *cable) List(ctx context.Context, prefix string) ([]blob.Info, error) {
	if c.out.Load() {
		return nil, errDisk
	}
	return c.disk.List(ctx, prefix)
}
