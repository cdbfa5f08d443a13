package awsfake

import (
	"maps"
	"slices"
	"strings"
)

// update is a parsed change of an item: the actions of an UpdateExpression, or of AttributeUpdates.
type update []action

// action changes one path.
type action struct {
	verb string // SET, REMOVE, ADD, DELETE
	path path
	to   source    // of SET
	by   attribute // of ADD and DELETE
}

// source yields what a SET stores; it is computed from the item as it was before the update.
type source interface {
	compute(it item) (attribute, error)
}

type (
	operandSource struct{ operand operand }
	ifNotExists   struct {
		path     path
		fallback source
	}
	listAppend struct{ left, right source }
	sum        struct {
		minus       bool
		left, right source
	}
)

func (s operandSource) compute(it item) (attribute, error) {
	a, ok := s.operand.value(it)
	if !ok {
		return a, failure("ValidationException", "The provided expression refers to an attribute that does not exist in the item")
	}
	return a, nil
}

func (s ifNotExists) compute(it item) (attribute, error) {
	if a, ok := it.get(s.path); ok {
		return a, nil
	}
	return s.fallback.compute(it)
}

func (s listAppend) compute(it item) (attribute, error) {
	left, right, err := computeBoth(s.left, s.right, it)
	if err != nil {
		return left, err
	}
	if left.kind != kindL || right.kind != kindL {
		return left, wrongOperand("list_append")
	}
	return attribute{kind: kindL, list: slices.Concat(left.list, right.list)}, nil
}

func (s sum) compute(it item) (attribute, error) {
	left, right, err := computeBoth(s.left, s.right, it)
	if err != nil {
		return left, err
	}
	if left.kind != kindN || right.kind != kindN {
		return left, wrongOperand(map[bool]string{false: "+", true: "-"}[s.minus])
	}
	return addNumbers(left, right, s.minus)
}

func addNumbers(a, b attribute, minus bool) (attribute, error) {
	by := mustDecimal(b.text)
	if minus {
		by = by.minus()
	}
	d, err := mustDecimal(a.text).add(by)
	return attribute{kind: kindN, text: d.String()}, err
}

func computeBoth(l, r source, it item) (left, right attribute, err error) {
	if left, err = l.compute(it); err == nil {
		right, err = r.compute(it)
	}
	return left, right, err
}

func wrongOperand(function string) error {
	return failure("ValidationException", "An operand in the update expression has an incorrect data type: %s", function)
}

// parseUpdate reads an UpdateExpression.
func parseUpdate(s string, ph *placeholders) (update, error) {
	const parameter = "UpdateExpression"
	p := newParser(s, ph)
	var out update
	seen := map[string]bool{}
	for p.err == nil && p.peek().kind != tokenEnd {
		verb := strings.ToUpper(p.peek().text)
		if p.peek().kind != tokenWord || !slices.Contains([]string{"SET", "REMOVE", "ADD", "DELETE"}, verb) {
			p.syntax()
			break
		}
		if seen[verb] {
			p.fail("The %q section can only be used once in an update expression;", verb)
			break
		}
		seen[verb] = true
		p.next()
		out = append(out, p.action(verb))
		for p.symbol(",") {
			out = append(out, p.action(verb))
		}
	}
	if err := p.finish(parameter); err != nil {
		return nil, err
	}
	paths := make([]path, len(out))
	for i, a := range out {
		paths[i] = a.path
	}
	return out, noOverlap(parameter, paths)
}

func (p *parser) action(verb string) action {
	a := action{verb: verb, path: p.path()}
	switch verb {
	case "SET":
		p.expect("=")
		a.to = p.source()
		for _, sign := range []string{"+", "-"} {
			if p.symbol(sign) {
				a.to = sum{sign == "-", a.to, p.source()}
				break
			}
		}
	case "ADD", "DELETE":
		if p.peek().kind != tokenValue {
			p.syntax()
			return a
		}
		a.by = p.value()
		if verb == "DELETE" && !a.by.isSet() || verb == "ADD" && !a.by.isSet() && a.by.kind != kindN {
			p.fail("Incorrect operand type for operator or function; operator: %s, operand type: %s", verb, a.by.kind)
		}
	}
	return a
}

func (p *parser) source() source {
	defer p.deeper()()
	if p.peek().kind == tokenValue {
		return operandSource{literal{p.value()}}
	}
	name, ok := p.function()
	if !ok {
		return operandSource{pathOperand{p.path()}}
	}
	var s source
	switch name {
	case "if_not_exists":
		path := p.path()
		p.expect(",")
		s = ifNotExists{path, p.source()}
	case "list_append":
		left := p.source()
		p.expect(",")
		s = listAppend{left, p.source()}
	default:
		p.fail("Invalid function name; function: %s", name)
		return operandSource{literal{}}
	}
	p.expect(")")
	return s
}

// apply is the item after the update; it itself stays as it is.
func (u update) apply(it item) (item, error) {
	out := it.clone()
	// Sources see the item as it was; list indices of one update, too, mean places in the item as it was, so removals of
	// list members go last and from the back.
	var removals []action
	for _, a := range u {
		var err error
		switch a.verb {
		case "SET":
			var value attribute
			if value, err = a.to.compute(it); err == nil {
				err = out.set(a.path, value)
			}
		case "REMOVE":
			if a.path[len(a.path)-1].index >= 0 {
				removals = append(removals, a)
				continue
			}
			err = out.remove(a.path)
		default:
			err = out.combine(a, it)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(removals, func(a, b action) int { return b.path[len(b.path)-1].index - a.path[len(a.path)-1].index })
	for _, a := range removals {
		if err := out.remove(a.path); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// combine carries out ADD and DELETE.
func (it item) combine(a action, before item) error {
	old, ok := before.get(a.path)
	switch {
	case a.verb == "ADD" && !ok:
		return it.set(a.path, a.by)
	case a.verb == "DELETE" && !ok:
		return nil
	case old.kind != a.by.kind:
		return wrongOperand(a.verb)
	case old.kind == kindN:
		n, err := addNumbers(old, a.by, false)
		if err != nil {
			return err
		}
		return it.set(a.path, n)
	case old.kind == kindL:
		return it.set(a.path, attribute{kind: kindL, list: slices.Concat(old.list, a.by.list)})
	}
	members := slices.Clone(old.set)
	if a.verb == "DELETE" {
		members = slices.DeleteFunc(members, func(m string) bool { return slices.Contains(a.by.set, m) })
		if len(members) == 0 {
			return it.remove(a.path)
		}
		return it.set(a.path, attribute{kind: old.kind, set: members})
	}
	for _, m := range a.by.set {
		if !slices.Contains(members, m) {
			members = append(members, m)
		}
	}
	return it.set(a.path, attribute{kind: old.kind, set: members})
}

func invalidPath() error {
	return failure("ValidationException", "The document path provided in the update expression is invalid for update")
}

// set stores a value, copying what lies on the way to it.
func (it item) set(p path, value attribute) error {
	return it.change(p, func(parent *attribute, last step) error {
		switch {
		case last.index < 0 && parent.kind == kindM:
			parent.fields[last.name] = value
		case last.index >= 0 && parent.kind == kindL && last.index < len(parent.list):
			parent.list[last.index] = value
		case last.index >= 0 && parent.kind == kindL:
			parent.list = append(parent.list, value)
		default:
			return invalidPath()
		}
		return nil
	})
}

// remove deletes what the path leads to, if it is there.
func (it item) remove(p path) error {
	if len(p) > 1 {
		if _, ok := it.get(p[:len(p)-1]); !ok {
			return invalidPath()
		}
	}
	return it.change(p, func(parent *attribute, last step) error {
		switch {
		case last.index < 0 && parent.kind == kindM:
			delete(parent.fields, last.name)
		case last.index >= 0 && parent.kind == kindL && last.index < len(parent.list):
			parent.list = slices.Delete(parent.list, last.index, last.index+1)
		case last.index >= 0 && parent.kind == kindL:
		default:
			return invalidPath()
		}
		return nil
	})
}

// change runs do on a private copy of the container that holds the path's last step, and stores the copy.
func (it item) change(p path, do func(parent *attribute, last step) error) error {
	root := attribute{kind: kindM, fields: it}
	return changeIn(&root, p, do)
}

func changeIn(parent *attribute, p path, do func(*attribute, step) error) error {
	if len(p) == 1 {
		return do(parent, p[0])
	}
	var child attribute
	ok := false
	if p[0].index < 0 {
		child, ok = parent.fields[p[0].name]
	} else if p[0].index < len(parent.list) {
		child, ok = parent.list[p[0].index], true
	}
	if !ok {
		return invalidPath()
	}
	child.fields, child.list = maps.Clone(child.fields), slices.Clone(child.list)
	if err := changeIn(&child, p[1:], do); err != nil {
		return err
	}
	if p[0].index < 0 {
		parent.fields[p[0].name] = child
	} else {
		parent.list[p[0].index] = child
	}
	return nil
}
