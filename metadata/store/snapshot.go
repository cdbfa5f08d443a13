package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"slices"
	"time"

	"dredge/metadata"
)

// A snapshot is everything that a store was told, so that a process can start without hearing it all again.
//
//	header    "dredgeID", format version u32
//	sections  kind u8, length u32, that many bytes, CRC-32C u32 of all three
//	end       a section of kind end with the number of sections before it
//
// Numbers are little endian, or varints where they are mostly small; texts have their length in front. Sections of names
// (scopes, owners, workloads) continue the lists of the sections before them, and stand before any section that refers to a
// name by its place in the list. Addresses carry their evidence, not what was derived from it: a later version may derive
// better, and further events meet the same evidence as if there had been no snapshot. What sources said of their progress
// stands last and is as old as the snapshot's begin, so that it never covers an event that the snapshot missed.
const (
	snapshotMagic   = "dredgeID"
	snapshotVersion = 1
	// maxSection bounds what a reader takes in at once; writers cut sections far below it.
	maxSection  = 64 << 20
	sectionSize = 1 << 20
)

// The kinds of sections.
const (
	sectionScopes = 1 + iota
	sectionOwners
	sectionWorkloads
	sectionAddresses4
	sectionAddresses
	sectionFacts
	sectionNetworks
	sectionSources
	sectionEnd
)

//nolint:gochecknoglobals // read-only table
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrSnapshot is wrapped by the errors of ReadSnapshot that say that the snapshot itself is damaged, cut short, or of a format
// that this version does not know; other errors come from the reader.
var ErrSnapshot = errors.New("bad snapshot")

// SnapshotCodec names the format of snapshots and its version.
func (*Store) SnapshotCodec() string { return fmt.Sprint("store/", snapshotVersion) }

// WriteSnapshot writes everything that the store was told: evidence of all addresses, owners and what they run, networks,
// coverage, and how far each source has told. A store that reads it and then hears what was told since gives the same answers
// as this one; hearing some of it twice does no harm. Events may be applied and look-ups asked meanwhile; each shard of
// addresses is locked while it is copied, never while w is written to. It writes in pieces of about a megabyte, and neither
// flushes nor closes w.
func (s *Store) WriteSnapshot(w io.Writer) error {
	s.sweeper.snapshots.RLock()
	defer s.sweeper.snapshots.RUnlock()
	out := &snapshotWriter{s: s, w: w, names: [3]uint32{1, 1, 1}} // the handles 0 stand for nothing
	sources := s.watermarks.save()
	out.raw([]byte(snapshotMagic))
	out.raw(binary.LittleEndian.AppendUint32(nil, snapshotVersion))
	saveAddresses(out, &s.v4, sectionAddresses4, func(b []byte, k key4) []byte { return binary.LittleEndian.AppendUint64(b, uint64(k)) })
	saveAddresses(out, &s.wide, sectionAddresses, func(b []byte, k key16) []byte {
		b = append(b, k.addr[:]...)
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, k.scope), k.port)
	})
	for h := uint32(1); h < s.owners.names.end(); h++ {
		out.facts(h, s.owners.facts(h))
		out.cut(sectionFacts, sectionSize)
	}
	out.cut(sectionFacts, 1)
	for sc := metadata.NoScope; sc == metadata.NoScope || s.ScopeName(sc) != ""; sc++ {
		out.networks(sc, s.scope(sc))
		out.cut(sectionNetworks, sectionSize)
	}
	out.cut(sectionNetworks, 1)
	out.sources(sources, s.floor.Load())
	out.cut(sectionSources, 0)
	out.buf = binary.AppendUvarint(out.buf, out.sections)
	out.section(sectionEnd, out.buf)
	if out.err != nil {
		return fmt.Errorf("writing identity snapshot: %w", out.err)
	}
	return nil
}

type snapshotWriter struct {
	s        *Store
	w        io.Writer
	err      error
	sections uint64
	// names are the next handles of scopes, owners and workloads to be written.
	names [3]uint32
	buf   []byte // of the open section
	texts []byte // of the names that go before it
}

func (o *snapshotWriter) raw(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
	}
}

func (o *snapshotWriter) section(kind byte, body []byte) {
	head := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(body)))
	sum := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body)
	o.raw(head)
	o.raw(body)
	o.raw(binary.LittleEndian.AppendUint32(nil, sum))
	o.sections++
}

// cut ends the open section when it has at least size bytes. The names that were made meanwhile go before it.
func (o *snapshotWriter) cut(kind byte, size int) {
	if len(o.buf) < size || o.err != nil {
		return
	}
	s := o.s
	o.list(sectionScopes, 0, s.scopeNames.end(), func(h uint32) { o.texts = appendText(o.texts, s.scopeNames.name(h)) })
	o.list(sectionOwners, 1, s.owners.names.end(), func(h uint32) { o.texts = appendText(o.texts, s.owners.facts(h).ep.Owner) }) // none when it was swept
	o.list(sectionWorkloads, 2, s.owners.workloadEnd(), func(h uint32) {
		w := s.Workload(metadata.WorkloadID(h))
		for _, t := range [...]string{w.App, w.AppSource, w.Cluster, w.Account, w.VPC, w.Region, w.Team} {
			o.texts = appendText(o.texts, t)
		}
	})
	o.section(kind, o.buf)
	o.buf = o.buf[:0]
}

// list writes the names of one kind below handle end that were not written yet.
func (o *snapshotWriter) list(kind byte, which int, end uint32, name func(uint32)) {
	for o.names[which] < end {
		o.texts = o.texts[:0]
		for ; o.names[which] < end && len(o.texts) < sectionSize; o.names[which]++ {
			name(o.names[which])
		}
		o.section(kind, o.texts)
	}
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (o *snapshotWriter) stamp(b []byte, s stamp) []byte {
	b = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(b, s.from), s.rver), s.obs)
	return appendText(b, o.s.owners.sources.name(s.src))
}

func saveAddresses[K comparable](o *snapshotWriter, a *addresses[K], kind byte, key func([]byte, K) []byte) {
	for i := range a.shards {
		sh := &a.shards[i]
		sh.mu.Lock()
		t := sh.tab.Load()
		for j := range t.slots {
			if !t.kept(j) {
				continue
			}
			told := t.evidence(j)
			o.buf = key(o.buf, t.slots[j].key)
			count := uint16(len(told)) << 1
			if t.ports(j) {
				count |= 1
			}
			o.buf = binary.LittleEndian.AppendUint16(o.buf, count)
			for _, p := range told {
				o.buf = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(o.buf, p[0]), p[1])
			}
		}
		sh.mu.Unlock()
		o.cut(kind, sectionSize)
	}
	o.cut(kind, 1)
}

func (o *snapshotWriter) facts(h uint32, f *facts) {
	var m details
	if f.more != nil {
		m = *f.more
	}
	if f.scope == metadata.NoScope && len(f.wl) == 0 && f.more == nil {
		return
	}
	b := binary.AppendUvarint(binary.AppendUvarint(o.buf, uint64(h)), uint64(f.scope))
	b = binary.AppendUvarint(b, uint64(len(f.wl)))
	for i := range f.wl {
		b = binary.AppendUvarint(o.stamp(b, f.wl[i].stamp()), uint64(f.wl[i].val))
	}
	b = binary.AppendUvarint(b, uint64(len(m.eps)))
	for i := range m.eps {
		b = appendEndpoint(o.stamp(b, m.eps[i].stamp()), &m.eps[i].val)
	}
	b = binary.AppendUvarint(b, uint64(len(m.traits)))
	for i := range m.traits {
		v := &m.traits[i].val
		b = append(o.stamp(b, m.traits[i].stamp()), v.sdc, v.shared, v.forwarder)
	}
	b = binary.AppendUvarint(b, uint64(len(m.listen)))
	for i := range m.listen {
		b = binary.AppendUvarint(o.stamp(b, m.listen[i].stamp()), uint64(len(m.listen[i].val)))
		for _, port := range m.listen[i].val {
			b = binary.AppendUvarint(b, uint64(port))
		}
	}
	o.buf = b
}

func appendEndpoint(b []byte, e *metadata.Endpoint) []byte {
	for _, t := range [...]string{e.Kind, e.ENI, e.Instance, e.Name, e.Subnet, e.AZ} {
		b = appendText(b, t)
	}
	return b
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	text, _ := p.MarshalBinary() // never fails
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendMarks(b []byte, ms []mark) []byte {
	b = binary.AppendUvarint(b, uint64(len(ms)))
	for _, m := range ms {
		b = binary.AppendVarint(binary.AppendVarint(b, m.at), m.acc)
	}
	return b
}

func (o *snapshotWriter) networks(sc metadata.Scope, rec *scope) {
	var claims []*network
	rec.nets.each(func(_ netip.Prefix, list []*network) { claims = append(claims, list...) })
	covers := map[netip.Prefix][]version[logged]{}
	rec.coverage.each(func(p netip.Prefix, vs []version[logged]) { covers[p] = vs })
	if len(claims)+len(covers) == 0 {
		return
	}
	b := binary.AppendUvarint(o.buf, uint64(sc))
	b = binary.AppendUvarint(b, uint64(len(claims)))
	for _, n := range claims {
		b = appendMarks(appendMarks(appendText(appendPrefix(b, n.prefix), n.owner), n.begins), n.ends)
		b = binary.AppendUvarint(b, uint64(len(n.routes)))
		for _, r := range n.routes {
			b = appendMarks(binary.AppendUvarint(b, uint64(r.to)), []mark{r.begin})
		}
		b = binary.AppendUvarint(b, uint64(len(n.info)))
		for i := range n.info {
			b = appendEndpoint(o.stamp(b, n.info[i].stamp()), &n.info[i].val)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(covers)))
	for p, vs := range covers {
		b = binary.AppendUvarint(appendPrefix(b, p), uint64(len(vs)))
		for i := range vs {
			v := &vs[i].val
			b = binary.AppendVarint(o.stamp(b, vs[i].stamp()), v.to)
			flags := byte(0)
			if v.accept {
				flags |= 1
			}
			if v.reject {
				flags |= 2
			}
			b = append(b, flags)
		}
	}
	o.buf = b
}

// savedSource is what a snapshot holds of a source.
type savedSource struct {
	name     string
	whole    int64
	heard    time.Time
	scopes   []metadata.Scope // told of
	progress []savedProgress
}

// each calls f for the scopes that the source told something of, for some twice.
func (x *savedSource) each(f func(metadata.Scope)) {
	for _, sc := range x.scopes {
		f(sc)
	}
	for _, p := range x.progress {
		f(p.scope)
	}
}

type savedProgress struct {
	scope metadata.Scope
	t     int64
}

// save copies how far every source has told.
func (w *watermarks) save() []savedSource {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]savedSource, 0, len(w.sources))
	for _, src := range w.sources {
		x := savedSource{name: src.name, whole: src.whole, heard: src.heard}
		for sc := range src.told {
			x.scopes = append(x.scopes, sc)
		}
		for sc, t := range src.progress {
			x.progress = append(x.progress, savedProgress{sc, t})
		}
		out = append(out, x)
	}
	return out
}

// load takes in what a snapshot says of a source.
func (w *watermarks) load(x *savedSource) {
	w.mu.Lock()
	defer w.mu.Unlock()
	heard := x.heard
	if known := w.sources[x.name]; known != nil && known.heard.After(heard) {
		heard = known.heard
	}
	src := w.source(x.name, heard)
	for _, sc := range x.scopes {
		src.told[sc] = struct{}{}
	}
	src.whole = max(src.whole, x.whole)
	for _, p := range x.progress {
		src.progress[p.scope] = max(src.progress[p.scope], p.t)
		w.update(src, p.scope)
	}
	if src.whole > 0 {
		for sc := range src.told {
			w.update(src, sc)
		}
	}
	if src.whole > 0 || len(src.progress) > 0 {
		delete(w.expected, x.name)
	}
	w.broadcast()
}

func (o *snapshotWriter) sources(list []savedSource, floor int64) {
	b := binary.AppendVarint(o.buf, floor)
	b = binary.AppendUvarint(b, uint64(len(list)))
	slices.SortFunc(list, func(x, y savedSource) int {
		if x.name < y.name {
			return -1
		}
		return 1
	})
	for _, x := range list {
		b = binary.AppendVarint(binary.AppendVarint(appendText(b, x.name), x.whole), x.heard.UnixMilli())
		b = binary.AppendUvarint(b, uint64(len(x.scopes)))
		for _, sc := range x.scopes {
			b = binary.AppendUvarint(b, uint64(sc))
		}
		b = binary.AppendUvarint(b, uint64(len(x.progress)))
		for _, p := range x.progress {
			b = binary.AppendVarint(binary.AppendUvarint(b, uint64(p.scope)), p.t)
		}
	}
	o.buf = b
}
