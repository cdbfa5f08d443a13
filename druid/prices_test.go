package druid

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The table that is built in is valid, says of when and where from it is, and prices every charge.
func TestDefaultPrices(t *testing.T) {
	p, err := LoadPrices("")
	if err != nil {
		t.Fatal(err)
	}
	if p.Currency != "USD" || p.BytesPerGB != 1<<30 || len(p.Source) == 0 || p.Date == "" {
		t.Errorf("table: %+v", p)
	}
	for _, c := range []struct {
		price    Price
		from, to string
		want     float64
	}{
		{p.CrossAZ, "us-east-1", "us-east-1", 0.01},
		{p.CrossRegion, "us-east-1", "eu-west-1", 0.02},
		{p.CrossRegion, "us-east-1", "us-east-2", 0.01},
		{p.Internet, "us-east-1", "", 0.09},
		{p.Internet, "ap-southeast-2", "", 0.114},
		{p.NAT, "eu-central-1", "", 0.052},
		{p.NAT, "nowhere-1", "", 0.045},
	} {
		if got := c.price.Of(c.from, c.to); got != c.want {
			t.Errorf("%s>%s costs %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestPricesOfTheUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prices.yaml")
	text := strings.Replace(DefaultPrices(), "default: 0.09", "default: 0.05", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPrices(path)
	if err != nil || p.Internet.Default != 0.05 {
		t.Errorf("%+v, %v", p.Internet, err)
	}
	questions, err := Questions()
	if err != nil {
		t.Fatal(err)
	}
	priced := 0
	for _, q := range questions {
		if !q.Priced {
			continue
		}
		priced++
		sql, params, err := q.SQL(DefaultConfig().Datasources, Ask{From: time.Unix(0, 0), To: time.Unix(1, 0), App: "web", Limit: 1, Prices: p, Late: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"5E-02", "9.5E-02", "WHEN src_region = 'us-east-1' AND dst_region = 'us-east-2' THEN 1E-02", "TABLE(APPEND('flows_raw', 'flows_late'))", "2 * 1E-02"} {
			if strings.Contains(sql, want) == (want == "9.5E-02") {
				t.Errorf("%s: %s\n%s", q.Name, want, sql)
			}
		}
		if n := strings.Count(sql, "?"); n != len(params) || n < 2 {
			t.Errorf("%s: %d parameters for %d places", q.Name, len(params), n)
		}
	}
	if priced < 4 {
		t.Errorf("%d questions are priced", priced)
	}
}

func TestPricesFaults(t *testing.T) {
	_, err := ParsePrices([]byte(`
version: 2
date: yesterday
bytes_per_gb: 1000
cross_az: {default: -1}
cross_region: {default: 0.02, pairs: {"us-east-1": 0.1}}
internet: {default: .nan, pairs: {"a-1>b-2": 1}}
nat: {default: 0.045, regions: {"US'; --": 0.1, eu-west-1: 10000}}
`))
	for _, want := range []string{
		"version: 2 is not known; write version: 1", `date: "yesterday" is no day`, "bytes_per_gb: 1000 is no gigabyte", "currency: is empty", "cross_az.default: -1 is no price",
		`cross_region.pairs: "us-east-1" is not possible here`, "internet.default: NaN is no price", `internet.pairs: "a-1>b-2"`, "nat.regions: \"US'; --\" is no region", "nat.regions.eu-west-1: 10000 is no price",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if _, err := ParsePrices([]byte("vers: 1")); err == nil || !strings.Contains(err.Error(), "vers") {
		t.Error(err)
	}
	if _, err := LoadPrices("/no/such/file"); err == nil {
		t.Error("a missing file is accepted")
	}
}

func FuzzParsePrices(f *testing.F) {
	f.Add([]byte(DefaultPrices()))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePrices(data)
		if err != nil {
			return
		}
		if sql := p.priced("t"); strings.Count(sql, "'")%2 != 0 {
			t.Errorf("prices made this SQL:\n%s", sql)
		}
	})
}
