// Package hugepages puts memory that is read at random into pages of 2 MiB, as far as Linux can do it (MADV_COLLAPSE, since 6.1;
// madvise(2)). A table of hundreds of megabytes has more pages of 4 KiB than the processor can remember the places of, so that a read of it
// waits for the page table before it waits for the table; in a virtual machine, twice.
//
// Collapse does it once and at once: it marks nothing, so the kernel does not go on to make huge pages of memory that the
// Go runtime gives back. It works whatever /sys/kernel/mm/transparent_hugepage/enabled says.
package hugepages

import (
	"cmp"
	"slices"
	"unsafe"
)

// Size of a huge page in bytes, on machines whose ordinary pages have 4 KiB.
const Size = 2 << 20

// An Extent is where something lies in memory. It keeps nothing alive: an extent whose memory is something else's meanwhile asks for a
// huge page for that, which does no harm.
type Extent struct {
	Start uintptr
	Bytes uintptr
}

// Of is where the elements of s lie.
func Of[T any](s []T) Extent {
	return Extent{uintptr(unsafe.Pointer(unsafe.SliceData(s))), uintptr(cap(s)) * unsafe.Sizeof(*new(T))}
}

// Collapse puts the aligned blocks of Size of which the extents fill three quarters at least into huge pages, and returns how many
// bytes lie in such pages afterwards; 0 where the system has none. What is stored stays where it is, for all who read and write
// meanwhile; a block takes about a millisecond the first time. The extents may not overlap. They are put in order.
func Collapse(extents []Extent) (bytes int) {
	for _, block := range blocks(extents) {
		if collapse(block) {
			bytes += Size
		}
	}
	return bytes
}

// blocks returns the blocks of which the extents fill three quarters at least: memory between tables may have been given back to the
// system, and would be taken again.
func blocks(extents []Extent) (out []uintptr) {
	slices.SortFunc(extents, func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
	var block, filled uintptr
	end := func() {
		if filled >= Size/4*3 {
			out = append(out, block)
		}
	}
	for _, e := range extents {
		for at, last := e.Start, e.Start+e.Bytes; at < last; {
			if b := at &^ (Size - 1); b != block {
				end()
				block, filled = b, 0
			}
			next := min(last, block+Size)
			filled += next - at
			at = next
		}
	}
	end()
	return out
}
