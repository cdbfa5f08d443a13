package file_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/file"
	"dredge/metadata/store"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger writes down what it is told.
type ledger struct {
	owners   []string
	sources  map[string]int
	progress map[string]int64
	complete map[string]bool
}

func newLedger() *ledger {
	return &ledger{sources: map[string]int{}, progress: map[string]int64{}, complete: map[string]bool{}}
}

func (l *ledger) Apply(e *event.Event) error {
	l.owners = append(l.owners, e.Owner)
	l.sources[e.Src]++
	return nil
}
func (l *ledger) MarkProgress(src string, t int64) { l.progress[src] = t }
func (l *ledger) MarkComplete(src string)          { l.complete[src] = true }

func (l *ledger) expect(t *testing.T, owners ...string) {
	t.Helper()
	if diff := cmp.Diff(owners, l.owners); diff != "" {
		t.Error(diff)
	}
}

func line(owner string) string { return `{"op":"describe","src":"s","owner":"` + owner + `"}` + "\n" }

type fixture struct {
	*ledger
	source   *file.Source
	registry *prometheus.Registry
	log      bytes.Buffer
	path     string
}

func setUp(t *testing.T, change ...func(*file.Config)) *fixture {
	t.Helper()
	fx := &fixture{ledger: newLedger(), registry: prometheus.NewPedanticRegistry(), path: filepath.Join(t.TempDir(), "identity.jsonl")}
	cfg := file.DefaultConfig()
	cfg.Path = fx.path
	for _, f := range change {
		f(&cfg)
	}
	var err error
	fx.source, err = file.New(cfg, file.Dependencies{Target: fx.ledger, Logger: zerolog.New(&fx.log), Registerer: fx.registry})
	if err != nil {
		t.Fatal(err)
	}
	return fx
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// A faulty line costs nothing but itself, and the log says where it stands.
func TestLoadAll(t *testing.T) {
	fx := setUp(t)
	write(t, fx.path, line("a")+"{broken\n"+`{"op":"teleport"}`+"\n\n"+`{"op":"describe","owner":"b"}`+"\n"+
		`{"op":"describe","owner":"`+strings.Repeat("x", 3*event.MaxLine)+"\"}\n"+strings.TrimSpace(line("last")))
	if err := fx.source.LoadAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	fx.expect(t, "a", "b", "last")
	if diff := cmp.Diff(map[string]int{"s": 2, file.DefaultSource: 1}, fx.sources); diff != "" {
		t.Error(diff)
	}
	if !fx.complete["s"] || !fx.complete[file.DefaultSource] {
		t.Errorf("complete: %v", fx.complete)
	}
	for _, want := range []string{`"line":2`, `"reason":"bad-json"`, `"line":6`, `"reason":"too-long"`} {
		if !strings.Contains(fx.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, fx.log.String())
		}
	}
	want := `
# HELP dredge_metadata_file_rejected_lines_total Lines of identity files that were not taken in, by reason.
# TYPE dredge_metadata_file_rejected_lines_total counter
dredge_metadata_file_rejected_lines_total{reason="bad-address"} 0
dredge_metadata_file_rejected_lines_total{reason="bad-json"} 1
dredge_metadata_file_rejected_lines_total{reason="bad-time"} 0
dredge_metadata_file_rejected_lines_total{reason="bad-value"} 0
dredge_metadata_file_rejected_lines_total{reason="future-time"} 0
dredge_metadata_file_rejected_lines_total{reason="missing-field"} 0
dredge_metadata_file_rejected_lines_total{reason="too-long"} 1
dredge_metadata_file_rejected_lines_total{reason="unknown-op"} 1
dredge_metadata_file_rejected_lines_total{reason="unknown-version"} 0
`
	if err := testutil.GatherAndCompare(fx.registry, strings.NewReader(want), "dredge_metadata_file_rejected_lines_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(fx.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestLoadAllOfAMissingFile(t *testing.T) {
	fx := setUp(t)
	if err := fx.source.LoadAll(t.Context()); err == nil || !strings.Contains(err.Error(), fx.path) {
		t.Errorf("error %v, want one that names %s", err, fx.path)
	}
	dir := t.TempDir()
	empty := setUp(t, func(c *file.Config) { c.Path = dir })
	if err := empty.source.LoadAll(t.Context()); err == nil || !strings.Contains(err.Error(), "holds no *.jsonl") {
		t.Errorf("error %v", err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	fx := setUp(t, func(c *file.Config) { c.Path = dir })
	write(t, filepath.Join(dir, "2.jsonl"), line("second"))
	write(t, filepath.Join(dir, "1.ndjson"), line("first"))
	write(t, filepath.Join(dir, "notes.txt"), "not for us\n")
	write(t, filepath.Join(dir, ".3.jsonl"), "half copied\n")
	if err := fx.source.LoadAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	fx.expect(t, "first", "second")
}

// What is told in compressed files, and through a pipe, is told; a file that ends in its middle is an error.
func TestLoadAllOfCompressedFiles(t *testing.T) {
	gz := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	fx := setUp(t, func(c *file.Config) { c.Path = dir })
	write(t, filepath.Join(dir, "1.jsonl.gz"), gz(line("a"))+gz("{broken\n"+`{"op":"describe","owner":"`+strings.Repeat("x", 3*event.MaxLine)+"\"}\n"+line("b")+"\n"+strings.TrimSpace(line("c"))))
	write(t, filepath.Join(dir, "2.json.zst"), string(encoder.EncodeAll([]byte(line("d")), nil)))
	if err := fx.source.LoadAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	fx.expect(t, "a", "b", "c", "d")
	for _, want := range []string{`"line":2`, `"line":3`, `"bad-json":1,"too-long":1`} {
		if !strings.Contains(fx.log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, fx.log.String())
		}
	}

	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if _, err := w.WriteString(line("p")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	piped := setUp(t, func(c *file.Config) { c.Path = fmt.Sprintf("/dev/fd/%d", pipe.Fd()) })
	if err := piped.source.LoadAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	piped.expect(t, "p")

	cut := setUp(t)
	write(t, cut.path, gz(line("a"))[:20])
	if err := cut.source.LoadAll(t.Context()); err == nil || !strings.Contains(err.Error(), cut.path) {
		t.Errorf("error %v, want one that names %s", err, cut.path)
	}
	followed := setUp(t)
	write(t, followed.path, gz(line("a")))
	follow(t, followed, func(poll func()) { poll() })
	if !strings.Contains(followed.log.String(), "cannot be followed") {
		t.Errorf("the log says %s", followed.log.String())
	}
}

// The log says how many lines were not taken in, also of those that are passed over by design.
func TestLoadAllTellsHowManyWereRefused(t *testing.T) {
	fx := setUp(t)
	write(t, fx.path, strings.Repeat(`{"op":"teleport"}`+"\n", 12)+strings.Repeat("{broken\n", 15)+line("a"))
	if err := fx.source.LoadAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := fx.log.String(); !strings.Contains(log, `"line":13`) || !strings.Contains(log, `"bad-json":15,"unknown-op":12`) {
		t.Errorf("the log says\n%s", log)
	}
}

// follow runs the source in virtual time; poll waits until the next poll is over.
func follow(t *testing.T, fx *fixture, story func(poll func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- fx.source.Run(ctx) }()
		synctest.Wait()
		timer := time.NewTicker(time.Second)
		defer timer.Stop()
		story(func() {
			<-timer.C
			synctest.Wait()
		})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestFollow(t *testing.T) {
	fx := setUp(t)
	follow(t, fx, func(poll func()) {
		poll() // missing
		write(t, fx.path, line("a")+`{"op":"describe","ow`)
		poll()
		fx.expect(t, "a")
		appendTo(t, fx.path, `ner":"b"}`+"\n"+line("c"))
		poll()
		fx.expect(t, "a", "b", "c")
		poll()
		fx.expect(t, "a", "b", "c")
		write(t, fx.path, line("d")) // truncated
		poll()
		fx.expect(t, "a", "b", "c", "d")
		if err := os.Rename(fx.path, fx.path+".1"); err != nil {
			t.Fatal(err)
		}
		write(t, fx.path, line("e")+line("f")) // rotated
		poll()
		fx.expect(t, "a", "b", "c", "d", "e", "f")
	})
	if n := strings.Count(fx.log.String(), "identity files cannot be read"); n != 1 {
		t.Errorf("the missing file was logged %d times, want once:\n%s", n, fx.log.String())
	}
	if len(fx.progress) != 0 || len(fx.complete) != 0 {
		t.Errorf("progress was made up: %v %v", fx.progress, fx.complete)
	}
}

// Only a file that was read to its end has told everything.
func TestCompleteFile(t *testing.T) {
	fx := setUp(t, func(c *file.Config) { c.Complete = true })
	write(t, fx.path, line("a")+`{"op":`)
	follow(t, fx, func(poll func()) {
		poll()
		if len(fx.progress) != 0 {
			t.Errorf("progress %v over half a line", fx.progress)
		}
		appendTo(t, fx.path, `"describe","src":"s","owner":"b"}`+"\n")
		poll()
		if got := time.UnixMilli(fx.progress["s"]); got.After(time.Now()) || time.Since(got) > time.Second {
			t.Errorf("progress %s, want the time of the last poll, now is %s", got, time.Now())
		}
	})
}

func TestConfig(t *testing.T) {
	if err := file.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := file.Config{Complete: true}.Validate()
	if err == nil || !strings.Contains(err.Error(), "poll_interval: 0s") || !strings.Contains(err.Error(), "complete: no path") {
		t.Error(err)
	}
	if _, err := file.New(file.DefaultConfig(), file.Dependencies{}); err == nil {
		t.Error("a source without a path was made")
	}
}

// A file whose lines name no source is one source: its progress confirms its own claims.
func TestProgressWithoutASourceCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	lines := `{"v":1,"op":"assign","from":1767225600000,"scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a"}` + "\n" + `{"v":1,"op":"progress","to":1767229200000}` + "\n"
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.New(metadata.DefaultConfig(), store.Dependencies{})
	if err != nil {
		t.Fatal(err)
	}
	src, err := file.New(file.Config{Path: path, PollInterval: time.Second}, file.Dependencies{Target: s, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.LoadAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := s.Lookup(s.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1"), metadata.Window{Start: 1767226000000, End: 1767226010000})
	if a.Grade != metadata.Covered {
		t.Errorf("grade %s (%s), want covered", a.Grade, a.Reason)
	}
	if n := len(s.Sources()); n != 1 {
		t.Errorf("%d sources, want one", n)
	}
}
