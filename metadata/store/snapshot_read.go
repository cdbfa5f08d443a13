package store

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"dredge/metadata"
)

// ReadSnapshot takes in what WriteSnapshot wrote, in addition to what the store knows already: a snapshot is a set of
// evidence like any other, so events may be applied before, meanwhile and after, in any order. Every section is checked before
// anything of it is used, and the sources' progress is taken in only when the whole snapshot was good: what a damaged one had
// told until then is true, but no answer relies on its being complete. The error wraps ErrSnapshot when the snapshot is to
// blame. Memory use beyond the store's own is bounded whatever r holds. It reads r to the end of the snapshot, buffered.
func (s *Store) ReadSnapshot(r io.Reader) error { return s.readSnapshot(r, nil) }

// ReadForeignSnapshot is ReadSnapshot of another region's store, which remembers for as long as it likes: times that it has forgotten
// are not forgotten here. told is called for each routing domain that its sources told something of, before what they said of
// their progress counts.
func (s *Store) ReadForeignSnapshot(r io.Reader, told func(metadata.Scope)) error {
	return s.readSnapshot(r, told)
}

func (s *Store) readSnapshot(r io.Reader, told func(metadata.Scope)) error {
	s.sweeper.snapshots.RLock()
	defer s.sweeper.snapshots.RUnlock()
	in := &snapshotReader{
		s: s, r: bufio.NewReaderSize(r, 1<<16), texts: map[string]string{}, scopes: []uint32{0}, owners: []uint32{0}, workloads: []uint32{0},
		spare: make(chan []byte, runtime.GOMAXPROCS(0)),
	}
	in.addresses.SetLimit(cap(in.spare))
	err := in.all()
	if err != nil {
		err = fmt.Errorf("section %d: %w", in.sections, err)
	}
	err = cmp.Or(in.addresses.Wait(), err)
	filled(&s.v4, hashKey4)
	filled(&s.wide, hashKey16)
	if err != nil {
		return fmt.Errorf("reading identity snapshot: %w", err)
	}
	for i := range in.sources {
		if told != nil {
			in.sources[i].each(told)
		}
		s.watermarks.load(&in.sources[i])
	}
	if told != nil {
		return nil
	}
	for {
		floor := s.floor.Load()
		if in.floor <= floor || s.floor.CompareAndSwap(floor, in.floor) {
			return nil
		}
	}
}

type snapshotReader struct {
	s        *Store
	r        *bufio.Reader
	sections uint64
	// scopes, owners and workloads are the handles here of those in the snapshot.
	scopes, owners, workloads []uint32
	sources                   []savedSource
	floor                     int64
	texts                     map[string]string
	// addresses takes their sections in beside the reading of others, spare has bodies to read into.
	addresses errgroup.Group
	spare     chan []byte
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...))
}

func (in *snapshotReader) read(b []byte) error {
	_, err := io.ReadFull(in.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bad("it is cut short")
	}
	return err
}

func (in *snapshotReader) all() error {
	var head [12]byte
	if err := in.read(head[:]); err != nil {
		return err
	}
	if string(head[:8]) != snapshotMagic {
		return bad("it does not begin with %q", snapshotMagic)
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != snapshotVersion {
		return bad("format version %d is not known; this program reads version %d", v, snapshotVersion)
	}
	var body []byte
	for ; ; in.sections++ {
		var head [5]byte
		if err := in.read(head[:]); err != nil {
			return err
		}
		size := int(binary.LittleEndian.Uint32(head[1:]))
		if size > maxSection {
			return bad("%d bytes are more than a section may have", size)
		}
		// Grown as it is read: a damaged length must not cost 64 MB.
		body = body[:0]
		for len(body) < size {
			n := min(size-len(body), 1<<20)
			body = slices.Grow(body, n)[:len(body)+n]
			if err := in.read(body[len(body)-n:]); err != nil {
				return err
			}
		}
		var sum [4]byte
		if err := in.read(sum[:]); err != nil {
			return err
		}
		if crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, body) != binary.LittleEndian.Uint32(sum[:]) {
			return bad("its checksum is wrong")
		}
		if head[0] == sectionAddresses4 || head[0] == sectionAddresses {
			body = in.beside(head[0], body)
			continue
		}
		c := &cursor{b: body}
		if head[0] == sectionEnd {
			if n := c.uvarint(); c.bad || n != in.sections {
				return bad("%d sections of %d are there", in.sections, n)
			}
			return nil
		}
		if err := in.section(head[0], c); err != nil {
			return err
		}
		if c.bad {
			return bad("what it holds makes no sense")
		}
	}
}

func (in *snapshotReader) section(kind byte, c *cursor) error {
	s := in.s
	switch kind {
	case sectionScopes:
		for c.more() {
			in.scopes = append(in.scopes, uint32(s.InternScope(string(c.text()))))
		}
	case sectionOwners:
		for c.more() {
			h := uint32(0) // stands in for one that was swept
			if name := c.text(); len(name) > 0 {
				h = s.owners.intern(string(name))
			}
			in.owners = append(in.owners, h)
		}
	case sectionWorkloads:
		for c.more() {
			var w metadata.Workload
			for _, t := range [...]*string{&w.App, &w.AppSource, &w.Cluster, &w.Account, &w.VPC, &w.Region, &w.Team} {
				*t = in.text(c)
			}
			in.workloads = append(in.workloads, uint32(s.owners.workload(w)))
		}
	case sectionFacts:
		for c.more() {
			in.facts(c)
		}
	case sectionNetworks:
		for c.more() {
			in.networks(c)
		}
	case sectionSources:
		in.progress(c)
	default:
		return bad("kind %d is not known", kind)
	}
	return nil
}

// text returns a text that occurs often, once for all.
func (in *snapshotReader) text(c *cursor) string {
	raw := c.text()
	if known, ok := in.texts[string(raw)]; ok {
		return known
	}
	t := string(raw)
	if len(in.texts) < 1<<16 {
		in.texts[t] = t
	}
	return t
}

func (in *snapshotReader) stamp(c *cursor) stamp {
	return stamp{from: c.varint(), rver: c.varint(), obs: c.varint(), src: in.source(c)}
}

// source returns the handle of a source's name, 0 when the section is damaged.
func (in *snapshotReader) source(c *cursor) uint32 {
	name := in.text(c)
	if c.bad {
		return 0
	}
	return in.s.owners.sources.handle(name)
}

func (in *snapshotReader) endpoint(c *cursor) metadata.Endpoint {
	return metadata.Endpoint{Kind: in.text(c), ENI: in.text(c), Instance: in.text(c), Name: in.text(c), Subnet: in.text(c), AZ: in.text(c)}
}

func (in *snapshotReader) facts(c *cursor) {
	h := c.handle(in.owners, c.uvarint())
	var told facts
	var m details
	told.scope = metadata.Scope(c.handle(in.scopes, c.uvarint()))
	for range c.count() {
		told.wl = append(told.wl, stamped(in.stamp(c), metadata.WorkloadID(c.handle(in.workloads, c.uvarint()))))
	}
	for range c.count() {
		m.eps = append(m.eps, stamped(in.stamp(c), in.endpoint(c)))
	}
	for range c.count() {
		m.traits = append(m.traits, stamped(in.stamp(c), traits{c.byte(), c.byte(), c.byte()}))
	}
	for range c.count() {
		v := stamped(in.stamp(c), []uint32(nil))
		for range c.count() {
			v.val = append(v.val, uint32(c.uvarint()))
		}
		m.listen = append(m.listen, v)
	}
	if c.bad || h == 0 {
		c.bad = true
		return
	}
	if len(m.listen) > 0 {
		in.s.listening.Store(true)
	}
	told.more = &m
	in.s.owners.load(h, &told, in.s.ScopeName)
}

// load adds what was told of an owner elsewhere to what was told of it here.
func (o *owners) load(h uint32, told *facts, scopeName func(metadata.Scope) string) {
	mu := &o.locks[h%uint32(len(o.locks))]
	mu.Lock()
	defer mu.Unlock()
	ow := o.list.at(h)
	f := *ow.facts.Load()
	if told.scope != metadata.NoScope && (f.scope == metadata.NoScope || scopeName(told.scope) < scopeName(f.scope)) {
		f.scope = told.scope
	}
	for _, v := range told.wl {
		f.wl, _ = merge(f.wl, v, o.sources, o.compareWorkloads)
	}
	var m details
	if f.more != nil {
		m = *f.more
	}
	for _, v := range told.more.eps {
		m.tellEndpoint(v, o.sources)
	}
	for _, v := range told.more.traits {
		m.traits, _ = merge(m.traits, v, o.sources, compareTraits)
	}
	for _, v := range told.more.listen {
		m.listen, _ = merge(m.listen, v, o.sources, slices.Compare[[]uint32])
	}
	if len(m.eps) > 0 || len(m.traits) > 0 || len(m.listen) > 0 {
		f.more = &m
		o.settle(&f, &m)
	}
	ow.set(&f)
}

func (in *snapshotReader) prefix(c *cursor) netip.Prefix {
	var p netip.Prefix
	if err := p.UnmarshalBinary(c.text()); err != nil || !p.IsValid() {
		c.bad = true
	}
	return p
}

func (in *snapshotReader) marks(c *cursor) []mark {
	var ms []mark
	for range c.count() {
		ms = append(ms, mark{c.varint(), c.varint()})
	}
	return ms
}

func (in *snapshotReader) networks(c *cursor) {
	sc := in.s.scope(metadata.Scope(c.handle(in.scopes, c.uvarint())))
	var nets []*network
	for range c.count() {
		n := &network{prefix: in.prefix(c), owner: in.text(c), begins: in.marks(c), ends: in.marks(c)}
		for range c.count() {
			to := metadata.Scope(c.handle(in.scopes, c.uvarint()))
			for _, m := range in.marks(c) {
				n.routes = append(n.routes, route{to, m})
			}
		}
		for range c.count() {
			n.info = append(n.info, stamped(in.stamp(c), in.endpoint(c)))
		}
		nets = append(nets, n)
	}
	type cover struct {
		p  netip.Prefix
		vs []version[logged]
	}
	var covers []cover
	for range c.count() {
		x := cover{p: in.prefix(c)}
		for range c.count() {
			v := stamped(in.stamp(c), logged{})
			v.val.to = c.varint()
			flags := c.byte()
			v.val.accept, v.val.reject = flags&1 != 0, flags&2 != 0
			x.vs = append(x.vs, v)
		}
		covers = append(covers, x)
	}
	if c.bad {
		return
	}
	if len(covers) > 0 {
		in.s.covers.Store(true)
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, n := range nets {
		sc.loadNetwork(n, in.s.owners.sources)
		if h := in.s.owners.names.get("", n.owner); h != 0 {
			in.s.owners.list.at(h).hasNetwork()
		}
	}
	for _, x := range covers {
		vs := sc.coverage.at(x.p)
		for _, v := range x.vs {
			vs, _ = merge(vs, v, in.s.owners.sources, compareLogged)
		}
		sc.coverage.set(x.p, vs)
	}
}

func (in *snapshotReader) progress(c *cursor) {
	in.floor = c.varint()
	for range c.count() {
		x := savedSource{name: in.text(c), whole: c.varint(), heard: time.UnixMilli(c.varint())}
		for range c.count() {
			x.scopes = append(x.scopes, metadata.Scope(c.handle(in.scopes, c.uvarint())))
		}
		for range c.count() {
			x.progress = append(x.progress, savedProgress{metadata.Scope(c.handle(in.scopes, c.uvarint())), c.varint()})
		}
		in.sources = append(in.sources, x)
	}
}

// cursor reads a section. After a fault everything is zero and bad is set.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) more() bool { return len(c.b) > 0 && !c.bad }

func (c *cursor) bytes(n int) []byte {
	if n > len(c.b) || c.bad {
		c.bad, c.b = true, nil
		return make([]byte, min(n, 16))
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) byte() byte  { return c.bytes(1)[0] }
func (c *cursor) u16() uint16 { return binary.LittleEndian.Uint16(c.bytes(2)) }
func (c *cursor) u32() uint32 { return binary.LittleEndian.Uint32(c.bytes(4)) }
func (c *cursor) u64() uint64 { return binary.LittleEndian.Uint64(c.bytes(8)) }

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || c.bad {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 || c.bad {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// count is a number of things that take at least a byte each.
func (c *cursor) count() int {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return 0
	}
	return int(n)
}

// text is good until the section is left.
func (c *cursor) text() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	return c.bytes(int(n))
}

// handle returns what stands for the snapshot's handle h here.
func (c *cursor) handle(list []uint32, h uint64) uint32 {
	if h >= uint64(len(list)) {
		c.bad, c.b = true, nil
		return 0
	}
	return list[h]
}
