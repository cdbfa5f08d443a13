package kpl

import (
	"cmp"
	"fmt"
	"math/bits"
)

// HashKey is a place in the key space of a stream, which is divided among its shards: 128 bits.
type HashKey struct{ Hi, Lo uint64 }

// maxDigits is the length of the greatest hash key, 2^128-1, in decimal.
const maxDigits = 39

// ParseHashKey reads a hash key in decimal, as Kinesis writes it.
func ParseHashKey[T ~string | ~[]byte](text T) (HashKey, error) {
	if len(text) == 0 || len(text) > maxDigits {
		return HashKey{}, fmt.Errorf("hash key of %d digits; want 1 to %d", len(text), maxDigits)
	}
	var k HashKey
	for i := range len(text) {
		digit := uint64(text[i] - '0')
		if digit > 9 {
			return HashKey{}, fmt.Errorf("hash key %q is not a decimal number", string(text))
		}
		// k = k*10 + digit, in two halves.
		carry, lo := bits.Mul64(k.Lo, 10)
		over, hi := bits.Mul64(k.Hi, 10)
		lo, c := bits.Add64(lo, digit, 0)
		hi, c = bits.Add64(hi, carry, c)
		if over != 0 || c != 0 {
			return HashKey{}, fmt.Errorf("hash key %q is above 2^128-1", string(text))
		}
		k = HashKey{hi, lo}
	}
	return k, nil
}

// Compare returns -1, 0 or +1.
func (k HashKey) Compare(o HashKey) int {
	if n := cmp.Compare(k.Hi, o.Hi); n != 0 {
		return n
	}
	return cmp.Compare(k.Lo, o.Lo)
}

// Range is a shard's part of the key space. Both ends belong to it.
type Range struct{ Start, End HashKey }

// Contains says whether k lies in r.
func (r Range) Contains(k HashKey) bool { return r.Start.Compare(k) <= 0 && k.Compare(r.End) <= 0 }
