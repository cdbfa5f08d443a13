package kafka

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxIDPart bounds one part of a transactional id; a longer one is cut and told apart by its hash.
const maxIDPart = 100

// transactionalID names one shard for the transaction coordinator, and its position in the checkpoints topic: the application and
// what Leases.Name says. Other applications, accounts, regions, streams and a stream made anew under its old name have others.
func transactionalID(application, name string) string {
	parts := append([]string{application}, strings.Split(name, "/")...)
	for i, p := range parts {
		parts[i] = idPart(p)
	}
	return strings.Join(parts, "/")
}

// idPart escapes what would read as another part, and shortens what is long.
func idPart(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= maxIDPart {
		return b.String()
	}
	sum := sha256.Sum256([]byte(s))
	hash := hex.EncodeToString(sum[:16])
	return b.String()[:maxIDPart-len(hash)-1] + "~" + hash
}

// checkpointPartitions is the number of partitions of the checkpoints topic. It can't be changed: the partition of a key hangs on it.
const checkpointPartitions = 32

// checkpointPartition is the partition of a key: equal in every process and release.
func checkpointPartition(key string) int32 {
	h := hashString(fnvOffset, key)
	h ^= h >> 32
	return int32(h % checkpointPartitions)
}
