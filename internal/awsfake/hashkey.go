package awsfake

import (
	"bytes"
	"crypto/md5"
	"math/big"
)

// hashKey is a point of the 128-bit key space, big-endian.
type hashKey [16]byte

var maxHashKey = hashKey(bytes.Repeat([]byte{0xff}, 16)) //nolint:gochecknoglobals // read-only

// hashOf is where Kinesis puts a partition key.
func hashOf(partitionKey string) hashKey { return md5.Sum([]byte(partitionKey)) }

func parseHashKey(s string) (hashKey, bool) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.Sign() < 0 || n.BitLen() > 128 || s[0] == '+' {
		return hashKey{}, false
	}
	return toHashKey(n), true
}

func toHashKey(n *big.Int) hashKey {
	var h hashKey
	n.FillBytes(h[:])
	return h
}

func (h hashKey) big() *big.Int { return new(big.Int).SetBytes(h[:]) }

func (h hashKey) String() string { return h.big().String() }

func (h hashKey) compare(o hashKey) int { return bytes.Compare(h[:], o[:]) }

// next is h+1; h is not the greatest key.
func (h hashKey) next() hashKey { return toHashKey(new(big.Int).Add(h.big(), big.NewInt(1))) }

// previous is h-1; h is not zero.
func (h hashKey) previous() hashKey { return toHashKey(new(big.Int).Sub(h.big(), big.NewInt(1))) }

// boundaries are the first keys of n equal parts of the key space.
func boundaries(n int) []hashKey {
	space := new(big.Int).Lsh(big.NewInt(1), 128)
	out := make([]hashKey, n)
	for i := range out {
		b := new(big.Int).Mul(space, big.NewInt(int64(i)))
		out[i] = toHashKey(b.Div(b, big.NewInt(int64(n))))
	}
	return out
}
