package store

import (
	"cmp"
	"slices"
	"strings"

	"dredge/metadata/event"
)

// maxVersions is how many changes of one thing are kept for one owner or prefix; the oldest are forgotten, and times before
// them answer as unknown.
const maxVersions = 64

// stamp orders what was told of one thing: by the time it holds from; at equal times the higher one wins.
type stamp struct {
	from, rver, obs int64
	src             uint32 // the source's handle
}

// version is a value that holds from its stamp on, until the next version's. The stamp's fields stand in it one by one, which leaves
// no gap before a small value; a version of a handle holds no pointer, so the garbage collector has nothing to look for in the many
// versions of what owners run.
type version[T any] struct {
	from, rver, obs int64
	src             uint32
	val             T
}

func stamped[T any](st stamp, val T) version[T] {
	return version[T]{st.from, st.rver, st.obs, st.src, val}
}

func (v *version[T]) stamp() stamp { return stamp{v.from, v.rver, v.obs, v.src} }

// sourceNames are the names of sources. Handles are given out in the order of telling, so only names may be compared.
type sourceNames struct{ *index }

func (n sourceNames) handle(name string) uint32 { return n.intern(name, nil) }

func (n sourceNames) compare(a, b uint32) int {
	if a == b {
		return 0
	}
	return strings.Compare(n.name(a), n.name(b))
}

// stamp is that of what e tells.
func (n sourceNames) stamp(e *event.Event) stamp {
	return stamp{from: e.Start(), rver: e.Rver, obs: e.Obs, src: n.handle(e.Src)}
}

// later says whether v outranks w, which holds from the same time. byValue settles what the stamps do not, so that the order
// of telling never decides.
func (v *version[T]) later(w *version[T], names sourceNames, byValue func(a, b T) int) bool {
	return cmp.Or(cmp.Compare(v.rver, w.rver), cmp.Compare(v.obs, w.obs), names.compare(v.src, w.src), byValue(v.val, w.val)) > 0
}

// merge returns vs, sorted by from with one version each, with v in its place, and whether that changed anything. vs itself
// is not changed: readers may hold it.
func merge[T any](vs []version[T], v version[T], names sourceNames, byValue func(a, b T) int) ([]version[T], bool) {
	i, found := slices.BinarySearchFunc(vs, v.from, func(w version[T], from int64) int { return cmp.Compare(w.from, from) })
	if found {
		if !v.later(&vs[i], names, byValue) {
			return vs, false
		}
		vs = slices.Clone(vs)
		vs[i] = v
		return vs, true
	}
	out := make([]version[T], 0, len(vs)+1)
	out = append(append(append(out, vs[:i]...), v), vs[i:]...)
	if len(out) > maxVersions {
		out = slices.Delete(out, 0, len(out)-maxVersions)
	}
	return out, true
}

// at returns the place of the version that holds at t, −1 when none does yet.
func at[T any](vs []version[T], t int64) int {
	for i := len(vs) - 1; i >= 0; i-- { //nolint:modernize // every look-up comes here, and slices.Backward copies the versions
		if vs[i].from <= t {
			return i
		}
	}
	return -1
}
