//go:build chaos_disorder

package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// finish makes the protocol wrong: a position is committed before the rows up to it. It is a negative control of test/chaos,
// which must report what such a build loses. No released binary has this tag.
func (w *txWriter) finish(ctx context.Context, tx *transaction, position []*kgo.Record) (attempted bool, err error) {
	p, err := w.sink.fence(ctx, string(position[0].Key)+"/positions")
	if err != nil {
		return false, err
	}
	defer p.client.Close()
	if err := p.client.BeginTransaction(); err != nil {
		return false, err
	}
	if err := produce(ctx, p.client, position...); err != nil {
		return false, err
	}
	if err := endTransaction(ctx, p.client); err != nil {
		return false, err
	}
	if err := w.dawdle(ctx); err != nil {
		return false, err
	}
	return true, endTransaction(ctx, tx.client)
}
