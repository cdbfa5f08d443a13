package store

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What was set and removed is found by every address under it, as a map and a scan find it.
func TestPrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	address := func() netip.Addr {
		if r.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(4)), byte(r.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0: 0xfd, 7: byte(r.IntN(2)), 8: byte(r.IntN(2)), 15: byte(r.IntN(256))})
	}
	found := 0
	for range 200 {
		var table prefixes[int]
		truth := map[netip.Prefix]int{}
		for range r.IntN(300) {
			ip := address()
			p, err := ip.Prefix(r.IntN(ip.BitLen() + 1))
			if err != nil {
				t.Fatal(err)
			}
			if r.IntN(4) == 0 {
				table.remove(p)
				delete(truth, p)
			} else {
				truth[p] = 1 + r.IntN(1000)
				table.set(p, truth[p])
			}
		}
		got := map[netip.Prefix]int{}
		table.each(func(p netip.Prefix, v int) { got[p] = v })
		if !maps.Equal(got, truth) {
			t.Fatal(cmp.Diff(truth, got))
		}
		for range 200 {
			ip := address()
			var want, have []int
			for bits := ip.BitLen(); bits >= 0; bits-- {
				if p, _ := ip.Prefix(bits); truth[p] != 0 {
					want = append(want, truth[p])
				}
			}
			for _, bits := range table.lens(ip) {
				if v := table.get(ip, bits); v != 0 {
					have = append(have, v)
				}
			}
			if !slices.Equal(have, want) {
				t.Fatalf("%s is under %v, want %v", ip, have, want)
			}
			found += len(want)
		}
	}
	if found < 1000 {
		t.Errorf("only %d prefixes were found", found)
	}
}
