package geo

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/gaissmai/bart"
)

// Bounds of what is read. The file of 2026 has 2 MB and 17,000 entries.
const (
	maxRangesBytes = 32 << 20
	maxEntries     = 500_000
	maxName        = 64
	// Shorter prefixes would put a service's name on a good part of the internet; Amazon's shortest are /11 and /32.
	minBits4, minBits6 = 8, 16
)

// The services that stand beside nearly every other one: AMAZON is a superset of all, EC2 of much.
const (
	amazon = "AMAZON"
	ec2    = "EC2"
)

// Global is the region of blocks that belong to no single region.
const Global = "GLOBAL"

// Range is what Amazon publishes of an address. Its strings are shared and may be kept.
type Range struct {
	// Service is the most telling of the services whose blocks cover the address.
	Service string
	// Region and BorderGroup are those of the longest block that covers it; Global is no region.
	Region, BorderGroup string
}

// Ranges is one published state of Amazon's ranges. It is immutable and safe for concurrent use.
type Ranges struct {
	// Published is when Amazon published it (syncToken).
	Published time.Time
	// Blocks is the number of distinct prefixes.
	Blocks int
	// Refused counts entries that were left out, Fault is the first one's.
	Refused int
	Fault   error

	// table holds for each block the answer for the addresses that have it as their longest one, as an index into answers: the
	// blocks that cover an address follow from its longest, so the rule is applied once, here, and not at look-up.
	table   bart.Fast[uint16]
	answers []Range
}

// entry is one service's claim of a block.
type entry struct{ service, region, group string }

// document is the published form. Fields of a wrong type stay empty, and their entry is refused.
type document struct {
	SyncToken string      `json:"syncToken"`
	Prefixes  []published `json:"prefixes"`
	IPv6      []published `json:"ipv6_prefixes"`
}

type published struct {
	IPPrefix   string `json:"ip_prefix"`
	IPv6Prefix string `json:"ipv6_prefix"`
	Region     string `json:"region"`
	Service    string `json:"service"`
	Group      string `json:"network_border_group"`
}

// ParseRanges reads an ip-ranges.json. A faulty entry costs itself only, unless half of them are faulty. The error is an *Error.
func ParseRanges(data []byte) (*Ranges, error) {
	if len(data) > maxRangesBytes {
		return nil, refuse(TooLarge, "ip ranges of %d bytes; at most %d are read", len(data), maxRangesBytes)
	}
	var doc document
	err := json.Unmarshal(data, &doc)
	if _, mistyped := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mistyped {
		return nil, refuse(BadJSON, "ip ranges: %w", err)
	}
	n := len(doc.Prefixes) + len(doc.IPv6)
	if n > maxEntries {
		return nil, refuse(TooLarge, "ip ranges: %d entries; at most %d are read", n, maxEntries)
	}
	r := &Ranges{}
	if sec, err := strconv.ParseInt(doc.SyncToken, 10, 64); err == nil && sec > 0 && sec < 1<<33 {
		r.Published = time.Unix(sec, 0).UTC()
	}
	blocks := make(map[netip.Prefix][]entry, n)
	for _, list := range [...][]published{doc.Prefixes, doc.IPv6} {
		for i := range list {
			pfx, err := list[i].block()
			if err != nil {
				if r.Refused++; r.Fault == nil {
					r.Fault = err
				}
				continue
			}
			blocks[pfx] = append(blocks[pfx], entry{list[i].Service, list[i].Region, list[i].Group})
		}
	}
	switch {
	case len(blocks) == 0 && r.Fault == nil:
		return nil, refuse(NoEntries, "ip ranges: no prefixes; is this %s?", PublishedRanges)
	case r.Refused*2 > n:
		return nil, refuse(BadEntry, "ip ranges: %d of %d entries are faulty, the first: %w", r.Refused, n, r.Fault)
	}
	if err := r.classify(blocks); err != nil {
		return nil, err
	}
	return r, nil
}

// block checks one entry.
func (p *published) block() (netip.Prefix, error) {
	text := p.IPPrefix
	if text == "" {
		text = p.IPv6Prefix
	}
	pfx, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, refuse(BadEntry, "prefix %q is no CIDR", text)
	case pfx.Masked() != pfx:
		return netip.Prefix{}, refuse(BadEntry, "prefix %q has bits behind its mask", text)
	case pfx.Addr().Is4() != (p.IPPrefix != "") || pfx.Addr().Is4In6():
		return netip.Prefix{}, refuse(BadEntry, "prefix %q stands under the other family", text)
	case pfx.Addr().Is4() && pfx.Bits() < minBits4, pfx.Addr().Is6() && pfx.Bits() < minBits6:
		return netip.Prefix{}, refuse(BadEntry, "prefix %q is too wide to be Amazon's", text)
	case !isName(p.Service):
		return netip.Prefix{}, refuse(BadEntry, "service %.80q of %s is no name", p.Service, text)
	case !isName(p.Region):
		return netip.Prefix{}, refuse(BadEntry, "region %.80q of %s is no name", p.Region, text)
	case p.Group != "" && !isName(p.Group):
		return netip.Prefix{}, refuse(BadEntry, "network_border_group %.80q of %s is no name", p.Group, text)
	}
	return pfx, nil
}

// isName says whether s can stand in a row as a service or region.
func isName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// classify fills the table.
func (r *Ranges) classify(blocks map[netip.Prefix][]entry) error {
	var nested bart.Table[[]entry]
	for pfx, entries := range blocks {
		nested.Insert(pfx, entries)
	}
	numbers := map[Range]uint16{}
	for pfx := range blocks {
		answer := Range{Region: blocks[pfx][0].region, BorderGroup: blocks[pfx][0].group}
		for _, e := range blocks[pfx][1:] { // one region per block is what Amazon publishes; should that change, any order gives the same
			if e.region < answer.Region || e.region == answer.Region && e.group < answer.BorderGroup {
				answer.Region, answer.BorderGroup = e.region, e.group
			}
		}
		for _, covering := range nested.Supernets(pfx) { // from pfx itself outwards
			for _, e := range covering {
				answer.Service = betterService(answer.Service, e.service)
			}
			if telling(answer.Service) == 2 {
				break // longer blocks win over the wider ones that follow
			}
		}
		n, ok := numbers[answer]
		if !ok {
			if len(r.answers) == 1<<16 {
				return refuse(TooLarge, "ip ranges: more than %d different services and regions", 1<<16)
			}
			n = uint16(len(r.answers))
			numbers[answer] = n
			r.answers = append(r.answers, answer)
		}
		r.table.Insert(pfx, n)
	}
	r.Blocks = len(blocks)
	return nil
}

// telling is how much a service says about who an address is.
func telling(service string) int {
	switch service {
	case "":
		return -1
	case amazon:
		return 0
	case ec2:
		return 1
	default:
		return 2
	}
}

// betterService returns which of two services of blocks of one length names an address: the more telling, of equals the first
// by name.
func betterService(a, b string) string {
	if x, y := telling(a), telling(b); x != y {
		if x > y {
			return a
		}
		return b
	}
	return min(a, b)
}

// Lookup returns what Amazon publishes of ip. It neither blocks nor allocates.
func (r *Ranges) Lookup(ip netip.Addr) (Range, bool) {
	if r == nil || !ip.IsValid() {
		return Range{}, false
	}
	n, ok := r.table.Lookup(ip.Unmap())
	if !ok {
		return Range{}, false
	}
	return r.answers[n], true
}
