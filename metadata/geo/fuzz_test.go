package geo

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// Whatever is taken in answers with names that can stand in a row.
func FuzzParseRanges(f *testing.F) {
	f.Add([]byte(`{"syncToken":"1","prefixes":[{"ip_prefix":"3.0.0.0/8","region":"us-east-1","service":"EC2"}],"ipv6_prefixes":[{"ipv6_prefix":"2600:1f00::/24","region":"GLOBAL","service":"S3"}]}`), []byte{3, 1, 2, 3})
	f.Add([]byte(`{"prefixes":[{"ip_prefix":7},{},null]}`), []byte{0, 0, 0, 0})
	f.Add([]byte(`[]`), []byte{1})
	f.Fuzz(func(t *testing.T, data, ip []byte) {
		r, err := ParseRanges(data)
		if err != nil {
			return
		}
		addr, _ := netip.AddrFromSlice(ip)
		if got, ok := r.Lookup(addr); ok && (!isName(got.Service) || !isName(got.Region)) {
			t.Errorf("%s: %+v", addr, got)
		}
	})
}

// No file can make a look-up fail, and no place says what cannot be.
func FuzzParseDatabase(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.mmdb")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{8, 8, 8, 8})
		f.Add(data[:len(data)/2], []byte{8, 8, 8, 8})
	}
	f.Fuzz(func(t *testing.T, data, ip []byte) {
		d, err := parseDatabase(data)
		if err != nil {
			return
		}
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		if p, _ := d.lookup(addr.Unmap()); p.Country != "" && !isCountry(p.Country) || len(p.Org) > maxOrg {
			t.Errorf("%s: %+v", addr, p)
		}
	})
}
