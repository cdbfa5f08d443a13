package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// takers is how many files of a mouthful are entered into the ledger at once.
const takers = 16

// former makes mouthfuls of files: first in the ledger, then in the queue. Its methods may be called concurrently.
type former struct {
	cfg    Config
	sqs    SQS
	ledger *ledger
	m      *formMetrics
	log    zerolog.Logger
}

func newFormer(cfg Config, d GathererDeps) *former {
	return &former{
		cfg: cfg, sqs: d.SQS, m: newFormMetrics(d.Metrics), log: d.Log,
		ledger: &ledger{api: d.Ledger, table: cfg.LedgerTable, retention: cfg.Retention},
	}
}

// write makes mouthfuls of entries, and returns which of them may be acknowledged. Its steps stand in the package comment.
func (f *former) write(ctx context.Context, entries []*entry) (settled map[*entry]bool, err error) {
	objects := make([]Object, len(entries))
	for i, e := range entries {
		objects[i] = e.object
	}
	list, err := packList(objects)
	if err != nil {
		return nil, err
	}
	if len(list) > maxItem && len(entries) > 1 {
		first, err := f.write(ctx, entries[:len(entries)/2])
		if err != nil {
			return first, err
		}
		second, err := f.write(ctx, entries[len(entries)/2:])
		for e := range second {
			first[e] = true
		}
		return first, err
	}
	m := &Mouthful{ID: newID(time.Now()), Created: time.Now()}
	if err := f.ledger.form(ctx, m.ID, m.Created); err != nil {
		return nil, err
	}
	fresh, settled, err := f.enter(ctx, entries, m)
	if err != nil {
		return nil, err
	}
	if len(fresh) == 0 {
		return settled, f.ledger.abandon(ctx, m.ID)
	}
	m.Files = fresh
	if len(fresh) < len(objects) {
		if list, err = packList(fresh); err != nil {
			return nil, err
		}
	}
	if err := f.ledger.seal(ctx, m, list); err != nil {
		return nil, err
	}
	if err := f.announce(ctx, m); err != nil {
		return nil, err
	}
	f.m.mouthfuls.Inc()
	f.m.files.Add(float64(len(fresh)))
	f.m.bytes.Add(float64(m.Bytes))
	f.m.fill.Observe(float64(m.Bytes) / float64(f.cfg.Gather.MaxBytes))
	f.log.Info().Str("mouthful", m.ID).Int("files", len(fresh)).Int64("bytes", m.Bytes).Msg("mouthful sent")
	return settled, nil
}

// enter notes in the ledger that the files are in m. It returns those that are, and the entries that may be acknowledged when m is sent.
func (f *former) enter(ctx context.Context, entries []*entry, m *Mouthful) (fresh []Object, settled map[*entry]bool, err error) {
	taken := make([]bool, len(entries))
	waiting := make([]bool, len(entries))
	work, wctx := errgroup.WithContext(ctx)
	work.SetLimit(takers)
	for i, e := range entries {
		work.Go(func() error {
			ok, err := f.ledger.take(wctx, e.object, m.ID, m.Created)
			if errors.Is(err, errForming) {
				waiting[i] = true
				return nil
			}
			taken[i] = ok
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, nil, err
	}
	settled = map[*entry]bool{}
	for i, e := range entries {
		switch {
		case waiting[i]:
			f.m.deferred.Inc()
			continue
		case taken[i]:
			fresh = append(fresh, e.object)
			m.Bytes += e.object.Size
		default:
			f.m.duplicates.Inc()
		}
		settled[e] = true
	}
	return fresh, settled, nil
}

// mouthfulMessage is the body of a message in the mouthful queue. The list of files is in the ledger.
type mouthfulMessage struct {
	Mouthful string `json:"mouthful"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
}

// announce sends a sealed mouthful and notes that.
func (f *former) announce(ctx context.Context, m *Mouthful) error {
	body, err := json.Marshal(mouthfulMessage{Mouthful: m.ID, Files: len(m.Files), Bytes: m.Bytes})
	if err != nil {
		return fmt.Errorf("announce mouthful %q: %w", m.ID, err)
	}
	if _, err := f.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &f.cfg.MouthfulQueue, MessageBody: aws.String(string(body))}); err != nil {
		return fmt.Errorf("announce mouthful %q: %w", m.ID, err)
	}
	return f.ledger.markSent(ctx, m.ID)
}

// newID makes the id of a mouthful: its time, so that lists are in order, and chance.
func newID(now time.Time) string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	return now.UTC().Format("20060102T150405.000Z") + "-" + hex.EncodeToString(b[:])
}
