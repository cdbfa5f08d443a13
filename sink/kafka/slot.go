package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/stream"
)

// Work is what a Slot asks of its source about the partition that it works on. The source has a claim on a piece of work of
// several partitions, such as a mouthful of files, and commits how far all of it is with the rows of each.
type Work interface {
	// Prove writes to the claim on condition that it still is the slot's. An error that is stream.ErrFenced says that it is not.
	Prove(ctx context.Context) error
	// Whole is what to commit when the partition stands at at: how far the whole piece of work is then.
	Whole(at stream.Position) (stream.Position, error)
	// Part is where the partition stands in what was committed; "" when that is of another piece of work.
	Part(whole stream.Position) (stream.Position, error)
	// Compare orders two positions of the partition; "" is before all others.
	Compare(a, b stream.Position) int
}

// Slot is a transactional producer for partitions that come and go: files, of which a worker reads many in an hour. A shard has a
// transactional id of its own for ever; a file's would be one more for the coordinator to keep, for a week. So a slot has one,
// and what it commits says which piece of work it is about.
//
// Its name must never be used by another process, nor again after a Slot was closed without Forget: then whoever takes the piece of work
// over fences exactly the one that had it. One goroutine uses a Slot.
type Slot struct {
	sink *Sink
	id   producerID
	// producer is nil before the first piece of work, and after it was lost.
	producer *producer
	// stale are the keys of fenced producers, whose records say nothing any more; the next commit removes them.
	stale []string
}

// Slot makes the slot of that name, in mode exactly-once.
func (s *Sink) Slot(name string) *Slot {
	return &Slot{sink: s, id: producerID{name: name, key: transactionalID(s.application, name)}}
}

// Succeed begins a piece of work. It fences the slots that had it before, so that none of them can commit any more, and returns
// what each committed last; "" for one that committed nothing. The caller has to prove its claim afterwards, since others may
// have fenced this slot's name in the meantime.
func (sl *Slot) Succeed(ctx context.Context, former []string) ([]stream.Position, error) {
	if sl.producer == nil {
		p, err := sl.sink.fence(ctx, sl.id.key)
		if err != nil {
			return nil, err
		}
		sl.producer = p
	}
	last := make([]stream.Position, len(former))
	for i, name := range former {
		id := producerID{name: name, key: transactionalID(sl.sink.application, name)}
		p, err := sl.sink.fence(ctx, id.key)
		if err != nil {
			return nil, err
		}
		p.client.Close()
		if last[i], err = sl.sink.committed(ctx, id); err != nil {
			return nil, err
		}
		if last[i] != "" {
			sl.stale = append(sl.stale, id.key)
		}
	}
	return last, nil
}

// Enter says that the slot works on partition, which Sink.Open is called for next; Leave, that this is over.
func (sl *Slot) Enter(partition string, w Work) {
	sl.sink.mu.Lock()
	defer sl.sink.mu.Unlock()
	sl.sink.stints[partition] = &stint{slot: sl, work: w}
}

// Leave ends what Enter began.
func (sl *Slot) Leave(partition string) {
	sl.sink.mu.Lock()
	defer sl.sink.mu.Unlock()
	delete(sl.sink.stints, partition)
}

// Forget removes what the slot committed last from the checkpoints topic. Only a slot without work, whose last piece was given back
// or ended by the source, may forget.
func (sl *Slot) Forget(ctx context.Context) error {
	if sl.producer == nil {
		return nil
	}
	sl.stale = append(sl.stale, sl.id.key)
	p := sl.producer
	if err := p.client.BeginTransaction(); err != nil {
		return fmt.Errorf("opening the last transaction of %q: %w", sl.id.key, err)
	}
	if err := produce(ctx, p.client, sl.tombstones()...); err != nil {
		return sl.sink.explain("removing the record of "+sl.id.key, sl.sink.cfg.ExactlyOnce.CheckpointsTopic, err)
	}
	return endTransaction(ctx, p.client)
}

// Close ends the producer. What it has open is aborted by whoever fences it, or by its time-out.
func (sl *Slot) Close() {
	if sl.producer != nil {
		sl.producer.client.Close()
		sl.producer = nil
	}
}

func (sl *Slot) tombstones() []*kgo.Record {
	out := make([]*kgo.Record, len(sl.stale))
	for i, key := range sl.stale {
		out[i] = &kgo.Record{Topic: sl.sink.cfg.ExactlyOnce.CheckpointsTopic, Key: []byte(key)}
	}
	return out
}

// stint is the claim of a slot on one partition.
type stint struct {
	slot *Slot
	work Work
	// removed is how many of slot.stale the transaction under way removes.
	removed int
}

func (st *stint) open(ctx context.Context) (*producer, stream.Position, error) {
	if p := st.slot.producer; p != nil {
		return p, "", nil // nothing was lost since the source was told
	}
	return st.recover(ctx)
}

// recover fences whoever has the slot's name, which is nobody but a lost producer of its own or a slot that has taken the work over. The
// proof before tells the latter, so that it is not fenced in turn; the one after says that what is read then is the last word.
func (st *stint) recover(ctx context.Context) (*producer, stream.Position, error) {
	if err := st.work.Prove(ctx); err != nil {
		return nil, "", fmt.Errorf("proving the claim of %q: %w", st.slot.id.name, err)
	}
	p, err := st.slot.sink.fence(ctx, st.slot.id.key)
	if err != nil {
		return nil, "", err
	}
	at, err := st.stands(ctx)
	if err != nil {
		p.client.Close()
		return nil, "", err
	}
	st.slot.producer = p
	return p, at, nil
}

func (st *stint) stands(ctx context.Context) (stream.Position, error) {
	if err := st.work.Prove(ctx); err != nil {
		return "", fmt.Errorf("proving the claim of %q: %w", st.slot.id.name, err)
	}
	whole, err := st.slot.sink.committed(ctx, st.slot.id)
	if err != nil || whole == "" {
		return "", err
	}
	return st.work.Part(whole)
}

func (st *stint) records(at stream.Position) ([]*kgo.Record, error) {
	whole, err := st.work.Whole(at)
	if err != nil {
		return nil, err
	}
	rec, err := st.slot.sink.checkpoint(st.slot.id, whole)
	st.removed = len(st.slot.stale)
	return append(st.slot.tombstones(), rec), err
}

func (st *stint) committed() {
	st.slot.stale = st.slot.stale[st.removed:]
	st.removed = 0
}

func (st *stint) compare(a, b stream.Position) int { return st.work.Compare(a, b) }

func (st *stint) giveBack(p *producer, clean bool) {
	if clean {
		return
	}
	p.client.Close()
	if st.slot.producer == p {
		st.slot.producer = nil
	}
}
