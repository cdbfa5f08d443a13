package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"dredge/flowlog"
	"dredge/flowlog/envelope"
	"dredge/row"
)

// What becomes of a line that is no flow; the kinds of Snapshot.Skipped.
const (
	SkippedNoData   = "nodata"   // log-status NODATA: the interface saw no traffic
	SkippedSkipData = "skipdata" // log-status SKIPDATA: AWS lost flows of this interval
	SkippedControl  = "control"  // a health check of CloudWatch Logs
)

// Why decoded lines were given up; they are read again by whoever has the partition next. The reasons of Snapshot.Abandoned.
const (
	AbandonedRewind    = "rewind"     // the sink lost what was in flight
	AbandonedLeaseLost = "lease_lost" // another worker has the partition
	AbandonedShutdown  = "shutdown"   // the worker drains, or gave the partition up
	AbandonedRefused   = "refused"    // the sink will never take them; the partition stands still
	AbandonedFailed    = "failed"     // anything else
)

// DroppedByEnricher is the rule under which lines are counted that the enricher made no row of without naming a rule.
const DroppedByEnricher = "enricher"

// Books counts what becomes of every line. Both sides of each transfer move in one step, once per batch, so that any
// Snapshot balances, also while work is going on. Safe for concurrent use.
type Books struct {
	mu sync.Mutex
	s  Snapshot
}

// newBooks begins every account that is known in advance at zero, so that a rate over its metric sees its first line.
func newBooks(rules []string) *Books {
	b := &Books{s: Snapshot{
		Rejected: map[string]int64{RejectedNoFormat: 0, RejectedMalformed: 0},
		Skipped:  map[string]int64{SkippedNoData: 0, SkippedSkipData: 0, SkippedControl: 0},
		Dropped:  map[string]int64{DroppedByEnricher: 0}, DeadLettered: map[string]int64{},
		Abandoned: map[string]int64{
			AbandonedRewind: 0, AbandonedLeaseLost: 0, AbandonedShutdown: 0, AbandonedRefused: 0, AbandonedFailed: 0,
		},
		Payloads: map[string]int64{payloadOK: 0},
	}}
	b.expectRules(rules)
	for _, r := range flowlog.Reasons() {
		b.s.Rejected[r.String()] = 0
	}
	for _, f := range envelope.Faults() {
		b.s.Payloads[f.String()] = 0
	}
	return b
}

// expectRules begins the accounts of rules that have none yet.
func (b *Books) expectRules(names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		b.s.Dropped[name] += 0
	}
}

// Snapshot is one consistent state of the books of this process. All counts are lines, except Payloads.
type Snapshot struct {
	// Lines is everything that was found in payloads.
	Lines int64
	// Rejected lines could not be decoded, by reason; Skipped ones are no flows, by kind.
	Rejected, Skipped map[string]int64
	// Decoded lines are flows. Each ends up in one of the following.
	Decoded   int64
	Delivered int64
	// Dropped by a rule of the user, DeadLettered by the sink, Abandoned to be read again.
	Dropped, DeadLettered, Abandoned map[string]int64
	// InFlight lines are decoded and neither delivered nor given up yet.
	InFlight int64

	// Payloads counts payloads by outcome: "ok", or the fault that cut one short. A faulty payload has no line count, so
	// it has a book of its own; its lines before the fault are in Lines.
	Payloads map[string]int64
}

// Check says whether the books balance, and if not, which side is off by how much.
func (s Snapshot) Check() error {
	var errs []error
	if right := s.Decoded + sum(s.Rejected) + sum(s.Skipped); s.Lines != right {
		errs = append(errs, fmt.Errorf("books: lines %d, but decoded %d + rejected %d + skipped %d = %d: %s",
			s.Lines, s.Decoded, sum(s.Rejected), sum(s.Skipped), right, off(s.Lines-right)))
	}
	if right := s.Delivered + sum(s.Dropped) + sum(s.DeadLettered) + sum(s.Abandoned) + s.InFlight; s.Decoded != right {
		errs = append(errs, fmt.Errorf("books: decoded %d, but delivered %d + dropped %d + dead-lettered %d + abandoned %d + in flight %d = %d: %s",
			s.Decoded, s.Delivered, sum(s.Dropped), sum(s.DeadLettered), sum(s.Abandoned), s.InFlight, right, off(s.Decoded-right)))
	}
	if s.InFlight < 0 {
		errs = append(errs, fmt.Errorf("books: in flight is %d: lines ended twice", s.InFlight))
	}
	return errors.Join(errs...)
}

// CheckAtRest is Check for a time when no work is going on: nothing may be in flight.
func (s Snapshot) CheckAtRest() error {
	err := s.Check()
	if s.InFlight != 0 {
		err = errors.Join(err, fmt.Errorf("books: %d lines in flight at rest: never delivered, dropped, dead-lettered or abandoned", s.InFlight))
	}
	return err
}

func off(d int64) string {
	if d > 0 {
		return fmt.Sprintf("%d lines vanished", d)
	}
	return fmt.Sprintf("%d lines from nowhere", -d)
}

func sum(m map[string]int64) int64 {
	var n int64
	for _, v := range m {
		n += v
	}
	return n
}

// Snapshot returns a copy of the books as they stand.
func (b *Books) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.s
	s.Rejected, s.Skipped, s.Dropped = maps.Clone(s.Rejected), maps.Clone(s.Skipped), maps.Clone(s.Dropped)
	s.DeadLettered, s.Abandoned, s.Payloads = maps.Clone(s.DeadLettered), maps.Clone(s.Abandoned), maps.Clone(s.Payloads)
	return s
}

// tally is what one slice adds to the books. Counts by name are short lists: a slice meets few reasons.
type tally struct {
	lines, decoded              int64
	rejected, skipped, payloads counts
}

func (t *tally) reset() {
	t.lines, t.decoded = 0, 0
	t.rejected, t.skipped, t.payloads = t.rejected[:0], t.skipped[:0], t.payloads[:0]
}

// counts is a small list of counts by name.
type counts []count

type count struct {
	name string
	n    int64
}

func (c *counts) add(name string, n int64) {
	for i := range *c {
		if (*c)[i].name == name {
			(*c)[i].n += n
			return
		}
	}
	*c = append(*c, count{name, n})
}

func (c counts) into(m map[string]int64) {
	for _, x := range c {
		m[x.name] += x.n
	}
}

// decoded enters what was found in one slice; its decoded lines are in flight from now on.
func (b *Books) decoded(t *tally) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Lines += t.lines
	b.s.Decoded += t.decoded
	b.s.InFlight += t.decoded
	t.rejected.into(b.s.Rejected)
	t.skipped.into(b.s.Skipped)
	t.payloads.into(b.s.Payloads)
}

// dropped ends n lines in flight that the enricher made no row of, by the rules that it names.
func (b *Books) dropped(by []row.Dropped, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.InFlight -= n
	for _, d := range by {
		rows := min(d.Rows, n)
		b.s.Dropped[d.Rule] += rows
		n -= rows
	}
	b.s.Dropped[DroppedByEnricher] += n
}

// abandoned ends n lines in flight that will be read again.
func (b *Books) abandoned(reason string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Abandoned[reason] += n
	b.s.InFlight -= n
}

// delivered ends n lines in flight, of which the sink dead-lettered some, by reason.
func (b *Books) delivered(n int64, deadLettered map[string]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.InFlight -= n
	for reason, d := range deadLettered {
		d = min(d, n)
		b.s.DeadLettered[reason] += d
		n -= d
	}
	b.s.Delivered += n
}

// sorted returns the keys of m in order, so that output is stable.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
