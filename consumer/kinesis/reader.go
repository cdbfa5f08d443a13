package kinesis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
)

// Readers: values of Config.Reader.
const (
	// ReaderPolling reads by GetRecords. All polling applications of a stream share each shard's 5 calls and 2 MB a second.
	ReaderPolling = "polling"
	// ReaderFanOut reads by SubscribeToShard: 2 MB a second and shard of this application's own, at a price.
	ReaderFanOut = "fan_out"
)

// goneRounds is how many lists of shards in a row must lack a shard before it is believed to be gone.
const goneRounds = 3

// errStalled is the cause by which the watchdog ends a reader.
var errStalled = errors.New("the shard could not be read for the stall timeout")

// reader reads one shard, from where it was made to start, into an inbox. It hides iterators and subscriptions, throttling and
// faults that pass.
type reader interface {
	// run returns nil after it has put the shard's end, and otherwise when ctx ends, its cause. After an errStalled it may
	// be called again and goes on behind what it put.
	run(ctx context.Context, to *inbox, dog *watchdog) error
}

// read is what one turn of a reader yields.
type read struct {
	records []types.Record
	behind  time.Duration
	bytes   int64 // of data
	held    int64 // bytes of budget to give back when the records are done with
	// end says that the shard has no more, and that children follow it.
	end      bool
	children []shardInfo
}

// inbox holds what was read of a shard until it can be handled; what comes meanwhile is joined to it. It has one reader and one
// handler.
type inbox struct {
	mu      sync.Mutex
	pending *read
	// filled and taken have an element after a put and a take.
	filled, taken chan struct{}
}

func newInbox() *inbox { return &inbox{filled: make(chan struct{}, 1), taken: make(chan struct{}, 1)} }

// put adds rd. It never waits: how much may lie here is the reader's to decide.
func (b *inbox) put(rd read) {
	b.mu.Lock()
	if p := b.pending; p == nil {
		b.pending = &rd
	} else {
		p.records = append(p.records, rd.records...)
		p.behind, p.bytes, p.held = rd.behind, p.bytes+rd.bytes, p.held+rd.held
		p.end, p.children = rd.end, rd.children
	}
	b.mu.Unlock()
	kick(b.filled)
}

// take waits for a read, which then is the caller's, held bytes included.
func (b *inbox) take(ctx context.Context) (read, error) {
	for {
		b.mu.Lock()
		p := b.pending
		b.pending = nil
		b.mu.Unlock()
		if p != nil {
			kick(b.taken)
			return *p, nil
		}
		select {
		case <-b.filled:
		case <-ctx.Done():
			return read{}, context.Cause(ctx)
		}
	}
}

// awaitRoom waits until fewer than so many bytes and records lie here; awaitRoom(ctx, 0, 0) until nothing does.
func (b *inbox) awaitRoom(ctx context.Context, bytes int64, records int) error {
	for {
		b.mu.Lock()
		room := b.pending == nil || b.pending.bytes < bytes && len(b.pending.records) < records
		b.mu.Unlock()
		if room {
			return context.Cause(ctx)
		}
		select {
		case <-b.taken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// drop empties the inbox and returns the bytes that it held.
func (b *inbox) drop() (held int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending != nil {
		held = b.pending.held
	}
	b.pending = nil
	return held
}

// watchdog ends a reader that wanted to read and could not for too long. Time in which no read is wanted (the pace, no room in
// memory) does not count. One goroutine uses it.
type watchdog struct {
	limit, spent time.Duration
	since        time.Time // zero while no read is wanted
	timer        *time.Timer
}

func newWatchdog(limit time.Duration, bark func()) *watchdog {
	d := &watchdog{limit: limit, timer: time.AfterFunc(limit, bark)}
	d.timer.Stop()
	return d
}

// want says that a read is wanted from now on.
func (d *watchdog) want() {
	if d.since.IsZero() {
		d.since = time.Now()
		d.timer.Reset(d.limit - d.spent)
	}
}

// pause says that no read is wanted for now, though none was made.
func (d *watchdog) pause() {
	if !d.since.IsZero() {
		d.spent += time.Since(d.since)
		d.since = time.Time{}
		d.timer.Stop()
	}
}

// got says that the shard was read.
func (d *watchdog) got() {
	d.timer.Stop()
	d.spent, d.since = 0, time.Time{}
}

// cursor is where a reader stands in its shard, and what both kinds of reader do about faults.
type cursor struct {
	w     *Worker
	src   *source
	shard string
	log   zerolog.Logger

	// from is where the reader was made to start: everything up to it is done with.
	from      lease.Checkpoint
	startedAt time.Time // for LATEST: where that was when it was first asked for
	fetched   string    // the last sequence number that was put since, or what Kinesis gave to go on from
	notBefore time.Time
	waiting   retry.Backoff
}

func (w *Worker) newCursor(src *source, l lease.Lease, from lease.Checkpoint, log zerolog.Logger) cursor {
	return cursor{
		w: w, src: src, shard: l.Shard(), log: log, from: from, startedAt: l.StartedAt,
		waiting: retry.Backoff{Min: 250 * time.Millisecond, Max: 5 * time.Second},
	}
}

// start is the place to ask for: after what was read, or where the reader was made to start.
func (c *cursor) start() types.StartingPosition {
	switch {
	case c.fetched != "":
		return types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: &c.fetched}
	case c.from.IsSequence():
		// AT, not AFTER: of an aggregated record only a part may be done with.
		return types.StartingPosition{Type: types.ShardIteratorTypeAtSequenceNumber, SequenceNumber: &c.from.Sequence}
	case c.from.Sequence == lease.Latest && !c.startedAt.IsZero():
		return types.StartingPosition{Type: types.ShardIteratorTypeAtTimestamp, Timestamp: &c.startedAt}
	case c.from.Sequence == lease.Latest:
		return types.StartingPosition{Type: types.ShardIteratorTypeLatest}
	case c.from.Sequence == lease.AtTimestamp:
		return types.StartingPosition{Type: types.ShardIteratorTypeAtTimestamp, Timestamp: c.src.initialTimestamp()}
	default:
		return types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}
	}
}

// opened says that Kinesis accepted at, asked for at that time. LATEST of a row of another worker means this moment from now on, or
// the next opening would skip what came between.
func (c *cursor) opened(at types.StartingPosition, asked time.Time) {
	if at.Type == types.ShardIteratorTypeLatest {
		c.startedAt = asked
	}
}

// refused makes of a refusal to open at a stored sequence number the error that says what it means.
func refused(at types.StartingPosition, err error) error {
	if at.SequenceNumber != nil && faultOf(err) == faultArgument {
		return errors.Join(errTrimmed, err)
	}
	return err
}

var errTrimmed = errors.New("the stream does not keep this position any more")

// fault prepares for another try after err and returns its class.
func (c *cursor) fault(err error) fault {
	m := c.w.m
	pause := time.Duration(0)
	class := faultOf(err)
	switch {
	case errors.Is(err, errTrimmed):
		m.trimmed.Inc()
		c.log.Error().Err(err).Str("position", c.place()).Msg("position is older than the stream's retention: records are lost, reading on at TRIM_HORIZON")
		c.from, c.fetched = lease.Checkpoint{Sequence: lease.TrimHorizon}, ""
		class = faultTrimmed
	case class == faultExpired:
		m.iterators.Inc()
		pause = time.Second / kinesisReadLimit // if the next one has expired, too, it must not be a busy loop
	case class == faultThrottled:
		m.throttled.Inc()
		pause = c.waiting.Next()
	default:
		m.readErrors.Inc()
		pause = c.waiting.Next()
		c.log.Warn().Err(err).Str("fault", string(class)).Dur("retry_in", pause).Msg("shard not read, trying again")
	}
	c.notBefore = time.Now().Add(pause)
	return class
}

// place is where the reader stands, for logs.
func (c *cursor) place() string {
	if c.fetched != "" {
		return c.fetched
	}
	return c.from.String()
}

// confirmEnd decides what the end of a shard without children means, which is not in itself the end: the list of shards knows the
// children, or, with a read that has no end, the shard is read on.
func (c *cursor) confirmEnd(ctx context.Context) (read, error) {
	shards, err := c.src.listShards(ctx, nil)
	if err == nil {
		if children := childrenOf(shards, c.shard); len(children) > 0 {
			return read{end: true, children: children}, nil
		}
		if !listed(shards, c.shard) {
			return c.confirmGone(ctx)
		}
		c.w.m.iterators.Inc()
	} else if ctx.Err() == nil {
		c.w.m.readErrors.Inc()
		c.log.Warn().Err(err).Msg("end of the shard not confirmed, trying again")
	}
	c.notBefore = time.Now().Add(c.waiting.Next())
	if ctx.Err() != nil {
		return read{}, context.Cause(ctx)
	}
	return read{}, nil
}

// confirmGone decides whether a shard that could not be found is gone for good: several complete lists in a row must lack it. A
// stream that can't be listed at all proves nothing.
func (c *cursor) confirmGone(ctx context.Context) (read, error) {
	for range goneRounds {
		shards, err := c.src.listShards(ctx, nil)
		if err != nil || listed(shards, c.shard) || len(shards) == 0 {
			if ctx.Err() != nil {
				return read{}, context.Cause(ctx)
			}
			c.notBefore = time.Now().Add(c.waiting.Next())
			return read{}, nil
		}
		if err := retry.Sleep(ctx, c.waiting.Next()); err != nil {
			return read{}, err
		}
		if rd := (read{end: true, children: childrenOf(shards, c.shard)}); len(rd.children) > 0 {
			c.lostShard()
			return rd, nil
		}
	}
	c.lostShard()
	return read{end: true}, nil
}

func (c *cursor) lostShard() {
	c.w.m.trimmed.Inc()
	c.log.Error().Str("position", c.place()).Msg("shard is older than the stream's retention: what was not read of it is lost")
}

// count takes rd into the metrics.
func (c *cursor) count(rd *read) {
	rd.bytes = dataBytes(rd.records)
	c.w.m.records.Add(float64(len(rd.records)))
	c.w.m.bytes.Add(float64(rd.bytes))
}

func dataBytes(records []types.Record) (n int64) {
	for i := range records {
		n += int64(len(records[i].Data))
	}
	return n
}

// newReader makes the configured reader for h, to start behind from.
func (w *Worker) newReader(h *held, from lease.Checkpoint, log zerolog.Logger) reader {
	cur := w.newCursor(h.src, h.current(), from, log)
	if h.src.fanOut != nil {
		return &fanOutReader{cursor: cur, prove: func() error { return w.renew(h) }}
	}
	return newPollReader(cur)
}

// runReader runs r until ctx ends or the shard does, and lets it begin anew whenever the watchdog says so.
func (s *shard) runReader(ctx context.Context, r reader, to *inbox) error {
	for {
		run, cancel := context.WithCancelCause(ctx)
		dog := newWatchdog(s.w.cfg.StallTimeout, func() { cancel(errStalled) })
		err := r.run(run, to, dog)
		dog.got()
		cancel(nil)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, errStalled) {
			return err
		}
		s.w.m.restarts.Inc()
		s.log.Error().Err(err).Dur("stall_timeout", s.w.cfg.StallTimeout).Msg("shard stalled, its reader begins anew")
		s.note(StateBackOff, err)
	}
}
