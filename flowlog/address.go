package flowlog

import (
	"bytes"
	"net/netip"
)

// parseAddr reads a whole token as an address, without allocating: netip.ParseAddr takes a string and keeps it in its
// error. It accepts what netip accepts, except zone ids; an IPv4-mapped IPv6 address is unmapped.
func parseAddr(b []byte) (netip.Addr, bool) {
	if len(b) == 0 || len(b) > 45 { // ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255
		return netip.Addr{}, false
	}
	if bytes.IndexByte(b, ':') >= 0 {
		return parseIPv6(b)
	}
	a, n, ok := parseIPv4(b, 0)
	if !ok || n != len(b) {
		return netip.Addr{}, false
	}
	return a, true
}

// parseIPv4 reads a dotted quad at b[i:] and returns the index after it. Leading zeros are refused, as netip does: they
// mean octal to some.
func parseIPv4(b []byte, i int) (netip.Addr, int, bool) {
	var q [4]byte
	for k := range 4 {
		if k > 0 {
			if i >= len(b) || b[i] != '.' {
				return netip.Addr{}, i, false
			}
			i++
		}
		if i >= len(b) {
			return netip.Addr{}, i, false
		}
		v := uint(b[i]) - '0'
		if v > 9 {
			return netip.Addr{}, i, false
		}
		i++
		if i < len(b) {
			if d := uint(b[i]) - '0'; d <= 9 {
				if v == 0 {
					return netip.Addr{}, i, false
				}
				v = v*10 + d
				i++
				if i < len(b) {
					if d := uint(b[i]) - '0'; d <= 9 {
						v = v*10 + d
						i++
					}
				}
			}
		}
		if v > 255 {
			return netip.Addr{}, i, false
		}
		q[k] = byte(v)
	}
	return netip.AddrFrom4(q), i, true
}

// parseIPv6 reads a whole IPv6 address.
func parseIPv6(b []byte) (netip.Addr, bool) {
	var ip [16]byte
	gap := -1 // where :: stands, in bytes of ip
	n, i := 0, 0
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, i = 0, 2
		if i == len(b) {
			return netip.IPv6Unspecified(), true
		}
	}
	for n < 16 {
		v, digits, j := uint(0), 0, i
		for ; j < len(b); j++ {
			d, ok := hexDigit(b[j])
			if !ok {
				break
			}
			if digits++; digits > 4 {
				return netip.Addr{}, false
			}
			v = v<<4 | d
		}
		if digits == 0 {
			return netip.Addr{}, false
		}
		if j < len(b) && b[j] == '.' {
			// An IPv4 address makes the last four bytes.
			if n > 12 || (gap < 0 && n != 12) {
				return netip.Addr{}, false
			}
			v4, end, ok := parseIPv4(b, i)
			if !ok || end != len(b) {
				return netip.Addr{}, false
			}
			q := v4.As4()
			copy(ip[n:], q[:])
			n, i = n+4, end
			break
		}
		ip[n], ip[n+1] = byte(v>>8), byte(v)
		n, i = n+2, j
		if i == len(b) {
			break
		}
		if b[i] != ':' || i+1 == len(b) {
			return netip.Addr{}, false
		}
		i++
		if b[i] == ':' {
			if gap >= 0 {
				return netip.Addr{}, false
			}
			gap = n
			if i++; i == len(b) {
				break
			}
		}
	}
	if i != len(b) {
		return netip.Addr{}, false
	}
	if n < 16 {
		if gap < 0 {
			return netip.Addr{}, false
		}
		moved := copy(ip[16-(n-gap):], ip[gap:n])
		clear(ip[gap : 16-moved])
	} else if gap >= 0 {
		return netip.Addr{}, false // :: must stand for at least one group
	}
	return netip.AddrFrom16(ip).Unmap(), true
}

// hexDigit returns the value of a hexadecimal digit.
func hexDigit(c byte) (uint, bool) {
	if v := uint(c) - '0'; v <= 9 {
		return v, true
	}
	v := uint(c|0x20) - 'a'
	return v + 10, v <= 5
}
