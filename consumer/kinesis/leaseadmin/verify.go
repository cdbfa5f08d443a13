package leaseadmin

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	consumer "dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
)

// Kind is a sort of fault in a lease table.
type Kind string

// The kinds of finding.
const (
	// KindHole is a range of hash keys that no unfinished lease covers: records with these keys are not read.
	KindHole Kind = "hole"
	// KindUncovered is a shard that no lease covers: it is not read.
	KindUncovered Kind = "uncovered"
	// KindOrphan is an unfinished lease whose shard the stream does not list: its records are gone by retention, or the table
	// belongs to another stream.
	KindOrphan Kind = "orphan"
	// KindUntaken is a lease that had no owner during the whole watch, although its parents are finished.
	KindUntaken Kind = "untaken"
	// KindSilent is a lease that its owner did not renew during the whole watch and that nobody took.
	KindSilent Kind = "silent"
	// KindHandOff is a hand-off that lasted for the whole watch.
	KindHandOff Kind = "hand-off"
	// KindMalformed is a row that should be a lease and cannot be read.
	KindMalformed Kind = "malformed"
	// KindHash is a lease whose hash range cannot be read.
	KindHash Kind = "hash-range"
)

// Finding is one fault.
type Finding struct {
	Kind Kind `json:"kind"`
	// Stream is account:stream:epoch in multi-stream mode.
	Stream string `json:"stream,omitempty"`
	// Shard is the lease key or, without a lease, the shard id; empty for faults of the whole table.
	Shard  string `json:"shard,omitempty"`
	Detail string `json:"detail"`
}

// Verify looks for faults in a table that was watched, best for a failover time. shards are what the streams list, by StreamOf
// ("" in single-stream mode); for a stream without an entry only what the table itself tells is checked.
//
// What only one of the two readings shows is no fault: during a reshard the picture differs from one look to the next.
func Verify(s Survey, shards map[string][]types.Shard) []Finding {
	var out []Finding
	if n := min(s.Malformed, s.first.Malformed); n > 0 {
		out = append(out, Finding{Kind: KindMalformed, Detail: fmt.Sprintf("%d rows should be leases and cannot be read; workers leave them alone", n)})
	}
	streams := map[string]bool{}
	for name := range shards {
		streams[name] = true
	}
	for _, l := range s.Leases {
		streams[StreamOf(l.Lease)] = true
	}
	if len(streams) == 0 {
		streams[""] = true // an empty table is a fault of its own
	}
	names := make([]string, 0, len(streams))
	for name := range streams {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v := verifier{stream: name, survey: s, now: ofStream(s.All(), name), before: ofStream(s.first.Leases, name)}
		v.shards, v.listed = shards[name]
		out = append(out, v.findings()...)
	}
	return out
}

func ofStream(leases []lease.Lease, stream string) []lease.Lease {
	return slices.DeleteFunc(slices.Clone(leases), func(l lease.Lease) bool { return StreamOf(l) != stream })
}

type verifier struct {
	stream      string
	survey      Survey
	now, before []lease.Lease
	shards      []types.Shard
	listed      bool
	out         []Finding
}

func (v *verifier) add(k Kind, shard, format string, args ...any) {
	v.out = append(v.out, Finding{Kind: k, Stream: v.stream, Shard: shard, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) findings() []Finding {
	v.holes()
	v.uncovered()
	known := map[string]bool{}
	for _, s := range v.shards {
		known[aws.ToString(s.ShardId)] = true
	}
	rows := map[string]lease.Lease{}
	for _, l := range v.now {
		rows[l.Shard()] = l
	}
	for _, l := range v.survey.Leases {
		if StreamOf(l.Lease) != v.stream || l.State == Ended {
			continue
		}
		if v.listed && !known[l.Shard()] {
			v.add(KindOrphan, l.Key, "the stream lists no such shard, checkpoint %s: its records are past retention, or this table belongs to another stream", l.Checkpoint)
		}
		v.stuck(l, rows)
	}
	return v.out
}

// stuck reports what did not move for the whole watch although a live fleet would have moved it.
func (v *verifier) stuck(l Status, rows map[string]lease.Lease) {
	if v.survey.Watched == 0 || l.Changed || !unchanged(l.Lease, v.before) {
		return
	}
	switch l.State {
	case Silent:
		v.add(KindSilent, l.Key, "%q did not renew it for %s and nobody took it: is any worker running, and is failover_time longer than the watch?", l.Owner, v.survey.Watched)
	case HandOff:
		v.add(KindHandOff, l.Key, "from %q to %q, not finished in %s: the old owner does not renew; release it if it does not end", l.CheckpointOwner, l.Owner, v.survey.Watched)
	case Free:
		for _, p := range l.Parents {
			if row, ok := rows[p]; ok && !row.Checkpoint.IsShardEnd() {
				return // it waits for its parents, which is right
			}
		}
		v.add(KindUntaken, l.Key, "nobody took it for %s: is any worker running, below its max_leases?", v.survey.Watched)
	case Ended, Renewed, Owned:
	}
}

func unchanged(l lease.Lease, before []lease.Lease) bool {
	return slices.ContainsFunc(before, func(b lease.Lease) bool {
		return b.Key == l.Key && b.Owner == l.Owner && b.CheckpointOwner == l.CheckpointOwner
	})
}

func (v *verifier) uncovered() {
	if !v.listed {
		return
	}
	missing, err := consumer.Uncovered(v.shards, v.now)
	if err != nil {
		v.add(KindUncovered, "", "%v", err)
		return
	}
	if v.survey.Watched > 0 {
		earlier, err := consumer.Uncovered(v.shards, v.before)
		if err != nil {
			return
		}
		missing = slices.DeleteFunc(missing, func(s types.Shard) bool {
			return !slices.ContainsFunc(earlier, func(e types.Shard) bool { return aws.ToString(e.ShardId) == aws.ToString(s.ShardId) })
		})
	}
	for _, s := range missing {
		v.add(KindUncovered, aws.ToString(s.ShardId), "no lease covers this shard: it is not read; workers make a lease at TRIM_HORIZON when they find it so three times")
	}
}

// holes checks that the hash ranges of the unfinished leases leave out no hash key. That they overlap is no fault: children
// that wait for their parents have leases too.
func (v *verifier) holes() {
	for _, l := range v.now {
		if _, _, ok := span(l); l.HashRange != nil && !ok {
			v.add(KindHash, l.Key, "hash range %q to %q is not a range of 128-bit numbers", l.HashRange.Start, l.HashRange.End)
		}
	}
	if len(v.now) == 0 {
		if !v.listed || len(v.shards) > 0 {
			v.add(KindHole, "", "the table holds no lease: nothing is read until a worker has filled it")
		}
		return
	}
	now, ok := gaps(v.now)
	if !ok {
		return // rows of KCL 1.x have no ranges; the list of shards tells what is uncovered
	}
	before, ok := gaps(v.before)
	for _, g := range now {
		if v.survey.Watched > 0 && (!ok || !slices.Contains(before, g)) {
			continue
		}
		v.add(KindHole, "", "no unfinished lease covers the hash keys %s: records with them are not read", g)
	}
}

// gaps returns the ranges of hash keys that no unfinished lease covers, as "from to to". ok is false when some lease has no
// hash range.
func gaps(leases []lease.Lease) (out []string, ok bool) {
	type hashes struct{ from, to *big.Int }
	var spans []hashes
	for _, l := range leases {
		if l.Checkpoint.IsShardEnd() {
			continue
		}
		from, to, ok := span(l)
		if !ok {
			return nil, false
		}
		spans = append(spans, hashes{from, to})
	}
	slices.SortFunc(spans, func(a, b hashes) int { return a.from.Cmp(b.from) })
	next, one := new(big.Int), big.NewInt(1)
	end := new(big.Int).Lsh(one, 128)
	gap := func(to *big.Int) {
		if next.Cmp(to) < 0 {
			out = append(out, strings.Join([]string{next.String(), new(big.Int).Sub(to, one).String()}, " to "))
		}
	}
	for _, s := range spans {
		gap(s.from)
		if after := new(big.Int).Add(s.to, one); after.Cmp(next) > 0 {
			next = after
		}
	}
	gap(end)
	return out, true
}

// span returns the inclusive hash range of l.
func span(l lease.Lease) (from, to *big.Int, ok bool) {
	if l.HashRange == nil {
		return nil, nil, false
	}
	from, ok1 := new(big.Int).SetString(l.HashRange.Start, 10)
	to, ok2 := new(big.Int).SetString(l.HashRange.End, 10)
	if !ok1 || !ok2 || from.Sign() < 0 || from.Cmp(to) > 0 || to.BitLen() > 128 {
		return nil, nil, false
	}
	return from, to, true
}
