package kinesis

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis/lease"
	"dredge/stream"
)

const (
	// readLimit is the most records that one GetRecords may return.
	readLimit = 10_000
	// reserve is taken from the byte budget before each read: an answer holds at most 10 MB of data, which the wire form and its
	// decoding more than double for a moment.
	reserve = 25 << 20
	// readTimeout bounds one GetRecords or GetShardIterator.
	readTimeout = 30 * time.Second
	// behindPace is the time between reads of a shard that is behind: all that Kinesis allows.
	behindPace = time.Second / kinesisReadLimit
	// goneRounds is how many lists of shards in a row must lack a shard before it is believed to be gone.
	goneRounds = 3
)

// read is what one turn of a reader yields.
type read struct {
	payloads []stream.Payload
	last     lease.Checkpoint // of the last payload
	behind   time.Duration
	held     int64 // bytes of budget to give back when the payloads are done with
	records  int
	bytes    int64
	// end says that the shard has no more, and that children follow it.
	end      bool
	children []shardInfo
}

// pollReader reads one shard by GetRecords. It hides iterators, throttling and faults that pass.
type pollReader struct {
	w     *Worker
	src   *source
	shard string
	log   zerolog.Logger

	// from is where to open: everything up to it is done with. It follows what was read.
	from      lease.Checkpoint
	startedAt time.Time // for LATEST: where that was when it was first asked for
	fetched   string    // last sequence number read since the reader was made
	iterator  string
	null      bool // the last answer had neither a next iterator nor children
	notBefore time.Time
	waiting   backoff
}

func (w *Worker) newPollReader(src *source, l lease.Lease, from lease.Checkpoint, log zerolog.Logger) *pollReader {
	return &pollReader{
		w: w, src: src, shard: l.Shard(), log: log, from: from, startedAt: l.StartedAt,
		waiting: backoff{min: 250 * time.Millisecond, max: 5 * time.Second},
	}
}

// next returns the next read, which may be empty. It returns an error only when ctx ends, and then its cause: everything else it
// tries again.
func (r *pollReader) next(ctx context.Context) (read, error) {
	for {
		if err := sleep(ctx, time.Until(r.notBefore)); err != nil {
			return read{}, err
		}
		if r.null {
			rd, err := r.confirmEnd(ctx)
			if err != nil || rd.end {
				return rd, err
			}
			continue
		}
		rd, err := r.once(ctx)
		if err == nil {
			r.waiting.reset()
			return rd, nil
		}
		if ctx.Err() != nil {
			return read{}, context.Cause(ctx)
		}
		gone := r.fault(err)
		if !gone {
			continue
		}
		if rd, err := r.confirmGone(ctx); err != nil || rd.end {
			return rd, err
		}
	}
}

// once makes one read, with room in the budget for the largest answer.
func (r *pollReader) once(ctx context.Context) (read, error) {
	if r.iterator == "" {
		if err := r.open(ctx); err != nil {
			return read{}, err
		}
	}
	if err := r.w.budget.Acquire(ctx, reserve); err != nil {
		return read{}, err
	}
	out, err := r.getRecords(ctx)
	if err != nil {
		r.w.budget.Release(reserve)
		return read{}, err
	}
	rd := r.take(out)
	rd.held = min(rd.bytes+rd.bytes/3, reserve) // the data lies in the base64 that it came in
	r.w.budget.Release(reserve - rd.held)
	return rd, nil
}

func (r *pollReader) getRecords(ctx context.Context) (*kinesis.GetRecordsOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	in := &kinesis.GetRecordsInput{ShardIterator: &r.iterator, Limit: aws.Int32(readLimit), StreamARN: r.src.streamARN()}
	return r.src.api.GetRecords(ctx, in)
}

// take makes a read of an answer and sets the pace of the next.
func (r *pollReader) take(out *kinesis.GetRecordsOutput) read {
	rd := read{behind: time.Duration(aws.ToInt64(out.MillisBehindLatest)) * time.Millisecond, records: len(out.Records)}
	for _, rec := range out.Records {
		rd.bytes += int64(len(rec.Data))
	}
	rd.payloads = r.expandRecords(out.Records)
	if n := len(out.Records); n > 0 {
		r.fetched = aws.ToString(out.Records[n-1].SequenceNumber)
		rd.last = lease.Later(r.from, placeOf(out.Records[n-1]))
		r.from = rd.last
	}
	m := r.w.m
	m.reads.Inc()
	m.records.Add(float64(rd.records))
	m.bytes.Add(float64(rd.bytes))

	switch r.iterator = aws.ToString(out.NextShardIterator); {
	case r.iterator != "":
	case len(out.ChildShards) > 0:
		rd.end = true
		for _, c := range out.ChildShards {
			rd.children = append(rd.children, newChildInfo(c))
		}
	default:
		r.null = true
	}
	r.notBefore = time.Now().Add(r.pace(rd))
	return rd
}

// pace is the time to the next read: as fast as Kinesis allows while behind, else what the configuration asks for.
func (r *pollReader) pace(rd read) time.Duration {
	switch {
	case r.null:
		return 0
	case rd.behind > 0 || rd.records == readLimit:
		return behindPace
	}
	d := time.Duration(float64(time.Second) / r.w.cfg.ReadsPerSecond)
	if rd.records == 0 {
		d = max(d, r.w.cfg.IdleWait)
	}
	return d
}

// expandRecords turns Kinesis records into payloads and leaves out those that the position to start from covers. Records
// that the Kinesis Producer Library has put together are counted and passed on whole.
func (r *pollReader) expandRecords(records []types.Record) []stream.Payload {
	out := make([]stream.Payload, 0, len(records))
	aggregated := 0
	for _, rec := range records {
		at := placeOf(rec)
		if r.from.IsSequence() && at.Compare(r.from) <= 0 {
			continue
		}
		if at.Sub == wholeRecord {
			aggregated++
		}
		out = append(out, stream.Payload{Data: rec.Data, At: at.Position(), Arrived: aws.ToTime(rec.ApproximateArrivalTimestamp)})
	}
	if aggregated > 0 {
		r.w.m.aggregated.Add(float64(aggregated))
	}
	return out
}

// wholeRecord is the sub-sequence number that says that all of an aggregated record is done with. It is the greatest that Java workers
// use; seeing it, they go on with the next record.
const wholeRecord = math.MaxInt32

// placeOf is the position of a record that is passed on whole. So an aggregated one of which a Java worker did a part is read again
// as a whole, rather than lost in part.
func placeOf(rec types.Record) lease.Checkpoint {
	c := lease.Checkpoint{Sequence: aws.ToString(rec.SequenceNumber)}
	if isAggregated(rec.Data) {
		c.Sub = wholeRecord
	}
	return c
}

// isAggregated looks for the four bytes that begin a KPL record; its body is followed by a checksum of 16.
func isAggregated(data []byte) bool {
	return len(data) > 20 && data[0] == 0xF3 && data[1] == 0x89 && data[2] == 0x9A && data[3] == 0xC2
}

// open asks for an iterator: after the last record read, or at the place to start from.
func (r *pollReader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	name, arn := r.src.ref()
	in := &kinesis.GetShardIteratorInput{StreamName: name, StreamARN: arn, ShardId: &r.shard}
	switch {
	case r.fetched != "":
		in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, &r.fetched
	case r.from.IsSequence():
		// AT, not AFTER: of an aggregated record only a part may be done with.
		in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAtSequenceNumber, &r.from.Sequence
	case r.from.Sequence == lease.Latest && !r.startedAt.IsZero():
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, &r.startedAt
	case r.from.Sequence == lease.Latest:
		// A row of another worker. From now on LATEST means this moment, or a new iterator would skip what came between.
		in.ShardIteratorType = types.ShardIteratorTypeLatest
		defer func(now time.Time) {
			if r.iterator != "" {
				r.startedAt = now
			}
		}(time.Now())
	case r.from.Sequence == lease.AtTimestamp:
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, r.src.initialTimestamp()
	default:
		in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	}
	out, err := r.src.api.GetShardIterator(ctx, in)
	if err != nil {
		if in.StartingSequenceNumber != nil && faultOf(err) == faultArgument {
			return errors.Join(errTrimmed, err)
		}
		return err
	}
	if r.iterator = aws.ToString(out.ShardIterator); r.iterator == "" {
		r.null = true // a closed shard that has nothing after the position
		return errNoIterator
	}
	return nil
}

var (
	errTrimmed    = errors.New("the stream does not keep this position any more")
	errNoIterator = errors.New("no iterator was given")
)

// fault prepares for another try after err. It says whether the shard, or the stream, seems to be gone.
func (r *pollReader) fault(err error) (gone bool) {
	m := r.w.m
	pause := time.Duration(0)
	switch class := faultOf(err); {
	case errors.Is(err, errNoIterator):
	case errors.Is(err, errTrimmed):
		m.trimmed.Inc()
		r.log.Error().Err(err).Str("position", r.from.String()).Msg("position is older than the stream's retention: records are lost, reading on at TRIM_HORIZON")
		r.from, r.fetched = lease.Checkpoint{Sequence: lease.TrimHorizon}, ""
	case class == faultExpired:
		m.iterators.Inc()
		r.iterator = ""
	case class == faultThrottled:
		m.throttled.Inc()
		pause = r.waiting.next()
	default:
		m.readErrors.Inc()
		pause = r.waiting.next()
		r.log.Warn().Err(err).Str("fault", string(class)).Dur("retry_in", pause).Msg("shard not read, trying again")
		if gone = class == faultGone; gone || class == faultArgument {
			r.iterator = ""
		}
	}
	r.notBefore = time.Now().Add(pause)
	return gone
}

// confirmEnd decides what a null iterator without children means, which is not in itself the end of the shard: the list of shards
// knows the children, or the shard is read on.
func (r *pollReader) confirmEnd(ctx context.Context) (read, error) {
	shards, err := r.src.listShards(ctx, nil)
	if err == nil {
		if children := childrenOf(shards, r.shard); len(children) > 0 {
			return read{end: true, children: children}, nil
		}
		if !listed(shards, r.shard) {
			return r.confirmGone(ctx)
		}
		r.w.m.iterators.Inc()
		r.null, r.iterator = false, ""
	} else if ctx.Err() == nil {
		r.w.m.readErrors.Inc()
		r.log.Warn().Err(err).Msg("end of the shard not confirmed, trying again")
	}
	r.notBefore = time.Now().Add(r.waiting.next())
	if ctx.Err() != nil {
		return read{}, context.Cause(ctx)
	}
	return read{}, nil
}

// confirmGone decides whether a shard that could not be found is gone for good: several complete lists in a row must lack it. A
// stream that can't be listed at all proves nothing.
func (r *pollReader) confirmGone(ctx context.Context) (read, error) {
	for range goneRounds {
		shards, err := r.src.listShards(ctx, nil)
		if err != nil || listed(shards, r.shard) || len(shards) == 0 {
			if ctx.Err() != nil {
				return read{}, context.Cause(ctx)
			}
			r.notBefore = time.Now().Add(r.waiting.next())
			return read{}, nil
		}
		if err := sleep(ctx, r.waiting.next()); err != nil {
			return read{}, err
		}
		r.null = false
		if rd := (read{end: true, children: childrenOf(shards, r.shard)}); len(rd.children) > 0 {
			r.lostShard()
			return rd, nil
		}
	}
	r.lostShard()
	return read{end: true}, nil
}

func (r *pollReader) lostShard() {
	r.w.m.trimmed.Inc()
	r.log.Error().Str("position", r.from.String()).Msg("shard is older than the stream's retention: what was not read of it is lost")
}
