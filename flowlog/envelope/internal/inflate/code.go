package inflate

import "math/bits"

// The widths of the tables: a code that is not longer is found at once, a longer one in a second step.
const (
	symbolBits   = 11
	distanceBits = 8
	lengthBits   = 7 // codes of code lengths are never longer
	longestCode  = 15

	symbolCount   = 288
	distanceCount = 32
	lengthCount   = 19

	// What the tables need at most, with the second steps of a code that is as uneven as it can be.
	symbolSlots   = 1<<symbolBits + 512
	distanceSlots = 1<<distanceBits + 256
)

// entry is what the next bits of the input stand for.
//
//	bits 0 to 5    how many bits of input it takes, extra bits included
//	bit 6          literals: bits 8 and 9 are how many (1 or 2), bits 16 to 31 the bytes
//	bit 7          special: bits 8 to 11 are the width of a second step whose table begins at the number in bits 16 to 31; when
//	               that is 0, endOfBlock, or no code at all
//	else           a length or distance: bits 8 to 11 are the length of the code, behind which the extra bits lie, and
//	               bits 16 to 31 the number to which these are added
type entry uint32

const (
	literal      entry = 1 << 6
	special      entry = 1 << 7
	endOfBlock   entry = special | 1<<12
	noCode       entry = special
	one          entry = 1 << 8
	widthAt            = 8
	valueAt            = 16
	entryMask          = 0x3f
	secondOfPair       = 24
)

type (
	symbolTable   [symbolSlots]entry
	distanceTable [distanceSlots]entry
)

// blank are entries without the length of the code, which must be added at bit 0, and for numbers at bit 8 as well.
//
//nolint:gochecknoglobals // read-only tables
var (
	symbolBlanks   = makeSymbols()
	distanceBlanks = makeDistances()
	lengthBlanks   = makeLengths()
)

func makeSymbols() (blank [symbolCount]entry) {
	for i := range 256 {
		blank[i] = literal | one | entry(i)<<valueAt
	}
	blank[256] = endOfBlock
	base := 3
	for i := 257; i < 285; i++ {
		extra := max((i-261)/4, 0)
		blank[i] = entry(base)<<valueAt | entry(extra)
		base += 1 << extra
	}
	blank[285] = 258 << valueAt
	blank[286], blank[287] = noCode, noCode
	return blank
}

func makeDistances() (blank [distanceCount]entry) {
	base := 1
	for i := range 30 {
		extra := max(i/2-1, 0)
		blank[i] = entry(base)<<valueAt | entry(extra)
		base += 1 << extra
	}
	blank[30], blank[31] = noCode, noCode
	return blank
}

// makeLengths gives codes of code lengths their own number as a literal.
func makeLengths() (blank [lengthCount]entry) {
	for i := range blank {
		blank[i] = literal | one | entry(i)<<valueAt
	}
	return blank
}

// builder makes tables of code lengths.
type builder struct {
	lengths [symbolCount + distanceCount]uint8
	sorted  [symbolCount]uint16
	codes   [symbolCount]uint16
	small   [1 << lengthBits]entry
}

// table fills table for the canonical code in which symbol i has length lengths[i] and stands for blank[i]. Its first width bits are
// found at once. False is a code that is none. As the library does, it takes a code of one symbol of length one, which leaves
// half of the table without a code, and one without any symbol, where may be empty.
func (b *builder) table(table []entry, width int, lengths []uint8, blank []entry, mayBeEmpty bool) bool {
	var count [longestCode + 1]int
	for _, n := range lengths {
		count[n]++
	}
	used := len(lengths) - count[0]
	count[0] = 0
	room := 1
	var first [longestCode + 2]int // in sorted, by length
	for n := 1; n <= longestCode; n++ {
		if room = room*2 - count[n]; room < 0 {
			return false
		}
		first[n+1] = first[n] + count[n]
	}
	if room > 0 {
		if used > 1 || used == 1 && count[1] == 0 || used == 0 && !mayBeEmpty {
			return false
		}
		for i := range table[:1<<width] {
			table[i] = noCode
		}
	}
	next := first
	for i, n := range lengths {
		if n != 0 {
			b.sorted[next[n]] = uint16(i)
			next[n]++
		}
	}

	// Codes that fit: the table of length n is twice that of length n-1, with the codes of length n put in.
	code, size := 0, 1
	if room == 0 {
		table[0] = noCode
	}
	for n := 1; n <= width; n++ {
		if room == 0 {
			copy(table[size:2*size], table[:size])
		}
		size *= 2
		code *= 2
		for _, s := range b.sorted[first[n]:first[n+1]] {
			table[reverse(code, n)] = withLength(blank[s], n)
			code++
		}
	}
	if room > 0 { // one code at most, of length one: the bit 0
		for i := 2; used == 1 && i < 1<<width; i += 2 {
			table[i] = table[0]
		}
		return true
	}

	// Longer ones. Those that share their first bits lie side by side, the longest last.
	long := b.sorted[first[width+1]:used]
	at, n := 1<<width, width
	for i, s := range long {
		for n < int(lengths[s]) {
			code *= 2
			n++
		}
		b.codes[i] = uint16(code)
		code++
	}
	for i := 0; i < len(long); {
		prefix := int(b.codes[i]) >> (int(lengths[long[i]]) - width)
		end := i
		for end < len(long) && int(b.codes[end])>>(int(lengths[long[end]])-width) == prefix {
			end++
		}
		second := int(lengths[long[end-1]]) - width
		if at+1<<second > len(table) {
			return false
		}
		table[reverse(prefix, width)] = special | entry(second)<<widthAt | entry(at)<<valueAt
		for ; i < end; i++ {
			n := int(lengths[long[i]])
			e := withLength(blank[long[i]], n)
			for k := reverse(int(b.codes[i]), n) >> width; k < 1<<second; k += 1 << (n - width) {
				table[at+k] = e
			}
		}
		at += 1 << second
	}
	return true
}

// reverse turns the n bits of a code round: the input has its first bit lowest.
func reverse(code, n int) int { return int(bits.Reverse16(uint16(code)) >> (16 - n)) }

func withLength(e entry, n int) entry {
	if e&(literal|special) == 0 {
		e |= entry(n) << widthAt
	}
	return e + entry(n)
}

// pair makes entries that stand for one literal stand for two where the bits behind the first are those of another. It goes
// downwards because what it looks at, which lies before, must still stand for one.
func (t *symbolTable) pair() {
	for i := 1<<symbolBits - 1; i >= 0; i-- {
		e := t[i]
		if e&literal == 0 {
			continue
		}
		n := e & entryMask
		f := t[i>>n&(1<<symbolBits-1)]
		if f&literal != 0 && n+f&entryMask <= symbolBits {
			t[i] = literal | 2*one | e&(0xff<<valueAt) | f>>valueAt&0xff<<secondOfPair | (n + f&entryMask)
		}
	}
}
