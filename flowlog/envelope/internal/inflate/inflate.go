// Package inflate decompresses gzip that lies in memory as a whole into memory as a whole.
//
// A library's reader must be able to stop at any byte of its input and its output. Whoever has both in memory need not: the
// bits come eight bytes at a time, matches are copied sixteen bytes at a time from what was written before, and one look-up
// gives up to two literals, or a length with its extra bits. BenchmarkGzip shows what that buys over the library.
//
// It is stricter than the library: what it refuses may still be good to a reader that knows more of gzip, and a caller asks such a
// one for the exact fault. What it accepts is what the library makes of it, byte by byte (FuzzGzip).
package inflate

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The errors of Gzip.
var (
	// ErrTooLarge means that more would come out than the caller allows.
	ErrTooLarge = errors.New("inflates beyond the limit")
	// ErrCorrupt means that the input is no whole gzip, or one with parts that are not understood here.
	ErrCorrupt = errors.New("no gzip that can be inflated at once")
)

// Decoder holds the tables of the block being read. The zero value is ready. Not safe for concurrent use.
type Decoder struct {
	symbols   symbolTable
	distances distanceTable
	build     builder

	in  []byte
	pos int // in in
	// bits holds what was read of in and not yet used, the next bit lowest; only the lower count of it are valid.
	bits  uint64
	count uint
	out   []byte
	at    int // in out; below lies what was written
	base  int // where the present member begins in out
	most  int
}

const (
	headerSize  = 10
	trailerSize = 8

	flagExtra   = 1 << 2
	flagName    = 1 << 3
	flagComment = 1 << 4
)

// Gzip writes what the members of src hold into dst, from its beginning and into its capacity, and returns it; dst is replaced by
// a larger slice when it is too small. No more than most bytes come out, else ErrTooLarge. After an error the content of dst is
// arbitrary. src is not kept.
func (d *Decoder) Gzip(dst, src []byte, most int) ([]byte, error) {
	d.in, d.pos, d.bits, d.count = src, 0, 0, 0
	d.out, d.at, d.most = dst[:cap(dst)], 0, most
	defer func() { d.in, d.out = nil, nil }()
	for {
		if err := d.member(); err != nil {
			return d.out, err
		}
		if d.pos == len(d.in) {
			return d.out[:d.at], nil
		}
	}
}

// Size is how many bytes the last member of src says that it holds, modulo 2^32; 0 when src is too short for gzip. It is a hint: nothing has
// been checked.
func Size(src []byte) uint32 {
	if len(src) < headerSize+trailerSize {
		return 0
	}
	return binary.LittleEndian.Uint32(src[len(src)-4:])
}

// member reads one member of a gzip file.
func (d *Decoder) member() error {
	if !d.header() {
		return ErrCorrupt
	}
	d.base = d.at
	for {
		last, err := d.block()
		if err != nil {
			return err
		}
		if last {
			break
		}
	}
	d.align()
	rest := d.in[d.pos:]
	if len(rest) < trailerSize {
		return ErrCorrupt
	}
	got := d.out[d.base:d.at]
	if binary.LittleEndian.Uint32(rest) != crc32.ChecksumIEEE(got) || binary.LittleEndian.Uint32(rest[4:]) != uint32(len(got)) {
		return ErrCorrupt
	}
	d.pos += trailerSize
	return nil
}

// header passes the header of a member.
func (d *Decoder) header() bool {
	h := d.in[d.pos:]
	if len(h) < headerSize || h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 {
		return false
	}
	flags := h[3]
	if flags&^(flagExtra|flagName|flagComment|1) != 0 { // the lowest says that it is text
		return false
	}
	h = h[headerSize:]
	if flags&flagExtra != 0 {
		if len(h) < 2 {
			return false
		}
		n := 2 + int(binary.LittleEndian.Uint16(h))
		if len(h) < n {
			return false
		}
		h = h[n:]
	}
	for _, f := range [...]byte{flagName, flagComment} {
		if flags&f == 0 {
			continue
		}
		const longest = 500 // the library refuses longer ones, too
		end := 0
		for end < len(h) && end < longest && h[end] != 0 {
			end++
		}
		if end == len(h) || end == longest {
			return false
		}
		h = h[end+1:]
	}
	d.pos = len(d.in) - len(h)
	return true
}

// align gives the whole bytes back that were read and not used, and drops the rest of the last byte.
func (d *Decoder) align() {
	d.pos -= int(d.count / 8)
	d.bits, d.count = 0, 0
}

// grow makes room for n more bytes behind what was written, and slack for whole words. False is too much.
func (d *Decoder) grow(n int) bool {
	if d.at+n > d.most {
		return false
	}
	size := max(2*len(d.out), d.at+n+slack, 4096)
	if hint := d.at + int(Size(d.in)) + slack; hint >= size && hint <= d.most+slack {
		size = hint
	}
	out := make([]byte, min(size, d.most+slack))
	copy(out, d.out[:d.at])
	d.out = out
	return true
}
