package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readCommitted calls f with every committed record that t holds now, beginning in each partition with the first whose timestamp is not
// before since; the zero time stands for all. What its retention has removed since then is an error.
func readCommitted(ctx context.Context, cfg Config, log zerolog.Logger, keys AWSCredentials, t keyedTopic, since time.Time, f func(*kgo.Record) error, opts ...kgo.Opt) error {
	base, err := cfg.connection(log, keys)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(append(base, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()), opts...)...)
	if err != nil {
		return fmt.Errorf("making the kafka client: %w", err)
	}
	defer client.Close()
	from, left, err := committedRange(ctx, kadm.NewClient(client), t, since)
	if err != nil {
		return err
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.name: from})
	for len(left) > 0 {
		// Markers of transactions take offsets, too: they are asked for, because the last offset may be one.
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("reading %q: %w", t.name, err)
		}
		var failed error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			failed = errors.Join(failed, p.Err)
			for _, r := range p.Records {
				if end, ok := left[p.Partition]; ok && r.Offset < end && !r.Attrs.IsControl() && failed == nil {
					failed = f(r)
				}
				if r.Offset >= left[p.Partition]-1 {
					delete(left, p.Partition)
				}
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// committedRange is where to begin in each partition that has something, and where what is committed now ends: a record that comes
// meanwhile is one for the next time, and an open transaction holds nobody up.
func committedRange(ctx context.Context, admin *kadm.Client, t keyedTopic, since time.Time) (from map[int32]kgo.Offset, ends map[int32]int64, err error) {
	list := func(offsets kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
		if err == nil {
			err = offsets.Error()
		}
		if err != nil {
			err = fmt.Errorf("%s: %q: %w", t.key, t.name, err)
		}
		return offsets, err
	}
	last, err := list(admin.ListCommittedOffsets(ctx, t.name))
	if err != nil {
		return nil, nil, err
	}
	starts, err := list(admin.ListStartOffsets(ctx, t.name))
	if err != nil {
		return nil, nil, err
	}
	first := starts
	if !since.IsZero() {
		if first, err = list(admin.ListOffsetsAfterMilli(ctx, since.UnixMilli(), t.name)); err != nil {
			return nil, nil, err
		}
	}
	from, ends = map[int32]kgo.Offset{}, map[int32]int64{}
	last.Each(func(o kadm.ListedOffset) {
		start, _ := starts.Lookup(o.Topic, o.Partition)
		begin, _ := first.Lookup(o.Topic, o.Partition)
		if !since.IsZero() && start.Offset > 0 && begin.Offset <= start.Offset {
			err = fmt.Errorf("%s: %q, partition %d, begins after %s: its retention has removed earlier records", t.key, t.name, o.Partition, since.UTC().Format(time.RFC3339))
		}
		if begin.Offset < o.Offset {
			ends[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().At(begin.Offset)
		}
	})
	return from, ends, err
}
