package kafka

import (
	"cmp"
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/row"
	"dredge/sink/internal/ack"
)

const (
	// slabBytes is the encoded size at which a slab is full: some 370 raw rows. Small enough that many Writers with few rows
	// each share the buffer, large enough that the cost per slab vanishes.
	slabBytes = 256 << 10
	// slabRecords bounds the records of a slab, whose structs are larger than a small row.
	slabRecords = 1024
	// slabMargin is the room that must be left for one more row to be tried. A larger row grows the slab for once.
	slabMargin = 4 << 10
)

// slab is the encoded rows of a part of one Write and their records.
//
// The Writer's goroutine fills it and hands it to the client. From then on it belongs to the client's promise goroutine, of
// which there is one, until all records are answered; then to a retry goroutine, or to the pool.
type slab struct {
	pool  *pool
	entry *ack.Entry
	buf   []byte
	recs  []kgo.Record
	marks []mark // one for each of recs
	// open is the number of records that the client has not answered for, failed that of those it gave up.
	open, failed int
	// fatal is the first error that no retry mends.
	fatal error
	// tx is the transaction that the records are part of; nil in mode at-least-once.
	tx *transaction
	// large says that the slab takes all rows that are left, whatever its size.
	large bool
	// minute says that the records are rolled-up rows.
	minute bool
	// own says that the slab is none of the pool's: whoever made it keeps it.
	own     bool
	since   time.Time
	promise func(*kgo.Record, error) // s.answered, bound once: a closure per record would be an allocation per record
}

// mark is what the client would overwrite in a record, or need not know.
type mark struct {
	hash uint64 // chooses the partition
	end  int    // of the record's bytes in buf
}

// failedMark in LeaderEpoch says that the client gave the record up. The client itself writes -1 there.
const failedMark = -2

// pool bounds the slabs. They are made when first needed and kept.
type pool struct {
	sink  *Sink
	limit int
	// tickets are the slabs that may be out; a ticket is put in to take a slab and taken out when it is home again. Waiting
	// senders are served in the order of their coming.
	tickets chan struct{}
	// gathering holds an element while one caller waits for several slabs.
	gathering chan struct{}

	mu   sync.Mutex
	free []*slab
}

func newPool(s *Sink, limit int) *pool {
	return &pool{sink: s, limit: limit, tickets: make(chan struct{}, limit), gathering: make(chan struct{}, 1)}
}

// take waits for a slab. It ends with ctx and with the sink.
func (p *pool) take(ctx context.Context) (*slab, error) {
	select {
	case p.tickets <- struct{}{}:
	default:
		p.sink.metrics.waits.Inc()
		select {
		case p.tickets <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.sink.closing.Done():
			return nil, errClosed
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		return s, nil
	}
	s := p.make()
	s.buf = make([]byte, 0, slabBytes)
	return s, nil
}

func (p *pool) make() *slab {
	s := &slab{pool: p}
	s.promise = s.answered
	return s
}

// maxOwn bounds the memory that a slab outside the pool keeps between two uses.
const maxOwn = 1 << 20

// gather takes n slabs at once, or as many as there are. Only one caller gathers at a time: two that each wait for what the other
// holds would wait for ever.
func (p *pool) gather(ctx context.Context, n int) ([]*slab, error) {
	select {
	case p.gathering <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.sink.closing.Done():
		return nil, errClosed
	}
	defer func() { <-p.gathering }()
	out := make([]*slab, 0, n)
	for range min(n, p.limit) {
		s, err := p.take(ctx)
		if err != nil {
			for _, s := range out {
				p.put(s)
			}
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// put takes s home.
func (p *pool) put(s *slab) {
	s.entry, s.tx, s.fatal, s.failed, s.large, s.minute = nil, nil, nil, 0, false, false
	s.recs, s.marks, s.buf = s.recs[:0], s.marks[:0], s.buf[:0]
	if s.own {
		if cap(s.buf) > maxOwn {
			s.recs, s.marks, s.buf = nil, nil, nil // one burst must not be paid for ever
		}
		return
	}
	if cap(s.buf) > slabBytes {
		s.buf = make([]byte, 0, slabBytes) // one very large row must not raise the bound for good
	}
	p.mu.Lock()
	p.free = append(p.free, s)
	p.mu.Unlock()
	<-p.tickets
}

// out is the number of slabs in use.
func (p *pool) out() int { return len(p.tickets) }

// drain waits until every slab is home, and keeps them from being taken again.
func (p *pool) drain() {
	for range p.limit {
		p.tickets <- struct{}{}
	}
}

// fill encodes rows of b from i on until s is full, and returns the first row that is not in it. A row larger than limit is
// not kept and given to tooLarge, whose error ends the filling.
func (s *slab) fill(b *row.Batch, i, limit int, st *stamper, tooLarge func(i int, encoded []byte) error) (int, error) {
	enc := s.pool.sink.encoder
	for i < len(b.Rows) && !s.full() {
		start := len(s.buf)
		s.buf = enc.Append(s.buf, b, i)
		if len(s.buf)-start > limit {
			err := tooLarge(i, s.buf[start:])
			s.buf = s.buf[:start]
			if err != nil {
				return i, err
			}
			i++
			continue
		}
		s.mark(st.key, kgo.Record{Topic: st.topicOf(&b.Rows[i]), Timestamp: st.time(&b.Rows[i])}, st.hash(&b.Rows[i]))
		i++
	}
	s.seal(st.key)
	return i, nil
}

// full says that s takes no further row.
func (s *slab) full() bool {
	return !s.large && (len(s.recs) >= slabRecords || slabBytes-len(s.buf) < slabMargin && len(s.recs) > 0)
}

// mark makes what was appended to buf last the value of rec.
func (s *slab) mark(key bool, rec kgo.Record, hash uint64) {
	if key {
		s.buf = binary.BigEndian.AppendUint64(s.buf, hash)
	}
	rec.Offset = int64(hash)
	s.marks = append(s.marks, mark{hash: hash, end: len(s.buf)})
	s.recs = append(s.recs, rec)
}

// seal gives the records their bytes, once the buffer has stopped moving.
func (s *slab) seal(key bool) {
	start := 0
	for k := range s.recs {
		end := s.marks[k].end
		if key {
			s.recs[k].Key = s.buf[end-keyBytes : end : end]
			end -= keyBytes
		}
		s.recs[k].Value = s.buf[start:end:end]
		start = s.marks[k].end
	}
}

// send hands all records to the client. From here on s may be answered, released and filled again at any time.
//
// The records have no context of their Write: the client gives up a whole partition's rows, those of other Writers too, when the
// context of the first of them ends.
func (s *slab) send() {
	s.since = time.Now()
	s.pool.sink.metrics.inFlight(len(s.buf))
	client, promise, recs := s.pool.sink.client, s.promise, s.recs
	if s.tx != nil {
		client = s.tx.client
	}
	s.open = len(recs)
	for i := range recs {
		client.Produce(context.Background(), &recs[i], promise)
	}
}

// resend hands the failed records to the client once more.
func (s *slab) resend() {
	client, promise := s.pool.sink.client, s.promise
	again := make([]*kgo.Record, 0, s.failed)
	for i := range s.recs {
		r := &s.recs[i]
		if r.LeaderEpoch != failedMark {
			continue
		}
		// The client has written into the record. Of what it needs, only the hash is lost.
		*r = kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp, Offset: int64(s.marks[i].hash)}
		again = append(again, r)
	}
	s.failed, s.open = 0, len(again)
	for _, r := range again {
		client.Produce(context.Background(), r, promise)
	}
}

// answered is the promise of every record of s. The client calls promises one after the other, so no lock is needed, and none
// may block.
func (s *slab) answered(r *kgo.Record, err error) {
	if err != nil {
		s.fail(r, err)
	}
	if s.open--; s.open == 0 {
		s.settle()
	}
}

func (s *slab) fail(r *kgo.Record, err error) {
	r.LeaderEpoch = failedMark
	s.failed++
	c := classify(err)
	if s.tx != nil && endsTransaction(err) {
		c = classTransient
	}
	s.pool.sink.metrics.errors[c].Inc()
	if s.tx != nil {
		s.tx.fail(r.Topic, err)
		return
	}
	if s.fatal == nil && c.final() {
		s.fatal = refusal(c, r.Topic, err)
	}
	if c == classTopic {
		s.pool.sink.purge.Store(true)
	}
}

// settle decides what becomes of s when every record was answered for.
func (s *slab) settle() {
	if s.tx != nil {
		// The broker has the rows, or the transaction is lost and they are read again: their memory is not needed any more.
		tx, rows, m := s.tx, len(s.recs)-s.failed, s.pool.sink.metrics
		m.answered(rows, s.minute, len(s.buf), time.Since(s.since))
		s.pool.put(s)
		tx.answered()
		return
	}
	if s.failed == 0 {
		s.release(nil)
		return
	}
	if s.fatal == nil && !s.entry.Dead() && s.pool.sink.again(s) {
		return
	}
	s.release(cmp.Or(s.fatal, errClosed))
}

// release takes s home and then tells its Write, whose done may run at once.
func (s *slab) release(err error) {
	m := s.pool.sink.metrics
	m.answered(len(s.recs)-s.failed, s.minute, len(s.buf), time.Since(s.since))
	e := s.entry
	s.pool.put(s)
	e.Release(err)
}
