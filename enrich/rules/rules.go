// Package rules applies the user's rules to enriched rows: it drops, samples, tags and redacts those that conditions over the
// catalogue's columns choose. Rules are compiled when they are read; applying them allocates nothing per row. Other ones may take their
// place while rows are made: a batch is under those that it began with.
//
// Every row is shown to the rules in their order and as it was before any of them. A rule that drops ends that; of several rules
// that would sample a row only the first does. What rules do is a function of the row and its id alone, so a replay of the same
// lines gives the same rows.
package rules

import (
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/row"
	"dredge/row/condition"
)

type action uint8

const (
	drop action = iota
	sample
	tag
	redact
)

// rule is a Rule compiled.
type rule struct {
	name         string
	when, unless condition.All
	action       action
	sample       uint64
	tag          int
	src, dst     bool
	keep4, keep6 int
}

// applies says whether r is for row i of b.
func (r *rule) applies(b *row.Batch, i int, s *condition.Scratch) bool {
	return r.when.Holds(b, i, s) && r.unless.Any(b, i, s) == nil
}

// Rules are ready to be applied. Safe for concurrent use, each call with a batch of its own.
type Rules struct {
	rows *prometheus.CounterVec
	// inForce is replaced as a whole by Take.
	inForce atomic.Pointer[ruleSet]
}

// ruleSet is one configuration compiled, and what is needed to apply it.
type ruleSet struct {
	list    []rule
	tags    []string
	metrics *metrics

	mu   sync.Mutex
	idle []*scratch
}

// scratch is what one call works with and the next one can use again.
type scratch struct {
	condition condition.Scratch
	// tags are the texts of the sets of tags that were met.
	tags   map[uint64]string
	counts []counts
}

// counts are what one batch adds to a rule's metrics: rows that were taken away, and rows that stayed changed.
type counts struct{ dropped, changed int }

// New compiles c. The error holds every fault. r takes the metrics; nil leaves them unregistered, as for rules that Take is to be given.
func New(c Config, r prometheus.Registerer) (*Rules, error) {
	list, err := compile(c)
	if err != nil {
		return nil, err
	}
	out := &Rules{rows: newRowsVec(r)}
	in := &ruleSet{list: list, metrics: newMetrics(out.rows, list)}
	for i := range c {
		if c[i].Tag != "" && !slices.Contains(in.tags, c[i].Tag) {
			in.tags = append(in.tags, c[i].Tag)
		}
	}
	out.inForce.Store(in)
	return out, nil
}

// Take puts the rules of fresh in force for batches that begin from now on. What they do is counted in the metrics of rs; the counts of
// rules that are gone stay as they are.
func (rs *Rules) Take(fresh *Rules) {
	in := fresh.inForce.Load()
	rs.inForce.Store(&ruleSet{list: in.list, tags: in.tags, metrics: newMetrics(rs.rows, in.list)})
}

// Names returns the names of the rules that can take rows away.
func (rs *Rules) Names() []string {
	var names []string
	list := rs.inForce.Load().list
	for i := range list {
		if a := list[i].action; a == drop || a == sample {
			names = append(names, list[i].name)
		}
	}
	return names
}

// Sets returns the sets of columns, beside core, that the rules ask for: the join must fill them.
func (rs *Rules) Sets() []row.Set {
	var sets []row.Set
	list := rs.inForce.Load().list
	for i := range list {
		sets = list[i].unless.Sets(list[i].when.Sets(sets))
	}
	return sets
}

// Apply applies the rules to the rows of b from the given one on. Rows that are taken away are counted in b.Dropped; the others stay in
// their order. In steady state nothing is allocated.
func (rs *Rules) Apply(b *row.Batch, from int) { rs.inForce.Load().applyTo(b, from) }

func (rs *ruleSet) applyTo(b *row.Batch, from int) {
	if len(rs.list) == 0 {
		return
	}
	s := rs.take()
	kept := from
	for i := from; i < len(b.Rows); i++ {
		if by := rs.apply(b, i, s); by != nil {
			b.Drop(by.name)
			continue
		}
		if kept != i {
			b.Rows[kept] = b.Rows[i]
		}
		kept++
	}
	clear(b.Rows[kept:]) // Add expects it
	b.Rows = b.Rows[:kept]
	rs.metrics.add(s.counts)
	rs.give(s)
}

// effect is what the rules do to one row.
type effect struct {
	weight       uint64
	tags         uint64
	src, dst     bool
	keep4, keep6 [2]int
}

// apply changes row i as the rules want it, or returns the rule that takes it away.
func (rs *ruleSet) apply(b *row.Batch, i int, s *scratch) (by *rule) {
	e := effect{weight: 1}
	for k := range rs.list {
		r := &rs.list[k]
		if !r.applies(b, i, &s.condition) {
			continue
		}
		switch {
		case r.action == drop, r.action == sample && e.weight == 1 && !chosen(b, i, r.sample):
			s.counts[k].dropped++
			return r
		case r.action == sample && e.weight > 1:
			continue // another one did
		default:
			s.counts[k].changed++
			e.take(r)
		}
	}
	rs.change(b, i, &e, s)
	return nil
}

// chosen says whether row i is the one of so many that a sample keeps.
func chosen(b *row.Batch, i int, of uint64) bool {
	high, _ := bits.Mul64(b.Spread(&b.Rows[i]), of)
	return high == 0
}

// take adds what r does to a row that stays.
func (e *effect) take(r *rule) {
	switch r.action {
	case sample:
		e.weight = r.sample
	case tag:
		e.tags |= 1 << r.tag
	case redact:
		for k, on := range [...]bool{r.src, r.dst} {
			already := [...]*bool{&e.src, &e.dst}[k]
			if !on {
				continue
			}
			if !*already || r.keep4 < e.keep4[k] { // of several the strictest holds
				e.keep4[k] = r.keep4
			}
			if !*already || r.keep6 < e.keep6[k] {
				e.keep6[k] = r.keep6
			}
			*already = true
		}
	default:
	}
}

// change does to row i what the rules want.
func (rs *ruleSet) change(b *row.Batch, i int, e *effect, s *scratch) {
	r := &b.Rows[i]
	if e.weight > 1 {
		r.Weight = uint32(e.weight)
		r.Bytes, r.Packets = times(r.Bytes, e.weight), times(r.Packets, e.weight)
	}
	if e.tags != 0 {
		r.RuleTags = rs.tagText(e.tags, s)
	}
	if e.src {
		r.Src.Addr, r.RecordSrc = cut(r.Src.Addr, e.keep4[0], e.keep6[0]), cut(r.RecordSrc, e.keep4[0], e.keep6[0])
	}
	if e.dst {
		r.Dst.Addr, r.RecordDst = cut(r.Dst.Addr, e.keep4[1], e.keep6[1]), cut(r.RecordDst, e.keep4[1], e.keep6[1])
	}
}

// times multiplies a measure; what is beyond all numbers stays at the largest.
func times(n int64, by uint64) int64 {
	if n <= 0 {
		return n
	}
	high, low := bits.Mul64(uint64(n), by)
	if high > 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}

// cut keeps the leading bits of an address.
func cut(a netip.Addr, keep4, keep6 int) netip.Addr {
	keep := keep4
	if a.Is6() {
		keep = keep6
	}
	p, err := a.WithZone("").Prefix(keep)
	if err != nil { // there is none
		return netip.Addr{}
	}
	return p.Addr()
}

// tagText returns the text of a set of tags. It is made once for each set.
func (rs *ruleSet) tagText(set uint64, s *scratch) string {
	if text, ok := s.tags[set]; ok {
		return text
	}
	var names []string
	for k, name := range rs.tags {
		if set&(1<<k) != 0 {
			names = append(names, name)
		}
	}
	if len(s.tags) >= maxSets {
		clear(s.tags)
	}
	s.tags[set] = strings.Join(names, ",")
	return s.tags[set]
}

// maxSets bounds the sets of tags that are remembered.
const maxSets = 1 << 12

func (rs *ruleSet) take() *scratch {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if n := len(rs.idle); n > 0 {
		s := rs.idle[n-1]
		rs.idle = rs.idle[:n-1]
		return s
	}
	return &scratch{tags: map[uint64]string{}, counts: make([]counts, len(rs.list))}
}

func (rs *ruleSet) give(s *scratch) {
	clear(s.counts)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.idle = append(rs.idle, s) // as many as there ever were calls at once
}
