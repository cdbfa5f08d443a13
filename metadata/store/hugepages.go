package store

import "dredge/internal/hugepages"

// HugePages puts the memory that look-ups read at random into pages of 2 MiB, where Linux can do that, and returns how many bytes lie in
// such pages then. Run does it every minute, since tables that grow move. It may be called at any time; readers and writers go on. With
// Config.HugePages off it does nothing.
func (s *Store) HugePages() (bytes int) {
	if !s.cfg.HugePages {
		return 0
	}
	var list []hugepages.Extent
	list = extents(list, &s.v4)
	list = extents(list, &s.wide)
	list = s.owners.list.extents(list)
	list = s.owners.workloads.extents(list)
	list = s.owners.names.names.extents(list)
	list = append(list, hugepages.Of(*s.owners.names.table.Load()))
	bytes = hugepages.Collapse(list)
	s.hugeBytes.Store(int64(bytes))
	return bytes
}

func extents[K comparable](list []hugepages.Extent, a *addresses[K]) []hugepages.Extent {
	for i := range a.shards {
		t := a.shards[i].tab.Load()
		list = append(list, hugepages.Of(t.slots), hugepages.Of(t.refs), hugepages.Of(t.arena), hugepages.Of(t.told), hugepages.Of(t.toldAt))
	}
	return list
}
