package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

func snapshotOf(t fataler, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// everything is an event of each kind of which a world has none.
var everything = []string{
	`{"op":"assign","src":"ec2","scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1","from":1000,"ep":{"kind":"site","name":"hq"}}`,
	`{"op":"assign","src":"ec2","scope":"vpc-1","cidr":"fd00::/64","owner":"eni:eni-1","from":1000}`,
	`{"op":"release","src":"ec2","scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1","to":9000}`,
	`{"op":"assign","src":"static","cidr":"192.0.2.0/24","owner":"office","from":1000}`,
	`{"op":"topology","src":"ec2","scope":"vpc-1","cidr":"10.9.0.0/16","to_scope":"vpc-2","owner":"pcx-1","from":1000}`,
	`{"op":"coverage","src":"ec2","scope":"vpc-1","prefix":"10.0.0.0/16","actions":"REJECT"}`,
	`{"op":"assign","src":"ecs","scope":"vpc-1","ip":"10.0.0.1","port":8080,"proto":6,"owner":"task-1","from":1000,"wl":{"app":"cart","cluster":"c","team":"t"}}`,
	`{"op":"describe","src":"ec2","owner":"eni:eni-2","from":1000,"listen":[{"proto":6,"port":443}],"sdc":false,"ep":{"kind":"instance","az":"use1-az1","instance":"i-1"}}`,
	`{"op":"assign","src":"ec2","scope":"public","ip":"2001:db8::1","owner":"eni:eni-2","from":1000}`,
}

// S6 of the store: a store that reads a snapshot, and then hears the rest, knows and answers what one does that heard
// everything, whatever it had heard before.
func TestSnapshotChangesNoAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 3))
	pick := func(n int) int { return r.IntN(n) }
	for range 150 {
		wo := makeWorld(pick, 10+pick(30), pick(8), 30)
		whole, first, second := newStore(t), newStore(t), newStore(t)
		wo.fill(t, whole, nil)
		give(t, whole, everything...)

		// second has handles of its own, and knows some of it already.
		for _, name := range []string{"vpc-1", "vpc-2"} { // Sighting.Scope is a handle
			first.InternScope(name)
			second.InternScope(name)
		}
		second.InternScope("vpc-0")
		give(t, second, everything[pick(len(everything))])
		apply := func(s *Store, events []event.Event, beats []Sighting) {
			for i := range events {
				if err := s.Apply(&events[i]); err != nil {
					t.Fatal(err)
				}
			}
			for _, b := range beats {
				s.Observe(b)
			}
		}
		cut, beat := pick(len(wo.events)), pick(len(wo.beats)+1)
		back := pick(cut + 1)
		apply(second, wo.events[:back], nil)
		apply(first, wo.events[:cut], wo.beats[:beat])
		give(t, first, everything...)
		if err := second.ReadSnapshot(bytes.NewReader(snapshotOf(t, first))); err != nil {
			t.Fatal(err)
		}
		apply(second, wo.events[cut:], wo.beats[beat:])
		if whole.InternScope("vpc-0"); whole.Hash() != second.Hash() {
			t.Fatalf("a snapshot on the way gives another state:\n%s", cmp.Diff(whole.dump(), second.dump()))
		}
		for _, l := range wo.lookups {
			if a, b := words(whole, whole.Lookup(whole.Scope(l.scope), l.ip, l.w)), words(second, second.Lookup(second.Scope(l.scope), l.ip, l.w)); a != b {
				t.Fatalf("%+v: %+v became %+v", l, a, b)
			}
		}
	}
}

// A snapshot keeps that a flapping address has forgotten, and how much is forgotten altogether.
func TestSnapshotKeepsWhatIsForgotten(t *testing.T) {
	s := newStore(t)
	owners := []string{"eni:eni-a", "eni:eni-b"}
	for i := range int64(2 * maxEvidence) {
		e := event.Event{Op: event.Assign, Src: "ec2", Scope: "vpc-1", IP: "10.0.0.1", Owner: owners[i%2], From: (i + 1) * 300_000}
		if err := s.Apply(&e); err != nil {
			t.Fatal(err)
		}
	}
	s.MarkComplete("ec2")
	s.floor.Store(250_000)
	again := newStore(t)
	if err := again.ReadSnapshot(bytes.NewReader(snapshotOf(t, s))); err != nil {
		t.Fatal(err)
	}
	if s.Hash() != again.Hash() || again.floor.Load() != 250_000 {
		t.Errorf("forgotten before %d:\n%s", again.floor.Load(), cmp.Diff(s.dump(), again.dump()))
	}
	expect(t, ask(again, "vpc-1", "10.0.0.1", 500, 560), "unknown/before-retention")
}

// Every damaged byte and every cut is noticed, and no source's progress is believed then.
func TestDamagedSnapshot(t *testing.T) {
	s := newStore(t)
	give(t, s, everything...)
	give(t, s, assignA, assignB, toldAll)
	good := snapshotOf(t, s)
	refused := func(what string, at int, data []byte) {
		t.Helper()
		into := newStore(t)
		if err := into.ReadSnapshot(bytes.NewReader(data)); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("%s at %d of %d: error %v", what, at, len(good), err)
		}
		if n := len(into.Sources()); n != 0 {
			t.Fatalf("%s at %d: %d sources are believed", what, at, n)
		}
	}
	for i := range good {
		broken := bytes.Clone(good)
		broken[i] ^= 1 << (i % 8)
		refused("a changed bit", i, broken)
		refused("a cut", i, good[:i])
	}
	refused("another kind of file", 0, []byte("PAR1 and what follows"))
	if err := newStore(t).ReadSnapshot(io.MultiReader(bytes.NewReader(good[:20]), brokenReader{})); !errors.Is(err, errBroken) || errors.Is(err, ErrSnapshot) {
		t.Errorf("a reader's error became %v", err)
	}
	if err := s.WriteSnapshot(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("a writer's error became %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

// FuzzReadSnapshot gives sections with right checksums and any content: the reader may refuse them, and does nothing worse.
func FuzzReadSnapshot(f *testing.F) {
	s := newStore(f)
	give(f, s, everything...)
	give(f, s, assignA, assignB, toldAll)
	for data := snapshotOf(f, s)[12:]; len(data) > 9; {
		size := binary.LittleEndian.Uint32(data[1:])
		f.Add(append([]byte{data[0]}, data[5:5+size]...))
		data = data[9+size:]
	}
	head := snapshotOf(f, newStore(f))[:12]
	f.Fuzz(func(t *testing.T, section []byte) {
		if len(section) == 0 {
			return
		}
		data := append(bytes.Clone(head), section[0])
		data = binary.LittleEndian.AppendUint32(data, uint32(len(section)-1))
		data = append(data, section[1:]...)
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data[12:], castagnoli))
		if err := newStore(t).ReadSnapshot(bytes.NewReader(data)); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("a snapshot without an end gave %v", err)
		}
	})
}

// BenchmarkSnapshot writes and reads a store of 1 M addresses with 4 owners each.
func BenchmarkSnapshot(b *testing.B) {
	s := estate(b, 1_000_000, 4)
	data := snapshotOf(b, s)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := s.WriteSnapshot(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	runtime.GC()
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := newStore(b).ReadSnapshot(bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4e6, "ns/version")
	})
}
