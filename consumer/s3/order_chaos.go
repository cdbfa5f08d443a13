//go:build chaos_early

package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// work makes the order wrong: the message is deleted before the rows of its mouthful are committed. It is a negative control of
// test/chaoss3, which must report what such a build loses. No released binary has this tag.
func (w *Worker) work(ctx context.Context, j *job, msg types.Message) error {
	if err := w.deleteMessage(ctx, msg); err != nil {
		return err
	}
	return w.read(ctx, j, msg)
}
