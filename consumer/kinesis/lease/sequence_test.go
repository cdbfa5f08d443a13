package lease

import "testing"

// The validator of sequence numbers. The long ones are AWS's and an emulator's, of the shards that they name.
func TestCheckShard(t *testing.T) {
	f := func(sequence, shard string, ok bool) {
		t.Helper()
		if err := (Checkpoint{Sequence: sequence}).CheckShard(shard); (err == nil) != ok {
			t.Errorf("%s as a position of %s: %v", sequence, shard, err)
		}
	}
	const of1, of6 = "49680448671279063202069164182185263621581486078570790930", "49680448895468454682897518623717429445219546650455834722"
	f(of1, "shardId-000000000001", true)
	f(of1, "shardId-000000000002", false)
	f(of6, "shardId-000000000006", true)
	f(of6, "shardId-000000000001", false)
	// What does not tell its shard passes.
	f(TrimHorizon, "shardId-000000000001", true)
	f(ShardEnd, "shardId-000000000001", true)
	f("12345", "shardId-000000000001", true)
	f("9"+of1, "shardId-000000000002", true) // beyond 188 bits
	f(of1, "some other name", true)
}
