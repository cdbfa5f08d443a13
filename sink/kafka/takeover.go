package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/internal/retry"
	"dredge/sink"
	"dredge/stream"
)

// Leases is what mode exactly-once needs to know of the source of the rows. Calls may be concurrent.
type Leases interface {
	// Name names partition for ever and everywhere: account/region/stream:creationEpoch/shard.
	Name(ctx context.Context, partition string) (string, error)
	// Prove writes to the lease of partition on condition that it is still this worker's, and returns its checkpoint, "" when it
	// names no record. An error that is stream.ErrFenced says that it is another's.
	Prove(ctx context.Context, partition string) (stream.Position, error)
	// Compare orders two positions of one partition; "" is before all others.
	Compare(a, b stream.Position) int
}

// producer is a transactional client and the identity that the coordinator gave it.
type producer struct {
	client *kgo.Client
	id     int64
	epoch  int16
}

var errEpochChanged = errors.New("the client has lost its producer id")

// check returns an error when the client is not, or no longer, who the coordinator took it for. A client that has lost its epoch
// takes another by itself, when it is asked for it at the latest; to us that is like being fenced, and a take-over follows.
func (p *producer) check(ctx context.Context) error {
	id, epoch, err := p.client.ProducerID(ctx)
	if err == nil && (id != p.id || epoch != p.epoch) {
		err = errEpochChanged
	}
	return err
}

// renew takes note of the epoch after a commit: since KIP-890 each has its own. A client that finds its cluster upgraded takes a
// new epoch here, naming its old one; the coordinator grants that only if nobody has been there in between.
func (p *producer) renew(ctx context.Context) (err error) {
	p.id, p.epoch, err = p.client.ProducerID(ctx)
	return err
}

// openTx makes the Writer of mode exactly-once.
func (s *Sink) openTx(ctx context.Context, partition string) (sink.Writer, stream.Position, error) {
	c, err := s.claimOf(ctx, partition)
	if err != nil {
		return nil, "", err
	}
	p, at, err := c.open(ctx)
	if err != nil {
		return nil, "", err
	}
	w := newTxWriter(s, partition, c, p, at)
	s.mu.Lock()
	if s.closing.Err() != nil {
		s.mu.Unlock()
		c.giveBack(p, false)
		return nil, "", errClosed
	}
	s.writers[w] = struct{}{}
	s.held.enter(w)
	go w.run() // joined by Close
	s.mu.Unlock()
	return w, at, nil
}

// left forgets w.
func (s *Sink) left(w *txWriter) {
	s.mu.Lock()
	delete(s.writers, w)
	s.mu.Unlock()
	s.held.leave(w)
}

// takeOver claims the shard: it fences whoever produced for it and has the coordinator end what that one left open, proves that
// the lease is ours since, and reads the position that was committed last. The order is what makes it right. Whoever wins the
// lease after the proof fences us; whoever had it before can't commit any more, and all that he committed lies before the end
// of the checkpoints topic.
//
// With polite the lease is proven before, too: a worker that was fenced must not fence the rightful owner in turn.
func (s *Sink) takeOver(ctx context.Context, partition string, id producerID, polite bool) (_ *producer, at stream.Position, err error) {
	start := time.Now()
	if polite {
		if _, err := s.leases.Prove(ctx, partition); err != nil {
			return nil, "", fmt.Errorf("proving the lease of %q: %w", partition, err)
		}
	}
	p, err := s.fence(ctx, id.key)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			p.client.Close()
		}
	}()
	leased, err := s.leases.Prove(ctx, partition)
	if err != nil {
		return nil, "", fmt.Errorf("proving the lease of %q: %w", partition, err)
	}
	value, found, err := s.record(ctx, id)
	if err != nil {
		return nil, "", err
	}
	if !found {
		if at, err = s.first(ctx, p, id, leased); err != nil {
			return nil, "", err
		}
	} else if at, err = s.foundPosition(id, value); err != nil {
		return nil, "", err
	}
	s.metrics.tx.takeOver.Observe(time.Since(start).Seconds())
	return p, at, nil
}

// record reads what was committed last under id. A topic that was just made is not known to every broker at once.
func (s *Sink) record(ctx context.Context, id producerID) (value []byte, found bool, err error) {
	for range unknownTopicTries {
		if value, found, err = s.positions.read(ctx, id.key); !errors.Is(err, errNoCheckpoints) {
			return value, found, err
		}
		if retry.Sleep(ctx, unknownTopicPause) != nil {
			return nil, false, ctx.Err()
		}
	}
	return nil, false, &stream.PermanentError{Err: fmt.Errorf("exactly_once.checkpoints_topic: %q does not exist; `dredge check` makes it when create_topic is set",
		s.cfg.ExactlyOnce.CheckpointsTopic)}
}

// committed is the position that was committed last under id; "" when there is none.
func (s *Sink) committed(ctx context.Context, id producerID) (stream.Position, error) {
	value, found, err := s.record(ctx, id)
	if err != nil || !found {
		return "", err
	}
	return s.foundPosition(id, value)
}

// foundPosition is the position in a record of the checkpoints topic, if it is this shard's.
func (s *Sink) foundPosition(id producerID, value []byte) (stream.Position, error) {
	c, err := parseCheckpoint(value)
	if err != nil {
		return "", &stream.PermanentError{Err: fmt.Errorf("exactly_once.checkpoints_topic: the record of %q in %q: %w",
			id.key, s.cfg.ExactlyOnce.CheckpointsTopic, err)}
	}
	if c.Application != s.application || c.Name != id.name {
		return "", &stream.PermanentError{Err: fmt.Errorf("exactly_once.checkpoints_topic: %q in %q is held by application %q, shard %q; "+
			"write another kinesis.application or another checkpoints topic", id.key, s.cfg.ExactlyOnce.CheckpointsTopic, c.Application, c.Name)}
	}
	return c.Position, nil
}

// first writes the first record of a shard, so that from now on a missing one means a lost topic. A shard that was read before
// in another mode, or whose topic was lost, has a lease with a position; only an operator knows whether that is the truth.
func (s *Sink) first(ctx context.Context, p *producer, id producerID, leased stream.Position) (stream.Position, error) {
	topic := s.cfg.ExactlyOnce.CheckpointsTopic
	if leased != "" {
		if !s.cfg.ExactlyOnce.Adopt {
			return "", &stream.PermanentError{Err: fmt.Errorf("exactly_once.adopt: topic %q has no position for shard %q, whose lease stands at %q; "+
				"write adopt: true once if the application was in another mode until now, or run `dredge leases checkpoint adopt` for this shard alone, or restore the topic: "+
				"rows behind the lease's position may be in Kafka",
				topic, id.name, string(leased))}
		}
		s.metrics.tx.adoptions.Inc()
		s.log.Warn().Str("shard", id.name).Str("position", string(leased)).Msg("position of the lease adopted; remove exactly_once.adopt when all shards are")
	}
	if err := s.commitPosition(ctx, p, id, leased); err != nil {
		return "", err
	}
	return leased, p.renew(ctx)
}

// explain makes a refusal of err when no retry mends it.
func (s *Sink) explain(doing, topic string, err error) error {
	if c := classify(err); c.final() && c != classClosed && !endsTransaction(err) {
		return refusal(c, topic, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// fence makes a producer under id. When it returns, no other producer under that id can write any more, and its open
// transaction is ended.
func (s *Sink) fence(ctx context.Context, id string) (*producer, error) {
	opts, err := s.cfg.transactional(s.log, s.aws, s.metrics, claimed(id))
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts, s.options...)...)
	if err != nil {
		return nil, fmt.Errorf("making the kafka client: %w", err)
	}
	p := &producer{client: client}
	p.id, p.epoch, err = client.ProducerID(ctx)
	if err == nil && p.id < 0 {
		err = kerr.UnsupportedVersion
	}
	if err == nil {
		// It knows the brokers by now. This ends its connection to an address of the configuration, which would stand idle for half a
		// minute beside the two that it takes to the same broker: at a start, with hundreds of shards, that is a third of all.
		err = client.UpdateSeedBrokers(s.cfg.Brokers...)
	}
	if err == nil {
		return p, nil
	}
	client.Close()
	return nil, s.fenceError(id, err)
}

func (s *Sink) fenceError(id string, err error) error {
	var hint string
	switch {
	case is(err, kerr.UnsupportedVersion):
		hint = "mode: exactly-once needs brokers of 2.5 or later; write at-least-once, or upgrade"
	case is(err, kerr.InvalidTransactionTimeout):
		hint = fmt.Sprintf("exactly_once.transaction_timeout: %s is above the brokers' transaction.max.timeout.ms; write less, or raise it there",
			s.cfg.ExactlyOnce.TransactionTimeout)
	case is(err, kerr.TransactionalIDAuthorizationFailed):
		hint = fmt.Sprintf("sasl.username: grant %q Write and Describe on transactional ids with the prefix %q",
			s.cfg.SASL.who(), idPart(s.application)+"/")
	case is(err, kerr.ClusterAuthorizationFailed):
		hint = "sasl.username: no right to produce"
	case connectionRefused(err):
		return &stream.PermanentError{Err: fmt.Errorf("claiming transactional id %q: %w%s", id, err, pingHint(err))}
	default:
		return fmt.Errorf("claiming transactional id %q: %w", id, err)
	}
	return &stream.PermanentError{Err: fmt.Errorf("%s: claiming transactional id %q: %w", hint, id, err)}
}
