package leaseadmin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
)

// Move is a change of one checkpoint that an operator wants.
type Move struct {
	// To is where the shard is to be read from: everything up to and including it is done with.
	To lease.Checkpoint
	// AllowSkip allows a move forward: records between the two places will never be read.
	AllowSkip bool
	// AllowRepeat allows a move back: records between the two places will be read again.
	AllowRepeat bool
	// Watch is how long an owned lease is watched for a sign of life; the failover time is right.
	Watch time.Duration
	// Shards are those that the stream lists, to check that To lies in the shard; nil leaves the check out.
	Shards []types.Shard
	// Sink is where the sink says that the shard stands, for one that keeps positions of its own; workers start at the later of the
	// two. The zero Checkpoint is none.
	Sink lease.Checkpoint
	// SetSink moves the sink's position. It is called when nobody renews the lease, before the lease is changed; nil for a sink
	// that keeps none.
	SetSink func(context.Context) error
}

// SetCheckpoint moves the checkpoint of the lease with key, and frees the lease. It refuses, with ErrInUse, while somebody renews
// it, and what m does not allow. It returns the lease as it was and as it is.
func SetCheckpoint(ctx context.Context, table Table, key string, m Move) (before, after lease.Lease, err error) {
	before, err = table.Get(ctx, key)
	if err != nil {
		return before, after, fmt.Errorf("lease %q: %w", key, err)
	}
	if err := m.check(before); err != nil {
		return before, after, err
	}
	if before.ActualOwner() != "" {
		if err := retry.Sleep(ctx, m.Watch); err != nil {
			return before, after, err
		}
		now, err := table.Get(ctx, key)
		if err != nil {
			return before, after, fmt.Errorf("lease %q: %w", key, err)
		}
		if now.Counter != before.Counter {
			return before, after, fmt.Errorf("lease %q: %w: %q renewed it within %s; stop that worker first, or wait for it to give the lease up",
				key, ErrInUse, now.ActualOwner(), m.Watch)
		}
	}
	if m.SetSink != nil {
		if err := m.SetSink(ctx); err != nil {
			return before, after, fmt.Errorf("lease %q: nothing was changed in it: %w", key, err)
		}
	}
	after, err = table.ResetCheckpoint(ctx, before, m.To)
	if errors.Is(err, lease.ErrLost) && m.SetSink != nil {
		return before, after, fmt.Errorf("lease %q: %w: a worker took or renewed it just now; the sink's position is %s, the lease was not changed; stop that worker and say it again",
			key, ErrInUse, m.To)
	}
	if errors.Is(err, lease.ErrLost) {
		return before, after, fmt.Errorf("lease %q: %w: a worker took or renewed it just now; nothing was changed", key, ErrInUse)
	}
	return before, after, err
}

// check refuses a move that is not allowed, or that leads nowhere.
func (m Move) check(l lease.Lease) error {
	if m.To.Sequence == lease.AtTimestamp {
		return fmt.Errorf("position %s: each worker takes the time from its own settings, so the row would not say where reading starts; write %s, %s or a sequence number",
			lease.AtTimestamp, lease.TrimHorizon, lease.Latest)
	}
	if err := m.inShard(l); err != nil {
		return err
	}
	from := l.Checkpoint
	if m.Sink != (lease.Checkpoint{}) && m.Sink.Compare(from) > 0 {
		from = m.Sink
	}
	switch n := m.To.Compare(from); {
	case n == 0 && m.To == l.Checkpoint:
		return fmt.Errorf("lease %q: stands at %s already", l.Key, m.To)
	// What was never checkpointed starts somewhere before every record, so moving to a record or the tip skips.
	case n > 0 && !m.AllowSkip:
		return fmt.Errorf("lease %q: from %s to %s is a move forward: what lies between will never be read, so it is lost; write --allow-skip when that is meant", l.Key, from, m.To)
	case n < 0 && !m.AllowRepeat:
		return fmt.Errorf("lease %q: from %s to %s is a move back: what lies between is read again, so it is there twice; write --allow-repeat when that is meant", l.Key, from, m.To)
	}
	return nil
}

// inShard refuses a sequence number that the stream gave to another shard.
func (m Move) inShard(l lease.Lease) error {
	if m.Shards == nil || !m.To.IsSequence() {
		return nil
	}
	for _, s := range m.Shards {
		if aws.ToString(s.ShardId) != l.Shard() || s.SequenceNumberRange == nil {
			continue
		}
		first, last := aws.ToString(s.SequenceNumberRange.StartingSequenceNumber), aws.ToString(s.SequenceNumberRange.EndingSequenceNumber)
		if lease.CompareSequences(m.To.Sequence, first) < 0 || last != "" && lease.CompareSequences(m.To.Sequence, last) > 0 {
			if last == "" {
				last = "now"
			}
			return fmt.Errorf("position %s: lies outside of shard %s, which goes from %s to %s; take a sequence number of that shard", m.To, l.Shard(), first, last)
		}
		if err := m.To.CheckShard(l.Shard()); err != nil {
			return fmt.Errorf("position %s: %w; take a sequence number of that shard", m.To, err)
		}
		return nil
	}
	return fmt.Errorf("lease %q: the stream lists no such shard any more, so no sequence number in it can be read", l.Key)
}
