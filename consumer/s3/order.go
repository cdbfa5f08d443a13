//go:build !chaos_early

package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// work reads a mouthful whose claim is proven, and ends it. Builds with the tag chaos_early break it on purpose: see there.
func (w *Worker) work(ctx context.Context, j *job, msg types.Message) error {
	return w.read(ctx, j, msg)
}
