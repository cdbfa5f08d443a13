package kinesis

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/internal/retry"
)

const (
	// readLimit is the most records that one GetRecords may return.
	readLimit = 10_000
	// reserve is taken from the byte budget before each read: an answer holds at most 10 MB of data, which the wire form and its
	// decoding more than double for a moment.
	reserve = 25 << 20
	// readTimeout bounds one GetRecords or GetShardIterator.
	readTimeout = 30 * time.Second
	// readRate is how many bytes a second Kinesis gives one shard's polling readers.
	readRate = 2 << 20
	// widest is the greatest time between reads that throttling leads to.
	widest = 2 * time.Second
)

// pollReader reads one shard by GetRecords. It reads ahead by one read of what is handled.
type pollReader struct {
	cursor
	iterator string
	null     bool // the last answer had neither a next iterator nor children
	// gap is the least time between two reads. It remembers throttling, which tells of other readers of the shard.
	gap time.Duration
	// paid is when the bytes read so far are paid for, at readRate.
	paid time.Time
}

func newPollReader(cur cursor) *pollReader {
	return &pollReader{cursor: cur, gap: time.Second / kinesisReadLimit}
}

// run implements reader.
func (r *pollReader) run(ctx context.Context, to *inbox, dog *watchdog) error {
	r.iterator = ""
	for {
		rd, err := r.next(ctx, dog)
		if err != nil {
			return err
		}
		dog.got()
		to.put(rd)
		if rd.end {
			return nil
		}
		if err := to.awaitRoom(ctx, 0, 0); err != nil {
			return err
		}
	}
}

// next returns the next read, which may be empty. It returns an error only when ctx ends, and then its cause: everything else it
// tries again.
func (r *pollReader) next(ctx context.Context, dog *watchdog) (read, error) {
	for {
		if err := retry.Sleep(ctx, time.Until(r.notBefore)); err != nil {
			return read{}, err
		}
		dog.want()
		if r.null {
			rd, err := r.confirmEnd(ctx)
			if err != nil || rd.end {
				return rd, err
			}
			r.null, r.iterator = false, ""
			continue
		}
		rd, err := r.once(ctx, dog)
		if err == nil {
			r.waiting.Reset()
			return rd, nil
		}
		if ctx.Err() != nil {
			return read{}, context.Cause(ctx)
		}
		if errors.Is(err, errNoIterator) {
			continue
		}
		switch r.fault(err) {
		case faultThrottled:
			r.gap = min(r.gap*5/4, widest)
		case faultGone:
			r.iterator = ""
			if rd, err := r.confirmGone(ctx); err != nil || rd.end {
				return rd, err
			}
		case faultExpired, faultArgument, faultTrimmed:
			r.iterator = ""
		case faultOther:
		}
	}
}

// once makes one read, with room in the budget for the largest answer.
func (r *pollReader) once(ctx context.Context, dog *watchdog) (read, error) {
	if r.iterator == "" {
		if err := r.open(ctx); err != nil {
			return read{}, err
		}
	}
	dog.pause()
	if err := r.w.budget.Acquire(ctx, reserve); err != nil {
		return read{}, err
	}
	dog.want()
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
	rd := read{behind: time.Duration(aws.ToInt64(out.MillisBehindLatest)) * time.Millisecond, records: out.Records}
	r.count(&rd)
	r.w.m.reads.Inc()
	if n := len(out.Records); n > 0 {
		r.fetched = aws.ToString(out.Records[n-1].SequenceNumber)
	}
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
	r.pace(time.Now(), &rd)
	return rd
}

// pace sets when to read again: while behind as fast as Kinesis allows and throttling has taught, else as the configuration
// asks for.
func (r *pollReader) pace(now time.Time, rd *read) {
	// Nothing is owed for a second's worth of bytes; a full answer of 10 MB takes 4 seconds more.
	if from := now.Add(-time.Second); r.paid.Before(from) {
		r.paid = from
	}
	r.paid = r.paid.Add(time.Duration(rd.bytes) * time.Second / readRate)
	r.gap = max(r.gap-r.gap/100, time.Second/kinesisReadLimit)

	d := r.gap
	if rd.behind == 0 && len(rd.records) < readLimit {
		d = max(d, time.Duration(float64(time.Second)/r.w.cfg.ReadsPerSecond))
		if len(rd.records) == 0 {
			d = max(d, r.w.cfg.IdleWait)
		}
	}
	if r.null {
		d = 0
	}
	r.notBefore = now.Add(d)
	if r.paid.After(r.notBefore) {
		r.notBefore = r.paid
	}
}

var errNoIterator = errors.New("no iterator was given")

// open asks for an iterator.
func (r *pollReader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	name, arn := r.src.ref()
	at, asked := r.start(), time.Now()
	out, err := r.src.api.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: name, StreamARN: arn, ShardId: &r.shard,
		ShardIteratorType: at.Type, StartingSequenceNumber: at.SequenceNumber, Timestamp: at.Timestamp,
	})
	if err != nil {
		return refused(at, err)
	}
	if r.iterator = aws.ToString(out.ShardIterator); r.iterator == "" {
		r.null = true // a closed shard that has nothing after the position
		return errNoIterator
	}
	r.opened(at, asked)
	return nil
}
