package kinesis

import (
	"errors"
	"math"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis/kpl"
	"dredge/consumer/kinesis/lease"
	"dredge/stream"
)

// What happens to a user record of an aggregate whose hash key lies outside the shard: values of Config.KPLOutOfRange. The
// Kinesis Producer Library puts records together by shard; after a reshard it sends those again that came into a wrong one.
const (
	// OutOfRangeKeep delivers it: nothing is lost, and what the producer sends again is there twice.
	OutOfRangeKeep = "keep"
	// OutOfRangeDropRecord leaves it out.
	OutOfRangeDropRecord = "drop_record"
	// OutOfRangeDropAggregate leaves out all records of its aggregate, as the Java Kinesis Client Library does.
	OutOfRangeDropAggregate = "drop_aggregate"
)

const (
	// wholeRecord is the sub-sequence number that says that all of an aggregated record is done with. It is the greatest that
	// Java workers use; seeing it, they go on with the next record.
	wholeRecord = math.MaxInt32
	// chunkPayloads bounds the payloads of one chunk: an aggregate may hold very many small records.
	chunkPayloads = 10_000
)

// expander turns Kinesis records into payloads: it takes aggregates of the Kinesis Producer Library apart, and leaves out what
// the position to start from covers. One goroutine uses it.
type expander struct {
	m   *metrics
	log zerolog.Logger
	// last is the place after what was expanded so far: everything up to it is done with, or under way.
	last lease.Checkpoint
	// skip is last while a read reaches back to before it, and zero otherwise: then nothing is compared.
	skip lease.Checkpoint
	// inShard is the shard's part of the key space; nil when it is not known, and then nothing is outside.
	inShard *kpl.Range
	policy  string

	splitter kpl.Splitter
	payloads []stream.Payload
	places   []byte
	warned   bool
}

func newExpander(w *Worker, l lease.Lease, from lease.Checkpoint, log zerolog.Logger) *expander {
	e := &expander{m: w.m, log: log, policy: w.cfg.KPLOutOfRange}
	if from.IsSequence() {
		e.last = from
	}
	if l.HashRange != nil {
		start, err1 := kpl.ParseHashKey(l.HashRange.Start)
		end, err2 := kpl.ParseHashKey(l.HashRange.End)
		if err := errors.Join(err1, err2); err != nil {
			log.Warn().Err(err).Msg("hash range in the lease is unreadable, no record counts as outside the shard")
		} else {
			e.inShard = &kpl.Range{Start: start, End: end}
		}
	}
	return e
}

// expand gives hand the payloads of records, at most chunkPayloads at once, with the place after them. It returns the place after
// all records, which may lie behind the last payload. The payloads are reused when hand has returned.
func (e *expander) expand(records []types.Record, hand func([]stream.Payload, lease.Checkpoint) error) (last lease.Checkpoint, err error) {
	e.skip = lease.Checkpoint{}
	if len(records) > 0 && (lease.Checkpoint{Sequence: aws.ToString(records[0].SequenceNumber)}).Compare(e.last) <= 0 {
		e.skip = e.last
	}
	for i := range records {
		rec := &records[i]
		at := lease.Checkpoint{Sequence: aws.ToString(rec.SequenceNumber)}
		if kpl.IsAggregated(rec.Data) {
			at, err = e.aggregate(rec, hand)
		} else {
			err = e.add(rec.Data, at, at.Position(), rec, hand)
		}
		if err != nil {
			return e.last, err
		}
		if e.skip.IsZero() || at.Compare(e.last) > 0 {
			e.last = at
		}
	}
	return e.last, e.flush(e.last, hand)
}

// add adds one payload, unless it is done with already, and hands over what is there when it is enough.
func (e *expander) add(data []byte, at lease.Checkpoint, p stream.Position, rec *types.Record, hand func([]stream.Payload, lease.Checkpoint) error) error {
	if !e.skip.IsZero() && at.Compare(e.skip) <= 0 {
		return nil
	}
	e.payloads = append(e.payloads, stream.Payload{Data: data, At: p, Arrived: aws.ToTime(rec.ApproximateArrivalTimestamp)})
	if len(e.payloads) < chunkPayloads {
		return nil
	}
	return e.flush(at, hand)
}

func (e *expander) flush(last lease.Checkpoint, hand func([]stream.Payload, lease.Checkpoint) error) error {
	if len(e.payloads) == 0 {
		return nil
	}
	err := hand(e.payloads, last)
	clear(e.payloads) // the data is not ours to keep
	e.payloads = e.payloads[:0]
	return err
}

// aggregate adds the user records of rec and returns the place after them. One that can't be taken apart is a payload itself.
func (e *expander) aggregate(rec *types.Record, hand func([]stream.Payload, lease.Checkpoint) error) (lease.Checkpoint, error) {
	at := lease.Checkpoint{Sequence: aws.ToString(rec.SequenceNumber)}
	records, err := e.splitter.Split(rec.Data)
	if err != nil {
		reason := kplChecksum
		if !errors.Is(err, kpl.ErrChecksum) {
			// A Java worker may have done a part of it. Read as a whole it comes again rather than being lost in part.
			reason, at.Sub = kplMalformed, wholeRecord
		}
		e.m.kplBroken[reason].Inc()
		if !e.warned {
			e.warned = true
			e.log.Warn().Err(err).Str("sequence_number", at.Sequence).Msg("record looks aggregated and can't be taken apart, passed on whole; further ones of this shard are only counted")
		}
		return at, e.add(rec.Data, at, at.Position(), rec, hand)
	}
	e.m.aggregated.Inc()
	e.m.userRecords.Add(float64(len(records)))
	outside := e.outside(records)
	if outside > 0 && e.policy == OutOfRangeDropAggregate {
		e.m.outOfRange[outOfRangeDropped].Add(float64(len(records)))
		at.Sub = wholeRecord
		return at, nil
	}
	dropped := 0
	for i := range records {
		if outside > 0 && e.policy == OutOfRangeDropRecord && !e.belongs(&records[i]) {
			dropped++
			continue
		}
		at.Sub = int64(i)
		if err := e.add(records[i].Data, at, e.place(at), rec, hand); err != nil {
			return at, err
		}
	}
	e.m.outOfRange[outOfRangeDropped].Add(float64(dropped))
	e.m.outOfRange[outOfRangeKept].Add(float64(outside - dropped))
	at.Sub = max(0, int64(len(records)-1))
	return at, nil
}

// outside counts the user records that belong to another shard. One whose hash key is unreadable belongs nowhere else.
func (e *expander) outside(records []kpl.UserRecord) int {
	n := 0
	for i := range records {
		if !e.belongs(&records[i]) {
			n++
		}
	}
	return n
}

func (e *expander) belongs(r *kpl.UserRecord) bool {
	if e.inShard == nil {
		return true
	}
	k, err := r.HashKey()
	return err != nil || e.inShard.Contains(k)
}

// place is at.Position() with one allocation.
func (e *expander) place(at lease.Checkpoint) stream.Position {
	if at.Sub == 0 {
		return stream.Position(at.Sequence)
	}
	e.places = append(append(e.places[:0], at.Sequence...), ':')
	return stream.Position(strconv.AppendInt(e.places, at.Sub, 10))
}
