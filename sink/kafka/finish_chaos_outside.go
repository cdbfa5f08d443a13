//go:build chaos_outside

package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// finish makes the protocol wrong: rows are committed first and their position in a transaction of its own, later. It is a
// negative control of test/chaos, which must report what such a build doubles. No released binary has this tag.
func (w *txWriter) finish(ctx context.Context, tx *transaction, position []*kgo.Record) (attempted bool, err error) {
	if err := endTransaction(ctx, tx.client); err != nil {
		return true, err
	}
	if err := w.dawdle(ctx); err != nil {
		return true, err
	}
	if err := tx.client.BeginTransaction(); err != nil {
		return true, err
	}
	if err := produce(ctx, tx.client, position...); err != nil {
		return true, err
	}
	return true, endTransaction(ctx, tx.client)
}
