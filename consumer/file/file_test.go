package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dredge/consumer/s3/s3test"
	"dredge/consumer/text"
	"dredge/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a Processor that keeps the lines of each partition.
type sink struct {
	mu        sync.Mutex
	lines     map[string][]string
	payloads  map[string]int
	positions map[string]stream.Position
	last      map[string]stream.Position
	closed    int
	// refuse, when set, may answer a chunk; async tells whether through progress.
	refuse func(partition string, n int) error
	async  bool
}

func newSink() *sink {
	return &sink{lines: map[string][]string{}, payloads: map[string]int{}, positions: map[string]stream.Position{}, last: map[string]stream.Position{}}
}

type handler struct{ *sink }

func (s *sink) Open(_ context.Context, partition string) (stream.Handler, stream.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return handler{s}, s.positions[partition], nil
}

func (h handler) Handle(_ context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	h.mu.Lock()
	h.payloads[c.Partition]++
	if h.refuse != nil {
		if err := h.refuse(c.Partition, h.payloads[c.Partition]); err != nil {
			h.mu.Unlock()
			if h.async {
				progress("", err)
				return nil
			}
			return err
		}
	}
	for _, p := range c.Payloads {
		h.lines[c.Partition] = append(h.lines[c.Partition], strings.Split(strings.TrimRight(string(p.Data), "\n"), "\n")...)
		h.last[c.Partition] = p.At
	}
	h.mu.Unlock()
	progress(c.Last, nil)
	return nil
}

func (h handler) Flush(context.Context) error { return nil }

func (h handler) Close(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed++
	return nil
}

type budget struct {
	mu  sync.Mutex
	out int64
}

func (b *budget) Acquire(ctx context.Context, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	b.out += n
	return nil
}

func (b *budget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out -= n
}

func run(t *testing.T, ctx context.Context, s *sink, stdin string, change func(*Config), paths ...string) (*prometheus.Registry, error) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Paths = paths
	if change != nil {
		change(&cfg)
	}
	reg, b := prometheus.NewRegistry(), &budget{}
	src, err := New(cfg, Deps{Processor: s, Budget: b, IsHeader: isHeader, Stdin: strings.NewReader(stdin), Log: zerolog.Nop(), Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	err = src.Run(ctx)
	if b.out != 0 {
		t.Errorf("%d bytes of the budget were kept", b.out)
	}
	if problems, lintErr := testutil.GatherAndLint(reg); lintErr != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, lintErr)
	}
	return reg, err
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func gz(t *testing.T, members ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, m := range members {
		w := gzip.NewWriter(&out)
		if _, err := w.Write([]byte(m)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func TestReadsFilesDirectoriesAndStdin(t *testing.T) {
	dir := t.TempDir()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		write(t, dir, "a.log", []byte("version a\n1\n2\n")):                            {"version a", "1", "2"},
		write(t, dir, "sub/b.gz", gz(t, "version b\n3\n", "4\n5")):                     {"version b", "3", "4", "5"},
		write(t, dir, "sub/c", enc.EncodeAll([]byte("6\n7\n"), nil)):                   {"6", "7"},
		write(t, dir, "sub/d.json.gz", gz(t, `{"messageType":"DATA_MESSAGE"}{"x":1}`)): {`{"messageType":"DATA_MESSAGE"}{"x":1}`},
		Stdin: {"8", "9"},
	}
	write(t, dir, "empty", nil)
	write(t, dir, ".hidden/x", []byte("no\n"))
	write(t, dir, "sub/.hidden", []byte("no\n"))
	s := newSink()
	reg, err := run(t, t.Context(), s, "8\n9\n", nil, dir, Stdin)
	if err != nil {
		t.Fatal(err)
	}
	for path, lines := range want {
		if got := s.lines[path]; !slices.Equal(got, lines) {
			t.Errorf("%s: %q, want %q", path, got, lines)
		}
		delete(s.lines, path)
	}
	for path, lines := range s.lines {
		t.Errorf("unexpected %s: %q", path, lines)
	}
	if s.closed != 6 {
		t.Errorf("%d handlers were closed, want 6", s.closed)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP dredge_file_files_read_total Files that were read to their end, with all their rows durable.
# TYPE dredge_file_files_read_total counter
dredge_file_files_read_total 6
`), "dredge_file_files_read_total"); err != nil {
		t.Error(err)
	}
}

// Columns are read as lines, from any row on; what is Parquet and no flow log is refused by name.
func TestReadsParquet(t *testing.T) {
	dir := t.TempDir()
	data, err := s3test.Parquet([]byte("version vpc-id\n2 vpc-1\n2 -\n"))
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, dir, "f.log.parquet", data)
	s := newSink()
	reg, err := run(t, t.Context(), s, "", nil, path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.lines[path], []string{"version vpc-id", "2 vpc-1", "2 -"}; !slices.Equal(got, want) || s.last[path] != "2" {
		t.Errorf("%q up to %s, want %q", got, s.last[path], want)
	}
	if n, err := testutil.GatherAndCount(reg, "dredge_file_files_read_total"); err != nil || n != 1 {
		t.Error(n, err)
	}
	s = newSink()
	s.positions[path] = "1"
	if _, err := run(t, t.Context(), s, "", nil, path); err != nil || len(s.lines[path]) != 2 {
		t.Errorf("from row 1: %q, %v", s.lines[path], err)
	}
	for name, data := range map[string][]byte{"cut": data[:len(data)/2], "foreign": bytes.ReplaceAll(data, []byte("version"), []byte("virsion"))} {
		path := write(t, dir, name, data)
		if _, err := run(t, t.Context(), newSink(), "", nil, path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := run(t, t.Context(), newSink(), string(data), nil, Stdin); !errors.Is(err, text.ErrParquet) {
		t.Errorf("from standard input: %v", err)
	}
}

func TestHeaderReachesEveryPayload(t *testing.T) {
	var text strings.Builder
	text.WriteString("version account\n")
	for i := range 100 {
		fmt.Fprintf(&text, "%d x\n", i)
	}
	path := write(t, t.TempDir(), "f", []byte(text.String()))
	s := newSink()
	if _, err := run(t, t.Context(), s, "", func(c *Config) { c.BlockSize, c.MaxValueSize = 64, 64 }, path); err != nil {
		t.Fatal(err)
	}
	if s.payloads[path] < 5 {
		t.Fatalf("%d payloads", s.payloads[path])
	}
	headers := 0
	for _, l := range s.lines[path] {
		if l == "version account" {
			headers++
		}
	}
	if headers != s.payloads[path] {
		t.Errorf("%d headers in %d payloads", headers, s.payloads[path])
	}
	if want := stream.Position(fmt.Sprint(text.Len())); s.last[path] != want {
		t.Errorf("last position %q, want %q", s.last[path], want)
	}
}

func TestOneBadFileDoesNotCostTheOthers(t *testing.T) {
	dir := t.TempDir()
	whole := gz(t, strings.Repeat("12345678\n", 1000))
	bad := write(t, dir, "bad.gz", whole[:len(whole)-12])
	good := write(t, dir, "good", []byte("1\n"))
	s := newSink()
	_, err := run(t, t.Context(), s, "", nil, bad, good)
	if err == nil || !strings.Contains(err.Error(), "bad.gz") || strings.Contains(err.Error(), "good") {
		t.Errorf("Run = %v", err)
	}
	if got := len(s.lines[good]); got != 1 {
		t.Errorf("%d lines of the good file", got)
	}
	if got := len(s.lines[bad]); got == 0 {
		t.Error("nothing of the truncated file was delivered")
	}
	s = newSink()
	if _, err := run(t, t.Context(), s, "", nil, filepath.Join(dir, "none"), good); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "none") {
		t.Errorf("Run of a missing path = %v", err)
	}
	if got := len(s.lines[good]); got != 1 {
		t.Errorf("%d lines of the file beside a missing one", got)
	}
}

func TestGoesOnFromTheSinksPosition(t *testing.T) {
	path := write(t, t.TempDir(), "f", []byte("version a\n1\n2\n3\n4\n"))
	s := newSink()
	s.positions[path] = "14"
	if _, err := run(t, t.Context(), s, "", nil, path); err != nil {
		t.Fatal(err)
	}
	if got, want := s.lines[path], []string{"version a", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRewind(t *testing.T) {
	for _, async := range []bool{false, true} {
		t.Run(fmt.Sprintf("async=%t", async), func(t *testing.T) {
			path := write(t, t.TempDir(), "f", []byte("1\n2\n3\n4\n"))
			synctest.Test(t, func(t *testing.T) {
				s := newSink()
				s.async = async
				s.refuse = func(_ string, n int) error {
					if n == 3 {
						return &stream.RewindError{To: "4", Err: errors.New("aborted")}
					}
					return nil
				}
				small := func(c *Config) { c.BlockSize, c.MaxValueSize = 2, 2 }
				if _, err := run(t, t.Context(), s, "", small, path); err != nil {
					t.Fatal(err)
				}
				if got, want := s.lines[path], []string{"1", "2", "3", "4"}; !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	path := write(t, t.TempDir(), "f", []byte("1\n2\n"))
	f := func(refusal error, stdin bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := newSink()
			s.refuse = func(string, int) error { return refusal }
			p := path
			if stdin {
				p = Stdin
			}
			if _, err := run(t, t.Context(), s, "1\n", nil, p); !errors.Is(err, refusal) {
				t.Errorf("Run = %v, want %v", err, refusal)
			}
		})
	}
	f(&stream.PermanentError{Err: errors.New("topic missing")}, false)
	f(stream.ErrFenced, false)
	f(&stream.RewindError{To: "", Err: errors.New("again and again")}, false)
	f(&stream.RewindError{To: "", Err: errors.New("once")}, true)
}

func TestRunStopsWithItsContext(t *testing.T) {
	path := write(t, t.TempDir(), "f", []byte("1\n2\n3\n"))
	ctx, cancel := context.WithCancel(t.Context())
	s := newSink()
	s.refuse = func(string, int) error { cancel(); return nil }
	small := func(c *Config) { c.BlockSize, c.MaxValueSize = 2, 2 }
	if _, err := run(t, ctx, s, "", small, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want context canceled", err)
	}
	if n := s.payloads[path]; n != 1 {
		t.Errorf("%d payloads after the context had ended", n)
	}
}

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	c.Paths = []string{"."}
	if err := c.Validate(); err != nil {
		t.Errorf("defaults with a path: %v", err)
	}
	bad := Config{Paths: []string{"", Stdin, Stdin}, BlockSize: -1, MaxValueSize: -2, MaxInFlight: 0, Concurrency: 0}
	err := bad.Validate()
	for _, key := range []string{`paths: ""`, `paths: "-"`, "block_size:", "max_value_size:", "max_in_flight:", "concurrency:"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("no fault of %s in %v", key, err)
		}
	}
	if _, err := New(c, Deps{}); err == nil {
		t.Error("New without dependencies succeeded")
	}
}

// isHeader stands in for flowlog.IsHeader.
func isHeader(line []byte) bool { return bytes.HasPrefix(line, []byte("version ")) }
