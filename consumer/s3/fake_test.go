package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/stream"
)

// store is an S3 that holds files by key, and refuses as it is told to.
type store struct {
	mu      sync.Mutex
	files   map[string][]byte
	refuse  map[string]error // by key
	cutOff  map[string]int   // bytes after which the connection breaks, by key
	largest int64            // answer
}

func newStore() *store {
	return &store{files: map[string][]byte{}, refuse: map[string]error{}, cutOff: map[string]int{}}
}

func (s *store) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.refuse[*in.Key]; err != nil {
		return nil, err
	}
	data, ok := s.files[*in.Key]
	if !ok {
		return nil, &smithy.GenericAPIError{Code: "NoSuchKey", Message: "The specified key does not exist."}
	}
	if in.IfMatch != nil && *in.IfMatch != `"e"` {
		return nil, &smithy.GenericAPIError{Code: "PreconditionFailed"}
	}
	modified := time.Now()
	out := &s3.GetObjectOutput{LastModified: &modified}
	if in.Range != nil {
		from, to := 0, len(data)
		span := strings.TrimPrefix(*in.Range, "bytes=")
		if last, ok := strings.CutPrefix(span, "-"); ok {
			n, _ := strconv.Atoi(last)
			from = max(0, to-n)
		} else {
			if _, err := fmt.Sscanf(span, "%d-%d", &from, &to); err != nil {
				return nil, err
			}
			to = min(to+1, len(data))
		}
		total := fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data))
		data, out.ContentRange = data[from:to], &total
	}
	s.largest = max(s.largest, int64(len(data)))
	var body io.Reader = bytes.NewReader(data)
	if n, ok := s.cutOff[*in.Key]; ok && n < len(data) {
		body = io.MultiReader(bytes.NewReader(data[:n]), broken{})
	}
	out.Body = io.NopCloser(body)
	return out, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, fmt.Errorf("connection reset") }

// landed are lines as they were delivered, with the ids that their rows would have.
type landed struct {
	mu    sync.Mutex
	rows  map[string]int    // times delivered, by row id
	lines map[string]string // by row id
}

func newLanded() *landed { return &landed{rows: map[string]int{}, lines: map[string]string{}} }

// add counts the rows of lines. With l.mu.
func (l *landed) add(lines []rowOf) {
	for _, r := range lines {
		l.rows[r.id]++
		l.lines[r.id] = r.line
	}
}

// delivered returns all lines in order, however often each row was delivered.
func (l *landed) delivered() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Values(l.lines))
}

// twice counts rows that were delivered more than once.
func (l *landed) twice() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.rows {
		if times > 1 {
			n++
		}
	}
	return n
}

// rowOf is a line and the id that its row would have.
type rowOf struct{ id, line string }

func rowsOf(c stream.Chunk) (rows []rowOf) {
	for _, p := range c.Payloads {
		i := 0
		for line := range bytes.Lines(p.Data) {
			if isHeader(line) || len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			rows = append(rows, rowOf{fmt.Sprintf("%s %s %d", c.Partition, p.At, i), string(bytes.TrimSpace(line))})
			i++
		}
	}
	return rows
}

// taker is a stream.Processor that keeps lines.
type taker struct {
	*landed
	open map[string]int // by partition
	// hold, when set, is called in Handle, for a partition.
	hold func(ctx context.Context, partition string) error
	// stands is what Open answers, by partition.
	stands map[string]stream.Position
	// tally counts partitions in place of rows, where there are very many.
	tally bool
}

func newTaker() *taker {
	return &taker{landed: newLanded(), open: map[string]int{}, stands: map[string]stream.Position{}}
}

func (k *taker) Open(_ context.Context, partition string) (stream.Handler, stream.Position, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[partition]++
	return &handler{k: k, partition: partition}, k.stands[partition], nil
}

type handler struct {
	k         *taker
	partition string
}

func (h *handler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	if hold := h.k.hold; hold != nil {
		if err := hold(ctx, h.partition); err != nil {
			return err
		}
	}
	h.k.mu.Lock()
	if h.k.tally {
		h.k.rows[h.partition]++
	} else {
		h.k.add(rowsOf(c))
	}
	h.k.mu.Unlock()
	progress(c.Last, nil)
	return nil
}
func (h *handler) Flush(context.Context) error { return nil }
func (h *handler) Close(context.Context) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.k.open[h.partition]--
	return nil
}

func isHeader(line []byte) bool { return bytes.HasPrefix(line, []byte("version ")) }

// budget counts what is out.
type budget struct {
	mu  sync.Mutex
	out int64
}

func (b *budget) Acquire(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out += n
	return nil
}

func (b *budget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out -= n
}

func (r *rig) worker(k *killer, s Store, p stream.Processor) *Worker {
	r.t.Helper()
	c := r.config(k)
	b := &budget{}
	w, err := NewWorker(r.cfg, WorkerDeps{
		SQS: sqs.NewFromConfig(c), Ledger: dynamodb.NewFromConfig(c), Store: s, Processor: p, Budget: b, IsHeader: isHeader,
		Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if b.out != 0 {
			r.t.Errorf("%d bytes of the budget were kept", b.out)
		}
	})
	return w
}

// form puts files into mouthfuls of a given number, through a gatherer.
func (r *rig) form(s *store, perMouthful int) {
	r.t.Helper()
	r.cfg.Gather.MaxFiles = perMouthful
	for _, key := range slices.Sorted(maps.Keys(s.files)) {
		r.announce(key, int64(len(s.files[key])))
	}
	stop := start(r.t, r.gatherer(nil).Run)
	r.wait(10*time.Minute, "all announcements taken", r.drained("announced"))
	stop()
}
