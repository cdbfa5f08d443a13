package metadata

import "net/netip"

// special4 are the IPv4 blocks that net/netip takes for global unicast and that are not routed on the internet.
//
//nolint:gochecknoglobals // read-only table
var special4 = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared address space, used inside VPCs (EKS pods)
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// IsPublic says whether ip belongs to the scope Public: public IPv4, or IPv6 global unicast (2000::/3). RFC 1918,
// 100.64.0.0/10, link-local, loopback, multicast, benchmark (198.18.0.0/15) and reserved blocks and unique local IPv6 do not.
// Documentation blocks (203.0.113.0/24, 2001:db8::/32, …) do: wherever they occur they stand for public addresses. An
// IPv4-mapped address is judged as IPv4.
func IsPublic(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.Is6() {
		b := ip.As16()
		return b[0]&0xe0 == 0x20
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
