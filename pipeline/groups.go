package pipeline

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"dredge/flowlog"
)

// LogGroup is what one log group was seen to deliver.
type LogGroup struct {
	// Name is the log group, "" for lines outside a CloudWatch envelope, OtherLogGroups for those beyond the bound.
	Name  string `json:"name"`
	Owner string `json:"owner,omitempty"`
	// Lines were found in its payloads; Rejected of them could not be decoded.
	Lines    int64 `json:"lines"`
	Rejected int64 `json:"rejected"`
	// NoData lines say that an interface had no traffic, SkipData lines that AWS lost flows of an interval.
	NoData   int64 `json:"no_data"`
	SkipData int64 `json:"skip_data"`
	// Format is the layout its lines were last read with, "" when no rule gave one. Header says that a header line named it.
	Format string `json:"format"`
	Header bool   `json:"header,omitempty"`
	// Missing are the fields that the layout lacks and dredge would use, the most important first.
	Missing []MissingField `json:"missing,omitempty"`
	Last    time.Time      `json:"last"`
}

// MissingField is a field that a layout lacks, and what that costs.
type MissingField struct {
	Field string `json:"field"`
	Cost  string `json:"cost"`
}

// OtherLogGroups stands for all log groups beyond the thousandth.
const OtherLogGroups = "(others)"

const maxLogGroups = 1000

// groups observes log groups. It is told once per payload.
type groups struct {
	mu     sync.Mutex
	byName map[string]*groupState
}

type groupState struct {
	LogGroup
	format *flowlog.Format
}

func newGroups() *groups { return &groups{byName: make(map[string]*groupState)} }

// seen is what one payload, or one envelope in it, adds to its log group.
type seen struct {
	group, owner     string
	lines, rejected  int64
	noData, skipData int64
	format           *flowlog.Format
	header           bool
}

func (g *groups) add(s seen, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st := g.byName[s.group]
	if st == nil && !utf8.ValidString(s.group) { // whoever writes to the stream writes it, and a label may not be so
		s.group = strings.ToValidUTF8(s.group, "\ufffd")
		st = g.byName[s.group]
	}
	if st == nil {
		if len(g.byName) >= maxLogGroups {
			s.group, s.owner = OtherLogGroups, ""
			st = g.byName[s.group]
		}
		if st == nil {
			st = &groupState{LogGroup: LogGroup{Name: s.group}}
			g.byName[s.group] = st
		}
	}
	st.Lines += s.lines
	st.Rejected += s.rejected
	st.NoData += s.noData
	st.SkipData += s.skipData
	st.Owner, st.format, st.Header, st.Last = s.owner, s.format, s.header, now
}

// each calls f for every log group with the time of its last payload. f must not call g.
func (g *groups) each(f func(name string, last time.Time)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, st := range g.byName {
		f(name, st.Last)
	}
}

// all returns every log group by name.
func (g *groups) all() []LogGroup {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]LogGroup, 0, len(g.byName))
	for _, st := range g.byName {
		lg := st.LogGroup
		if st.format != nil {
			lg.Format = st.format.String()
			for _, m := range flowlog.Advice(st.format) {
				lg.Missing = append(lg.Missing, MissingField{Field: m.Field.String(), Cost: m.Cost})
			}
		}
		out = append(out, lg)
	}
	slices.SortFunc(out, func(a, b LogGroup) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
