package hugepages

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBlocks(t *testing.T) {
	const at = 100 * Size
	for _, tt := range []struct {
		name    string
		extents []Extent
		want    []uintptr
	}{
		{"none", nil, nil},
		{"whole", []Extent{{at, Size}}, []uintptr{at}},
		{"three quarters", []Extent{{at + Size/4, Size / 4 * 3}}, []uintptr{at}},
		{"less", []Extent{{at + 8, Size/4*3 - 8}}, nil},
		{"two pieces in no order", []Extent{{at + Size/2, Size / 2}, {at, Size / 4}}, []uintptr{at}},
		{"over an edge", []Extent{{at + Size/4, Size}}, []uintptr{at}},
		{"over many", []Extent{{at + Size - 8, 2*Size + 16}}, []uintptr{at + Size, at + 2*Size}},
		{"nothing in it", []Extent{{at, 0}, {0, 0}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, blocks(tt.extents)); diff != "" {
				t.Errorf("blocks (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOf: an extent is the whole of what was allocated, as the next append may use it.
func TestOf(t *testing.T) {
	s := make([]uint64, 3, 8)
	if got := Of(s).Bytes; got != 64 {
		t.Errorf("%d bytes; want 64", got)
	}
	if got := Of([]uint64(nil)).Bytes; got != 0 {
		t.Errorf("nil has %d bytes", got)
	}
}
