//go:build chaos_unfenced

package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// finish is slow: a worker that is stopped meanwhile, and goes on when others have its shard, commits what they have read again.
// That is what fencing is against; see claimed. The position comes last, because whoever takes the shard over waits for the end of a
// transaction whose position he can see already.
func (w *txWriter) finish(ctx context.Context, tx *transaction, position []*kgo.Record) (attempted bool, err error) {
	ctx = context.WithoutCancel(ctx) // a commit that is under way goes on when the lease is lost
	if err := w.dawdle(ctx); err != nil {
		return false, err
	}
	if err := produce(ctx, tx.client, position...); err != nil {
		return false, err
	}
	return true, endTransaction(ctx, tx.client)
}
