package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"dredge/row/condition"
)

// Rule does one thing to the rows that it is meant for: it drops, samples, tags or redacts them.
type Rule struct {
	// Name is what the rule is counted by: small letters, digits, dots, dashes and underscores.
	Name string `yaml:"name"`
	// When are columns and the values they may have; the rule is for rows of which all hold. Without any it is for every row.
	When map[string]condition.Values `yaml:"when"`
	// Unless are columns and values, too; the rule is not for rows of which one holds.
	Unless map[string]condition.Values `yaml:"unless"`
	// Drop takes the rows away; they are counted as dropped by the rule's name.
	Drop bool `yaml:"drop"`
	// Sample keeps one of so many rows, chosen by row id, and multiplies bytes, packets and flows of those kept by this number; the others are counted as dropped.
	Sample int `yaml:"sample"`
	// Tag is a word that is put into the column rule_tags.
	Tag string `yaml:"tag"`
	// Redact are the ends, src or dst, whose addresses are cut down to keep_ipv4_bits or keep_ipv6_bits; the other bits become 0.
	Redact []string `yaml:"redact"`
	// KeepIPv4Bits is how many leading bits of a redacted IPv4 address stay, from 0 to 32; 24 keeps the network.
	KeepIPv4Bits int `yaml:"keep_ipv4_bits"`
	// KeepIPv6Bits is how many leading bits of a redacted IPv6 address stay, from 0 to 128; 48 keeps the site.
	KeepIPv6Bits int `yaml:"keep_ipv6_bits"`
}

// Config is a list of rules, in the order in which they are asked.
type Config []Rule

const (
	maxRules  = 256
	maxTags   = 64
	maxSample = 1_000_000
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ReservedName is counted under by the pipeline for lines that no rule names.
const ReservedName = "enricher"

// Validate reports every fault of every rule.
func (c Config) Validate() error {
	_, err := compile(c)
	return err
}

// compile checks and compiles every rule; all faults are in the error.
func compile(c Config) ([]rule, error) {
	if len(c) > maxRules {
		return nil, fmt.Errorf("[%d]: is one rule too many; write at most %d, with more values in each", maxRules, maxRules)
	}
	var errs []error
	list := make([]rule, 0, len(c))
	columns := condition.RowColumns()
	names, tags := map[string]int{}, map[string]int{}
	for i := range c {
		one, faults := c[i].compile(columns)
		fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
		if first, twice := names[c[i].Name]; twice {
			fault("name: %q is the name of [%d] already; write another one, as rows are counted by it", c[i].Name, first)
		}
		names[c[i].Name] = i
		if c[i].Tag != "" {
			if _, known := tags[c[i].Tag]; !known {
				tags[c[i].Tag] = len(tags)
			}
			one.tag = tags[c[i].Tag]
			if one.tag >= maxTags {
				fault("tag: %q is one tag too many; write at most %d different ones", c[i].Tag, maxTags)
			}
		}
		for _, err := range faults {
			errs = append(errs, fmt.Errorf("[%d].%w", i, err))
		}
		list = append(list, one)
	}
	return list, errors.Join(errs...)
}

func (r *Rule) compile(columns condition.Columns) (out rule, errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	out = rule{name: r.Name, sample: uint64(max(r.Sample, 0)), keep4: r.KeepIPv4Bits, keep6: r.KeepIPv6Bits}
	if !nameForm.MatchString(r.Name) || r.Name == ReservedName {
		fault("name: %.70q cannot be counted by; write small letters, digits, dots, dashes and underscores, but not %q", r.Name, ReservedName)
	}
	var does []string
	if r.Drop {
		out.action = drop
		does = append(does, "drop")
	}
	if r.Sample != 0 {
		out.action = sample
		does = append(does, "sample")
		if r.Sample < 2 || r.Sample > maxSample {
			fault("sample: %d is out of range; write from 2 to %d, which keeps one row of so many", r.Sample, maxSample)
		}
	}
	if r.Tag != "" {
		out.action = tag
		does = append(does, "tag")
		if len(r.Tag) > condition.MaxText || strings.ContainsAny(r.Tag, ", \t\n") {
			fault("tag: %.40q is no word; write up to %d characters without spaces and commas", r.Tag, condition.MaxText)
		}
	}
	if len(r.Redact) > 0 {
		out.action = redact
		does = append(does, "redact")
		for _, end := range r.Redact {
			switch end {
			case "src":
				out.src = true
			case "dst":
				out.dst = true
			default:
				fault("redact: %q is no end of a flow; write src, dst or both", end)
			}
		}
	}
	if len(does) != 1 {
		fault("drop, sample, tag, redact: the rule has %s; write exactly one, and another rule for each further one", orNone(does))
	}
	if out.action != redact && (r.KeepIPv4Bits != 0 || r.KeepIPv6Bits != 0) {
		fault("keep_ipv4_bits, keep_ipv6_bits: are for redact; leave them out")
	}
	if r.KeepIPv4Bits < 0 || r.KeepIPv4Bits > 32 {
		fault("keep_ipv4_bits: %d is out of range; write from 0 to 32", r.KeepIPv4Bits)
	}
	if r.KeepIPv6Bits < 0 || r.KeepIPv6Bits > 128 {
		fault("keep_ipv6_bits: %d is out of range; write from 0 to 128", r.KeepIPv6Bits)
	}
	if r.Drop && len(r.When) == 0 && len(r.Unless) == 0 {
		fault("when: is empty, so every row would be dropped; write which ones")
	}
	var err error
	if out.when, err = columns.Compile(r.When); err != nil {
		errs = append(errs, under("when", err)...)
	}
	if out.unless, err = columns.Compile(r.Unless); err != nil {
		errs = append(errs, under("unless", err)...)
	}
	return out, errs
}

func orNone(does []string) string {
	if len(does) == 0 {
		return "none of them"
	}
	return strings.Join(does, " and ")
}

// under puts key before each line of err.
func under(key string, err error) (errs []error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, fmt.Errorf("%s.%s", key, line))
	}
	return errs
}
