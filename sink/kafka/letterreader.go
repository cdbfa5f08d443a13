package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ReadLetters calls f with every letter that the topic of dead letters holds now, as the line that sink.ParseLetter reads. Letters of
// transactions that were aborted are none. keys are as Deps.AWS; opts are added to the client's, for tests.
func ReadLetters(ctx context.Context, cfg Config, log zerolog.Logger, keys AWSCredentials, f func(line []byte) error, opts ...kgo.Opt) error {
	if cfg.DeadLetter.Topic == "" {
		return errors.New("sink.kafka.dead_letter.topic: is empty; write the topic that has the letters")
	}
	base, err := cfg.connection(log, keys)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(append(base, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()), opts...)...)
	if err != nil {
		return fmt.Errorf("making the kafka client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	// Up to what is committed now: a letter that comes meanwhile is one for the next time, and an open transaction holds nobody up.
	ends, err := admin.ListCommittedOffsets(ctx, cfg.DeadLetter.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("sink.kafka.dead_letter.topic: %q: %w", cfg.DeadLetter.Topic, err)
	}
	starts, err := admin.ListStartOffsets(ctx, cfg.DeadLetter.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("sink.kafka.dead_letter.topic: %q: %w", cfg.DeadLetter.Topic, err)
	}
	left := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		begin, _ := starts.Lookup(o.Topic, o.Partition)
		if begin.Offset < o.Offset {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().At(begin.Offset)
		}
	})
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{cfg.DeadLetter.Topic: from})
	for len(left) > 0 {
		// Markers of transactions take offsets, too: they are asked for, because the last offset may be one.
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("reading %q: %w", cfg.DeadLetter.Topic, err)
		}
		var failed error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			failed = errors.Join(failed, p.Err)
			for _, r := range p.Records {
				if end, ok := left[p.Partition]; ok && r.Offset < end && !r.Attrs.IsControl() && failed == nil {
					failed = f(r.Value)
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
