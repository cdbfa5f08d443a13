//go:build chaos_stable

package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
)

// newest makes the protocol wrong: it stops at the last stable offset, behind which committed positions may lie. It is a negative
// control of test/chaos, which must report what such a build doubles. No released binary has this tag.
func newest(ctx context.Context, admin *kadm.Client, topic string) (kadm.ListedOffsets, error) {
	return admin.ListCommittedOffsets(ctx, topic)
}
