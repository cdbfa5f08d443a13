package s3

import "time"

// openBins is how many mouthfuls of one group are filled at once. A file goes into the fullest that has room for it, so that
// files of uneven size still fill them well.
const openBins = 8

// spare is the share of a mouthful that may stay empty: one with less room is full.
const spare = 0.02

// entry is a file that waits, and the notifications that announced it.
type entry struct {
	object   Object
	messages []*held
}

// bin is a mouthful in the making.
type bin struct {
	group   string
	entries []*entry
	bytes   int64
	since   time.Time // of its first file
}

// packer fills bins. Not safe for concurrent use.
type packer struct {
	maxBytes int64
	maxFiles int
	groups   map[string][]*bin
}

func newPacker(c GatherConfig) *packer {
	return &packer{maxBytes: c.MaxBytes, maxFiles: c.MaxFiles, groups: map[string][]*bin{}}
}

// add puts e away and returns the bins that have to go now.
func (p *packer) add(group string, e *entry, now time.Time) []*bin {
	size := e.object.Size
	if size > p.maxBytes {
		return []*bin{{group: group, entries: []*entry{e}, bytes: size, since: now}} // too large for company
	}
	bins := p.groups[group]
	var best *bin
	for _, b := range bins {
		if b.bytes+size <= p.maxBytes && (best == nil || b.bytes > best.bytes) {
			best = b
		}
	}
	var out []*bin
	if best == nil {
		if len(bins) == openBins {
			full := fullest(bins)
			p.remove(full)
			out = append(out, full)
		}
		best = &bin{group: group, since: now}
		p.groups[group] = append(p.groups[group], best)
	}
	best.entries = append(best.entries, e)
	best.bytes += size
	if len(best.entries) >= p.maxFiles || float64(best.bytes) > (1-spare)*float64(p.maxBytes) {
		p.remove(best)
		out = append(out, best)
	}
	return out
}

func fullest(bins []*bin) *bin {
	var best *bin
	for _, b := range bins {
		if best == nil || b.bytes > best.bytes {
			best = b
		}
	}
	return best
}

func (p *packer) remove(b *bin) {
	bins := p.groups[b.group]
	for i := range bins {
		if bins[i] == b {
			bins[i] = bins[len(bins)-1]
			bins = bins[:len(bins)-1]
			break
		}
	}
	if len(bins) == 0 {
		delete(p.groups, b.group)
		return
	}
	p.groups[b.group] = bins
}

// due takes out the bins whose first file came before t.
func (p *packer) due(t time.Time) []*bin {
	var out []*bin
	for _, bins := range p.groups {
		for _, b := range bins {
			if b.since.Before(t) {
				out = append(out, b)
			}
		}
	}
	for _, b := range out {
		p.remove(b)
	}
	return out
}

// largest takes out the bin with the most files, to make room; nil when there is none.
func (p *packer) largest() *bin {
	var best *bin
	for _, bins := range p.groups {
		for _, b := range bins {
			if best == nil || len(b.entries) > len(best.entries) {
				best = b
			}
		}
	}
	if best != nil {
		p.remove(best)
	}
	return best
}
