package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dredge/metadata"
)

// Hash returns a digest of everything that is known, written with names in a fixed order: two stores that were told the same
// have the same one, whatever the order of telling. It walks the whole store and is made for tests and for comparing stores; no
// one may apply meanwhile.
func (s *Store) Hash() string {
	sum := sha256.Sum256([]byte(strings.Join(s.dump(), "\n")))
	return hex.EncodeToString(sum[:])
}

// dump writes everything that is known as sorted lines.
func (s *Store) dump() []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	dumpTable(&s.v4, func(k key4, list []interval, st keyState) {
		b := [4]byte{byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}
		s.dumpAddress(add, metadata.Scope(k>>32), netip.AddrFrom4(b), 0, list, st)
	})
	dumpTable(&s.wide, func(k key16, list []interval, st keyState) {
		s.dumpAddress(add, metadata.Scope(k.scope), netip.AddrFrom16(k.addr), k.port, list, st)
	})
	for h := uint32(1); h < s.owners.names.end(); h++ {
		f := s.owners.facts(h)
		if f.ep.Owner == "" { // swept
			continue
		}
		add("owner %+v scope %s", f.ep, s.ScopeName(f.scope))
		for _, v := range f.wl {
			add("owner %s workload %s %+v", f.ep.Owner, s.stampText(v.stamp()), *s.Workload(v.val))
		}
		if m := f.more; m != nil {
			add("owner %s details %s %s %s", f.ep.Owner, versionsText(s, m.eps), versionsText(s, m.traits), versionsText(s, m.listen))
		}
	}
	for sc := metadata.NoScope; sc == metadata.NoScope || s.ScopeName(sc) != ""; sc++ {
		rec, name := s.scope(sc), s.ScopeName(sc)
		add("scope %s watermark %d", name, rec.watermark.Load())
		rec.nets.each(func(p netip.Prefix, claims []*network) {
			for _, n := range claims {
				add("network %s %s %s %v %v %s", name, p, n.owner, n.begins, n.ends, versionsText(s, n.info))
				for _, r := range n.routes {
					add("route %s %s %s %s %v", name, p, n.owner, s.ScopeName(r.to), r.begin)
				}
			}
		})
		rec.coverage.each(func(p netip.Prefix, vs []version[logged]) { add("coverage %s %s %s", name, p, versionsText(s, vs)) })
	}
	slices.Sort(lines)
	return lines
}

func (s *Store) stampText(st stamp) string {
	return fmt.Sprintf("{from %d rver %d obs %d src %s}", st.from, st.rver, st.obs, s.owners.sources.name(st.src))
}

func versionsText[T any](s *Store, vs []version[T]) string {
	var b strings.Builder
	for i := range vs {
		fmt.Fprintf(&b, "%s %+v;", s.stampText(vs[i].stamp()), vs[i].val)
	}
	return b.String()
}

func (s *Store) dumpAddress(add func(string, ...any), sc metadata.Scope, ip netip.Addr, port uint32, list []interval, st keyState) {
	if len(st.ev) == 0 && !st.ports {
		return
	}
	where := fmt.Sprintf("%s %s %d", s.ScopeName(sc), ip, port)
	add("address %s ports %v since %d", where, st.ports, st.since)
	for i, v := range list {
		add("tenure %s #%d %s [%d-%d, %d+%d) %d", where, i, s.owners.names.name(v.owner), v.from, v.accFrom, v.to, v.accTo, v.flags)
	}
	for _, e := range st.ev {
		add("evidence %s %s %d [%d, %d) acc %d flags %d", where, s.owners.names.name(e.owner), e.kind, e.from, e.to, e.acc, e.flags)
	}
}

func dumpTable[K comparable](a *addresses[K], each func(k K, list []interval, st keyState)) {
	for i := range a.shards {
		sh := &a.shards[i]
		t := sh.tab.Load()
		for j := range t.slots {
			if !t.slots[j].now.free() {
				each(t.slots[j].key, t.tenures(j).appendTo(nil), *sh.load(t, j))
			}
		}
	}
}
