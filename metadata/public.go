package metadata

import "net/netip"

// special4 are the IPv4 blocks that look global to net/netip and are not (IANA special-purpose registry).
//
//nolint:gochecknoglobals // read-only table
var special4 = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared address space, used inside VPCs (EKS pods)
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// IsPublic says whether ip is unique on the internet: public IPv4, or IPv6 global unicast (2000::/3 without documentation
// space). RFC 1918, 100.64.0.0/10, link-local, loopback, multicast, benchmark, documentation and reserved blocks and unique
// local IPv6 are not. An IPv4-mapped address is judged as IPv4.
func IsPublic(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.Is6() {
		b := ip.As16()
		return b[0]&0xe0 == 0x20 && (b[0] != 0x20 || b[1] != 0x01 || b[2] != 0x0d || b[3] != 0xb8)
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, p := range special4 {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}
