//go:build !chaos_stable

package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
)

// newest is how far the checkpoints topic must be read: its high watermarks. Builds with the tag chaos_stable break it on purpose:
// see there.
func newest(ctx context.Context, admin *kadm.Client, topic string) (kadm.ListedOffsets, error) {
	return admin.ListEndOffsets(ctx, topic)
}
