package awsfake

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// placeholders are a request's ExpressionAttributeNames and -Values; each must be used by one of its expressions.
type placeholders struct {
	names      map[string]string
	values     item
	usedNames  map[string]bool
	usedValues map[string]bool
}

func newPlaceholders(names map[string]string, values map[string]wireAttribute) (*placeholders, error) {
	for name := range names {
		if len(name) < 2 || name[0] != '#' {
			return nil, failure("ValidationException", "ExpressionAttributeNames contains invalid key: Syntax error; key: %q", name)
		}
	}
	for name := range values {
		if len(name) < 2 || name[0] != ':' {
			return nil, failure("ValidationException", "ExpressionAttributeValues contains invalid key: Syntax error; key: %q", name)
		}
	}
	converted, err := newItem(values)
	if err != nil {
		return nil, err
	}
	return &placeholders{names: names, values: converted, usedNames: map[string]bool{}, usedValues: map[string]bool{}}, nil
}

// unused is the error about placeholders that no expression mentioned.
func (p *placeholders) unused() error {
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		if !p.usedNames[name] {
			return failure("ValidationException", "Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", name)
		}
	}
	for _, name := range p.values.names() {
		if !p.usedValues[name] {
			return failure("ValidationException", "Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", name)
		}
	}
	return nil
}

// parser reads one expression. Its first error sticks, and further reads see the end.
type parser struct {
	placeholders *placeholders
	tokens       []token
	seen         []path // every path read so far
	depth        int
	err          error
}

func newParser(s string, p *placeholders) *parser {
	ps := &parser{placeholders: p}
	if strings.TrimSpace(s) == "" {
		ps.tokens = []token{{}}
		ps.fail("The expression can not be empty;")
		return ps
	}
	tokens, err := tokenize(s)
	if err != nil {
		tokens = []token{{}}
	}
	ps.tokens, ps.err = tokens, err
	return ps
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
	p.tokens = []token{{}}
}

func (p *parser) syntax() { p.fail("Syntax error; token: %q", p.peek().String()) }

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if len(p.tokens) > 1 {
		p.tokens = p.tokens[1:]
	}
	return t
}

// symbol takes the next token if it is the symbol.
func (p *parser) symbol(s string) bool {
	if t := p.peek(); t.kind != tokenSymbol || t.text != s {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(s string) {
	if !p.symbol(s) {
		p.syntax()
	}
}

// keyword takes the next token if it is the word, in any case.
func (p *parser) keyword(word string) bool {
	if t := p.peek(); t.kind != tokenWord || !strings.EqualFold(t.text, word) {
		return false
	}
	p.next()
	return true
}

// finish is the parser's verdict about the expression as a whole; parameter names it.
func (p *parser) finish(parameter string) error {
	if p.err == nil && p.peek().kind != tokenEnd {
		p.syntax()
	}
	if p.err != nil {
		return failure("ValidationException", "Invalid %s: %s", parameter, p.err.Error())
	}
	return nil
}

// step is one part of a document path: an attribute's name, or an index into a list.
type step struct {
	name  string
	index int // -1 for a name
}

// path leads to an attribute inside an item.
type path []step

func (p path) String() string {
	var b strings.Builder
	for i, s := range p {
		switch {
		case s.index >= 0:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case i > 0:
			b.WriteString("." + s.name)
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}

// overlaps says whether one path is the other or leads through it.
func (p path) overlaps(o path) bool {
	n := min(len(p), len(o))
	return slices.Equal(p[:n], o[:n])
}

func (p *parser) path() path {
	out := path{{p.attributeName(), -1}}
	for p.err == nil {
		switch {
		case p.symbol("."):
			out = append(out, step{p.attributeName(), -1})
		case p.symbol("["):
			n, err := strconv.Atoi(p.peek().text)
			if p.peek().kind != tokenNumber || err != nil {
				p.syntax()
				return out
			}
			p.next()
			p.expect("]")
			out = append(out, step{"", n})
		default:
			if len(out) > maxItemDepth {
				p.fail("The document path has too many nesting elements; nesting levels: %d", len(out))
			}
			p.seen = append(p.seen, out)
			return out
		}
	}
	return out
}

func (p *parser) attributeName() string {
	switch t := p.peek(); t.kind {
	case tokenWord:
		if isReserved(t.text) {
			p.fail("Attribute name is a reserved keyword; reserved keyword: %s", t.text)
			return ""
		}
		return p.next().text
	case tokenName:
		name, ok := p.placeholders.names[t.text]
		if !ok {
			p.fail("An expression attribute name used in the document path is not defined; attribute name: %s", t.text)
			return ""
		}
		p.placeholders.usedNames[t.text] = true
		p.next()
		return name
	default:
		p.syntax()
		return ""
	}
}

func (p *parser) value() attribute {
	t := p.peek()
	a, ok := p.placeholders.values[t.text]
	if !ok {
		p.fail("An expression attribute value used in expression is not defined; attribute value: %s", t.text)
		return attribute{}
	}
	p.placeholders.usedValues[t.text] = true
	p.next()
	return a
}

// function takes the name of a function call and its opening bracket.
func (p *parser) function() (string, bool) {
	if len(p.tokens) < 2 || p.peek().kind != tokenWord || p.tokens[1].text != "(" {
		return "", false
	}
	name := p.next().text
	p.next()
	return name, true
}

// deeper guards recursion.
func (p *parser) deeper() (undo func()) {
	if p.depth++; p.depth > 100 {
		p.fail("The expression is nested too deeply")
	}
	return func() { p.depth-- }
}

// parseProjection reads a ProjectionExpression.
func parseProjection(s string, ph *placeholders) ([]path, error) {
	p := newParser(s, ph)
	paths := []path{p.path()}
	for p.symbol(",") {
		paths = append(paths, p.path())
	}
	if err := p.finish("ProjectionExpression"); err != nil {
		return nil, err
	}
	return paths, noOverlap("ProjectionExpression", paths)
}

func noOverlap(parameter string, paths []path) error {
	for i, a := range paths {
		for _, b := range paths[:i] {
			if a.overlaps(b) {
				return failure("ValidationException", "Invalid %s: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [%s], path two: [%s]", parameter, b, a)
			}
		}
	}
	return nil
}
