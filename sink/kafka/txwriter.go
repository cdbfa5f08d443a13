package kafka

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/row"
	"dredge/row/rollup"
	"dredge/sink"
	"dredge/sink/internal/ack"
	"dredge/stream"
)

// txWriter takes the rows of one partition in mode exactly-once. It has a producer of its own, because a producer has one
// transaction at a time and the coordinator fences by producer.
//
// The transaction opens with its first row. A goroutine, run, ends it: when it is as old as the commit interval, or as large as
// the byte cap, or on Flush, and never right after a Write whose position did not advance. Rows go first; when they are
// acknowledged one record with the position follows them in the same transaction; then it is committed, and every Write in it
// is reported. So a reader of committed records finds rows and position together or neither.
//
// Whatever goes wrong, nothing is repaired in place: the producer is thrown away and a take-over says where the shard stands.
type txWriter struct {
	sink      *Sink
	claim     claim
	partition string
	acks      ack.Queue

	closing context.Context //nolint:containedctx // ends run
	stop    context.CancelFunc
	ended   chan struct{} // run has returned
	wake    chan struct{} // of size one: run should look
	// flushing counts the calls of Flush that wait.
	flushing atomic.Int32
	// opened is when the open transaction began, in Unix nanoseconds; 0 while there is none.
	opened atomic.Int64

	lettersMu sync.Mutex
	letters   []heldLetter
	left      bool

	lettered

	// turn has an element while a Write hands its rows over or the transaction ends. It guards what follows. It is a channel
	// because ending waits for the broker, and who waits for the turn must be able to give up.
	turn     chan struct{}
	producer *producer
	// at is the committed position, last that of the latest Write.
	at, last stream.Position
	tx       *transaction
	ends     chan struct{} // closed, and made anew, when a transaction ended
	rowSize  float64       // recent mean
	// rollup has the rows of tx; nil without rolled-up rows. minute is where they are encoded at the end of tx. It is none of the
	// pool's: Writes that wait for the end would hold what the end waits for.
	rollup *rollup.Aggregator
	minute *slab
}

// transaction is the rows, letters and Writes between two commits.
type transaction struct {
	w      *txWriter
	client *kgo.Client
	since  time.Time
	bytes  int64
	// entries are the Writes to report.
	entries []*ack.Entry
	last    stream.Position
	// whole says that the last Write ended a payload, so the transaction may end.
	whole bool

	mu    sync.Mutex
	out   int // slabs and letters that are not answered
	err   error
	topic string        // that err came from
	quiet chan struct{} // closed when out falls to 0; nil when nobody waits
}

// firstRowSize is assumed until rows were encoded.
const firstRowSize = 700

func newTxWriter(s *Sink, partition string, c claim, p *producer, at stream.Position) *txWriter {
	w := &txWriter{
		sink: s, claim: c, partition: partition, producer: p, at: at, last: at, rowSize: firstRowSize,
		ended: make(chan struct{}), wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), ends: make(chan struct{}),
	}
	if w.rollup = s.newRollup(); w.rollup != nil {
		w.minute = s.slabs.make()
		w.minute.own = true
	}
	w.closing, w.stop = context.WithCancel(s.closing)
	return w
}

// Write encodes the rows of b and adds them to the transaction, all or none. It waits while the process-wide buffer is full, and
// while a transaction ends.
func (w *txWriter) Write(ctx context.Context, b *row.Batch, last stream.Position, done func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	report, lettered := w.reporting(done)
	e, err := w.acks.Add(report)
	if err != nil {
		return err
	}
	slabs, tooLarge, err := w.encode(ctx, b)
	if err == nil {
		lettered(len(tooLarge))
		err = w.hand(ctx, slabs, last, e, func() {
			if w.rollup != nil {
				w.sink.rollUp(w.rollup, b, tooLarge)
			}
		})
	}
	if err != nil {
		for _, s := range slabs {
			w.sink.slabs.put(s)
		}
		e.Abort()
		return err
	}
	return e.Handed()
}

// encode fills as many slabs as b takes. They are taken at once, before anything is produced: a Write that stopped half-way for
// want of memory would spoil its transaction. The last slab grows when the guess was too small. tooLarge are the rows that went
// to the dead letter.
func (w *txWriter) encode(ctx context.Context, b *row.Batch) (slabs []*slab, tooLarge []int, err error) {
	if len(b.Rows) == 0 {
		return nil, nil, nil
	}
	k := w.sink
	n := max(1+int(float64(len(b.Rows))*w.rowSize)/(slabBytes-2*slabMargin), (len(b.Rows)+slabRecords-1)/slabRecords)
	free, err := k.slabs.gather(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	st := newStamper(&k.cfg)
	letter := func(i int, encoded []byte) error {
		tooLarge = append(tooLarge, i)
		return putLetter(ctx, k, b, i, encoded)
	}
	bytes := 0
	for next := 0; len(free) > 0; {
		s := free[0]
		if next == len(b.Rows) {
			break
		}
		free = free[1:]
		s.large = len(free) == 0
		st.chunk = k.chunks.Add(1)
		next, err = s.fill(b, next, k.cfg.maxRow(), &st, letter)
		if err != nil || len(s.recs) == 0 {
			k.slabs.put(s)
		} else {
			bytes += len(s.buf)
			slabs = append(slabs, s)
		}
		if err != nil {
			break
		}
	}
	for _, s := range free {
		k.slabs.put(s)
	}
	if err != nil {
		for _, s := range slabs {
			k.slabs.put(s)
		}
		return nil, nil, err
	}
	w.rowSize += (float64(bytes)/float64(len(b.Rows)) - w.rowSize) / 4
	if len(tooLarge) > 0 && k.held == nil {
		if err := k.letters.Flush(ctx); err != nil {
			return slabs, nil, fmt.Errorf("flushing the dead letter: %w", err)
		}
	}
	return slabs, tooLarge, nil
}

// hand adds slabs, and the letters up to last, to the transaction, and calls rollUp for their rows. With an error nothing was added.
func (w *txWriter) hand(ctx context.Context, slabs []*slab, last stream.Position, e *ack.Entry, rollUp func()) error {
	if err := w.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { <-w.turn }()
	advanced := last != w.last
	passed := func(l heldLetter) bool { return w.claim.compare(l.at, last) <= 0 }
	if w.tx == nil {
		if len(slabs) == 0 && !w.sink.held.any(w, passed) {
			w.last = last
			return nil // there is nothing to commit, so nothing opens
		}
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	rollUp()
	tx, letters := w.tx, w.sink.held.take(w, passed)
	e.Hold(1)
	tx.entries = append(tx.entries, e)
	tx.expect(len(slabs) + len(letters))
	for _, s := range slabs {
		tx.bytes += int64(len(s.buf))
		s.entry, s.tx = e, tx
		s.send() //nolint:contextcheck // see send
	}
	for i, l := range letters {
		tx.bytes += int64(len(l.value))
		//nolint:contextcheck // see send
		tx.client.Produce(context.Background(), &kgo.Record{Topic: w.sink.cfg.DeadLetter.Topic, Value: l.value, Offset: int64(i)},
			func(r *kgo.Record, err error) {
				if err != nil {
					tx.fail(r.Topic, err)
				}
				tx.answered()
			})
	}
	tx.last, tx.whole, w.last = last, advanced, last
	if tx.due(w) {
		w.look()
	}
	return nil
}

// takeTurn waits until rows may be handed over: no transaction is ending, and the open one has room.
func (w *txWriter) takeTurn(ctx context.Context) error {
	for {
		select {
		case w.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.closing.Done():
			return errWriterClosed
		}
		if err := w.acks.Err(); err != nil {
			<-w.turn
			return err
		}
		if w.tx == nil || !w.tx.full() {
			return nil
		}
		ends := w.ends
		<-w.turn
		w.look()
		select {
		case <-ends:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.closing.Done():
			return errWriterClosed
		}
	}
}

// begin opens a transaction. The caller has the turn.
func (w *txWriter) begin(ctx context.Context) error {
	err := w.producer.check(ctx)
	if err == nil {
		err = w.producer.client.BeginTransaction()
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		w.sink.metrics.tx.ends[endRewind].Inc()
		return &stream.RewindError{To: w.at, Err: fmt.Errorf("opening a transaction: %w", err)}
	}
	w.tx = &transaction{w: w, client: w.producer.client, since: time.Now()}
	w.opened.Store(w.tx.since.UnixNano())
	w.look() // the timer has to be set
	return nil
}

// look makes run look at the transaction.
func (w *txWriter) look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Flush commits now what may be committed, and waits until every Write was reported.
func (w *txWriter) Flush(ctx context.Context) error {
	w.flushing.Add(1)
	defer w.flushing.Add(-1)
	w.look()
	return w.acks.Flush(ctx)
}

// abortTimeout bounds the abort of what Close leaves open. Whoever opens the shard next, or the transaction's time-out, ends it
// anyway; until then it holds back readers.
const abortTimeout = 2 * time.Second

// Close aborts what is not committed and reports it.
func (w *txWriter) Close(ctx context.Context) error {
	w.stop()
	<-w.ended
	w.sink.left(w)
	clean := w.acks.Err() == nil
	if w.tx != nil {
		ctx, cancel := context.WithTimeout(ctx, abortTimeout)
		w.sink.metrics.tx.fencedBy(w.tx.failed())
		clean = clean && w.tx.failed() == nil && w.abort(ctx)
		cancel()
	}
	w.opened.Store(0)
	w.claim.giveBack(w.producer, clean)
	w.acks.Close(fmt.Errorf("partition %q: %w", w.partition, errWriterClosed))
	return nil
}

// abort ends the open transaction, if the broker answers in time.
func (w *txWriter) abort(ctx context.Context) bool {
	client := w.producer.client
	if err := client.AbortBufferedRecords(ctx); err != nil {
		return false
	}
	if err := client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		w.sink.metrics.tx.fencedBy(err)
		return false
	}
	w.sink.metrics.tx.outcomes[txAborted].Inc()
	return true
}

// due says that tx should end now. The caller has the turn.
func (tx *transaction) due(w *txWriter) bool {
	if tx.failed() != nil {
		return true
	}
	return tx.whole && (w.flushing.Load() > 0 || tx.full() || time.Since(tx.since) >= w.sink.cfg.ExactlyOnce.CommitInterval)
}

// full says that tx takes no further payload. The caller has the turn.
func (tx *transaction) full() bool {
	bytes := tx.bytes
	if tx.w.rollup != nil {
		bytes += int64(tx.w.rollup.Bytes())
	}
	return tx.whole && bytes >= tx.w.sink.cfg.ExactlyOnce.CommitBytes
}

// expect adds n answers to wait for.
func (tx *transaction) expect(n int) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.out += n
}

// fail keeps the first error, which came from topic; run then ends the transaction.
func (tx *transaction) fail(topic string, err error) {
	tx.mu.Lock()
	first := tx.err == nil
	if first {
		tx.err, tx.topic = err, topic
	}
	tx.mu.Unlock()
	if first {
		tx.w.look()
	}
}

func (tx *transaction) failed() error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.err
}

// answered counts one answer.
func (tx *transaction) answered() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.out--; tx.out == 0 && tx.quiet != nil {
		close(tx.quiet)
		tx.quiet = nil
	}
}

// flush returns when the broker has answered for everything in tx, or something went wrong.
func (tx *transaction) flush(ctx context.Context) error {
	if err := tx.failed(); err != nil {
		return err
	}
	if err := tx.client.Flush(ctx); err != nil {
		return err
	}
	tx.mu.Lock()
	var quiet chan struct{}
	if tx.out > 0 {
		quiet = make(chan struct{})
		tx.quiet = quiet
	}
	tx.mu.Unlock()
	if quiet != nil {
		select {
		case <-quiet:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return tx.failed()
}

// putLetter gives row i of b, which no record batch can hold, to the dead letter.
func putLetter(ctx context.Context, k *Sink, b *row.Batch, i int, encoded []byte) error {
	r := &b.Rows[i]
	from := &b.Origins[r.Origin]
	l := sink.Letter{
		Partition: b.Partition,
		At:        stream.Position(from.Position),
		LogGroup:  from.LogGroup,
		Index:     int(r.Index),
		Reason:    ReasonRowTooLarge,
		Detail:    fmt.Sprintf("encoded row of %d bytes is above the limit of %d set by batch_max_bytes", len(encoded), k.cfg.maxRow()),
		Data:      encoded,
		Size:      len(encoded),
	}
	k.metrics.tooLarge.Inc()
	if err := k.letters.Put(ctx, l); err != nil {
		return fmt.Errorf("putting a row of %q at %q to the dead letter: %w", b.Partition, string(l.At), err)
	}
	return nil
}
