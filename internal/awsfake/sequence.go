package awsfake

import (
	"cmp"
	"math/bits"
)

// sequence is a sequence number of Kinesis's version 2: 186 bits, 56 decimal digits. From the top:
//
//	bits 184-187  version, 2
//	bits 148-183  when the shard was created, epoch seconds
//	bits  80-143  rises with every record of the stream
//	bits  36-71   when the record came, epoch seconds
//	bits   4-35   index of the shard
//	bits   0-3    version, 2
//
// KCL's validator reads the upper version and the shard's index. Numbers rise within a shard, and a child's are above
// its parents' unless they were created in the same second, so only numbers of one shard may be compared.
type sequence struct{ hi, mid, lo uint64 }

const sequenceVersion = 2

func newSequence(shardCreated, counter, arrived uint64, shard uint32) sequence {
	return sequence{
		hi:  sequenceVersion<<56 | shardCreated&(1<<36-1)<<20 | counter>>48,
		mid: counter<<16 | arrived>>28&0xff,
		lo:  arrived<<36 | uint64(shard)<<4 | sequenceVersion,
	}
}

// shard is the index of the shard that the number belongs to.
func (q sequence) shard() uint32 { return uint32(q.lo >> 4) }

// shardCreated is the creation second of the shard that the number belongs to.
func (q sequence) shardCreated() uint64 { return q.hi >> 20 & (1<<36 - 1) }

func (q sequence) compare(r sequence) int {
	return cmp.Or(cmp.Compare(q.hi, r.hi), cmp.Compare(q.mid, r.mid), cmp.Compare(q.lo, r.lo))
}

const (
	sequenceDigits = 56
	tenTo19        = 1e19
)

// append writes the number in decimal.
func (q sequence) append(b []byte) []byte {
	var digits [sequenceDigits]byte
	hi, mid, lo := q.hi, q.mid, q.lo
	end := len(digits)
	for end > 0 {
		var rest uint64
		hi, rest = bits.Div64(0, hi, tenTo19)
		mid, rest = bits.Div64(rest, mid, tenTo19)
		lo, rest = bits.Div64(rest, lo, tenTo19)
		for n := 0; n < 19 && end > 0; n++ {
			end--
			digits[end] = byte('0' + rest%10)
			rest /= 10
		}
	}
	return append(b, digits[:]...)
}

func (q sequence) String() string { return string(q.append(nil)) }

// parseSequence reads a decimal number of version 2.
func parseSequence(s string) (sequence, bool) {
	var q sequence
	if s == "" || len(s) > sequenceDigits {
		return q, false
	}
	for i := range len(s) {
		d := uint64(s[i] - '0')
		if d > 9 {
			return q, false
		}
		var c uint64
		c, q.lo = mulAdd(q.lo, d)
		c, q.mid = mulAdd(q.mid, c)
		_, q.hi = mulAdd(q.hi, c)
	}
	return q, q.hi>>56 == sequenceVersion
}

// mulAdd is 10*x + add.
func mulAdd(x, add uint64) (carry, low uint64) {
	carry, low = bits.Mul64(x, 10)
	low, c := bits.Add64(low, add, 0)
	return carry + c, low
}
