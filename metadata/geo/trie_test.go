package geo_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"dredge/metadata/geo"
)

// TestJ8RegionByTrie holds the row J8 for public addresses: of a million of them the trie gives the region and the service that a linear
// scan of the published file gives. The scan goes over the file once and notes at each address what covers it. The other parts of
// the row are TestJ8 in enrich (both regions in the row) and TestJ8Networks in metadata/store (declared networks).
func TestJ8RegionByTrie(t *testing.T) {
	const asked = 1_000_000
	data := publishedFile(t)
	list := entries(t, data)
	r, err := geo.ParseRanges(data)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(8, 20260822))
	ips := make([]netip.Addr, asked)
	for i := range ips {
		b := list[random.IntN(len(list))].prefix.Addr().AsSlice()
		for range random.IntN(3) { // in the block, next to it, or elsewhere
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		}
		for k := len(b) - 1 - random.IntN(2); k < len(b); k++ {
			b[k] = byte(random.IntN(256))
		}
		ips[i], _ = netip.AddrFromSlice(b)
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	covering := make([][]entry, asked)
	for _, e := range list {
		first, _ := slices.BinarySearchFunc(ips, e.prefix.Masked().Addr(), netip.Addr.Compare)
		for i := first; i < asked && e.prefix.Contains(ips[i]); i++ {
			covering[i] = append(covering[i], e)
		}
	}
	found, regions := 0, map[string]bool{}
	for i, ip := range ips {
		service, region := verdict(covering[i])
		got, ok := r.Lookup(ip)
		if got.Service != service || got.Region != region || ok != (service != "") {
			t.Fatalf("%s: %+v, want %q in %q", ip, got, service, region)
		}
		if ok {
			found++
			regions[region] = true
		}
	}
	if found < asked/2 || found > asked*99/100 || len(regions) < 30 {
		t.Errorf("%d of %d addresses in %d regions: the test shows too little", found, asked, len(regions))
	}
	// One pass over the file for all addresses must say what one for each would.
	for range 200 {
		i := random.IntN(asked)
		service, region := scan(list, ips[i])
		if got, in := verdict(covering[i]); got != service || in != region {
			t.Errorf("%s: the one pass says %s in %s, a scan for it alone %s in %s", ips[i], got, in, service, region)
		}
	}
}
