package kinesis

import (
	"math/big"
	"slices"

	"dredge/consumer/kinesis/lease"
)

// audit compares the hash ranges of unfinished leases with the whole key space: KCL's check that no key goes unread. The list of shards tells
// which rows are missing and has them made; this finds also what that list cannot know, and is an alarm only.
type audit struct {
	holes []lease.HashRange
	seen  int // audits in a row with these holes
}

// round takes in the leases of one stream and returns the holes that were there several times in a row: while a stream is resharded they come and
// go.
func (a *audit) round(leases []lease.Lease) []lease.HashRange {
	holes := hashHoles(leases)
	if !slices.Equal(holes, a.holes) {
		a.holes, a.seen = holes, 0
	}
	a.seen++
	if a.seen < holeRounds {
		return nil
	}
	return holes
}

// hashHoles returns the parts of the key space that no unfinished lease covers. Ranges may overlap, as those of parents and children do while one
// is read. A row without a range hides holes, so with one there is no finding.
func hashHoles(leases []lease.Lease) []lease.HashRange {
	type span struct{ from, to *big.Int }
	var spans []span
	for _, l := range leases {
		if l.Checkpoint.IsShardEnd() {
			continue
		}
		if l.HashRange == nil {
			return nil
		}
		from, ok1 := new(big.Int).SetString(l.HashRange.Start, 10)
		to, ok2 := new(big.Int).SetString(l.HashRange.End, 10)
		if !ok1 || !ok2 {
			return nil
		}
		spans = append(spans, span{from, to})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Cmp(b.from) })
	one := big.NewInt(1)
	next, top := new(big.Int), new(big.Int).Lsh(one, 128)
	var holes []lease.HashRange
	hole := func(end *big.Int) { // from next up to, not including, end
		if next.Cmp(end) < 0 {
			holes = append(holes, lease.HashRange{Start: next.String(), End: new(big.Int).Sub(end, one).String()})
		}
	}
	for _, s := range spans {
		hole(s.from)
		if after := new(big.Int).Add(s.to, one); after.Cmp(next) > 0 {
			next = after
		}
	}
	hole(top)
	return holes
}
