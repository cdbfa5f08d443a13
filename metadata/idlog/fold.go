package idlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dredge/metadata/event"
)

// FoldCodec is the codec of snapshots that a Fold makes: sections of Events and Sightings, in any order.
const FoldCodec = "events/1"

// Fold is the set of everything that was told and seen, without repetitions and without what is older than the retention. Since
// events commute, telling a Fold's content to an empty store gives the knowledge that telling everything would. It is safe for
// concurrent use.
type Fold struct {
	retention time.Duration
	seed      maphash.Seed
	shards    [64]foldShard

	// marks are progress and the brackets of listings: the newest of each source and scope.
	mu    sync.Mutex
	marks map[markKey]event.Event
	// scopes are all that were told of.
	scopes map[string]struct{}
}

type markKey struct {
	src, scope string
	op         event.Op
}

type foldShard struct {
	mu sync.Mutex
	// subjects are what events are about: an address, or a port of it; a network; an owner.
	subjects map[subjectKey][]item
	sighted  map[addressKey][]Sighting
}

type addressKey struct {
	scope string
	ip    netip.Addr
}

type subjectKey struct {
	kind  subjectKind
	scope string
	// name is the address, network or owner.
	name string
}

type subjectKind uint8

const (
	ofAddress subjectKind = iota
	ofNetwork
	ofOwner
)

// item is one event, as the line that will be written, without its obs and its closing brace.
type item struct {
	line     string
	owner    string
	obs      int64
	from, to int64 // what it says of time; to is the end of an observe and of a planned end
	acc      int64
	op       event.Op
	// describes: it tells something of its owner beside the address.
	describes bool
}

// heartbeatGap is the silence within which two sightings of one interface are one, as the store sees it.
const heartbeatGap = 60_000

// NewFold returns an empty Fold for stores that keep history for retention.
func NewFold(retention time.Duration) *Fold {
	f := &Fold{retention: retention, seed: maphash.MakeSeed(), marks: map[markKey]event.Event{}, scopes: map[string]struct{}{}}
	for i := range f.shards {
		f.shards[i].subjects = map[subjectKey][]item{}
		f.shards[i].sighted = map[addressKey][]Sighting{}
	}
	return f
}

func (f *Fold) shard(scope, name string) *foldShard {
	var h maphash.Hash
	h.SetSeed(f.seed)
	_, _ = h.WriteString(scope) // never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(name)
	return &f.shards[h.Sum64()%uint64(len(f.shards))]
}

// Apply takes a valid event in. The texts of e are kept.
func (f *Fold) Apply(e *event.Event) error {
	switch e.Op {
	case event.Progress, event.SnapBegin, event.SnapEnd:
		f.mark(e)
		return nil
	default:
	}
	it, err := newItem(e)
	if err != nil {
		return err
	}
	key := subjectOf(e)
	f.note(key.scope)
	sh := f.shard(key.scope, key.name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.add(key, it)
	return nil
}

func (f *Fold) mark(e *event.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := markKey{e.Src, e.Scope, e.Op}
	if old, ok := f.marks[k]; !ok || e.To > old.To || e.To == old.To && e.Obs > old.Obs {
		f.marks[k] = event.Event{Src: e.Src, Scope: e.Scope, Op: e.Op, Obs: e.Obs, To: e.To}
	}
}

func subjectOf(e *event.Event) subjectKey {
	switch {
	case e.IP != "":
		name := e.IP
		if ip, err := netip.ParseAddr(name); err == nil {
			name = ip.Unmap().String()
		}
		if e.Port != 0 || e.Proto != 0 {
			name += "/" + strconv.Itoa(e.Proto) + "/" + strconv.Itoa(e.Port)
		}
		return subjectKey{ofAddress, e.Scope, name}
	case e.CIDR != "":
		return subjectKey{ofNetwork, e.Scope, e.CIDR}
	case e.Prefix != "":
		return subjectKey{ofNetwork, e.Scope, e.Prefix}
	}
	return subjectKey{ofOwner, "", e.Owner}
}

func newItem(e *event.Event) (item, error) {
	it := item{
		owner: e.Owner, obs: e.Obs, from: e.Start(), to: e.To, acc: e.Acc, op: e.Op,
		describes: e.EP != nil || e.WL != nil || e.Listen != nil || e.SDC != nil || e.Shared != nil || e.Forwarder != nil,
	}
	switch {
	case e.Op == event.Release, e.Op == event.Observe && e.From == 0: // an instant
		it.from, it.to = e.End(), e.End()
	case e.Op == event.Observe:
		it.to = e.End()
	default:
	}
	told := *e
	told.V, told.Epoch, told.Seq, told.Obs = event.Version, 0, 0, 0
	if e.From == 0 && e.To == 0 && e.Obs != 0 { // the event's time is its obs: part of what it says
		told.From = e.Obs
	} else if e.From == 0 && e.Op != event.Release && e.Op != event.Observe {
		told.From = e.Obs
	}
	line, err := json.Marshal(&told)
	if err != nil {
		return it, fmt.Errorf("folding identity event: %w", err)
	}
	it.line = string(bytes.TrimSuffix(line, []byte("}")))
	return it, nil
}

func (sh *foldShard) add(key subjectKey, it item) {
	list := sh.subjects[key]
	for i := range list {
		if list[i].line == it.line {
			list[i].obs = max(list[i].obs, it.obs)
			return
		}
	}
	sh.subjects[key] = append(list, it)
}

// note remembers a scope.
func (f *Fold) note(scope string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.scopes[scope]; !ok {
		f.scopes[scope] = struct{}{}
	}
}

// Observe takes a valid sighting in.
func (f *Fold) Observe(s Sighting) {
	f.note(s.Scope)
	sh := f.shard(s.Scope, s.IP.String())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	key := addressKey{s.Scope, s.IP}
	list := sh.sighted[key]
	for again := true; again; {
		again = false
		for i, o := range list {
			if o.ENI == s.ENI && o.Start <= s.End+1000+heartbeatGap && s.Start <= o.End+1000+heartbeatGap {
				s.Start, s.End, s.Primary = min(s.Start, o.Start), max(s.End, o.End), s.Primary || o.Primary
				list = slices.Delete(list, i, i+1)
				again = true
				break
			}
		}
	}
	sh.sighted[key] = append(list, s)
}

// Size is how many events, and ranges of sightings, a Fold holds.
func (f *Fold) Size() (events, sightings int) {
	f.mu.Lock()
	events = len(f.marks)
	f.mu.Unlock()
	for i := range f.shards {
		sh := &f.shards[i]
		sh.mu.Lock()
		for _, list := range sh.subjects {
			events += len(list)
		}
		for _, list := range sh.sighted {
			sightings += len(list)
		}
		sh.mu.Unlock()
	}
	return events, sightings
}

// Codec implements Snapshotter.
func (*Fold) Codec() string { return FoldCodec }

// sectionTarget is how large a section is made.
const sectionTarget = 1 << 20

// Snapshot implements Snapshotter. Events may be applied meanwhile; they may or may not be in it, but progress that is in it
// vouches for nothing that is not.
func (f *Fold) Snapshot(add func(Section) error) error {
	f.mu.Lock()
	marks := slices.Collect(maps.Values(f.marks))
	f.mu.Unlock()
	out := sectionWriter{add: add}
	for i := range f.shards {
		sh := &f.shards[i]
		sh.mu.Lock()
		for _, list := range sh.subjects {
			for _, it := range list {
				out.events = it.append(out.events)
			}
		}
		for _, list := range sh.sighted {
			for _, s := range list {
				out.sightings = appendSighting(out.sightings, &s)
			}
		}
		sh.mu.Unlock()
		if err := out.flush(sectionTarget); err != nil {
			return err
		}
	}
	for _, m := range marks { // after what they vouch for
		line, err := event.Append(out.events, &m)
		if err != nil {
			return err
		}
		out.events = line
	}
	return out.flush(0)
}

func (it *item) append(b []byte) []byte {
	b = append(b, it.line...)
	if it.obs != 0 {
		b = strconv.AppendInt(append(b, `,"obs":`...), it.obs, 10)
	}
	return append(b, "}\n"...)
}

// sectionWriter cuts lines and sightings into sections.
type sectionWriter struct {
	add               func(Section) error
	events, sightings []byte
}

// flush hands on what is larger than above bytes, in pieces of at most sectionTarget and whole lines.
func (w *sectionWriter) flush(above int) error {
	for len(w.events) > above {
		n := len(w.events)
		if n > sectionTarget {
			if n = bytes.LastIndexByte(w.events[:sectionTarget], '\n') + 1; n == 0 {
				n = bytes.IndexByte(w.events, '\n') + 1
			}
		}
		if err := w.add(Section{Events, w.events[:n]}); err != nil {
			return err
		}
		w.events = w.events[:copy(w.events, w.events[n:])]
	}
	if len(w.sightings) > above {
		// Sightings have no separator, so a section holds all there are: one shard's at most.
		err := w.add(Section{Sightings, w.sightings})
		w.sightings = w.sightings[:0]
		return err
	}
	return nil
}

// eniPrefix begins the owner ids of interfaces.
const eniPrefix = "eni:"

// isInterface says which of the two layers an owner belongs to: interfaces, or what runs on them.
func isInterface(owner string) bool { return strings.HasPrefix(owner, eniPrefix) }
