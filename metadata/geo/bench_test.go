package geo_test

import (
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"

	"dredge/metadata/geo"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// publicAddresses are n random addresses, half of them Amazon's.
func publicAddresses(n int) []netip.Addr {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]netip.Addr, n)
	for i := range out {
		first := byte(1 + r.IntN(220))
		if i%2 == 0 {
			first = 3
		}
		out[i] = netip.AddrFrom4([4]byte{first, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	}
	return out
}

func BenchmarkService(b *testing.B) {
	fx := setUp(b, func(c *geo.Config, dir string) { c.IPRanges = filepath.Join(dir, "ranges.json") })
	write(b, fx.file("ranges.json"), publishedFile(b))
	if err := fx.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	ips := publicAddresses(1 << 16)
	b.ReportAllocs()
	i, named := 0, 0
	for b.Loop() {
		if fx.Service(ips[i&(1<<16-1)]) != "" {
			named++
		}
		i++
	}
	if named == 0 {
		b.Error("nothing was found")
	}
}

func BenchmarkParseRanges(b *testing.B) {
	data := publishedFile(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := geo.ParseRanges(data); err != nil {
			b.Fatal(err)
		}
	}
}

// world is a database of 50,000 networks.
func world(b *testing.B) *fixture {
	fx := setUp(b, func(c *geo.Config, dir string) { c.Databases = []string{filepath.Join(dir, "world.mmdb")} })
	networks := map[string]mmdbtype.Map{}
	r := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		ip := netip.AddrFrom4([4]byte{byte(1 + r.IntN(220)), byte(r.Uint32()), byte(r.Uint32()), 0})
		m := system(r.Uint32N(70_000)+1, "ORG")
		m["country_code"] = mmdbtype.String([]byte{'A' + byte(r.IntN(26)), 'A' + byte(r.IntN(26))})
		networks[netip.PrefixFrom(ip, 12+r.IntN(13)).Masked().String()] = m
	}
	writeDatabase(b, fx.file("world.mmdb"), "Test", networks)
	if err := fx.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	return fx
}

func BenchmarkPlace(b *testing.B) {
	fx, ips := world(b), publicAddresses(1<<20)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		fx.Place(ips[i&(1<<20-1)])
		i++
	}
}

// BenchmarkPlaceLRU is the alternative that was not taken: a bounded cache of addresses before the files. Half of its look-ups hit.
func BenchmarkPlaceLRU(b *testing.B) {
	fx, ips := world(b), publicAddresses(1<<20)
	cache, err := lru.New[netip.Addr, geo.Place](1 << 16)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	order := make([]int32, 1<<20)
	for i := range order {
		order[i] = int32(r.IntN(1 << 16)) // fits the cache
		if i%2 == 0 {
			order[i] = int32(r.IntN(1 << 20))
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		ip := ips[order[i&(1<<20-1)]]
		if _, ok := cache.Get(ip); !ok {
			p, _ := fx.Place(ip)
			cache.Add(ip, p)
		}
		i++
	}
}
