package hugepages

import (
	"os"
	"syscall"
)

// madvCollapse is MADV_COLLAPSE of linux/mman.h, which package syscall does not name.
const madvCollapse = 25

// collapse says whether the block lies in a huge page now. There are many reasons why it may not: an older kernel, other sizes of
// pages, no free memory in one piece, a block at the end of the heap. All of them mean that everything stays as it was.
func collapse(block uintptr) bool {
	if os.Getpagesize() != 4096 {
		return false
	}
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, block, Size, madvCollapse)
	return errno == 0
}
