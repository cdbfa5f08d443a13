package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dredge/row"
	"dredge/row/encode"
	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg Config, d *disk) *Sink {
	t.Helper()
	minute, err := encode.NewMinute(row.DefaultConfig().Columns(row.Minute))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSink(cfg, Deps{Encoder: sinktest.Encoder{}, Minute: minute, Registry: prometheus.NewPedanticRegistry()}, d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lines reads every file of dir in order of name, the partial ones too.
func lines(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(e.Name(), partial)
		all = append(all, split(t, unpack(t, name, data))...)
	}
	return all
}

func unpack(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(data)
	var err error
	switch {
	case len(data) == 0:
	case strings.HasSuffix(name, ".gz"):
		r, err = gzip.NewReader(r)
	case strings.HasSuffix(name, ".zst"):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

func split(t *testing.T, data []byte) []string {
	t.Helper()
	text, whole := strings.CutSuffix(string(data), "\n")
	if text == "" {
		return nil
	}
	if !whole {
		t.Errorf("the last line is torn: %.200q", text[strings.LastIndexByte(text, '\n')+1:])
	}
	return strings.Split(text, "\n")
}

func ids(t *testing.T, lines []string) []sinktest.RowID {
	t.Helper()
	var ids []sinktest.RowID
	for _, l := range lines {
		id, err := sinktest.ParseRow(l)
		if err != nil {
			t.Error(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestContract(t *testing.T) {
	run := func(name string, cfg Config) {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Options{Virtual: true, New: func(t *testing.T) sinktest.Harness {
				t.Helper()
				dir := t.TempDir()
				cfg := cfg
				cfg.Path = filepath.Join(dir, cfg.Path)
				if cfg.MinutePath != "" {
					cfg.MinutePath = filepath.Join(t.TempDir(), cfg.MinutePath)
				}
				d := &disk{}
				s := open(t, cfg, d)
				return sinktest.Harness{
					Sink:    s,
					Durable: func(t *testing.T) []sinktest.RowID { t.Helper(); return ids(t, lines(t, dir)) },
					Break:   func(*testing.T) sinktest.Fault { return d.fail(syscall.ENOSPC) },
					Forbid:  func(*testing.T) { d.fail(syscall.EROFS) },
					Close: func(t *testing.T) {
						t.Helper()
						if err := s.Close(); err != nil && d.err == nil {
							t.Errorf("Close = %v", err)
						}
					},
				}
			}})
		})
	}
	cfg := DefaultConfig()
	cfg.Path = "rows.jsonl"
	run("Plain", cfg)

	small := cfg
	small.BlockBytes, small.Fsync = 4<<10, FsyncCommit
	run("SmallBlocks", small)

	minute := cfg
	minute.MinutePath = "rows_1m.jsonl"
	run("Minute", minute)

	direct := cfg
	direct.FlushInterval = 0
	run("NoInterval", direct)

	packed := cfg
	packed.Path = "rows.jsonl.gz"
	run("Gzip", packed)

	packed.Path, packed.RotateBytes, packed.BlockBytes = "rows.jsonl.zst", 8<<10, 16<<10
	run("ZstdRotating", packed)
}

// Standard output takes part of a block; what it took is not written again.
func TestContractOfStdout(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Virtual: true, New: func(t *testing.T) sinktest.Harness {
		t.Helper()
		var out bytes.Buffer
		d := &disk{osFiles: osFiles{stdout: &out}}
		s := open(t, DefaultConfig(), d)
		return sinktest.Harness{
			Sink:    s,
			Durable: func(t *testing.T) []sinktest.RowID { t.Helper(); return ids(t, split(t, out.Bytes())) },
			Break:   func(*testing.T) sinktest.Fault { return d.fail(syscall.EAGAIN) },
			Forbid:  func(*testing.T) { d.fail(syscall.EPIPE) },
			Close:   func(*testing.T) { _ = s.Close() },
		}
	}})
}

// Nobody waits at the end of a pipeline of commands: standard output on a full disk is an error that ends.
func TestFullStandardOutputEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{osFiles: osFiles{stdout: &bytes.Buffer{}}}
		s := open(t, DefaultConfig(), d)
		d.fail(syscall.ENOSPC)
		w, _, err := s.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		err = w.Write(t.Context(), sinktest.Batch("shard-0", "1", 0, 1, 300), "1", func(error) {})
		if err == nil {
			err = w.Flush(t.Context())
		}
		if permanent(err) == nil || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "standard output") {
			t.Errorf("Flush = %v, want a permanent error that names standard output", err)
		}
		_ = w.Close(t.Context())
		_ = s.Close()
	})
}

// write writes n rows as one Write and flushes.
func write(t *testing.T, s *Sink, n int) error {
	t.Helper()
	w, _, err := s.Open(t.Context(), "shard-0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := w.Write(t.Context(), sinktest.Batch("shard-0", "1", 0, n, 300), "1", func(error) {}); err != nil {
		return err
	}
	return w.Flush(t.Context())
}

// While the disk is full there is no torn line in the file, not even for a moment after the write that failed.
func TestDiskFullLeavesNoTornLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cfg := DefaultConfig()
		cfg.Path = filepath.Join(dir, "rows.jsonl")
		d := &disk{}
		s := open(t, cfg, d)
		var told bytes.Buffer
		s.journal.log = zerolog.New(&told)
		if err := write(t, s, 5); err != nil {
			t.Fatal(err)
		}
		f := d.fail(syscall.ENOSPC)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		w, _, err := s.Open(ctx, "shard-1")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(ctx, sinktest.Batch("shard-1", "2", 0, 9, 300), "2", func(error) {}); err != nil {
			t.Fatal(err)
		}
		err = w.Flush(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Flush = %v, want the end of its context and the reason", err)
		}
		if got := len(ids(t, lines(t, dir))); got != 5 {
			t.Errorf("%d lines while the disk is full, want 5", got)
		}
		m := s.journal.metrics
		if n := testutil.ToFloat64(m.errors[classFull]); n < 20 {
			t.Errorf("errors_total{disk_full} = %v after 30 s of one try a second", n)
		}
		if n := testutil.ToFloat64(m.waiting); n == 0 {
			t.Error("waiting_bytes = 0 while rows wait")
		}
		if n := strings.Count(told.String(), "rows wait until the file can be written"); n != 1 || !strings.Contains(told.String(), "no space left") {
			t.Errorf("told %d times that rows wait, want once: %s", n, told.String())
		}
		f.Mend()
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(told.String(), "the file can be written again") {
			t.Errorf("not told that rows no longer wait: %s", told.String())
		}
		if got := len(ids(t, lines(t, dir))); got != 14 {
			t.Errorf("%d lines after there was room, want 14", got)
		}
		if n := testutil.ToFloat64(m.rows); n != 14 {
			t.Errorf("rows_total = %v, want 14", n)
		}
		if err := errors.Join(w.Close(t.Context()), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// A run that crashed left a torn line. It was never reported, so it is cut off; the lines before it stay.
func TestAppendAfterCrash(t *testing.T) {
	f := func(before string, kept int) {
		t.Helper()
		dir := t.TempDir()
		cfg := DefaultConfig()
		cfg.Path = filepath.Join(dir, "rows.jsonl")
		if err := os.WriteFile(cfg.Path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, cfg, &disk{})
		if err := errors.Join(write(t, s, 2), s.Close()); err != nil {
			t.Fatal(err)
		}
		got := lines(t, dir)
		if len(got) != kept+2 {
			t.Errorf("%d lines, want %d and 2: %.300q", len(got), kept, got)
		}
		ids(t, got[kept:])
	}
	long := strings.Repeat("x", 200<<10)
	f("", 0)
	f("a\nb\n", 2)
	f("a\nb\nto", 2)
	f("torn", 0)
	f("a\n"+long, 1)
	f(long+"\n"+long, 1)
}

func TestRotation(t *testing.T) {
	names := func(dir string) []string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	t.Run("Size", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			cfg := DefaultConfig()
			cfg.Path, cfg.RotateBytes = filepath.Join(dir, "rows.jsonl"), 2000
			s := open(t, cfg, &disk{})
			for range 6 { // 900 bytes each
				if err := write(t, s, 3); err != nil {
					t.Fatal(err)
				}
			}
			want := []string{
				"rows-20000101T000000.000Z-0001.jsonl", "rows-20000101T000000.000Z-0002.jsonl",
				"rows-20000101T000000.000Z-0003.jsonl.partial",
			}
			if d := cmp.Diff(want, names(dir)); d != "" {
				t.Errorf("files while writing (-want +got):\n%s", d)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			want[2] = strings.TrimSuffix(want[2], partial)
			if d := cmp.Diff(want, names(dir)); d != "" {
				t.Errorf("files after Close (-want +got):\n%s", d)
			}
			if got := len(lines(t, dir)); got != 18 {
				t.Errorf("%d lines, want 18", got)
			}
			if n := testutil.ToFloat64(s.journal.metrics.rotations); n != 3 {
				t.Errorf("rotations_total = %v, want 3", n)
			}
		})
	})
	t.Run("Age", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			cfg := DefaultConfig()
			cfg.Path, cfg.RotateAge = filepath.Join(dir, "rows.jsonl.gz"), time.Minute
			s := open(t, cfg, &disk{})
			if err := write(t, s, 3); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Minute - time.Millisecond)
			synctest.Wait()
			if got := names(dir); !slices.Equal(got, []string{"rows-20000101T000000.000Z-0001.jsonl.gz.partial"}) {
				t.Errorf("files just before the minute is over: %q", got)
			}
			// No further row comes: the file is completed all the same.
			<-time.After(2 * time.Millisecond)
			synctest.Wait()
			if got := names(dir); !slices.Equal(got, []string{"rows-20000101T000000.000Z-0001.jsonl.gz"}) {
				t.Errorf("files after a minute: %q", got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// What nothing mends is said with the path and what to write instead, and is permanent.
func TestUnwritablePaths(t *testing.T) {
	dir := t.TempDir()
	present := filepath.Join(dir, "present.jsonl.gz")
	left := filepath.Join(dir, "left.jsonl.zst")
	for _, name := range []string{present, left + partial} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := func(path, want string) {
		t.Helper()
		cfg := DefaultConfig()
		cfg.Path = path
		s := open(t, cfg, &disk{})
		err := write(t, s, 1)
		if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("writing to %q = %v, want a permanent error with %q", path, err, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	f(filepath.Join(dir, "missing", "rows.jsonl"), "create the directory")
	f(dir, "write a file in it")
	f(present, "exists and is compressed, so it cannot be continued")
	f(left, "was left by a run that did not end")

	for path, want := range map[string]string{
		filepath.Join(dir, "missing", "rows.jsonl"): "create the directory",
		dir:                             "is a directory; write a file in it",
		filepath.Join(dir, "new.jsonl"): "",
		present:                         "",
		Stdout:                          "",
	} {
		cfg := DefaultConfig()
		cfg.Path = path
		s := open(t, cfg, &disk{})
		if err := s.Check(t.Context()); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Check of %q = %v, want %q", path, err, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new.jsonl")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check left a file behind: %v", err)
	}
}

// After a failed fsync nothing may be reported: the kernel may have dropped the pages and call them clean.
func TestFailedFsyncIsPermanent(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Path, cfg.Fsync = filepath.Join(t.TempDir(), "rows.jsonl"), FsyncCommit
	d := &disk{syncErr: syscall.EIO}
	s := open(t, cfg, d)
	for range 2 {
		err := write(t, s, 1)
		if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !errors.Is(err, syscall.EIO) {
			t.Errorf("Write and Flush = %v, want a permanent error", err)
		}
	}
	d.syncErr = nil
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestFsyncOnlyWhenAsked(t *testing.T) {
	for mode, want := range map[Fsync]int{FsyncNever: 0, FsyncCommit: 3} { // two commits and the end of the file
		cfg := DefaultConfig()
		cfg.Path, cfg.Fsync = filepath.Join(t.TempDir(), "rows.jsonl"), mode
		d := &disk{}
		s := open(t, cfg, d)
		if err := errors.Join(write(t, s, 1), write(t, s, 1), s.Close()); err != nil {
			t.Fatal(err)
		}
		if d.syncs != want {
			t.Errorf("fsync: %s made %d fsyncs, want %d", mode, d.syncs, want)
		}
	}
}

// A real pipe whose reader has gone.
func TestBrokenPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, DefaultConfig(), &disk{osFiles: osFiles{stdout: w}})
	err = write(t, s, 1)
	if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !strings.Contains(err.Error(), "standard output") {
		t.Errorf("Write and Flush = %v, want a permanent error that names standard output", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestDeadLetter(t *testing.T) {
	dir := t.TempDir()
	cfg := DefaultDeadLetterConfig()
	cfg.Path, cfg.MaxDataBytes = filepath.Join(dir, "dead.jsonl"), 8
	disk := &disk{}
	reg := prometheus.NewPedanticRegistry()
	d, err := newDeadLetter(cfg, Deps{Registry: reg}, disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	letters := []sink.Letter{
		{Partition: "shard-0", At: "1", Index: 3, Reason: "bad_field", Detail: "field 4", Data: []byte("2 123 -"), Size: 7},
		{Partition: "shard-0", At: "2", Index: -1, Reason: "bad_gzip", Detail: "truncated", Data: bytes.Repeat([]byte{0xff}, 100), Size: 100},
	}
	for _, l := range letters {
		if err := d.Put(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if disk.syncs == 0 {
		t.Error("Flush made nothing durable")
	}
	letters[1].Data = letters[1].Data[:8]
	var got []sink.Letter
	for _, line := range lines(t, dir) {
		l, _, err := sink.ParseLetter([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	if diff := cmp.Diff(letters, got); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Put(t.Context(), letters[0]); !errors.Is(err, errClosed) {
		t.Errorf("Put after Close = %v, want %v", err, errClosed)
	}
}

func TestMetricsLint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	newMetrics("dredge_sink_file_", reg)
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// A Write allocates its entry and nothing per row.
func TestWriteDoesNotAllocatePerRow(t *testing.T) {
	cfg := DefaultConfig()
	s := open(t, cfg, &disk{osFiles: osFiles{stdout: io.Discard}})
	w, _, err := s.Open(t.Context(), "shard-0")
	if err != nil {
		t.Fatal(err)
	}
	b := sinktest.Batch("shard-0", "1", 0, 2000, 300)
	enc := constant(bytes.Repeat([]byte("x"), 300))
	s.encoder = enc
	allocs := testing.AllocsPerRun(20, func() {
		if err := errors.Join(w.Write(t.Context(), b, "1", func(error) {}), w.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 40 {
		t.Errorf("%v allocations for 2000 rows", allocs)
	}
	if err := errors.Join(w.Close(t.Context()), s.Close()); err != nil {
		t.Error(err)
	}
}
