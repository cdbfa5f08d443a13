package flowlog

import (
	"encoding/binary"
	"math/bits"
)

// The functions here look at eight bytes at a time. That is less for speed on one line than for branches: the length of
// a number or of an octet is random, and a loop over its digits costs a mispredicted branch at its end.

const (
	lanes = 0x0101010101010101 // one in every byte
	highs = 0x8080808080808080 // the top bit of every byte
)

// split finds the fields of line, runs of bytes other than spaces, and puts them into spans. It returns their number; when
// there are more than spans has room for, a larger one.
func split(line []byte, spans []span) int {
	n, start := 0, 0
	for base := 0; base < len(line); base += 64 {
		for mask := spaces(line[base:min(base+64, len(line))]); mask != 0; mask &= mask - 1 {
			i := base + bits.TrailingZeros64(mask)
			if i > start {
				if n == len(spans) {
					return n + 1
				}
				spans[n] = span{uint16(start), uint16(i - start)}
				n++
			}
			start = i + 1
		}
	}
	if len(line) > start {
		if n == len(spans) {
			return n + 1
		}
		spans[n] = span{uint16(start), uint16(len(line) - start)}
		n++
	}
	return n
}

// spaces returns a bit for every space among the bytes of b, at most 64.
func spaces(b []byte) (mask uint64) {
	if len(b) == 64 {
		w := (*[64]byte)(b)
		lo := spaces8(w[0:8]) | spaces8(w[8:16])<<8 | spaces8(w[16:24])<<16 | spaces8(w[24:32])<<24
		hi := spaces8(w[32:40]) | spaces8(w[40:48])<<8 | spaces8(w[48:56])<<16 | spaces8(w[56:64])<<24
		return lo | hi<<32
	}
	i := 0
	for ; i+8 <= len(b); i += 8 {
		mask |= spaces8(b[i:i+8]) << (i & 63)
	}
	if i == len(b) {
		return mask
	}
	if len(b) >= 8 { // the last eight bytes, of which some were looked at before
		return mask | spaces8(b[len(b)-8:])<<((len(b)-8)&63)
	}
	for ; i < len(b); i++ {
		if b[i] == ' ' {
			mask |= 1 << i
		}
	}
	return mask
}

// spaces8 is spaces for eight bytes.
func spaces8(b []byte) uint64 {
	x := binary.LittleEndian.Uint64(b) ^ ' '*lanes
	zero := ^((x&^highs + ^uint64(highs)) | x) & highs // the top bit of every byte that is 0; exact
	return zero >> 7 * 0x0102040810204080 >> 56        // those eight bits side by side
}

// scanUint reads line[at:end], at least one byte, as an integer; not ok when it has other bytes than digits or a value
// beyond an int64.
func scanUint(line []byte, at, end int) (v uint64, ok bool) {
	n := end - at
	if n > 16 || at+8 > len(line) {
		return parseUint(line[at:end])
	}
	if n > 8 { // times: the first digits here, the last eight below
		head, ok := eightDigits(binary.LittleEndian.Uint64(line[at:]), n-8)
		if !ok {
			return 0, false
		}
		tail, ok := eightDigits(binary.LittleEndian.Uint64(line[end-8:]), 8)
		return head*1e8 + tail, ok
	}
	return eightDigits(binary.LittleEndian.Uint64(line[at:]), n)
}

// of returns the text of s.
func (s span) of(line []byte) []byte { return line[s.off : uint32(s.off)+uint32(s.len)] }

// number reads s as an integer of up to eight digits; eight bytes of line must follow its beginning.
func (s span) number(line []byte) (v uint64, ok bool) {
	v, ok = eightDigits(binary.LittleEndian.Uint64(line[s.off:]), int(s.len)&15)
	return v, ok && s.len <= 8
}

// tenDigits reads the first ten bytes of b as an integer.
func tenDigits(b []byte) (v uint64, ok bool) {
	high, low := uint64(b[0])-'0', uint64(b[1])-'0'
	v, ok = eightDigits(binary.LittleEndian.Uint64(b[2:]), 8)
	return (high*10+low)*1e8 + v, ok && high <= 9 && low <= 9
}

// eightDigits reads the first n of the eight bytes in x, n from 1 to 8; the first byte is the lowest.
func eightDigits(x uint64, n int) (v uint64, ok bool) {
	x = (x ^ '0'*lanes) << (uint(8-n) * 8 & 63) // digits become 0 to 9, with zeros in front of the first
	other := ((x + 0x76*lanes) | x) & highs
	// Pairs of digits, then of pairs, then of fours.
	x = x * (10<<8 + 1) >> 8 & 0x00ff00ff00ff00ff
	x = x * (100<<16 + 1) >> 16 & 0x0000ffff0000ffff
	x = x * (10000<<32 + 1) >> 32
	return x, other == 0
}

// scanIPv4 reads line[at:end] as a dotted quad. It is not ok when that is none, and also when it stands too near to the
// end of line for this way of reading.
func scanIPv4(line []byte, at, end int) (q [4]byte, ok bool) {
	if at+16 > len(line) || end-at > 15 {
		return q, false
	}
	w := (*[16]byte)(line[at:])
	n := uint(end - at)
	// One bit for every byte that is no digit, and one for the end; a quad has three dots.
	mask := others(binary.LittleEndian.Uint64(w[:8])) | others(binary.LittleEndian.Uint64(w[8:]))<<8 | 1<<n
	mask &= 2<<n - 1
	if bits.OnesCount64(mask) != 4 {
		return q, false
	}
	dot1 := uint(bits.TrailingZeros64(mask)) & 15
	mask &= mask - 1
	dot2 := uint(bits.TrailingZeros64(mask)) & 15
	mask &= mask - 1
	dot3 := uint(bits.TrailingZeros64(mask)) & 15
	if w[dot1] != '.' || w[dot2] != '.' || w[dot3] != '.' {
		return q, false
	}
	a, okA := octet(w, 0, dot1)
	b, okB := octet(w, dot1+1, dot2)
	c, okC := octet(w, dot2+1, dot3)
	d, okD := octet(w, dot3+1, n)
	return [4]byte{byte(a), byte(b), byte(c), byte(d)}, okA && okB && okC && okD
}

// others returns a bit for every byte of x that is no digit.
func others(x uint64) uint64 {
	x ^= '0' * lanes
	x = ((x &^ highs) + 0x76*lanes) | x
	return x & highs >> 7 * 0x0102040810204080 >> 56
}

// octet reads the digits w[at:end] as a number up to 255 without leading zeros.
func octet(w *[16]byte, at, end uint) (v uint32, ok bool) {
	n := end - at
	if n-1 > 2 || at > 12 {
		return 0, false
	}
	x := (binary.LittleEndian.Uint32(w[at:]) ^ '0'*0x01010101) << ((4 - n) * 8)
	v = x>>24 + x>>16&255*10 + x>>8&255*100
	return v, v <= 255 && v >= octetMin[n&3]
}

// octetMin is the smallest octet of so many digits.
//
//nolint:gochecknoglobals // read-only table
var octetMin = [4]uint32{0, 0, 10, 100}
