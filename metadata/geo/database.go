package geo

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oschwald/maxminddb-golang/v2"
)

const (
	maxDatabases     = 8
	maxDatabaseBytes = 1 << 30
	// maxPlaces bounds the distinct records of one file; the largest public ones have some 100,000 of autonomous systems and a
	// few million of cities, which are 250 places once only the country is kept.
	maxPlaces = 1 << 22
	maxOrg    = 128
)

// Place is where a public address is. Its strings are shared and may be kept.
type Place struct {
	// Country is the ISO 3166-1 code of two capital letters, "" when unknown.
	Country string
	// ASN is the number of the autonomous system, 0 when unknown; Org is the name of who runs it.
	ASN uint32
	Org string
}

// database is one MaxMind DB file. It is immutable and safe for concurrent use.
//
// Addresses are many, records few: every record is decoded once, at load, and found again by its offset. That is quicker than any
// cache of addresses (BenchmarkPlace against BenchmarkPlaceLRU) and needs no bound.
type database struct {
	reader *maxminddb.Reader
	built  time.Time
	kind   string
	// byOffset leads from a record's place in the file to places.
	byOffset map[uintptr]uint32
	places   []Place
	networks int
}

// parseDatabase reads a MaxMind DB file and checks all of it. data belongs to the database afterwards. The error is an *Error.
func parseDatabase(data []byte) (*database, error) {
	if len(data) > maxDatabaseBytes {
		return nil, refuse(TooLarge, "database of %d bytes; at most %d are read", len(data), maxDatabaseBytes)
	}
	// From memory, not mapped: a mapped file that somebody rewrites in place ends the process.
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, refuse(Corrupt, "no MaxMind DB file: %w", err)
	}
	d := &database{
		reader: reader, built: reader.Metadata.BuildTime().UTC(), kind: reader.Metadata.DatabaseType, byOffset: map[uintptr]uint32{},
	}
	numbers := map[Place]uint32{}
	for result := range reader.Networks() {
		if err := result.Err(); err != nil {
			return nil, refuse(Corrupt, "MaxMind DB file is damaged: %w", err)
		}
		d.networks++
		at := result.Offset()
		if _, known := d.byOffset[at]; known {
			continue
		}
		if len(d.byOffset) == maxPlaces {
			return nil, refuse(TooLarge, "MaxMind DB file has more than %d different records", maxPlaces)
		}
		// All of it is decoded once, so that damage is found now. The library's own Verify also refuses files for their
		// descriptions, which some publishers leave out.
		var whole any
		if err := result.Decode(&whole); err != nil {
			return nil, refuse(Corrupt, "MaxMind DB file is damaged: %w", err)
		}
		p := decodePlace(result)
		n, known := numbers[p]
		if !known {
			n = uint32(len(d.places))
			numbers[p] = n
			d.places = append(d.places, p)
		}
		d.byOffset[at] = n
	}
	if len(numbers) == 0 || len(numbers) == 1 && d.places[0] == (Place{}) {
		return nil, refuse(NoEntries, "MaxMind DB file of type %q has neither countries nor autonomous systems", d.kind)
	}
	return d, nil
}

// decodePlace takes what it knows from a record. A field of another type or with an impossible value counts as absent.
func decodePlace(r maxminddb.Result) Place {
	var p Place
	text := func(path ...any) string {
		var s string
		if r.DecodePath(&s, path...) != nil {
			return ""
		}
		return s
	}
	number := func(path ...any) uint32 {
		var n uint32
		if r.DecodePath(&n, path...) != nil {
			return 0
		}
		return n
	}
	// The layouts of GeoLite2 and GeoIP2, of ip-location-db, and of IPinfo.
	for _, path := range [...][]any{{"country", "iso_code"}, {"country_code"}, {"country"}, {"registered_country", "iso_code"}} {
		if c := text(path...); isCountry(c) {
			p.Country = strings.Clone(c)
			break
		}
	}
	p.ASN = number("autonomous_system_number")
	if p.ASN == 0 {
		if digits, ok := strings.CutPrefix(text("asn"), "AS"); ok {
			if n, err := strconv.ParseUint(digits, 10, 32); err == nil {
				p.ASN = uint32(n)
			}
		}
	}
	for _, path := range [...][]any{{"autonomous_system_organization"}, {"as_name"}} {
		if org := text(path...); org != "" {
			p.Org = strings.Clone(shorten(org))
			break
		}
	}
	return p
}

func isCountry(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// shorten cuts s to maxOrg bytes of valid UTF-8.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxOrg {
		return s
	}
	cut := maxOrg
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

// lookup returns what the file knows of ip, which is valid and not IPv4-mapped.
func (d *database) lookup(ip netip.Addr) (Place, bool) {
	if ip.Is6() && d.reader.Metadata.IPVersion == 4 {
		return Place{}, false
	}
	r := d.reader.Lookup(ip)
	if !r.Found() {
		return Place{}, false
	}
	n, ok := d.byOffset[r.Offset()]
	if !ok { // an alias that Networks leaves out
		return Place{}, false
	}
	return d.places[n], true
}
