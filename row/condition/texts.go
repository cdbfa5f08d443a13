package condition

import "strings"

// texts is a set of texts and patterns.
type texts struct {
	exact    map[string]struct{}
	patterns []pattern
}

func (t *texts) add(v string) {
	if strings.Contains(v, "*") {
		t.patterns = append(t.patterns, strings.Split(v, "*"))
		return
	}
	t.exact[v] = struct{}{}
}

func (t *texts) match(s string) bool {
	if _, ok := t.exact[s]; ok {
		return true
	}
	for _, p := range t.patterns {
		if p.match(s) {
			return true
		}
	}
	return false
}

func (t *texts) matchBytes(s []byte) bool {
	if _, ok := t.exact[string(s)]; ok {
		return true
	}
	return len(t.patterns) > 0 && t.match(string(s)) // only patterns of the few columns that have no text of their own get here
}

// pattern is a text cut at its stars.
type pattern []string

// match says whether s is p's pieces with anything between them. An absent value matches no pattern.
func (p pattern) match(s string) bool {
	first, last := p[0], p[len(p)-1]
	if s == "" || len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, piece := range p[1 : len(p)-1] {
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):]
	}
	return true
}
