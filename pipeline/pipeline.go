// Package pipeline turns chunks into delivered rows: expand, decode, gate, enrich, write. It keeps the books and the byte
// budget (docs/design.md, life of a record).
//
// A source opens one Handler for each partition it has and hands it chunks. Handle works through a chunk in slices of some
// megabytes of lines:
//
//	fill     unfold payloads and decode their lines, until the slice is full        slice.go
//	observe  show the decoded lines to whoever takes sightings from them
//	gate     wait until identity is complete up to the slice's flows, or give up    gate.go
//	write    enrich some thousand lines at a time and hand them to the sink         write.go
//
// What was handed over waits in order for the sink's word (delivery.go), and only then its position is told to the source.
// Every byte that is held meanwhile is counted in one budget (budget.go), every line in one set of books (books.go).
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/flowlog"
	"dredge/row"
	"dredge/sink"
	"dredge/stream"
)

// Enricher fills out from in. It is total: no I/O, no error, no blocking. Rows come in the order of their Records; a Record
// without a row was dropped by a rule. It is called by many goroutines at once, each with batches of its own.
type Enricher interface {
	Enrich(in *flowlog.Batch, out *row.Batch)
}

// Observer is shown every decoded batch before the gate. It takes heartbeats: sightings of interface and address. It keeps
// nothing borrowed from the batch, does not block, and is called by many goroutines at once.
type Observer interface {
	Observe(in *flowlog.Batch)
}

// Watermarks tells how far identity knowledge is complete.
type Watermarks interface {
	// Complete says whether every source that matters for in has told everything up to t (Unix milliseconds). When it has
	// not, changed is closed at the next progress of any of them.
	Complete(in *flowlog.Batch, t int64) (ok bool, changed <-chan struct{})
}

// RowLetters is implemented by a sink.Writer that dead-letters rows no retry can save, so that the books can tell them from
// delivered ones.
type RowLetters interface {
	// TakeDeadLettered returns how many rows, by reason, went to the dead letter since the last call, and forgets them. It is
	// called while done runs, so it must not call the Writer's queue; nil says none.
	TakeDeadLettered() map[string]int64
}

// EncodedSize is implemented by a sink.Writer that knows how large its rows are; else they count as 700 bytes each.
type EncodedSize interface {
	// EncodedBytes is the sum of the sizes of all rows encoded since Open. Called by the goroutine that calls Write.
	EncodedBytes() int64
}

// Deps are what a Pipeline works with.
type Deps struct {
	Sink     sink.Sink
	Enricher Enricher
	// Observer, Watermarks and DeadLetter may be nil: then there are no heartbeats, no gate, and rejected lines are only
	// counted.
	Observer   Observer
	Watermarks Watermarks
	DeadLetter sink.DeadLetter
	// Rules are the names of the rules by which the enricher may drop rows: their accounts begin at zero.
	Rules []string
	// Tap may be nil. It is shown every batch of rows before the sink gets it, keeps nothing of it, and neither blocks nor changes it.
	// It is called by many goroutines at once.
	Tap func(rows *row.Batch)

	Log      zerolog.Logger
	Registry prometheus.Registerer
}

// Pipeline makes Handlers and holds what they share. Safe for concurrent use.
type Pipeline struct {
	cfg     Config
	deps    Deps
	budget  *budget
	books   *Books
	gate    *gate
	metrics *metrics
	rejects rejects
	groups  *groups
	traffic *traffic
	repeats *repeats // nil when nobody asked
	log     zerolog.Logger

	unfolders *pool[*unfolder]
	batches   *pool[*flowlog.Batch]
	writers   *pool[*scratch]
	// lanes admits handlers that are in the middle of a payload larger than a slice (write.go).
	lanes       chan struct{}
	laneShare   int64
	laneWaiters atomic.Int64
}

var _ stream.Processor = (*Pipeline)(nil)

// New checks cfg and deps.
func New(cfg Config, deps Deps) (*Pipeline, error) {
	var errs []error
	if err := cfg.Validate(); err != nil {
		errs = append(errs, err)
	}
	if deps.Sink == nil {
		errs = append(errs, errors.New("a sink is needed"))
	}
	if deps.Enricher == nil {
		errs = append(errs, errors.New("an enricher is needed"))
	}
	if deps.Registry == nil {
		errs = append(errs, errors.New("a metrics registry is needed"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("make pipeline: %w", err)
	}
	sliceReserve, ackReserve := cfg.reserves()
	procs := runtime.GOMAXPROCS(0)
	p := &Pipeline{
		cfg:     cfg,
		deps:    deps,
		budget:  newBudget(int64(cfg.MemoryBudget), sliceReserve, ackReserve),
		books:   newBooks(deps.Rules),
		gate:    newGate(deps.Watermarks, cfg),
		groups:  newGroups(),
		repeats: newRepeats(cfg.CountRepeats),
		traffic: newTraffic(time.Now(), cfg.WatchedApps),

		unfolders: newPool(2*procs+2, func() *unfolder { return newUnfolder(cfg) }),
		// Several partitions are in the middle of a slice at once even on one processor, and a batch that is made anew grows
		// to its size by copying megabytes of records again and again.
		batches:   newPool(procs+3, func() *flowlog.Batch { return &flowlog.Batch{} }),
		writers:   newPool(procs+3, func() *scratch { return &scratch{} }),
		lanes:     make(chan struct{}, procs),
		laneShare: ackReserve / int64(procs),
	}
	p.metrics = newMetrics(deps.Registry, p)
	p.log = deps.Log.Sample(&countingSampler{
		next:      &zerolog.BurstSampler{Burst: 5, Period: 10 * time.Second},
		swallowed: p.metrics.swallowedLogs,
	})
	return p, nil
}

// Open claims partition in the sink. The Handler must be closed, also when its work ended with an error.
func (p *Pipeline) Open(ctx context.Context, partition string) (stream.Handler, stream.Position, error) {
	w, at, err := p.deps.Sink.Open(ctx, partition)
	if err != nil {
		return nil, "", err
	}
	return &handler{p: p, partition: partition, session: newSession(ctx, p, w, at), rowSize: firstRowSize}, at, nil
}

// Budget is what a source reserves its reads in.
func (p *Pipeline) Budget() stream.Budget { return reads{p.budget} }

// Held is how many bytes of the budget are in use, reserved ones included.
func (p *Pipeline) Held() (bytes int64) {
	for _, n := range p.budget.use().held {
		bytes += n
	}
	return bytes
}

// Books returns the books of this process.
func (p *Pipeline) Books() *Books { return p.books }

// SetHold changes the hold bound at run time, also for what is held now.
func (p *Pipeline) SetHold(d time.Duration) { p.gate.setHold(d) }

// ExpectRules begins the accounts of rules that came into force after New at zero, as Deps.Rules does.
func (p *Pipeline) ExpectRules(names []string) { p.books.expectRules(names) }

// Rejects returns the latest rejected lines and payloads, newest first.
func (p *Pipeline) Rejects() []Reject { return p.rejects.latest() }

// LogGroups returns what each log group was seen to deliver, by name.
func (p *Pipeline) LogGroups() []LogGroup { return p.groups.all() }

// Summary returns the traffic of the last minutes.
func (p *Pipeline) Summary() Summary { return p.traffic.summary(time.Now()) }
