package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ReadLetters calls f with every letter that the topic of dead letters holds now, as the line that sink.ParseLetter reads. Letters of
// transactions that were aborted are none. keys are as Deps.AWS; opts are added to the client's, for tests.
func ReadLetters(ctx context.Context, cfg Config, log zerolog.Logger, keys AWSCredentials, f func(line []byte) error, opts ...kgo.Opt) error {
	if cfg.DeadLetter.Topic == "" {
		return errors.New("sink.kafka.dead_letter.topic: is empty; write the topic that has the letters")
	}
	return readCommitted(ctx, cfg, log, keys, keyedTopic{"sink.kafka.dead_letter.topic", cfg.DeadLetter.Topic}, time.Time{}, func(r *kgo.Record) error {
		return f(r.Value)
	}, opts...)
}
