package idlog

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// Whatever the bytes: no panic, every error is ErrCorrupt, and what is accepted is bounded.
func FuzzObject(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.close)
	seen := appendSighting(nil, &Sighting{Scope: "vpc-1", ENI: "eni-1", IP: netip.MustParseAddr("10.0.0.1"), Start: 1000, End: 2000, Primary: true})
	var frames []byte
	n := 0
	for _, s := range []Section{{Events, []byte("{}\n")}, {Sightings, seen}, {Events, bytes.Repeat([]byte("{\"op\":\"assign\"}\n"), 100)}, {State, nil}} {
		if frames, err = c.appendFrame(frames, s); err != nil {
			f.Fatal(err)
		}
		n++
	}
	whole := wrapObject(frames, n)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(wrapObject(nil, 0))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		sections := 0
		err := c.each(data, func(s Section) error {
			sections++
			if len(s.Payload) > MaxSection {
				t.Fatalf("section of %d bytes", len(s.Payload))
			}
			if s.Kind != Sightings {
				return nil
			}
			return eachSighting(s.Payload, func(x *Sighting) {
				if !x.valid() {
					t.Fatalf("sighting %+v was accepted", x)
				}
			})
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("error %v", err)
		}
		// One changed byte is always noticed.
		if err == nil && len(data) > 0 {
			changed := bytes.Clone(data)
			changed[len(changed)/2] ^= 1
			if c.each(changed, func(Section) error { return nil }) == nil {
				t.Fatal("a changed byte was not noticed")
			}
		}
	})
}

// Payloads of sightings that no checksum protects: the decoder itself has to hold.
func FuzzSightings(f *testing.F) {
	f.Add(appendSighting(nil, &Sighting{Scope: "vpc-1", ENI: "eni-1", IP: netip.MustParseAddr("2001:db8::1"), Start: 1, End: 2}))
	f.Add([]byte{0, 4, 10, 0, 0, 1, 255})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var again []byte
		err := eachSighting(payload, func(s *Sighting) { again = appendSighting(again, s) })
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v", err)
			}
			return
		}
		n, m := 0, 0
		if eachSighting(payload, func(*Sighting) { n++ }) != nil || eachSighting(again, func(*Sighting) { m++ }) != nil || n != m {
			t.Fatalf("%d sightings read back as %d", n, m)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := manifest{
		Version: manifestVersion, Stream: "sonar-1", Role: Tracker, Generation: 3,
		Segments:  []segmentRef{{objectRef{segmentKey("sonar-1", 1, 4), 10, 1}, 1, 4}, {objectRef{segmentKey("sonar-1", 5, 5), 10, 1}, 5, 5}},
		Snapshots: []snapshotRef{{Codec: FoldCodec, Parts: []objectRef{{snapshotKey("sonar-1", 1, 0), 9, 2}}, Covers: map[string]int64{"sonar-1": 2}}},
	}
	data, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Add([]byte(manifestHead + "00000000 2\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data, "sonar-1")
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if m.Stream != "sonar-1" || len(m.Segments) > maxSegments {
			t.Fatalf("accepted %+v", m)
		}
	})
}
