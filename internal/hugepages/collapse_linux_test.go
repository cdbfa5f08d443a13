package hugepages

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestCollapse: what is stored stays the same, and the kernel has as much in huge pages as was said; nothing of both on a kernel that cannot do it.
func TestCollapse(t *testing.T) {
	table := make([]uint64, 8*Size/8)
	for i := range table {
		table[i] = uint64(i) * 3
	}
	got := Collapse([]Extent{Of(table)})
	t.Logf("%d bytes of %d in huge pages", got, 8*len(table))
	for i, v := range table {
		if v != uint64(i)*3 {
			t.Fatalf("element %d is %d", i, v)
		}
	}
	if has := hugeBytes(t); has < got {
		t.Errorf("Collapse says %d bytes, the kernel %d", got, has)
	}
	if got > 9*Size {
		t.Errorf("%d bytes for a table of %d", got, 8*len(table))
	}
}

// hugeBytes is how much of this process is in huge pages.
func hugeBytes(t *testing.T) (bytes int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb int
		if rest, ok := strings.CutPrefix(lines.Text(), "AnonHugePages:"); ok {
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
			bytes += kb << 10
		}
	}
	return bytes
}
