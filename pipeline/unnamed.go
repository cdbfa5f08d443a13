package pipeline

import (
	"cmp"
	"net/netip"
	"slices"

	"dredge/row"
)

// Unnamed is one address that rows of the last minutes could not name, for one reason.
type Unnamed struct {
	Address netip.Addr `json:"address"`
	Grade   string     `json:"grade"`
	Reason  string     `json:"reason"`
	VPC     string     `json:"vpc,omitempty"`
	Account string     `json:"account,omitempty"`
	// Bytes and Flows are of counted observations.
	Bytes int64 `json:"bytes"`
	Flows int64 `json:"flows"`
}

const (
	// minuteUnnamed bounds the unnamed addresses kept for each minute; the traffic of further ones is only summed.
	minuteUnnamed = 2000
	topUnnamed    = 100
)

// unnamedKey tells the entries apart. Its strings are shared by many rows.
type unnamedKey struct {
	addr        netip.Addr
	vpc, reason string
}

// unnamedPart sums the unnamed ends of one batch. Reused by its worker, so that it allocates nothing in steady state.
type unnamedPart struct {
	list []Unnamed
	at   map[unnamedKey]int // of list
}

func (u *unnamedPart) clear() {
	clear(u.list)
	u.list = u.list[:0]
	clear(u.at)
}

// add sums one end of a row. Ends that nobody of ours has, and those in a declared network, lack nothing.
func (u *unnamedPart) add(s *row.Side, bytes int64) {
	if s.Named || s.Grade == row.GradePublic || s.Grade == row.GradePrefix {
		return
	}
	e := Unnamed{Address: s.Addr, Grade: s.Grade, Reason: s.Reason}
	if s.Identity != nil {
		e.VPC, e.Account = s.Identity.VPC, s.Identity.Account
	}
	i, ok := u.at[e.key()]
	if !ok {
		if u.at == nil {
			u.at = make(map[unnamedKey]int)
		}
		i = len(u.list)
		u.list = append(u.list, e)
		u.at[e.key()] = i
	}
	u.list[i].Bytes += bytes
	u.list[i].Flows++
}

func (e *Unnamed) key() unnamedKey { return unnamedKey{e.Address, e.VPC, e.Reason} }

// unnamed sums unnamed ends over parts.
type unnamed map[unnamedKey]*Unnamed

// add adds list as long as there is room for new entries, and to other beyond.
func (u unnamed) add(list []Unnamed, room int, other *edgeSum) {
	for i := range list {
		e := &list[i]
		if known := u[e.key()]; known != nil {
			known.Bytes += e.Bytes
			known.Flows += e.Flows
			continue
		}
		if len(u) >= room {
			other.bytes += e.Bytes
			other.flows += e.Flows
			continue
		}
		kept := *e
		u[e.key()] = &kept
	}
}

// top returns the entries with the most bytes, and the sum of the others.
func (u unnamed) top(n int) (list []Unnamed, rest edgeSum) {
	list = make([]Unnamed, 0, len(u))
	for _, e := range u {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b Unnamed) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Flows, a.Flows), a.Address.Compare(b.Address), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.VPC, b.VPC))
	})
	for _, e := range list[min(n, len(list)):] {
		rest.bytes += e.Bytes
		rest.flows += e.Flows
	}
	return list[:min(n, len(list))], rest
}
