package segment

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"dredge/row"
	"dredge/row/condition"
)

// file is the file of declared edges as people write it.
type file struct {
	Version int    `yaml:"version"`
	Default string `yaml:"default"`
	SameApp string `yaml:"same_app"`
	Edges   []edge `yaml:"edges"`
}

// edge says what clients may do with servers.
type edge struct {
	Name     string                      `yaml:"name"`
	From     map[string]condition.Values `yaml:"from"`
	To       map[string]condition.Values `yaml:"to"`
	Protocol condition.Values            `yaml:"protocol"`
	Port     condition.Values            `yaml:"port"`
	Effect   string                      `yaml:"effect"`
	Expires  string                      `yaml:"expires"`
	Note     string                      `yaml:"note"`
}

const (
	version  = 1
	maxBytes = 16 << 20
	maxEdges = 20_000

	allow = "allow"
	deny  = "deny"
)

// selectable are the columns of a side that an edge may choose by, without src_ or dst_. They are known of every row, whatever columns are written.
var selectable = []string{ //nolint:gochecknoglobals // read-only table
	"app", "kind", "cluster", "account", "region", "az", "vpc", "subnet", "network", "site", "team", "ip",
}

// tagSelector chooses by the tags that the record itself carries of the interface that recorded.
const tagSelector = "tag"

// parse reads a file of declared edges. The error holds every fault.
func parse(data []byte) (*policy, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("file of %d bytes; at most %d are read", len(data), maxBytes)
	}
	var f file
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
		return nil, errors.New(text)
	}
	var errs []error
	if f.Version != version {
		errs = append(errs, fmt.Errorf("version: %d is not known; write version: %d", f.Version, version))
	}
	if f.Default == "" {
		errs = append(errs, errors.New("default: is missing; write deny, or allow where only edges with effect: deny are to be told"))
	}
	p := newPolicy(len(f.Edges))
	for _, x := range [...]struct {
		key, value string
		to         *bool
		otherwise  bool
	}{{"default", f.Default, &p.allowDefault, false}, {"same_app", f.SameApp, &p.allowSameApp, true}} {
		switch x.value {
		case allow, deny:
			*x.to = x.value == allow
		case "":
			*x.to = x.otherwise
		default:
			errs = append(errs, fmt.Errorf("%s: %q is neither; write allow or deny", x.key, x.value))
		}
	}
	if len(f.Edges) > maxEdges {
		return nil, fmt.Errorf("edges: there are %d; write at most %d, with lists and patterns", len(f.Edges), maxEdges)
	}
	c := compiler{columns: condition.RowColumns(), names: map[string]int{}}
	for i := range f.Edges {
		e, faults := c.edge(&f.Edges[i], i)
		for _, err := range faults {
			errs = append(errs, fmt.Errorf("edges[%d].%w", i, err))
		}
		if len(faults) == 0 {
			p.add(e)
		}
	}
	if len(errs) > maxFaults {
		errs = append(errs[:maxFaults], fmt.Errorf("and %d more", len(errs)-maxFaults))
	}
	return p, errors.Join(errs...)
}

// maxFaults bounds what one bad file is told.
const maxFaults = 50

type compiler struct {
	columns condition.Columns
	names   map[string]int
}

func (c *compiler) edge(e *edge, order int) (*compiled, []error) {
	out := &compiled{name: e.Name, order: order, allow: e.Effect != deny}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch first, twice := c.names[e.Name]; {
	case e.Name == "" || len(e.Name) > condition.MaxText:
		fault("name: %.40q is no name; write up to %d characters, as people are shown it", e.Name, condition.MaxText)
	case twice:
		fault("name: %q is the name of edges[%d] already", e.Name, first)
	default:
		c.names[e.Name] = order
	}
	if e.Effect != "" && e.Effect != allow && e.Effect != deny {
		fault("effect: %q is neither; write allow or deny", e.Effect)
	}
	if len(e.From) == 0 && len(e.To) == 0 {
		fault("from, to: are both empty, so every flow is meant; write who, or use default")
	}
	if e.Expires != "" {
		at, err := parseTime(e.Expires)
		if err != nil {
			fault("expires: %q is no time; write a day as 2026-12-31, or 2026-12-31T18:00:00Z", e.Expires)
		}
		out.expires = at
	}
	var faults []error
	out.from, faults = c.selector("from", e.From)
	errs = append(errs, faults...)
	out.to, faults = c.selector("to", e.To)
	errs = append(errs, faults...)
	flow := func(key, column string, values condition.Values, to *condition.All) {
		if len(values) == 0 {
			return
		}
		one, err := condition.New(c.columns[column], values)
		if err != nil {
			errs = append(errs, prefixed(key, err)...)
		}
		*to = append(*to, one)
	}
	for k, server := range [...]string{"src_port", "dst_port"} {
		flow("protocol", "protocol", e.Protocol, &out.flow[k])
		flow("port", server, e.Port, &out.flow[k])
		if k == 0 && len(errs) > 0 {
			break // the other way round the faults are the same
		}
	}
	return out, errs
}

// selector compiles the side of an edge, for both ends that it may be of a row.
func (c *compiler) selector(key string, m map[string]condition.Values) (s selector, errs []error) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		values := m[name]
		switch {
		case name == tagSelector:
			for _, column := range tagColumns {
				one, err := condition.New(c.columns[column], values)
				if err != nil {
					return s, prefixed(key+"."+name, err)
				}
				s.tags = append(s.tags, one)
			}
			continue
		case !slices.Contains(selectable, name):
			errs = append(errs, fmt.Errorf("%s.%s: is nothing that ends are chosen by; write one of %s, %s", key, name, strings.Join(selectable, ", "), tagSelector))
			continue
		case name == "app" && !slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "*") }):
			s.apps = values
		}
		for k, prefix := range [...]string{"src_", "dst_"} {
			one, err := condition.New(c.columns[prefix+name], values)
			if err != nil {
				errs = append(errs, prefixed(key+"."+name, err)...)
				break
			}
			s.ends[k] = append(s.ends[k], one)
		}
	}
	return s, errs
}

var tagColumns = []string{ //nolint:gochecknoglobals // read-only table
	"instance_tag", "instance_tag_2", "interface_tag", "interface_tag_2", "asg_tag", "asg_tag_2",
}

// Sets are the sets of columns, beside core, that the join must fill for edges to be judged.
func Sets() []row.Set { return []row.Set{row.TagSet} }

// prefixed puts key before each line of err.
func prefixed(key string, err error) (errs []error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, fmt.Errorf("%s: %s", key, line))
	}
	return errs
}

// parseTime reads a day, which is its last moment, or a time, in Unix milliseconds.
func parseTime(s string) (int64, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1).UnixMilli(), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	return at.UnixMilli(), err
}
