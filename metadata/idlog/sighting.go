package idlog

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Sighting is a heartbeat: a flow record showed that an interface held an address.
type Sighting struct {
	// Scope is the interface's routing domain, ENI its bare id.
	Scope, ENI string
	IP         netip.Addr
	// Start and End are the record's, in Unix milliseconds.
	Start, End int64
	// Primary says that the address is the interface's primary one.
	Primary bool
}

// maxSightingText bounds scope and interface id in bytes.
const maxSightingText = 255

func (s *Sighting) valid() bool {
	return s.Scope != "" && s.ENI != "" && len(s.Scope) <= maxSightingText && len(s.ENI) <= maxSightingText &&
		s.IP.IsValid() && s.IP.Zone() == "" && s.Start > 0 && s.End >= s.Start
}

// appendSighting appends s to the payload of a Sightings section.
func appendSighting(b []byte, s *Sighting) []byte {
	flags := byte(0)
	if s.Primary {
		flags |= 1
	}
	ip := s.IP.AsSlice()
	b = append(b, flags, byte(len(ip)))
	b = append(b, ip...)
	b = append(append(b, byte(len(s.Scope))), s.Scope...)
	b = append(append(b, byte(len(s.ENI))), s.ENI...)
	b = binary.AppendUvarint(b, uint64(s.Start))
	return binary.AppendUvarint(b, uint64(s.End-s.Start))
}

// cursor reads bytes and remembers the first fault.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad = true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) byte() int {
	if b := c.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// eachSighting calls do for every sighting of a Sightings section.
func eachSighting(payload []byte, do func(*Sighting)) error {
	c := cursor{b: payload}
	var s Sighting
	for len(c.b) > 0 {
		flags := c.byte()
		ip, ok := netip.AddrFromSlice(c.take(c.byte()))
		scope, eni := c.take(c.byte()), c.take(c.byte())
		start, length := c.uvarint(), c.uvarint()
		if c.bad || !ok || start > maxTime || length > maxTime {
			return corrupt("sighting %d bytes before its section's end", len(c.b))
		}
		// Lines of one interface come together: most texts are those of the sighting before.
		if string(scope) != s.Scope {
			s.Scope = string(scope)
		}
		if string(eni) != s.ENI {
			s.ENI = string(eni)
		}
		s.IP, s.Start, s.End, s.Primary = ip, int64(start), int64(start+length), flags&1 != 0
		if !s.valid() {
			return corrupt("sighting of %q by %q", s.IP, strings.ToValidUTF8(s.ENI, "?"))
		}
		do(&s)
	}
	return nil
}

// maxTime bounds times: the year 10000 in Unix milliseconds.
const maxTime = 253402300800000
