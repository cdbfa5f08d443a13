package kafka

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Sent is what the topics hold of one hour of flow time, as a reader of committed records finds it.
type Sent struct {
	// Raw and Late are rows; RowsIn is the number of raw rows that the rolled-up ones say they are made of.
	Raw, Late, RowsIn int64
}

// sentMargin is how much earlier than its flow a record's timestamp may be: a flow's time may be one of a clock that is fast.
const sentMargin = time.Hour

// SentRows counts what the configured topics hold of flows in [from, to), by hour. It reads all their records of that time. keys are as
// Deps.AWS; opts are added to the client's, for tests.
func SentRows(ctx context.Context, cfg Config, log zerolog.Logger, keys AWSCredentials, from, to time.Time, opts ...kgo.Opt) (map[time.Time]Sent, error) {
	hours := map[time.Time]Sent{}
	for _, t := range cfg.rowTopics() {
		err := readCommitted(ctx, cfg, log, keys, t, from.Add(-sentMargin), func(r *kgo.Record) error {
			ms, ok := integerField(r.Value, `"time":`)
			at := time.UnixMilli(ms).UTC()
			if !ok {
				return fmt.Errorf("%s: %q, partition %d, offset %d: is no row of ours; somebody else writes to this topic", t.key, t.name, r.Partition, r.Offset)
			}
			if at.Before(from) || !at.Before(to) {
				return nil
			}
			hour := at.Truncate(time.Hour)
			h := hours[hour]
			switch t.name {
			case cfg.Topic:
				h.Raw++
			case cfg.LateTopic:
				h.Late++
			case cfg.MinuteTopic:
				n, _ := integerField(r.Value, `"rows_in":`)
				h.RowsIn += n
			}
			hours[hour] = h
			return nil
		}, opts...)
		if err != nil {
			return nil, err
		}
	}
	return hours, nil
}

// integerField is the integer behind key in the JSON of a row. Keys of rows are unique, and no string can hold one with its quotes.
func integerField(row []byte, key string) (n int64, ok bool) {
	_, rest, found := bytes.Cut(row, []byte(key))
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		n, ok = n*10+int64(c-'0'), true
	}
	return n, ok && found
}
