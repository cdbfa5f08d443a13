package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"

	"dredge/sink"
)

// letterBytes bounds the letters that are not acknowledged.
const letterBytes = 8 << 20

// DeadLetter produces letters as JSON to a topic. It has a client of its own, so that rows never wait for letters. Letters the
// broker refuses are kept and produced again by the next Flush: as long as that fails, no position passes them.
type DeadLetter struct {
	cfg    Config
	client *kgo.Client
	room   *semaphore.Weighted

	mu      sync.Mutex
	pending int
	// failed are the letters that the client gave up, and err why it gave up the last of them.
	failed []*kgo.Record
	err    error
	idle   chan struct{} // closed when pending falls to 0; nil when nobody waits
}

// NewDeadLetter makes the dead letter that cfg.DeadLetter describes. keys are as Deps.AWS; opts are added to the client's, for tests. The caller
// closes it.
func NewDeadLetter(cfg Config, log zerolog.Logger, keys AWSCredentials, opts ...kgo.Opt) (*DeadLetter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.DeadLetter.Topic == "" {
		return nil, errors.New("dead_letter.topic: empty; write the topic that takes the letters")
	}
	base, err := cfg.connection(log, keys)
	if err != nil {
		return nil, err
	}
	base = append(base, kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.ProducerLinger(cfg.Linger),
		kgo.MaxBufferedRecords(letterBytes))
	client, err := kgo.NewClient(append(base, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("making the kafka client: %w", err)
	}
	return &DeadLetter{cfg: cfg, client: client, room: semaphore.NewWeighted(letterBytes)}, nil
}

// Check is Sink.Check for the topic of the letters.
func (d *DeadLetter) Check(ctx context.Context) error {
	err := d.cfg.ping(ctx, d.client)
	if err == nil {
		err = d.cfg.check(ctx, d.client, keyedTopic{"topic", d.cfg.DeadLetter.Topic}, false)
	}
	if err != nil {
		return fmt.Errorf("dead_letter: %w", err)
	}
	return nil
}

// Put produces l. It waits while 8 MiB of letters are not acknowledged.
func (d *DeadLetter) Put(ctx context.Context, l sink.Letter) error {
	const frame = 1 << 10
	value := sink.AppendLetter(make([]byte, 0, min(len(l.Data), d.cfg.DeadLetter.MaxDataBytes)+frame), l, time.Now(), d.cfg.DeadLetter.MaxDataBytes)
	if err := d.room.Acquire(ctx, weight(value)); err != nil {
		return errors.Join(err, d.lastError())
	}
	d.send(&kgo.Record{Topic: d.cfg.DeadLetter.Topic, Value: value}) //nolint:contextcheck // see send
	return nil
}

func weight(value []byte) int64 { return min(int64(len(value)), letterBytes) }

// send produces r without a context: the end of one would fail the letters of other callers in the same batch.
func (d *DeadLetter) send(r *kgo.Record) {
	d.mu.Lock()
	d.pending++
	d.mu.Unlock()
	d.client.Produce(context.Background(), r, d.answered)
}

func (d *DeadLetter) answered(r *kgo.Record, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.room.Release(weight(r.Value))
	} else {
		d.failed = append(d.failed, &kgo.Record{Topic: r.Topic, Value: r.Value})
		d.err = err
	}
	if d.pending--; d.pending == 0 && d.idle != nil {
		close(d.idle)
		d.idle = nil
	}
}

func (d *DeadLetter) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Flush waits until every letter is acknowledged. Those that the broker refused are produced again first, once for a permanent
// refusal, which it returns, and until ctx is over for any other.
func (d *DeadLetter) Flush(ctx context.Context) error {
	for again := false; ; again = true {
		d.retry() //nolint:contextcheck // see send
		if err := d.wait(ctx); err != nil {
			return errors.Join(err, d.lastError())
		}
		d.mu.Lock()
		left, err := len(d.failed), d.err
		d.mu.Unlock()
		if left == 0 {
			return nil
		}
		if c := classify(err); c.final() && again {
			return refusal(c, d.cfg.DeadLetter.Topic, err)
		}
		select {
		case <-time.After(d.cfg.RetryBackoff):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (d *DeadLetter) retry() {
	d.mu.Lock()
	failed, last := d.failed, d.err
	d.failed, d.err = nil, nil
	d.mu.Unlock()
	if len(failed) > 0 && classify(last) == classTopic {
		d.client.PurgeTopicsFromProducing(d.cfg.DeadLetter.Topic)
	}
	for _, r := range failed {
		d.send(r)
	}
}

func (d *DeadLetter) wait(ctx context.Context) error {
	d.mu.Lock()
	if d.pending == 0 {
		d.mu.Unlock()
		return nil
	}
	if d.idle == nil {
		d.idle = make(chan struct{})
	}
	idle := d.idle
	d.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close drops letters that were not flushed.
func (d *DeadLetter) Close() { d.client.Close() }
