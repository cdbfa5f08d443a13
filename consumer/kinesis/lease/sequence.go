package lease

import (
	"fmt"
	"math/big"
	"strconv"
)

// Sequence numbers of Kinesis tell which shard they are of: their version stands in the 4 bits from bit 184, the shard's number in the 32
// bits from bit 4.
const (
	sequenceVersionBit = 184
	sequenceVersion    = 2
	sequenceShardBit   = 4
)

// shardNumber returns the number at the end of a shard id.
func shardNumber(shardID string) (uint32, bool) {
	const prefix = "shardId-"
	if len(shardID) <= len(prefix) || shardID[:len(prefix)] != prefix {
		return 0, false
	}
	n, err := strconv.ParseUint(shardID[len(prefix):], 10, 32)
	return uint32(n), err == nil
}

// CheckShard returns an error when c is a sequence number of another shard than shardID, so that no position of one shard is ever stored as
// that of another. What does not tell its shard passes: sentinels, and numbers of servers that don't number as AWS does.
func (c Checkpoint) CheckShard(shardID string) error {
	if !c.IsSequence() {
		return nil
	}
	want, ok := shardNumber(shardID)
	if !ok {
		return nil
	}
	n, ok := new(big.Int).SetString(c.Sequence, 10)
	if !ok || bits(n, sequenceVersionBit, 4) != sequenceVersion || n.BitLen() > sequenceVersionBit+4 {
		return nil
	}
	if got := bits(n, sequenceShardBit, 32); got != uint64(want) {
		return fmt.Errorf("sequence number %q is of shard %d, not of %s", c.Sequence, got, shardID)
	}
	return nil
}

// bits returns the width bits of n from bit at.
func bits(n *big.Int, at, width uint) uint64 {
	mask := new(big.Int).SetUint64(1<<width - 1)
	return mask.And(mask, new(big.Int).Rsh(n, at)).Uint64()
}
