//go:build !chaos_outside && !chaos_disorder && !chaos_unfenced

package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// finish adds the position to tx, whose rows are acknowledged, and ends it. Once attempted is true, an error says nothing about
// whether it was committed. Builds with tags that begin with chaos_ break it on purpose: see there.
func (w *txWriter) finish(ctx context.Context, tx *transaction, position []*kgo.Record) (attempted bool, err error) {
	if err := produce(ctx, tx.client, position...); err != nil {
		return false, err
	}
	if err := w.producer.check(ctx); err != nil {
		return false, err
	}
	return true, endTransaction(ctx, tx.client)
}
