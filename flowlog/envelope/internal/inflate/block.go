package inflate

import "encoding/binary"

const (
	// slack is how far beyond the end of what it writes one round of fast may touch: a longest match, its last step of sixteen bytes, and
	// the literals before.
	slack = 258 + 16 + 8
	// lookAhead is how far one round of fast may read.
	lookAhead = 16
)

// order is that of the code lengths of code lengths.
//
//nolint:gochecknoglobals // read-only table
var order = [lengthCount]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// need sees to it that at least n bits are there, n up to 56.
func (d *Decoder) need(n uint) bool {
	for d.count < n {
		if d.pos == len(d.in) {
			return false
		}
		// Above count the bits may be there already, as fast reads more than it counts.
		d.bits |= uint64(d.in[d.pos]) << d.count
		d.pos++
		d.count += 8
	}
	return true
}

// take uses n bits up that are there.
func (d *Decoder) take(n uint) uint {
	v := uint(d.bits) & (1<<n - 1)
	d.bits >>= n
	d.count -= n
	return v
}

// block reads one block and says whether it is the last.
func (d *Decoder) block() (last bool, err error) {
	if !d.need(3) {
		return false, ErrCorrupt
	}
	last = d.take(1) == 1
	ok := false
	switch d.take(2) {
	case 0:
		return last, d.stored()
	case 1:
		if d.need(7) && d.bits&127 == 0 { // the code of the block's end: writers end so
			d.take(7)
			return last, nil
		}
		ok = d.fixedCodes()
	case 2:
		ok = d.readCodes()
	default: // there is none
	}
	if !ok {
		return false, ErrCorrupt
	}
	for {
		done, err := d.fast()
		if err == nil && !done {
			done, err = d.slow()
		}
		if done || err != nil {
			return last, err
		}
	}
}

// stored copies a block that is not compressed.
func (d *Decoder) stored() error {
	d.align()
	rest := d.in[d.pos:]
	if len(rest) < 4 {
		return ErrCorrupt
	}
	n := int(binary.LittleEndian.Uint16(rest))
	if n != int(^binary.LittleEndian.Uint16(rest[2:])) || len(rest)-4 < n {
		return ErrCorrupt
	}
	if len(d.out)-d.at < n+slack && !d.grow(n) {
		return ErrTooLarge
	}
	copy(d.out[d.at:], rest[4:4+n])
	d.at += n
	d.pos += 4 + n
	return nil
}

// fixedCodes makes the tables of the codes that the format itself gives.
func (d *Decoder) fixedCodes() bool {
	lengths := d.build.lengths[:symbolCount]
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	distances := d.build.lengths[symbolCount:]
	for i := range distances {
		distances[i] = 5
	}
	return d.tables(lengths, distances)
}

func (d *Decoder) tables(symbols, distances []uint8) bool {
	if !d.build.table(d.symbols[:], symbolBits, symbols, symbolBlanks[:], false) ||
		!d.build.table(d.distances[:], distanceBits, distances, distanceBlanks[:], true) {
		return false
	}
	d.symbols.pair()
	return true
}

// readCodes reads the codes of a block that brings its own.
func (d *Decoder) readCodes() bool {
	if !d.need(14) {
		return false
	}
	symbols, distances, n := int(d.take(5))+257, int(d.take(5))+1, int(d.take(4))+4
	if symbols > 286 || distances > 30 {
		return false
	}
	var small [lengthCount]uint8
	for _, i := range order[:n] {
		if !d.need(3) {
			return false
		}
		small[i] = uint8(d.take(3))
	}
	b := &d.build
	if !b.table(b.small[:], lengthBits, small[:], lengthBlanks[:], false) {
		return false
	}
	lengths := b.lengths[:symbols+distances]
	for i := 0; i < len(lengths); {
		d.need(lengthBits + 7)
		e := b.small[d.bits&(1<<lengthBits-1)]
		extra, least, again := uint(0), 1, uint8(0)
		v := uint8(e >> valueAt)
		if e&literal == 0 {
			return false
		}
		switch v {
		case 16:
			if i == 0 {
				return false
			}
			extra, least, again = 2, 3, lengths[i-1]
		case 17:
			extra, least = 3, 3
		case 18:
			extra, least = 7, 11
		default:
			again = v
		}
		if uint(e&entryMask)+extra > d.count {
			return false
		}
		d.take(uint(e & entryMask))
		n := least + int(d.take(extra))
		if n > len(lengths)-i {
			return false
		}
		for range n {
			lengths[i] = again
			i++
		}
	}
	return lengths[256] != 0 && d.tables(lengths[:symbols], lengths[symbols:])
}

// fast decodes as long as neither the input nor the room in out comes near to its end, without looking at either between
// symbols. Done is the end of the block.
func (d *Decoder) fast() (done bool, err error) {
	in, out := d.in, d.out
	pos, at, bits, count := d.pos, d.at, d.bits, d.count
	lastIn, lastOut := len(in)-lookAhead, min(len(out), d.most+slack)-slack
	base := d.base
	for pos <= lastIn && at <= lastOut {
		bits |= binary.LittleEndian.Uint64(in[pos:]) << (count & 63)
		pos += int((63 - count) >> 3)
		count |= 56
		e := d.symbols[bits&(1<<symbolBits-1)]
		if e&literal != 0 {
			binary.LittleEndian.PutUint16(out[at:], uint16(e>>valueAt))
			at += int(e >> widthAt & 3)
			bits >>= e & entryMask
			count -= uint(e & entryMask)
			e = d.symbols[bits&(1<<symbolBits-1)]
			if e&literal != 0 {
				binary.LittleEndian.PutUint16(out[at:], uint16(e>>valueAt))
				at += int(e >> widthAt & 3)
				bits >>= e & entryMask
				count -= uint(e & entryMask)
				e = d.symbols[bits&(1<<symbolBits-1)]
				if e&literal != 0 {
					binary.LittleEndian.PutUint16(out[at:], uint16(e>>valueAt))
					at += int(e >> widthAt & 3)
					bits >>= e & entryMask
					count -= uint(e & entryMask)
					continue
				}
			}
		}
		if e&special != 0 {
			width := e >> widthAt & 15
			if width == 0 {
				if e&endOfBlock != endOfBlock {
					return false, ErrCorrupt
				}
				count -= uint(e & entryMask)
				bits >>= e & entryMask
				done = true
				break
			}
			e = d.symbols[e>>valueAt+entry(bits>>symbolBits)&(1<<width-1)]
			if e&literal != 0 {
				out[at] = byte(e >> valueAt)
				at++
				bits >>= e & entryMask
				count -= uint(e & entryMask)
				continue
			}
			if e&special != 0 {
				if e&endOfBlock != endOfBlock {
					return false, ErrCorrupt
				}
				count -= uint(e & entryMask)
				bits >>= e & entryMask
				done = true
				break
			}
		}
		length := int(e>>valueAt) + int(bits&(1<<(e&entryMask)-1)>>(e>>widthAt&15))
		bits >>= e & entryMask
		count -= uint(e & entryMask)

		bits |= binary.LittleEndian.Uint64(in[pos:]) << (count & 63)
		pos += int((63 - count) >> 3)
		count |= 56
		f := d.distances[bits&(1<<distanceBits-1)]
		if f&special != 0 {
			width := f >> widthAt & 15
			if width == 0 {
				return false, ErrCorrupt
			}
			f = d.distances[f>>valueAt+entry(bits>>distanceBits)&(1<<width-1)]
			if f&special != 0 {
				return false, ErrCorrupt
			}
		}
		distance := int(f>>valueAt) + int(bits&(1<<(f&entryMask)-1)>>(f>>widthAt&15))
		bits >>= f & entryMask
		count -= uint(f & entryMask)

		from := at - distance
		if from < base {
			return false, ErrCorrupt
		}
		end := at + length
		if distance >= 16 {
			*(*[16]byte)(out[at:]) = [16]byte(out[from:])
			for at += 16; at < end; at += 16 {
				from += 16
				*(*[16]byte)(out[at:]) = [16]byte(out[from:])
			}
		} else {
			for ; at < end; at++ {
				out[at] = out[from]
				from++
			}
		}
		at = end
	}
	d.pos, d.at, d.bits, d.count = pos, at, bits, count
	if at > d.most {
		return false, ErrTooLarge
	}
	return done, nil
}

// slow decodes one symbol with all that must be looked at near an end, and makes room.
func (d *Decoder) slow() (done bool, err error) {
	if len(d.out)-d.at < slack {
		d.grow(1) // where that is too much, the end of the block may be all that is left
	}
	d.need(longestCode + 5)
	e := d.symbols[d.bits&(1<<symbolBits-1)]
	if e&special != 0 && e>>widthAt&15 != 0 {
		e = d.symbols[e>>valueAt+entry(d.bits>>symbolBits)&(1<<(e>>widthAt&15)-1)]
	}
	if uint(e&entryMask) > d.count && e&literal != 0 && e>>widthAt&3 == 2 {
		return false, ErrCorrupt // the first may be there, but a block does not end without its end
	}
	switch {
	case uint(e&entryMask) > d.count || e&special != 0 && e&endOfBlock != endOfBlock:
		return false, ErrCorrupt
	case e&special != 0:
		d.take(uint(e & entryMask))
		return true, nil
	case e&literal != 0:
		d.take(uint(e & entryMask))
		for n := e >> widthAt & 3; n > 0; n-- {
			if d.at >= d.most {
				return false, ErrTooLarge
			}
			d.out[d.at] = byte(e >> valueAt)
			d.at++
			e >>= 8
		}
		return false, nil
	}
	code := uint(e >> widthAt & 15)
	extra := uint(e&entryMask) - code
	d.take(code)
	length := int(e>>valueAt) + int(d.take(extra))

	d.need(longestCode + 13)
	f := d.distances[d.bits&(1<<distanceBits-1)]
	if f&special != 0 && f>>widthAt&15 != 0 {
		f = d.distances[f>>valueAt+entry(d.bits>>distanceBits)&(1<<(f>>widthAt&15)-1)]
	}
	if uint(f&entryMask) > d.count || f&special != 0 {
		return false, ErrCorrupt
	}
	code = uint(f >> widthAt & 15)
	extra = uint(f&entryMask) - code
	d.take(code)
	distance := int(f>>valueAt) + int(d.take(extra))
	from := d.at - distance
	switch {
	case from < d.base:
		return false, ErrCorrupt
	case d.at+length > d.most:
		return false, ErrTooLarge
	case len(d.out)-d.at < length && !d.grow(length):
		return false, ErrTooLarge
	}
	for range length {
		d.out[d.at] = d.out[from]
		d.at++
		from++
	}
	return false, nil
}
