package row

import (
	"net/netip"
	"strconv"
)

// Type is the type of a column's values.
type Type uint8

// The types. Long is an integer of 64 bits.
const (
	String Type = iota
	Long
	Boolean
	StringArray
)

var typeTexts = []string{"string", "long", "boolean", "string array"} //nolint:gochecknoglobals // read-only table

func (t Type) String() string { return textOf(typeTexts, t) }

// Role is what Druid makes of a column.
type Role uint8

// The roles.
const (
	Dimension Role = iota
	Metric
	Timestamp
)

var roleTexts = []string{"dimension", "metric", "timestamp"} //nolint:gochecknoglobals // read-only table

func (r Role) String() string { return textOf(roleTexts, r) }

// Set is a group of columns that one setting turns on.
type Set string

// The sets. Core is always on.
const (
	Core     Set = "core"
	Lineage  Set = "lineage"
	Endpoint Set = "endpoint"
	Evidence Set = "evidence"
	Network  Set = "network"
	TagSet   Set = "tags"
	Public   Set = "public"
)

// Sets returns every set with what it is for, in the order of the reference page.
func Sets() []SetInfo {
	return []SetInfo{
		{Core, "who talked to whom, when, how much, and how sure that is; always on"},
		{Lineage, "where the line came from and which time it spans: proof of exactly-once, delivery delay"},
		{Endpoint, "the single instance, interface, pod or task behind an address"},
		{Evidence, "how names, direction, client side and counting came about"},
		{Network, "the packet's flags and way, and the addresses that forwarders put into the record"},
		{Public, "where public addresses are: country and autonomous system, from the databases of `identity.geo`"},
		{TagSet, "tag values that the record itself carries (version 11)"},
	}
}

// SetInfo is a Set and what it is for.
type SetInfo struct {
	Name Set
	Doc  string
}

// Grain is a bit set of the row kinds that a column stands in.
type Grain uint8

// The grains.
const (
	// Raw is flows_raw: one row per flow-log record.
	Raw Grain = 1 << iota
	// Minute is flows_1m: rolled up by application and minute.
	Minute
)

// Column is one entry of the catalogue. Columns of raw rows, and dimensions of any, have exactly one of the accessors Number … OfIdentity; measures of
// rolled-up rows have OfSums. They are how encoders get at the value and must not be changed.
type Column struct {
	Name string
	Type Type
	// Unit is ms (Unix milliseconds), bytes, packets, flows, rows, or "".
	Unit string
	Doc  string
	// MinuteDoc says what the column means in rolled-up rows, where that is another thing.
	MinuteDoc string
	Grains    Grain
	Set       Set
	Role      Role
	// Optional columns are left out of a row when the value is absent.
	Optional bool
	// Seldom columns are absent in every row that is Ordinary.
	Seldom bool
	// Values is the closed vocabulary; nil when the values are open.
	Values []string

	// Number returns the value of a Long column; false when it is absent.
	Number func(b *Batch, r *Row) (int64, bool)
	// Text returns the value; "" is absent.
	Text func(b *Batch, r *Row) string
	// Append appends the value's text, unescaped; appending nothing means absent.
	Append func(dst []byte, b *Batch, r *Row) []byte
	// Addr returns an address; an invalid one is absent.
	Addr func(r *Row) netip.Addr
	// Digits returns a number that is written as a string; false when it is absent.
	Digits func(r *Row) (uint64, bool)
	// Code returns an index into Texts, where "" is absent. The texts of a Boolean or Long column are literals.
	Code  func(r *Row) uint16
	Texts []string
	// List returns the value of a StringArray column; an empty one is absent.
	List func(r *Row) []string
	// OfIdentity returns the value from the identity of the end that Side returns; "" is absent. Bit is the column's place
	// in its side, the same on both.
	OfIdentity func(id *Identity) string
	Side       func(r *Row) *Side
	End        End
	Bit        uint8
	// OfSums returns the measure from a rolled-up row.
	OfSums func(s *Sums) int64
}

// Value returns the column's value in r as an int64, string, bool or []string, and false when it is absent. It is the slow,
// obvious way, for tools and tests; encoders use the accessors.
func (c *Column) Value(b *Batch, r *Row) (any, bool) {
	var text string
	switch {
	case c.Number != nil:
		n, ok := c.Number(b, r)
		return n, ok
	case c.List != nil:
		list := c.List(r)
		return list, len(list) > 0
	case c.Digits != nil:
		n, ok := c.Digits(r)
		return strconv.FormatUint(n, 10), ok
	case c.Addr != nil:
		a := c.Addr(r)
		return a.String(), a.IsValid()
	case c.Text != nil:
		text = c.Text(b, r)
	case c.Append != nil:
		text = string(c.Append(nil, b, r))
	case c.Code != nil:
		text = textOf(c.Texts, c.Code(r))
	case c.OfIdentity != nil:
		text = c.Side(r).identityText(c)
	}
	switch c.Type {
	case Long:
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil
	case Boolean:
		return text == "true", true
	default:
		return text, text != ""
	}
}

// identityText is the value of an identity column. The application stands in the Side itself.
func (s *Side) identityText(c *Column) string {
	if c.Bit == AppBit {
		if s.App == "" {
			return AppUnknown
		}
		return s.App
	}
	if s.Identity == nil {
		if c.Optional {
			return ""
		}
		return KindUnknown
	}
	return c.OfIdentity(s.Identity)
}
