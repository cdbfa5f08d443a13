package store

import (
	"slices"
	"sync/atomic"

	"dredge/internal/hugepages"
)

const (
	pageBits = 12
	pageSize = 1 << pageBits
)

// paged is a list that grows, whose elements do not move under a reader, so that readers need no lock. Writers need one. Handle 0
// exists from the start and stands for nothing.
type paged[T any] struct {
	// dir is replaced as a whole when a page is added or replaced; pages are shared by all of its versions.
	dir atomic.Pointer[[]*[pageSize]T]
	n   uint32
}

// add appends an element and returns its handle. The element becomes visible when the caller publishes the handle.
func (p *paged[T]) add() (uint32, *T) {
	if p.n == 0 || p.n&(pageSize-1) == 0 {
		var pages []*[pageSize]T
		if old := p.dir.Load(); old != nil {
			pages = *old
		}
		grown := make([]*[pageSize]T, len(pages)+1)
		copy(grown, pages)
		grown[len(pages)] = new([pageSize]T)
		p.dir.Store(&grown)
	}
	h := p.n
	p.n++
	return h, p.at(h)
}

// at returns the element of a handle that add gave out.
func (p *paged[T]) at(h uint32) *T {
	return &(*p.dir.Load())[h>>pageBits][h&(pageSize-1)]
}

// page returns the page with handle h.
func (p *paged[T]) page(h uint32) *[pageSize]T { return (*p.dir.Load())[h>>pageBits] }

// find is at for handles that come from outside; nil when there is no such page.
func (p *paged[T]) find(h uint32) *T {
	pages := *p.dir.Load()
	if int(h>>pageBits) >= len(pages) {
		return nil
	}
	return &pages[h>>pageBits][h&(pageSize-1)]
}

// extents appends where the pages lie.
func (p *paged[T]) extents(list []hugepages.Extent) []hugepages.Extent {
	if dir := p.dir.Load(); dir != nil {
		for _, page := range *dir {
			list = append(list, hugepages.Of(page[:]))
		}
	}
	return list
}

// replace puts page in the place of the one with handle h: who has the old directory goes on with the old page.
func (p *paged[T]) replace(h uint32, page *[pageSize]T) {
	dir := slices.Clone(*p.dir.Load())
	dir[h>>pageBits] = page
	p.dir.Store(&dir)
}
