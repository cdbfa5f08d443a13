// Package rollup sums raw rows up by minute and dimensions.
//
// An Aggregator belongs to one Writer of a sink. It takes the rows of the Writer's batches and is drained when the Writer commits,
// so a rolled-up row holds lines between two committed positions of one partition and no others; Druid's own roll-up unites what
// commits cut apart. The measures count each flow once: see row.Sums.
//
// Rows are equal when their minute and the encoded text of their dimensions are, so any choice of columns can be dimensions, and
// each set of dimensions is encoded once into an arena and never again at delivery. Groups are found by open addressing over
// 64-bit hashes of that text, or before that by a key that stands for it (keys.go). BenchmarkAdd shows the price.
package rollup

import (
	"bytes"
	"hash/maphash"

	"dredge/row"
)

// Dimensions appends the dimensions of raw row i of b, equal text for equal dimensions. encode.Minute is one.
type Dimensions interface {
	AppendDimensions(dst []byte, b *row.Batch, i int) []byte
}

// Keyed is implemented by Dimensions that can tell most rows' dimensions without making their text: equal keys have equal text.
type Keyed interface {
	Key(b *row.Batch, i int) (key row.DimensionKey, ok bool)
}

// Row is one rolled-up row. It is good until Drain returns.
type Row struct {
	// Minute is its first millisecond, in Unix time.
	Minute int64
	// Dimensions are encoded already; the encoder puts time and measures around them.
	Dimensions []byte
	Sums       row.Sums
	// SrcApp and DstApp are src_app and dst_app of the first raw row, whether they are dimensions or not: a sink may choose a
	// partition by them.
	SrcApp, DstApp string
}

// Aggregator sums rows up. It is not safe for concurrent use.
type Aggregator struct {
	dims    Dimensions
	keyed   Keyed // nil when dims is none
	metrics *Metrics
	seed    maphash.Seed

	// slots holds one more than the place of a group, 0 for none; its length is a power of two.
	slots  []uint32
	groups []group
	keys   keys
	arena  []byte
	added  int
}

type group struct {
	hash       uint64
	first, end int // of its dimensions in the arena
	row        Row
}

// minSlots is how many slots an Aggregator begins with; they are kept below three quarters full.
const minSlots = 1 << 10

// New returns an empty Aggregator. metrics may be shared by many.
func New(d Dimensions, metrics *Metrics) *Aggregator {
	a := &Aggregator{dims: d, metrics: metrics, seed: maphash.MakeSeed(), slots: make([]uint32, minSlots)}
	a.keyed, _ = d.(Keyed)
	return a
}

// Add sums the rows of b up. It keeps nothing of b but texts of identities, and allocates only to grow.
func (a *Aggregator) Add(b *row.Batch) {
	for i := range b.Rows {
		r := &b.Rows[i]
		a.group(b, i, row.MinuteOf(r)).Sums.Add(r)
	}
	a.added += len(b.Rows)
}

// AddRow is Add for row i of b alone.
func (a *Aggregator) AddRow(b *row.Batch, i int) {
	r := &b.Rows[i]
	a.group(b, i, row.MinuteOf(r)).Sums.Add(r)
	a.added++
}

// AddTimely is Add without the rows that are late, for a sink that writes those elsewhere.
func (a *Aggregator) AddTimely(b *row.Batch) {
	for i := range b.Rows {
		if r := &b.Rows[i]; !r.Late {
			a.group(b, i, row.MinuteOf(r)).Sums.Add(r)
			a.added++
		}
	}
}

// group returns the group of row i, made when there is none. It is good until the next call.
func (a *Aggregator) group(b *row.Batch, i int, minute int64) *Row {
	if a.keyed == nil {
		return &a.groups[a.byText(b, i, minute)].row
	}
	key, ok := a.keyed.Key(b, i)
	if !ok {
		return &a.groups[a.byText(b, i, minute)].row
	}
	at := a.keys.find(&key, minute)
	if at.group == 0 {
		n := a.byText(b, i, minute)
		a.keys.put(at, &key, minute, n)
		return &a.groups[n].row
	}
	return &a.groups[at.group-1].row
}

// byText returns the place of the group of row i, made when there is none.
func (a *Aggregator) byText(b *row.Batch, i int, minute int64) int {
	first := len(a.arena)
	a.arena = a.dims.AppendDimensions(a.arena, b, i)
	dims := a.arena[first:]
	hash := maphash.Bytes(a.seed, dims) ^ uint64(minute)*0x9e3779b97f4a7c15
	mask := uint64(len(a.slots) - 1)
	at := hash & mask
	for ; a.slots[at] != 0; at = (at + 1) & mask {
		g := &a.groups[a.slots[at]-1]
		if g.hash == hash && g.row.Minute == minute && bytes.Equal(a.arena[g.first:g.end], dims) {
			a.arena = a.arena[:first] // nothing new
			return int(a.slots[at] - 1)
		}
	}
	r := &b.Rows[i]
	a.groups = append(a.groups, group{hash: hash, first: first, end: len(a.arena), row: Row{Minute: minute, SrcApp: r.Src.App, DstApp: r.Dst.App}})
	a.slots[at] = uint32(len(a.groups))
	if len(a.groups)*4 > len(a.slots)*3 {
		a.grow()
	}
	return len(a.groups) - 1
}

func (a *Aggregator) grow() {
	a.slots = make([]uint32, 2*len(a.slots))
	mask := uint64(len(a.slots) - 1)
	for i := range a.groups {
		at := a.groups[i].hash & mask
		for a.slots[at] != 0 {
			at = (at + 1) & mask
		}
		a.slots[at] = uint32(i + 1)
	}
}

// Len is the number of rows that Drain would give, Bytes about how many bytes they take.
func (a *Aggregator) Len() int { return len(a.groups) }

// Bytes is about how many bytes the rows take that Drain would give.
func (a *Aggregator) Bytes() int { return len(a.arena) + len(a.groups)*measureBytes }

// measureBytes is what time and measures take in a row.
const measureBytes = 160

// Drain calls f for each rolled-up row, in the order in which the first raw row of each came, and empties a.
func (a *Aggregator) Drain(f func(*Row)) {
	for i := range a.groups {
		g := &a.groups[i]
		g.row.Dimensions = a.arena[g.first:g.end:g.end]
		f(&g.row)
	}
	if a.metrics != nil {
		a.metrics.drained(a.added, len(a.groups))
	}
	a.Reset()
}

// maxKept bounds the memory that an emptied Aggregator keeps: one burst must not be paid for ever.
const maxKept = 32 << 20

// Reset forgets everything that was added: the Writer rewinds.
func (a *Aggregator) Reset() {
	if cap(a.arena) > maxKept {
		a.arena, a.groups, a.slots, a.keys = nil, nil, make([]uint32, minSlots), keys{}
	}
	a.keys.clear()
	clear(a.slots)
	clear(a.groups)
	a.groups, a.arena, a.added = a.groups[:0], a.arena[:0], 0
}
