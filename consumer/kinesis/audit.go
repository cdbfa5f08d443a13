package kinesis

import (
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/consumer/kinesis/lease"
)

// Uncovered returns those of shards, which must be all that the stream lists, that no lease covers: shards that need a row at
// TRIM_HORIZON, now, for every open shard to be read. A shard whose ancestor is still being read is covered by that one. The
// leases must be those of this stream.
func Uncovered(shards []types.Shard, leases []lease.Lease) ([]types.Shard, error) {
	infos := make([]shardInfo, len(shards))
	for i, s := range shards {
		infos[i] = newShardInfo(s)
	}
	missing, err := uncovered(infos, leases)
	if err != nil {
		return nil, err
	}
	var out []types.Shard
	for i, s := range infos {
		if listed(missing, s.id) {
			out = append(out, shards[i])
		}
	}
	return out, nil
}
