package lease

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
)

// FuzzParseItem reads rows of a lease table as anybody may have written them: a map of attributes by type. What is a lease comes back when
// it is written as a new row.
func FuzzParseItem(f *testing.F) {
	f.Add([]byte(`{"leaseKey":{"S":"shardId-000000000000"},"leaseCounter":{"N":"7"},"leaseOwner":{"S":"a"},"checkpoint":{"S":"TRIM_HORIZON"},"checkpointSubSequenceNumber":{"N":"0"},"parentShardId":{"SS":["b","a"]},"startingHashKey":{"S":"0"},"endingHashKey":{"S":"9"},"throughputKBps":{"N":"1.5"}}`))
	f.Add([]byte(`{"leaseKey":{"S":"k"},"leaseCounter":{"N":"1"},"checkpoint":{"S":"SHARD_END"},"pendingCheckpoint":{"S":"4"},"pendingCheckpointState":{"N":"0"},"startedAt":{"N":"1700000000000"}}`))
	f.Add([]byte(`{"leaseKey":{"N":"1"},"leaseCounter":{"NULL":true}}`))
	f.Add([]byte(`{"leaseKey":{"S":"Migration3.0"},"entityType":{"S":"other"},"cv":{"S":"CLIENT_VERSION_3X"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var row map[string]struct {
			S, N *string
			SS   []string
			B    []byte
			NULL bool
			BOOL bool
		}
		if json.Unmarshal(data, &row) != nil {
			return
		}
		it := item{}
		for name, v := range row {
			switch {
			case v.S != nil:
				it[name] = &types.AttributeValueMemberS{Value: *v.S}
			case v.N != nil:
				it[name] = &types.AttributeValueMemberN{Value: *v.N}
			case v.SS != nil:
				it[name] = &types.AttributeValueMemberSS{Value: v.SS}
			case v.B != nil:
				it[name] = &types.AttributeValueMemberB{Value: v.B}
			case v.NULL:
				it[name] = &types.AttributeValueMemberNULL{Value: true}
			case v.BOOL:
				it[name] = &types.AttributeValueMemberBOOL{Value: true}
			}
		}
		_, _ = isForeign(it), clientVersion(it)
		l, err := parseItem(it)
		if err != nil {
			return
		}
		if l.Key == "" || l.Checkpoint == (Checkpoint{}) {
			t.Fatalf("a lease without key or checkpoint: %+v", l)
		}
		// What a new row holds.
		want := Lease{
			Key: l.Key, Checkpoint: l.Checkpoint, Parents: l.Parents, Children: l.Children, HashRange: l.HashRange, StreamName: l.StreamName,
			ShardID: l.ShardID, StartedAt: l.StartedAt, EntityType: EntityType,
		}
		if len(want.Parents) == 0 {
			want.Parents = nil
		}
		if len(want.Children) == 0 {
			want.Children = nil
		}
		again, err := parseItem(newItem(want))
		if err != nil {
			t.Fatalf("%v in the row of %+v", err, want)
		}
		if diff := cmp.Diff(want, again); diff != "" {
			t.Error(diff)
		}
	})
}
