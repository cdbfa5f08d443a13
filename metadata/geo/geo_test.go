package geo_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dredge/enrich"
	"dredge/metadata/geo"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ enrich.PublicNames   = (*geo.Geo)(nil)
	_ enrich.PublicRegions = (*geo.Geo)(nil)
	_ enrich.PublicPlaces  = (*geo.Geo)(nil)
)

// publishedFile is Amazon's file in testdata.
func publishedFile(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/ip-ranges.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func addr(t testing.TB, s string) netip.Addr {
	t.Helper()
	ip, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return ip
}

// entry is one claim as a plain reader of the file sees it.
type entry struct {
	prefix          netip.Prefix
	service, region string
}

func entries(t testing.TB, data []byte) []entry {
	t.Helper()
	var doc struct {
		Prefixes []struct {
			Prefix  netip.Prefix `json:"ip_prefix"`
			Service string       `json:"service"`
			Region  string       `json:"region"`
		} `json:"prefixes"`
		IPv6 []struct {
			Prefix  netip.Prefix `json:"ipv6_prefix"`
			Service string       `json:"service"`
			Region  string       `json:"region"`
		} `json:"ipv6_prefixes"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var out []entry
	for _, p := range doc.Prefixes {
		out = append(out, entry{p.Prefix, p.Service, p.Region})
	}
	for _, p := range doc.IPv6 {
		out = append(out, entry{p.Prefix, p.Service, p.Region})
	}
	return out
}

// scan looks at every entry.
func scan(list []entry, ip netip.Addr) (service, region string) {
	var covering []entry
	for _, e := range list {
		if e.prefix.Contains(ip) {
			covering = append(covering, e)
		}
	}
	return verdict(covering)
}

// verdict is the rule, word by word: drop AMAZON, then EC2, if anything else covers; then the longest, ties by name.
func verdict(covering []entry) (service, region string) {
	longest := -1
	for _, e := range covering {
		if e.prefix.Bits() > longest {
			longest, region = e.prefix.Bits(), e.region
		}
	}
	for _, drop := range []string{"AMAZON", "EC2"} {
		rest := slices.DeleteFunc(slices.Clone(covering), func(e entry) bool { return e.service == drop })
		if len(rest) > 0 {
			covering = rest
		}
	}
	longest = -1
	for _, e := range covering {
		if e.prefix.Bits() > longest || e.prefix.Bits() == longest && e.service < service {
			longest, service = e.prefix.Bits(), e.service
		}
	}
	return service, region
}

// All 250 cases, against what a linear scan of the published file says and against the fields of the case itself.
func TestPublishedCases(t *testing.T) {
	data := publishedFile(t)
	list := entries(t, data)
	r, err := geo.ParseRanges(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(1787411825, 0); !r.Published.Equal(want) || r.Refused != 0 {
		t.Errorf("published %s, refused %d", r.Published, r.Refused)
	}
	f, err := os.Open("testdata/ip-ranges-lookups.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var c struct {
			IP       netip.Addr `json:"ip"`
			Services []string   `json:"services"`
			Specific []string   `json:"specific_services"`
			Regions  []string   `json:"regions"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		got, ok := r.Lookup(c.IP)
		service, region := scan(list, c.IP)
		if got.Service != service || got.Region != region {
			t.Errorf("%s: %+v, want %s in %s", c.IP, got, service, region)
		}
		allowed := c.Specific
		switch {
		case len(allowed) > 0:
		case slices.Contains(c.Services, "EC2"):
			allowed = []string{"EC2"}
		case len(c.Services) > 0:
			allowed = []string{"AMAZON"}
		}
		if ok != (len(c.Services) > 0) || ok && !slices.Contains(allowed, got.Service) || ok && !slices.Contains(c.Regions, got.Region) {
			t.Errorf("%s: %+v (%v), the case allows %v in %v", c.IP, got, ok, allowed, c.Regions)
		}
	}
	if n != 250 {
		t.Errorf("%d cases, want 250", n)
	}
}

// The trap: a block that only AMAZON lists, inside a wider one of EC2, is EC2's; and S3 wins over EC2 on the same block.
func TestAmazonOnlyBlockInsideAService(t *testing.T) {
	r, err := geo.ParseRanges(publishedFile(t))
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]string{
		"3.239.232.1":    "EC2", // 3.239.232.0/24 AMAZON inside 3.224.0.0/12 EC2
		"52.95.128.179":  "S3",  // AWS's own documented example of pkt-dst-aws-service
		"::ffff:3.5.0.1": "S3",
		"192.0.2.1":      "",
		"10.0.0.1":       "",
	} {
		if got, _ := r.Lookup(addr(t, ip)); got.Service != want {
			t.Errorf("%s: %q, want %q", ip, got.Service, want)
		}
	}
}

// Nested blocks of any shape give what a linear scan gives.
func TestRuleAgreesWithAScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		services := []string{"AMAZON", "EC2", "S3", "DYNAMODB", "CLOUDFRONT"}
		n := rapid.IntRange(1, 30).Draw(t, "entries")
		var list []entry
		byBlock := map[netip.Prefix]string{}
		doc := map[string][]map[string]string{"prefixes": {}}
		for range n {
			ip := netip.AddrFrom4([4]byte{3, byte(rapid.IntRange(0, 3).Draw(t, "b")), byte(rapid.IntRange(0, 3).Draw(t, "c") * 64), byte(rapid.IntRange(0, 3).Draw(t, "d") * 64)})
			p, _ := ip.Prefix(rapid.IntRange(8, 32).Draw(t, "bits"))
			region, known := byBlock[p]
			if !known {
				region = rapid.SampledFrom([]string{"us-east-1", "eu-west-1", geo.Global}).Draw(t, "region")
				byBlock[p] = region
			}
			e := entry{p, rapid.SampledFrom(services).Draw(t, "service"), region}
			list = append(list, e)
			doc["prefixes"] = append(doc["prefixes"], map[string]string{"ip_prefix": p.String(), "service": e.service, "region": e.region})
		}
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		r, err := geo.ParseRanges(data)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			ip := netip.AddrFrom4([4]byte{3, byte(rapid.IntRange(0, 4).Draw(t, "b")), byte(rapid.IntRange(0, 255).Draw(t, "c")), byte(rapid.IntRange(0, 255).Draw(t, "d"))})
			got, _ := r.Lookup(ip)
			if service, region := scan(list, ip); got.Service != service || got.Region != region {
				t.Fatalf("%s: %+v, want %s in %s", ip, got, service, region)
			}
		}
	})
}

func ranges(token int, entries ...string) string {
	return fmt.Sprintf(`{"syncToken":"%d","prefixes":[%s]}`, token, strings.Join(entries, ","))
}

func block(prefix, service string) string {
	return fmt.Sprintf(`{"ip_prefix":%q,"region":"us-east-1","service":%q,"network_border_group":"us-east-1"}`, prefix, service)
}

func TestBadRanges(t *testing.T) {
	good := block("3.0.0.0/8", "EC2")
	for name, c := range map[string]struct {
		text   string
		reason geo.Reason
		words  string
	}{
		"cut off":          {ranges(1, good)[:40], geo.BadJSON, "unexpected end"},
		"a web page":       {"<html>", geo.BadJSON, "invalid character"},
		"another document": {`{"a":1}`, geo.NoEntries, geo.PublishedRanges},
		"all faulty":       {ranges(1, block("3.0.0.0", "EC2")), geo.BadEntry, `"3.0.0.0" is no CIDR`},
	} {
		_, err := geo.ParseRanges([]byte(c.text))
		var fault *geo.Error
		if f, ok := err.(*geo.Error); ok { //nolint:errorlint // the documented type
			fault = f
		}
		if fault == nil || fault.Reason != c.reason || !strings.Contains(fault.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One faulty entry costs itself.
	for _, bad := range []string{
		block("0.0.0.0/0", "S3"), block("3.0.0.1/8", "S3"), block("2600::/32", "S3"), block("52.0.0.0/11", ""), block("52.0.0.0/11", "a b"),
		block("52.0.0.0/11", strings.Repeat("X", 65)), `{"ip_prefix":7,"region":"r","service":"S3"}`, `{"ip_prefix":"52.0.0.0/11","service":"S3"}`, `{}`,
	} {
		r, err := geo.ParseRanges([]byte(ranges(1, good, good, bad)))
		if err != nil {
			t.Errorf("%s: %v", bad, err)
			continue
		}
		got, _ := r.Lookup(addr(t, "3.1.1.1"))
		wrong, _ := r.Lookup(addr(t, "52.0.0.1"))
		if r.Refused != 1 || r.Fault == nil || got.Service != "EC2" || wrong.Service != "" {
			t.Errorf("%s: refused %d (%v), %q, %q", bad, r.Refused, r.Fault, got.Service, wrong.Service)
		}
	}
}

// writeDatabase makes a MaxMind DB file.
func writeDatabase(t testing.TB, path, kind string, networks map[string]mmdbtype.Map) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, BuildEpoch: 1787411825, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for cidr, rec := range networks {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, rec); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if _, err := tree.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	write(t, path, buf.Bytes())
}

// write replaces a file as careful writers do.
func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func country(code string) mmdbtype.Map {
	return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code)}}
}

func system(n uint32, org string) mmdbtype.Map {
	return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(n), "autonomous_system_organization": mmdbtype.String(org)}
}

type fixture struct {
	*geo.Geo
	dir      string
	log      bytes.Buffer
	registry *prometheus.Registry
}

func setUp(t testing.TB, change func(c *geo.Config, dir string)) *fixture {
	t.Helper()
	fx := &fixture{dir: t.TempDir(), registry: prometheus.NewPedanticRegistry()}
	cfg := geo.DefaultConfig()
	change(&cfg, fx.dir)
	var err error
	fx.Geo, err = geo.New(cfg, geo.Dependencies{Logger: zerolog.New(&fx.log), Registerer: fx.registry})
	if err != nil {
		t.Fatal(err)
	}
	return fx
}

func (fx *fixture) file(name string) string { return filepath.Join(fx.dir, name) }

func TestPlacesFromSeveralFiles(t *testing.T) {
	fx := setUp(t, func(c *geo.Config, dir string) {
		c.Databases = []string{filepath.Join(dir, "country.mmdb"), filepath.Join(dir, "asn.mmdb"), filepath.Join(dir, "flat.mmdb")}
	})
	writeDatabase(t, fx.file("country.mmdb"), "Test-Country", map[string]mmdbtype.Map{
		"8.8.8.0/24": country("US"), "2001:4860::/32": country("US"), "9.9.9.0/24": country("nowhere"),
	})
	writeDatabase(t, fx.file("asn.mmdb"), "Test-ASN", map[string]mmdbtype.Map{
		"8.8.0.0/16": system(15169, "GOOGLE"), "1.1.1.0/24": system(13335, strings.Repeat("é", 200)),
	})
	writeDatabase(t, fx.file("flat.mmdb"), "Test-Flat", map[string]mmdbtype.Map{
		"8.8.8.0/24": {"country_code": mmdbtype.String("DE"), "asn": mmdbtype.String("AS1"), "as_name": mmdbtype.String("WRONG")},
		"9.9.9.0/24": {"country_code": mmdbtype.String("CH"), "asn": mmdbtype.String("AS19281"), "as_name": mmdbtype.String("QUAD9")},
		"7.0.0.0/8":  {"country_code": mmdbtype.Uint32(7), "asn": mmdbtype.String("ASx")},
	})
	if _, ok := fx.Place(addr(t, "8.8.8.8")); ok {
		t.Error("knows a place before anything was loaded")
	}
	if err := fx.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]geo.Place{
		"8.8.8.8":        {Country: "US", ASN: 15169, Org: "GOOGLE"},
		"::ffff:8.8.8.8": {Country: "US", ASN: 15169, Org: "GOOGLE"},
		"8.8.4.4":        {ASN: 15169, Org: "GOOGLE"},
		"2001:4860::1":   {Country: "US"},
		"9.9.9.9":        {Country: "CH", ASN: 19281, Org: "QUAD9"},
		"1.1.1.1":        {ASN: 13335, Org: strings.Repeat("é", 64)},
		"7.7.7.7":        {},
		"192.0.2.1":      {},
	} {
		got, ok := fx.Place(addr(t, ip))
		if diff := cmp.Diff(want, got); diff != "" || ok != (want != geo.Place{}) {
			t.Errorf("%s: %v %s", ip, ok, diff)
		}
	}
	if _, ok := fx.Place(netip.Addr{}); ok {
		t.Error("the absent address has a place")
	}
	if problems, err := testutil.GatherAndLint(fx.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// A bad file leaves what was known in force, costs no other file, and says what is wrong once.
func TestBadFilesLeaveTheOldInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fx := setUp(t, func(c *geo.Config, dir string) {
			c.IPRanges, c.Databases = filepath.Join(dir, "ranges.json"), []string{filepath.Join(dir, "country.mmdb"), filepath.Join(dir, "asn.mmdb")}
		})
		write(t, fx.file("ranges.json"), []byte(ranges(1, block("3.0.0.0/8", "EC2"))))
		writeDatabase(t, fx.file("country.mmdb"), "Test", map[string]mmdbtype.Map{"8.8.8.0/24": country("US")})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- fx.Run(ctx) }()
		poll := func() {
			<-time.After(10 * time.Second) // virtual
			synctest.Wait()
		}
		synctest.Wait()
		expect := func(service, country string, asn uint32) {
			t.Helper()
			p, _ := fx.Place(addr(t, "8.8.8.8"))
			if s := fx.Service(addr(t, "3.1.1.1")); s != service || p.Country != country || p.ASN != asn {
				t.Errorf("service %q, place %+v; want %s %s %d\n%s", s, p, service, country, asn, fx.log.String())
			}
		}
		expect("EC2", "US", 0)
		poll()
		poll()
		if n := strings.Count(fx.log.String(), "asn.mmdb"); n != 1 {
			t.Errorf("the missing file was logged %d times\n%s", n, fx.log.String())
		}

		writeDatabase(t, fx.file("asn.mmdb"), "Test", map[string]mmdbtype.Map{"8.8.8.0/24": system(15169, "GOOGLE")})
		poll()
		expect("EC2", "US", 15169)

		write(t, fx.file("ranges.json"), []byte(`{"prefixes":`))
		good, err := os.ReadFile(fx.file("country.mmdb"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, fx.file("country.mmdb"), good[:len(good)/2])
		poll()
		poll()
		expect("EC2", "US", 15169)

		write(t, fx.file("ranges.json"), []byte(ranges(2, block("3.0.0.0/8", "S3"))))
		writeDatabase(t, fx.file("country.mmdb"), "Test", map[string]mmdbtype.Map{"8.8.8.0/24": country("CA")})
		fx.Reload()
		synctest.Wait()
		expect("S3", "CA", 15169)
		want := `
# HELP dredge_metadata_geo_loads_total Contents that were taken into force, by kind.
# TYPE dredge_metadata_geo_loads_total counter
dredge_metadata_geo_loads_total{kind="databases"} 3
dredge_metadata_geo_loads_total{kind="ip_ranges"} 2
# HELP dredge_metadata_geo_published_timestamp_seconds When the oldest content in force was published, by kind; its age is now less this. 0 while there is none.
# TYPE dredge_metadata_geo_published_timestamp_seconds gauge
dredge_metadata_geo_published_timestamp_seconds{kind="databases"} 1.787411825e+09
dredge_metadata_geo_published_timestamp_seconds{kind="ip_ranges"} 2
`
		if err := testutil.GatherAndCompare(fx.registry, strings.NewReader(want), "dredge_metadata_geo_loads_total", "dredge_metadata_geo_published_timestamp_seconds"); err != nil {
			t.Error(err)
		}
		for _, s := range []string{`dredge_metadata_geo_faults_total{kind="databases",reason="corrupt"} 1`, `dredge_metadata_geo_faults_total{kind="ip_ranges",reason="bad-json"} 1`} {
			if text := gathered(t, fx.registry); !strings.Contains(text, s) {
				t.Errorf("%s is not in\n%s", s, text)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func gathered(t *testing.T, r *prometheus.Registry) string {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			fmt.Fprintf(&b, "%s{%s} %v\n", f.GetName(), strings.Join(labels, ","), m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return b.String()
}

// A URL is asked with the tag of what is known; an older copy from some cache is refused.
func TestURL(t *testing.T) {
	var body, tag atomic.Value
	var asked, unchanged, status atomic.Int64
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("If-None-Match") == tag.Load() {
			unchanged.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", tag.Load().(string))
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, body.Load().(string))
	}))
	t.Cleanup(server.Close)
	client := server.Client()
	t.Cleanup(client.CloseIdleConnections)
	cfg := geo.DefaultConfig()
	cfg.IPRanges = server.URL + "/ip-ranges.json"
	g, err := geo.New(cfg, geo.Dependencies{Client: client, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(token int, service string) {
		body.Store(ranges(token, block("3.0.0.0/8", service)))
		tag.Store(fmt.Sprintf(`"%d-%s"`, token, service))
	}
	expect := func(service string, words string) {
		t.Helper()
		err := g.Load(t.Context())
		if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
			t.Errorf("error %v, want %q", err, words)
		}
		if got := g.Service(addr(t, "3.1.1.1")); got != service {
			t.Errorf("service %q, want %q", got, service)
		}
	}
	publish(100, "EC2")
	expect("EC2", "")
	expect("EC2", "")
	if unchanged.Load() != 1 || asked.Load() != 2 {
		t.Errorf("asked %d times, unchanged %d times", asked.Load(), unchanged.Load())
	}
	publish(90, "S3")
	expect("EC2", "older than what is in force")
	publish(110, "S3")
	expect("S3", "")
	publish(120, "EC2")
	status.Store(http.StatusForbidden)
	expect("S3", "403 Forbidden")
	status.Store(http.StatusOK)
	expect("EC2", "")
}

func TestLookupsDoNotAllocate(t *testing.T) {
	fx := setUp(t, func(c *geo.Config, dir string) {
		c.IPRanges, c.Databases = filepath.Join(dir, "ranges.json"), []string{filepath.Join(dir, "country.mmdb")}
	})
	write(t, fx.file("ranges.json"), publishedFile(t))
	writeDatabase(t, fx.file("country.mmdb"), "Test", map[string]mmdbtype.Map{"8.8.8.0/24": country("US"), "2001:4860::/32": country("US")})
	if err := fx.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ips := []netip.Addr{addr(t, "8.8.8.8"), addr(t, "3.239.232.1"), addr(t, "2001:4860::1"), addr(t, "2600:1f18::1"), addr(t, "192.0.2.1")}
	named := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, ip := range ips {
			if fx.Service(ip) != "" {
				named++
			}
			if _, ok := fx.Place(ip); ok {
				named++
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if named == 0 {
		t.Error("nothing was found")
	}
	if d := fx.Describe(); !strings.Contains(d, "networks of AWS published 2026-08-22") || !strings.Contains(d, "of Test built 2026-08-22") {
		t.Error(d)
	}
}

func TestConfig(t *testing.T) {
	if err := geo.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := geo.Config{IPRanges: "ftp://x/y", Databases: []string{"", "https://x/y.mmdb"}}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`ip_ranges: "ftp://x/y"`, `databases[0]: ""`, `databases[1]: "https://x/y.mmdb"`, "refresh: 0s", "poll_interval: 0s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
