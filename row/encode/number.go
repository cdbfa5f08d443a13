package encode

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
)

const (
	eight   = 100_000_000 // first number of nine digits
	sixteen = eight * eight
	zeros   = 0x3030303030303030
)

// appendUint is strconv.AppendUint for the numbers that rows hold: eight digits come out of three multiplications.
func appendUint(dst []byte, n uint64) []byte {
	if n >= sixteen {
		return strconv.AppendUint(dst, n, 10)
	}
	dst = slices.Grow(dst, 16)
	at := len(dst)
	buf := dst[at : at+16]
	if n < eight {
		return dst[:at+leading(buf, n)]
	}
	high := leading(buf, n/eight)
	binary.LittleEndian.PutUint64(buf[high:], eightDigits(n%eight)|zeros)
	return dst[:at+high+8]
}

// leading writes n < 10^8 without leading zeros and returns how many digits it has. It uses eight bytes of buf.
func leading(buf []byte, n uint64) int {
	d := eightDigits(n)
	skip := bits.TrailingZeros64(d|1<<56) / 8
	binary.LittleEndian.PutUint64(buf, (d|zeros)>>(8*skip))
	return 8 - skip
}

// eightDigits returns the digits of n < 10^8, one per byte, the highest in the lowest byte: n is cut in halves, each half in
// halves, and so on, all pieces of a stage with one multiplication by a rounded-up reciprocal.
func eightDigits(n uint64) uint64 {
	fours := n/10000 | n%10000<<32
	hundreds := fours * 10486 >> 20 & 0x7f0000007f
	twos := hundreds | (fours-100*hundreds)<<16
	tens := twos * 103 >> 10 & 0x000f000f000f000f
	return tens | (twos-10*tens)<<8
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return strconv.AppendInt(dst, n, 10)
	}
	return appendUint(dst, uint64(n))
}

// octets holds the text of every byte with a dot after it; a fifth byte is its length.
var octets = func() (table [256][5]byte) { //nolint:gochecknoglobals // read-only table
	for i := range table {
		n := copy(table[i][:], strconv.Itoa(i)+".")
		table[i][4] = byte(n)
	}
	return table
}()

func appendAddr(dst []byte, a netip.Addr) []byte {
	if !a.Is4() {
		start := len(dst)
		dst = a.AppendTo(dst)
		if a.Zone() != "" && cleanPrefix(dst[start:]) != len(dst)-start {
			raw := string(dst[start:])
			dst = appendEscaped(dst[:start], raw)
		}
		return dst
	}
	dst = slices.Grow(dst, 16)
	at := len(dst)
	buf := dst[at : at+16]
	n := 0
	for _, b := range a.As4() {
		o := &octets[b]
		copy(buf[n:n+4], o[:4])
		n += int(o[4])
	}
	return dst[:at+n-1]
}
