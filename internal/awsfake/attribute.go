package awsfake

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
)

// kind is the type of an attribute, by the name that the wire gives it.
type kind string

const (
	kindS    kind = "S"
	kindN    kind = "N"
	kindB    kind = "B"
	kindBOOL kind = "BOOL"
	kindNULL kind = "NULL"
	kindSS   kind = "SS"
	kindNS   kind = "NS"
	kindBS   kind = "BS"
	kindL    kind = "L"
	kindM    kind = "M"
)

// attribute is one value. It is never changed in place: items share the values of their earlier versions.
type attribute struct {
	kind   kind
	text   string // S; N in canonical form; B as bytes
	flag   bool   // BOOL
	set    []string
	list   []attribute
	fields item
}

// item is the attributes of one item by name.
type item map[string]attribute

const (
	maxItemSize  = 400 << 10
	maxItemDepth = 32
)

// wireAttribute is an AttributeValue as clients send it.
type wireAttribute struct {
	S, N       *string
	B          *[]byte
	BOOL, NULL *bool
	SS, NS     *[]string
	BS         *[][]byte
	L          *[]wireAttribute
	M          *map[string]wireAttribute
}

// attribute checks the value and turns it into its stored form.
func (w *wireAttribute) attribute() (attribute, error) { return w.convert(1) }

func (w *wireAttribute) convert(depth int) (attribute, error) {
	var a attribute
	if depth > maxItemDepth {
		return a, failure("ValidationException", "Nesting Levels have exceeded supported limits")
	}
	given := 0
	for _, set := range []bool{w.S != nil, w.N != nil, w.B != nil, w.BOOL != nil, w.NULL != nil, w.SS != nil, w.NS != nil, w.BS != nil, w.L != nil, w.M != nil} {
		if set {
			given++
		}
	}
	if given == 0 {
		return a, failure("ValidationException", "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	}
	if given > 1 {
		return a, failure("ValidationException", "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
	}
	switch {
	case w.S != nil:
		return attribute{kind: kindS, text: *w.S}, nil
	case w.N != nil:
		d, err := parseDecimal(*w.N)
		return attribute{kind: kindN, text: d.String()}, err
	case w.B != nil:
		return attribute{kind: kindB, text: string(*w.B)}, nil
	case w.BOOL != nil:
		return attribute{kind: kindBOOL, flag: *w.BOOL}, nil
	case w.NULL != nil:
		if !*w.NULL {
			return a, failure("ValidationException", "One or more parameter values were invalid: Null attribute value types must have the value of true")
		}
		return attribute{kind: kindNULL}, nil
	case w.SS != nil:
		return newSet(kindSS, "string", *w.SS)
	case w.NS != nil:
		canonical := make([]string, len(*w.NS))
		for i, n := range *w.NS {
			d, err := parseDecimal(n)
			if err != nil {
				return a, err
			}
			canonical[i] = d.String()
		}
		return newSet(kindNS, "number", canonical)
	case w.BS != nil:
		raw := make([]string, len(*w.BS))
		for i, b := range *w.BS {
			raw[i] = string(b)
		}
		return newSet(kindBS, "binary", raw)
	case w.L != nil:
		a = attribute{kind: kindL, list: make([]attribute, len(*w.L))}
		for i := range *w.L {
			var err error
			if a.list[i], err = (*w.L)[i].convert(depth + 1); err != nil {
				return a, err
			}
		}
		return a, nil
	default:
		fields, err := convertItem(*w.M, depth+1)
		return attribute{kind: kindM, fields: fields}, err
	}
}

func newSet(k kind, what string, members []string) (attribute, error) {
	if len(members) == 0 {
		return attribute{}, failure("ValidationException", "One or more parameter values were invalid: An %s set  may not be empty", what)
	}
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		if seen[m] {
			return attribute{}, failure("ValidationException", "One or more parameter values were invalid: Input collection [%s] contains duplicates.", strings.Join(members, ", "))
		}
		seen[m] = true
	}
	return attribute{kind: k, set: members}, nil
}

// newItem checks and converts an item as sent.
func newItem(w map[string]wireAttribute) (item, error) { return convertItem(w, 1) }

func convertItem(w map[string]wireAttribute, depth int) (item, error) {
	it := make(item, len(w))
	for name, value := range w {
		if len(name) > 64<<10-1 {
			return nil, failure("ValidationException", "attribute name of %d bytes; use at most 65535", len(name))
		}
		a, err := value.convert(depth)
		if err != nil {
			return nil, err
		}
		it[name] = a
	}
	return it, nil
}

func (a attribute) isSet() bool { return a.kind == kindSS || a.kind == kindNS || a.kind == kindBS }

func (a attribute) equal(o attribute) bool {
	if a.kind != o.kind {
		return false
	}
	switch a.kind {
	case kindSS, kindNS, kindBS:
		return len(a.set) == len(o.set) && !slices.ContainsFunc(a.set, func(m string) bool { return !slices.Contains(o.set, m) })
	case kindL:
		return slices.EqualFunc(a.list, o.list, attribute.equal)
	case kindM:
		return maps.EqualFunc(a.fields, o.fields, attribute.equal)
	default:
		return a.text == o.text && a.flag == o.flag
	}
}

// compare orders two values of one ordered type (S, N, B); ok is false for anything else.
func (a attribute) compare(o attribute) (order int, ok bool) {
	if a.kind != o.kind {
		return 0, false
	}
	switch a.kind {
	case kindS, kindB:
		return strings.Compare(a.text, o.text), true
	case kindN:
		return mustDecimal(a.text).compare(mustDecimal(o.text)), true
	default:
		return 0, false
	}
}

// size is what the value counts towards the item's size.
func (a attribute) size() int {
	switch a.kind {
	case kindN:
		return numberSize(a.text)
	case kindBOOL, kindNULL:
		return 1
	case kindSS, kindBS:
		n := 0
		for _, m := range a.set {
			n += len(m)
		}
		return n
	case kindNS:
		n := 0
		for _, m := range a.set {
			n += numberSize(m)
		}
		return n
	case kindL:
		n := 3
		for _, e := range a.list {
			n += e.size() + 1
		}
		return n
	case kindM:
		return 3 + a.fields.size() + len(a.fields)
	default:
		return len(a.text)
	}
}

func numberSize(s string) int { return len(mustDecimal(s).digits)/2 + 2 }

func (it item) size() int {
	n := 0
	for name, a := range it {
		n += len(name) + a.size()
	}
	return n
}

// clone is a copy whose top-level attributes may be replaced.
func (it item) clone() item {
	if it == nil {
		return item{}
	}
	return maps.Clone(it)
}

// names are the attributes in order.
func (it item) names() []string { return slices.Sorted(maps.Keys(it)) }

func (it item) appendJSON(b []byte) []byte {
	b = append(b, '{')
	for i, name := range it.names() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = it[name].appendJSON(b)
	}
	return append(b, '}')
}

func (a attribute) appendJSON(b []byte) []byte {
	b = append(append(b, `{"`...), a.kind...)
	b = append(b, `":`...)
	switch a.kind {
	case kindB:
		b = append(b, '"')
		b = append(base64.StdEncoding.AppendEncode(b, []byte(a.text)), '"')
	case kindBOOL, kindNULL:
		b = appendJSON(b, a.flag || a.kind == kindNULL)
	case kindSS, kindNS:
		b = appendJSON(b, a.set)
	case kindBS:
		members := make(list, len(a.set))
		for i, m := range a.set {
			members[i] = []byte(m)
		}
		b = appendJSON(b, members)
	case kindL:
		b = append(b, '[')
		for i, e := range a.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.appendJSON(b)
		}
		b = append(b, ']')
	case kindM:
		b = a.fields.appendJSON(b)
	default:
		b = appendString(b, a.text)
	}
	return append(b, '}')
}

func (it item) appendCBOR(b []byte, f format) []byte {
	b = appendHead(b, cborMap, uint64(len(it)))
	for _, name := range it.names() {
		b = it[name].appendCBOR(appendText(b, name), f)
	}
	return b
}

func (a attribute) appendCBOR(b []byte, f format) []byte {
	b = appendText(appendHead(b, cborMap, 1), string(a.kind))
	switch a.kind {
	case kindB:
		return appendCBOR(b, []byte(a.text), f)
	case kindBOOL, kindNULL:
		return appendCBOR(b, a.flag || a.kind == kindNULL, f)
	case kindSS, kindNS:
		return appendCBOR(b, a.set, f)
	case kindBS:
		b = appendHead(b, cborArray, uint64(len(a.set)))
		for _, m := range a.set {
			b = appendCBOR(b, []byte(m), f)
		}
		return b
	case kindL:
		b = appendHead(b, cborArray, uint64(len(a.list)))
		for _, e := range a.list {
			b = e.appendCBOR(b, f)
		}
		return b
	case kindM:
		return a.fields.appendCBOR(b, f)
	default:
		return appendText(b, a.text)
	}
}
