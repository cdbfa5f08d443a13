package awsfake

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// condition is a test of an item; an item that does not exist is empty.
type condition interface{ holds(it item) bool }

// operand is a value to compare; ok is false when the item has none.
type operand interface {
	value(it item) (a attribute, ok bool)
}

type (
	literal     struct{ a attribute }
	pathOperand struct{ path path }
	sizeOperand struct{ path path }
)

func (l literal) value(item) (attribute, bool)        { return l.a, true }
func (o pathOperand) value(it item) (attribute, bool) { return it.get(o.path) }

func (o sizeOperand) value(it item) (attribute, bool) {
	a, ok := it.get(o.path)
	if !ok {
		return a, false
	}
	var n int
	switch a.kind {
	case kindS:
		n = utf8.RuneCountInString(a.text)
	case kindB:
		n = len(a.text)
	case kindSS, kindNS, kindBS:
		n = len(a.set)
	case kindL:
		n = len(a.list)
	case kindM:
		n = len(a.fields)
	default:
		return a, false
	}
	return attribute{kind: kindN, text: strconv.Itoa(n)}, true
}

// get follows a path into the item.
func (it item) get(p path) (attribute, bool) {
	a, ok := it[p[0].name]
	for _, s := range p[1:] {
		switch {
		case !ok:
		case s.index < 0:
			a, ok = a.fields[s.name] // nil unless it is a map
		case s.index < len(a.list):
			a = a.list[s.index]
		default:
			ok = false
		}
	}
	return a, ok
}

type (
	and        []condition
	or         []condition
	not        struct{ c condition }
	comparison struct {
		operator    string
		left, right operand
	}
	between struct{ what, low, high operand }
	among   struct {
		what    operand
		members []operand
	}
	existence struct{ path path }
	hasType   struct {
		path path
		kind kind
	}
	begins   struct{ what, prefix operand }
	contains struct{ what, part operand }
)

func (c and) holds(it item) bool {
	return !slices.ContainsFunc(c, func(part condition) bool { return !part.holds(it) })
}

func (c or) holds(it item) bool {
	return slices.ContainsFunc(c, func(part condition) bool { return part.holds(it) })
}

func (c not) holds(it item) bool { return !c.c.holds(it) }

func (c comparison) holds(it item) bool {
	left, leftOK := c.left.value(it)
	right, rightOK := c.right.value(it)
	if !leftOK || !rightOK {
		// What is absent equals nothing.
		return c.operator == "<>"
	}
	switch c.operator {
	case "=":
		return left.equal(right)
	case "<>":
		return !left.equal(right)
	}
	order, ok := left.compare(right)
	if !ok {
		return false
	}
	switch c.operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

func (c between) holds(it item) bool {
	return comparison{">=", c.what, c.low}.holds(it) && comparison{"<=", c.what, c.high}.holds(it)
}

func (c among) holds(it item) bool {
	return slices.ContainsFunc(c.members, func(o operand) bool { return comparison{"=", c.what, o}.holds(it) })
}

func (c existence) holds(it item) bool {
	_, ok := it.get(c.path)
	return ok
}

func (c hasType) holds(it item) bool {
	a, ok := it.get(c.path)
	return ok && a.kind == c.kind
}

func (c begins) holds(it item) bool {
	a, ok := c.what.value(it)
	prefix, prefixOK := c.prefix.value(it)
	return ok && prefixOK && a.kind == prefix.kind && (a.kind == kindS || a.kind == kindB) && strings.HasPrefix(a.text, prefix.text)
}

func (c contains) holds(it item) bool {
	a, ok := c.what.value(it)
	part, partOK := c.part.value(it)
	if !ok || !partOK {
		return false
	}
	switch {
	case a.kind == kindL:
		return slices.ContainsFunc(a.list, part.equal)
	case a.kind == kindSS && part.kind == kindS, a.kind == kindNS && part.kind == kindN, a.kind == kindBS && part.kind == kindB:
		return slices.Contains(a.set, part.text)
	case a.kind == part.kind && (a.kind == kindS || a.kind == kindB):
		return strings.Contains(a.text, part.text)
	default:
		return false
	}
}

// parseCondition reads a ConditionExpression, FilterExpression or KeyConditionExpression, and says which paths it mentions.
func parseCondition(s, parameter string, ph *placeholders) (condition, []path, error) {
	p := newParser(s, ph)
	c := p.disjunction()
	if err := p.finish(parameter); err != nil {
		return nil, nil, err
	}
	return c, p.seen, nil
}

func (p *parser) disjunction() condition {
	defer p.deeper()()
	c := p.conjunction()
	for p.keyword("OR") {
		c = or{c, p.conjunction()}
	}
	return c
}

func (p *parser) conjunction() condition {
	c := p.negation()
	for p.keyword("AND") {
		c = and{c, p.negation()}
	}
	return c
}

func (p *parser) negation() condition {
	defer p.deeper()()
	if p.err == nil && p.keyword("NOT") {
		return not{p.negation()}
	}
	if p.symbol("(") {
		c := p.disjunction()
		p.expect(")")
		return c
	}
	return p.predicate()
}

func (p *parser) predicate() condition {
	if t := p.peek(); t.kind == tokenWord && t.text != "size" {
		if name, ok := p.function(); ok {
			c := p.call(name)
			p.expect(")")
			return c
		}
	}
	left := p.operand()
	t := p.peek()
	switch {
	case p.keyword("BETWEEN"):
		low := p.operand()
		if !p.keyword("AND") {
			p.syntax()
		}
		return p.checkBetween(between{left, low, p.operand()})
	case p.keyword("IN"):
		p.expect("(")
		c := among{what: left, members: []operand{p.operand()}}
		for p.symbol(",") {
			c.members = append(c.members, p.operand())
		}
		p.expect(")")
		if len(c.members) > 100 {
			p.fail("Too many operands for IN: %d; use at most 100", len(c.members))
		}
		return c
	case t.kind == tokenSymbol && slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, t.text):
		p.next()
		return p.checkTypes(comparison{t.text, left, p.operand()})
	default:
		p.syntax()
		return not{and{}}
	}
}

// checkTypes refuses an order that can never be told.
func (p *parser) checkTypes(c comparison) condition {
	if l, ok := c.right.(literal); ok && c.operator != "=" && c.operator != "<>" && p.err == nil {
		if _, ordered := l.a.compare(l.a); !ordered {
			p.fail("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", c.operator, l.a.kind)
		}
	}
	return c
}

// checkBetween refuses constant bounds that are of different types or the wrong way round.
func (p *parser) checkBetween(c between) condition {
	low, lowOK := c.low.(literal)
	high, highOK := c.high.(literal)
	if lowOK && highOK && p.err == nil {
		if order, ok := low.a.compare(high.a); !ok || order > 0 {
			p.fail("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
		}
	}
	return c
}

func (p *parser) call(name string) condition {
	switch name {
	case "attribute_exists":
		return existence{p.path()}
	case "attribute_not_exists":
		return not{existence{p.path()}}
	case "attribute_type":
		path := p.path()
		p.expect(",")
		return hasType{path, kind(p.value().text)}
	case "begins_with":
		what := p.operand()
		p.expect(",")
		return begins{what, p.operand()}
	case "contains":
		what := p.operand()
		p.expect(",")
		return contains{what, p.operand()}
	default:
		p.fail("Invalid function name; function: %s", name)
		return not{and{}}
	}
}

func (p *parser) operand() operand {
	if p.peek().kind == tokenValue {
		return literal{p.value()}
	}
	if name, ok := p.function(); ok {
		if name != "size" {
			p.fail("The function is not allowed to be used this way in an expression; function: %s", name)
			return literal{}
		}
		o := sizeOperand{p.path()}
		p.expect(")")
		return o
	}
	return pathOperand{p.path()}
}
