package druid

import (
	_ "embed" // the default prices
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed prices/default.yaml
var defaultPrices string

// DefaultPrices returns the text of the price table that is built in.
func DefaultPrices() string { return defaultPrices }

// Prices are what AWS charges for data on its way. Estimates are made with them; the bill knows better.
type Prices struct {
	Version int `yaml:"version"`
	// Date is the day of which the prices are, Source where they were read.
	Date   string   `yaml:"date"`
	Source []string `yaml:"source"`
	// Currency is what the prices are in, BytesPerGB what a gigabyte of theirs is.
	Currency   string `yaml:"currency"`
	BytesPerGB int64  `yaml:"bytes_per_gb"`
	// CrossAZ is charged to the sender and to the receiver; the others once.
	CrossAZ     Price `yaml:"cross_az"`
	CrossRegion Price `yaml:"cross_region"`
	Internet    Price `yaml:"internet"`
	NAT         Price `yaml:"nat"`
}

// Price is what a gigabyte costs.
type Price struct {
	// Default is for all regions that are not listed.
	Default float64 `yaml:"default"`
	// Regions are prices by the sending region, Pairs by `from>to`; a pair goes before a region.
	Regions map[string]float64 `yaml:"regions"`
	Pairs   map[string]float64 `yaml:"pairs"`
}

const (
	pricesVersion  = 1
	maxPricesBytes = 1 << 20
	maxPrice       = 1000 // a gigabyte of anything costs less
)

// LoadPrices reads the table at path; "" is the one that is built in. The error holds every fault.
func LoadPrices(path string) (Prices, error) {
	if path == "" {
		return ParsePrices([]byte(defaultPrices))
	}
	f, err := os.Open(path)
	if err != nil {
		return Prices{}, fmt.Errorf("reading prices: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPricesBytes+1))
	if err != nil {
		return Prices{}, fmt.Errorf("reading prices %s: %w", path, err)
	}
	p, err := ParsePrices(data)
	if err != nil {
		return Prices{}, fmt.Errorf("prices %s:\n%w", path, err)
	}
	return p, nil
}

var (
	regionName = regexp.MustCompile(`^[a-z0-9-]{2,40}$`)
	regionPair = regexp.MustCompile(`^[a-z0-9-]{2,40}>[a-z0-9-]{2,40}$`)
)

// ParsePrices is LoadPrices on a file's content.
func ParsePrices(data []byte) (Prices, error) {
	if len(data) > maxPricesBytes {
		return Prices{}, fmt.Errorf("larger than %d bytes; this is no table of prices", maxPricesBytes)
	}
	var p Prices
	if err := yaml.UnmarshalWithOptions(data, &p, yaml.Strict()); err != nil {
		text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
		return Prices{}, errors.New(text)
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Version != pricesVersion {
		fault("version: %d is not known; write version: %d", p.Version, pricesVersion)
	}
	if _, err := time.Parse(time.DateOnly, p.Date); err != nil {
		fault("date: %q is no day; write the one of which the prices are, as 2026-06-25", p.Date)
	}
	if p.Currency == "" {
		fault("currency: is empty; write for example USD")
	}
	if p.BytesPerGB < 1_000_000_000 || p.BytesPerGB > 1<<30 {
		fault("bytes_per_gb: %d is no gigabyte; write 1073741824, as AWS bills, or 1000000000", p.BytesPerGB)
	}
	for _, x := range []struct {
		key   string
		price Price
		pairs bool
	}{{"cross_az", p.CrossAZ, false}, {"cross_region", p.CrossRegion, true}, {"internet", p.Internet, false}, {"nat", p.NAT, false}} {
		one := func(key string, v float64) {
			if !(v >= 0 && v <= maxPrice) {
				fault("%s: %v is no price of a gigabyte; write a number from 0 to %d", key, v, maxPrice)
			}
		}
		one(x.key+".default", x.price.Default)
		for _, region := range slices.Sorted(maps.Keys(x.price.Regions)) {
			one(x.key+".regions."+region, x.price.Regions[region])
			if !regionName.MatchString(region) {
				fault("%s.regions: %q is no region; write one as eu-west-1", x.key, region)
			}
		}
		for _, pair := range slices.Sorted(maps.Keys(x.price.Pairs)) {
			one(x.key+".pairs."+pair, x.price.Pairs[pair])
			if !regionPair.MatchString(pair) || !x.pairs {
				fault("%s.pairs: %q is not possible here; pairs as eu-west-1>us-east-1 are for cross_region", x.key, pair)
			}
		}
	}
	return p, errors.Join(errs...)
}

// Of returns what a gigabyte costs from one region to another.
func (p Price) Of(from, to string) float64 {
	if v, ok := p.Pairs[from+">"+to]; ok {
		return v
	}
	if v, ok := p.Regions[from]; ok {
		return v
	}
	return p.Default
}

// sql is Of as an expression over the columns that hold the regions.
func (p Price) sql(from, to string) string {
	var b strings.Builder
	b.WriteString("(CASE")
	for _, pair := range slices.Sorted(maps.Keys(p.Pairs)) {
		source, destination, _ := strings.Cut(pair, ">")
		fmt.Fprintf(&b, " WHEN %s = '%s' AND %s = '%s' THEN %s", from, source, to, destination, literal(p.Pairs[pair]))
	}
	for _, region := range slices.Sorted(maps.Keys(p.Regions)) {
		fmt.Fprintf(&b, " WHEN %s = '%s' THEN %s", from, region, literal(p.Regions[region]))
	}
	if len(p.Pairs)+len(p.Regions) == 0 {
		return literal(p.Default)
	}
	fmt.Fprintf(&b, " ELSE %s END)", literal(p.Default))
	return b.String()
}

// literal writes a number so that SQL takes it for a double, not a decimal.
func literal(v float64) string { return strconv.FormatFloat(v, 'E', -1, 64) }

// priced is a subquery of the raw rows that cost something, with charge and cost.
func (p Prices) priced(table string) string {
	const nat = `via_kind IN ('nat_gateway', 'regional_nat_gateway')`
	return `(SELECT src_app, dst_app, src_region, dst_region, bytes,
  CASE WHEN ` + nat + ` THEN 'nat' ELSE path END AS charge,
  bytes / ` + literal(float64(p.BytesPerGB)) + ` * CASE WHEN ` + nat + ` THEN ` + p.NAT.sql("COALESCE(src_region, dst_region)", "''") + `
    WHEN path = 'cross-az' THEN 2 * ` + p.CrossAZ.sql("src_region", "dst_region") + `
    WHEN path = 'cross-region' THEN ` + p.CrossRegion.sql("src_region", "dst_region") + `
    ELSE ` + p.Internet.sql("src_region", "''") + ` END AS cost
FROM ` + table + ` WHERE __time >= {from} AND __time < {to} AND action = 'ACCEPT' AND CASE WHEN ` + nat + `
  THEN COALESCE(src_reason, '') <> 'no-workload' AND COALESCE(dst_reason, '') <> 'no-workload'
  ELSE counted = 1 AND (path IN ('cross-az', 'cross-region') OR path = 'internet' AND dst_app = 'internet') END)`
}
