package flowlog

import (
	"errors"
	"fmt"
)

// Rules says which layout the lines of each source have. Nothing in a line tells, so a layout is chosen by where the line
// came from and never by its looks: a line that does not fit is rejected with ReasonFieldCount, not guessed at.
type Rules struct {
	// Default is the layout of lines that no rule matches: a log format, `default`, `transit-gateway`, or empty to reject
	// such lines.
	Default string `yaml:"default"`
	// Rules are tried in order; the first that matches decides.
	Rules []Rule `yaml:"rules"`
}

// Rule gives a layout to the sources that match all of its patterns. In a pattern `*` stands for any text and `?` for one
// character; an empty pattern matches everything.
type Rule struct {
	// LogGroup is a pattern for the name of the CloudWatch log group.
	LogGroup string `yaml:"log_group"`
	// LogStream is a pattern for the name of the CloudWatch log stream, such as `eni-*`.
	LogStream string `yaml:"log_stream"`
	// Account is a pattern for the account that owns the log group.
	Account string `yaml:"account"`
	// Format is a log format as the EC2 API returns it (`${version} ${account-id} …`), `default`, or `transit-gateway`.
	Format string `yaml:"format"`
}

// DefaultRules takes every line for one of AWS's default format.
func DefaultRules() Rules { return Rules{Default: "default"} }

// Validate reports all faults of r at once.
func (r Rules) Validate() error {
	_, err := NewChooser(r)
	return err
}

// Chooser chooses layouts by Rules and remembers what it chose. Not safe for concurrent use: one per worker, like a
// Decoder.
type Chooser struct {
	fallback *Format
	rules    []compiledRule
	// chosen and headers are emptied when they are full: a simple bound, and refilling costs microseconds.
	chosen  map[source]*Format
	headers map[string]*Format
	last    source
	lastFmt *Format
	primed  bool
}

type compiledRule struct {
	group, stream, account string
	format                 *Format
}

type source struct{ logGroup, logStream, account string }

// Bounds of what a Chooser remembers.
const (
	maxChosen  = 1 << 16
	maxHeaders = 64
)

// NewChooser checks r and makes a Chooser of it.
func NewChooser(r Rules) (*Chooser, error) {
	c := &Chooser{chosen: make(map[source]*Format), headers: make(map[string]*Format)}
	var errs []error
	if r.Default != "" {
		f, err := ParseFormat(r.Default)
		if err != nil {
			errs = append(errs, fmt.Errorf("default: %w", err))
		}
		c.fallback = f
	}
	for i, rule := range r.Rules {
		f, err := ParseFormat(rule.Format)
		if err != nil {
			errs = append(errs, fmt.Errorf("rules[%d].format: %w", i, err))
		}
		if rule.LogGroup == "" && rule.LogStream == "" && rule.Account == "" {
			errs = append(errs, fmt.Errorf("rules[%d]: no pattern, so it matches every line; name a log_group, log_stream or account, or write the format as default", i))
		}
		c.rules = append(c.rules, compiledRule{rule.LogGroup, rule.LogStream, rule.Account, f})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// Choose returns the layout of the lines of a log stream; all three are "" for lines outside an envelope. It is false when
// no rule matches and there is no default: such lines are to be rejected. A repeated question costs three string
// comparisons, so it may be asked per line.
func (c *Chooser) Choose(logGroup, logStream, account string) (*Format, bool) {
	key := source{logGroup, logStream, account}
	if c.primed && key == c.last {
		return c.lastFmt, c.lastFmt != nil
	}
	f, ok := c.chosen[key]
	if !ok {
		f = c.match(key)
		if len(c.chosen) >= maxChosen {
			clear(c.chosen)
		}
		c.chosen[key] = f
	}
	c.last, c.lastFmt, c.primed = key, f, true
	return f, f != nil
}

func (c *Chooser) match(s source) *Format {
	for i := range c.rules {
		r := &c.rules[i]
		if glob(r.group, s.logGroup) && glob(r.stream, s.logStream) && glob(r.account, s.account) {
			return r.format
		}
	}
	return c.fallback
}

// Header returns the layout that a header line names, from memory when it was seen before. Unlike ParseFormat it does not
// allocate then.
func (c *Chooser) Header(line []byte) (*Format, error) {
	if f, ok := c.headers[string(line)]; ok {
		return f, nil
	}
	f, err := ParseFormat(string(line))
	if err != nil {
		return nil, err
	}
	if len(c.headers) >= maxHeaders {
		clear(c.headers)
	}
	c.headers[string(line)] = f
	return f, nil
}

// glob matches s with pattern; an empty pattern matches everything. It goes back at most to the last star, so it takes
// len(pattern)·len(s) steps at worst.
func glob(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
