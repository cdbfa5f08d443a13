package s3

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"dredge/internal/retry"
)

// BackfillConfig is one reading of files of the past.
type BackfillConfig struct {
	// S3 says how mouthfuls are formed and read, and which table is the ledger. Its queues are not used.
	S3 Config
	Selection
	// Run names the reading. A second one of that name goes on where the first one is; another name reads all files once more.
	Run string
}

// Validate returns all that is wrong with what c selects and with how mouthfuls are formed: what Plan needs.
func (c BackfillConfig) Validate() error {
	errs := []error{c.Selection.Validate()}
	for _, err := range c.S3.Gather.faults() {
		errs = append(errs, fmt.Errorf("s3.%w", err))
	}
	return errors.Join(errs...)
}

// Backfill forms mouthfuls of files that lie in S3 already, and reads them as a Worker does, without queues. What it has read stands in
// the ledger, apart from what is announced: when it ends early, or dies, another goes on, and several may work at once.
type Backfill struct {
	cfg    BackfillConfig
	lister Lister
	queue  *workQueue
	worker *Worker
	former *former
	before atomic.Int64 // bytes of files that were in a mouthful when this process listed them
}

// backfillQueue stands for the queue, which a backfill has in memory.
const backfillQueue = "https://backfill.invalid/mouthfuls"

var runName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,32}$`)

// NewBackfill checks cfg and deps. deps.SQS is not used.
func NewBackfill(cfg BackfillConfig, lister Lister, d WorkerDeps) (*Backfill, error) {
	errs := []error{cfg.Selection.Validate()}
	if !runName.MatchString(cfg.Run) {
		errs = append(errs, fmt.Errorf("--run: %q must have 1 to 32 letters, digits, dots, dashes and underscores", cfg.Run))
	}
	if lister == nil {
		errs = append(errs, errors.New("dependency Lister is needed"))
	}
	q := newWorkQueue()
	cfg.S3.MouthfulQueue, cfg.S3.Gather.Queue = backfillQueue, ""
	cfg.S3.Work.Slots = max(cfg.S3.Work.Slots, 1)
	d.SQS = q
	b := &Backfill{cfg: cfg, lister: lister, queue: q}
	var err error
	if b.worker, err = NewWorker(cfg.S3, d); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("backfill: %w", err)
	}
	b.former = newFormer(cfg.S3, GathererDeps{SQS: q, Ledger: d.Ledger, Log: d.Log, Metrics: d.Metrics})
	space := "backfill:" + cfg.Run + ":"
	b.worker.ledger.space, b.former.ledger.space = space, space
	return b, nil
}

// Plan is what a backfill would read.
type Plan struct {
	Files, Bytes int64
	// Parquet are the files among them that are read in ranges.
	Parquet int64
	// Lists is how many requests the listing took, Mouthfuls how many pieces of work the files make, about.
	Lists, Mouthfuls int64
	// ByAccount has the bytes of each account, region and day, as far as keys tell them.
	ByAccount, ByRegion, ByDay map[string]int64
}

// Plan lists the selected files and reads none. c must be valid.
func (c BackfillConfig) Plan(ctx context.Context, lister Lister) (Plan, error) {
	p := Plan{ByAccount: map[string]int64{}, ByRegion: map[string]int64{}, ByDay: map[string]int64{}}
	n, err := c.list(ctx, lister, c.S3.Gather, func(o Object) error {
		p.Files++
		p.Bytes += o.Size
		if isParquet(o.Key) {
			p.Parquet++
		}
		at := placeOf(o.Key)
		p.ByAccount[at.account] += o.Size
		p.ByRegion[at.region] += o.Size
		day := ""
		if begin, _, ok := at.span(); ok {
			day = begin.Format(time.DateOnly)
		}
		p.ByDay[day] += o.Size
		return nil
	})
	p.Lists = int64(n)
	g := c.S3.Gather
	p.Mouthfuls = max(p.Bytes/g.MaxBytes, p.Files/int64(g.MaxFiles))
	if p.Files > 0 {
		p.Mouthfuls++
	}
	return p, err
}

// Prices of AWS in us-east-1, in dollars: they differ little elsewhere.
const (
	pricePerGet   = 0.0004 / 1000
	pricePerList  = 0.005 / 1000
	pricePerWrite = 0.625 / 1e6 // DynamoDB, on demand
	rangesPerFile = 12          // of Parquet, about
)

// Cost estimates what AWS charges for p, in dollars: requests, not the transfer, which is free within a region, nor archives.
func (p Plan) Cost() float64 {
	gets := p.Files - p.Parquet + p.Parquet*rangesPerFile
	const writesPerMouthful = 40 // its item is large, and written with each extension of the claim
	return float64(gets)*pricePerGet + 2*float64(p.Lists)*pricePerList + (float64(p.Files)+writesPerMouthful*float64(p.Mouthfuls))*pricePerWrite
}

// Progress is how far a backfill is.
type Progress struct {
	// Files and Bytes were read to their end or quarantined by this process; Before are the bytes that were taken on before it.
	Files, Bytes, Before int64
	// Quarantined files could not be read; the ledger has the reasons.
	Quarantined int64
	// Lost is how many mouthfuls were another's, or could be, while they were read: their rows may have been delivered twice.
	Lost int64
}

// Progress may be called while Run runs.
func (b *Backfill) Progress() Progress {
	return Progress{
		Files: b.worker.filesOver.Load(), Bytes: b.worker.bytesOver.Load(), Before: b.before.Load(), Quarantined: b.worker.quarantined.Load(),
		Lost: b.worker.lost.Load(),
	}
}

// Run reads all selected files, and returns when each is read or quarantined, or ctx is over.
func (b *Backfill) Run(ctx context.Context) error {
	if err := b.former.ledger.init(ctx); err != nil {
		return err
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	group, work := errgroup.WithContext(work)
	group.Go(func() error { return b.worker.Run(work) })
	group.Go(func() error {
		defer stop() // of the worker
		for {
			again, err := b.pass(work)
			if err != nil || !again {
				return err
			}
			if err := retry.Sleep(work, time.Minute); err != nil {
				return err
			}
		}
	})
	err := group.Wait()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// pass forms mouthfuls of what is in none yet and waits until all are done. It says whether it has to be done again, because another
// process is forming one just now.
func (b *Backfill) pass(ctx context.Context) (again bool, err error) {
	if again, err = b.recover(ctx); err != nil {
		return false, err
	}
	pack := newPacker(b.cfg.S3.Gather)
	form := func(bins []*bin) error {
		for _, one := range bins {
			settled, err := b.former.write(ctx, one.entries)
			if err != nil {
				return err
			}
			again = again || len(settled) < len(one.entries)
			if err := b.queue.await(ctx, b.cfg.S3.Work.Slots*mouthfulsAhead); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = b.cfg.list(ctx, b.lister, b.cfg.S3.Gather, func(o Object) error {
		return form(pack.add(o.group(b.cfg.S3.Gather.GroupBy), &entry{object: o}, time.Now()))
	})
	if err != nil {
		return false, err
	}
	if err := form(pack.due(time.Now().Add(time.Hour))); err != nil {
		return false, err
	}
	return again, b.queue.await(ctx, 0)
}

// mouthfulsAhead is how many mouthfuls for each slot wait to be read.
const mouthfulsAhead = 4

// recover puts the mouthfuls of an earlier process into the queue. It says whether one is being formed, which may be another's.
func (b *Backfill) recover(ctx context.Context) (forming bool, err error) {
	err = b.former.unfinished(ctx, func(m Mouthful) error {
		if m.State == StateForming {
			forming = true
		}
		if m.State != StateSealed || b.queue.knows(m.ID) {
			return nil
		}
		b.before.Add(m.Bytes)
		return b.former.announce(ctx, &m)
	})
	return forming, err
}
