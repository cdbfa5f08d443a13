package flowgen

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"dredge/metadata/event"
)

// PublicScope is the scope of public IPv4 addresses and IPv6 global unicast.
const PublicScope = "public"

type vpc struct {
	name, id, account, region string
	cidr, cidr6               netip.Prefix
	layout                    *Layout
	logged, encryption        bool
	logGroup                  string
	interval                  int64
	public, private           []*subnet
	nat, tgw                  []*owner // one per zone
	routes                    map[*vpc]route
	nodes                     []*owner
	recent                    []*dead // addresses that lost their owner, oldest first
}

type route uint8

const (
	routeNone route = iota
	routeLocal
	routePeering
	routeRemotePeering
	routeTGW
)

type subnet struct {
	vpc      *vpc
	id, az   string
	prefix   netip.Prefix
	prefix6  netip.Prefix
	nextHost uint32
	free     []*address // most recently freed last
}

// address is one address of one scope with everyone who ever had it. Addresses outside the estate have no subnet.
type address struct {
	ip      netip.Addr
	text    string
	scope   string
	subnet  *subnet
	v6      *address
	service string // AWS service, of public addresses
	label   string // what an outside address is called: internet, aws:S3
	holder  *owner
	freed   int64
	port    uint16 // last ephemeral port used
	past    []tenure
}

// tenure is one owner of an address over [from, to).
type tenure struct {
	from, to int64
	owner    *owner
}

type iface struct {
	id, account, instance, tag string
	kind                       kind
	subnet                     *subnet
	primary                    *address
	task                       *task
	owner                      *owner
	phase                      int64
	born, dies                 int64
	logged                     bool
	flows                      []observation
	stream                     string
}

type task struct{ arn, id, cluster, clusterARN, service, definition string }

// owner is one holder of addresses: an instance, a pod, a task, a gateway.
type owner struct {
	id, name   string
	kind       kind
	app        *app // nil: nobody's application (EKS nodes, gateways of the network itself)
	iface      *iface
	addr       *address // primary, or the pod's own
	extra      []*address
	spare      []*address // node: free pod addresses, most recently freed last
	born, dies int64
	place      int // in app.alive or vpc.nodes
	ep         *event.Endpoint
	wl         *event.Workload
}

func (o *owner) appName() string {
	if o == nil || o.app == nil {
		return ""
	}
	return o.app.name
}

type app struct {
	name, team string
	vpc        *vpc
	kind       kind
	port       uint16
	proto      uint8
	members    int
	alive      []*owner
	deploys    int
}

// hex returns a fresh 16 digit id: distinct for the whole simulation.
func (s *Sim) hex() string {
	s.ids++
	h := strconv.FormatUint(mix(s.cfg.Seed<<40+s.ids), 16)
	return "0000000000000000"[len(h):] + h
}

// buildEstate makes networks, applications and their first members.
func (s *Sim) buildEstate() error {
	s.vpcByName = map[string]*vpc{}
	for i := range vpcSpecs {
		v, err := s.buildVPC(&vpcSpecs[i])
		if err != nil {
			return err
		}
		s.vpcs = append(s.vpcs, v)
		s.vpcByName[v.name] = v
	}
	join := func(pairs [][2]string, r route) {
		for _, p := range pairs {
			a, b := s.vpcByName[p[0]], s.vpcByName[p[1]]
			kind := r
			if r == routePeering && a.region != b.region {
				kind = routeRemotePeering
			}
			a.routes[b], b.routes[a] = kind, kind
		}
	}
	join(peerings, routePeering)
	join(attachments, routeTGW)
	s.buildOutside()
	s.catalogue()
	return nil
}

// wideFrom is how many instances fit into the usual private subnets, maxInstances into the wide ones that replace them; some addresses rest
// at any time.
const (
	wideFrom     = 11_000
	maxInstances = 46_000
)

func (s *Sim) buildVPC(spec *vpcSpec) (*vpc, error) {
	v := &vpc{
		name: spec.name, id: "vpc-0" + s.hex(), account: spec.account, region: spec.region,
		cidr:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, spec.second, 0, 0}), 16),
		logged: spec.logged, encryption: spec.encryption, logGroup: "/vpc/flow-logs/" + spec.name,
		interval: s.cfg.Logs.Interval.Milliseconds(), routes: map[*vpc]route{},
	}
	v.routes[v] = routeLocal
	if spec.name == "dev" && s.cfg.Logs.SlowDev {
		v.interval *= 10
	}
	format := spec.format
	if f := s.cfg.Logs.Formats[spec.name]; f != "" {
		format = f
	}
	var err error
	if v.layout, err = ParseLayout(format); err != nil {
		return nil, fmt.Errorf("layout of VPC %q: %w", spec.name, err)
	}
	if spec.v6 {
		net := [16]byte{0x26, 0x00, 0x1f, 0x18, 0x40, spec.second}
		v.cidr6 = netip.PrefixFrom(netip.AddrFrom16(net), 56)
	}
	for zone := range 3 {
		for _, private := range []bool{false, true} {
			sub := &subnet{vpc: v, id: "subnet-0" + s.hex(), az: spec.az + strconv.Itoa(2*zone+1), nextHost: 4}
			third, bits := byte(zone), 24
			if private {
				third, bits = byte(16+16*zone), 20
				if s.cfg.Instances > wideFrom {
					third, bits = byte(64+64*zone), 18
				}
			}
			sub.prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, spec.second, third, 0}), bits)
			if spec.v6 {
				net := v.cidr6.Addr().As16()
				net[7] = third
				sub.prefix6 = netip.PrefixFrom(netip.AddrFrom16(net), 64)
			}
			if private {
				v.private = append(v.private, sub)
			} else {
				v.public = append(v.public, sub)
			}
		}
	}
	return v, nil
}

// buildOutside makes the addresses that nobody in the estate owns. Internet addresses are from the documentation and
// benchmarking ranges and a few others that AWS does not announce; service addresses are inside published AWS ranges.
func (s *Sim) buildOutside() {
	outside := func(n int, prefix, service, label string) []*address {
		p := netip.MustParsePrefix(prefix)
		base := p.Addr().As4()
		hosts := uint32(1) << (32 - p.Bits())
		list := make([]*address, n)
		for i := range list {
			var b [4]byte
			host := uint32(i+1) * max(1, hosts/uint32(n+1))
			binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(base[:])+host%hosts)
			list[i] = s.newAddress(netip.AddrFrom4(b), PublicScope, nil)
			list[i].service, list[i].label = service, label
		}
		return list
	}
	s.internet = outside(1500, "84.0.0.0/10", "", "internet")
	s.internet = append(s.internet, outside(200, "203.0.113.0/24", "", "internet")...)
	s.s3 = outside(40, "52.216.0.0/15", "S3", "aws:S3")
	s.dynamodb = outside(20, "52.119.224.0/21", "DYNAMODB", "aws:DYNAMODB")
}

func (s *Sim) newAddress(ip netip.Addr, scope string, sub *subnet) *address {
	a := &address{ip: ip, text: ip.String(), scope: scope, subnet: sub, port: uint16(s.estate.between(32768, 60999))}
	s.truth.add(a)
	return a
}

// allocate takes the most recently freed address that has rested, or a fresh one; nil when the subnet is full.
func (s *Sim) allocate(sub *subnet, now int64) *address {
	rested := now - s.cfg.Churn.Cooldown.Milliseconds()
	for i, a := range slices.Backward(sub.free) {
		if a.freed <= rested {
			sub.free = append(sub.free[:i], sub.free[i+1:]...)
			return a
		}
	}
	if sub.nextHost >= 1<<(32-sub.prefix.Bits())-1 {
		return nil
	}
	net := sub.prefix.Addr().As4()
	host := sub.nextHost
	sub.nextHost++
	binary.BigEndian.PutUint32(net[:], binary.BigEndian.Uint32(net[:])+host)
	a := s.newAddress(netip.AddrFrom4(net), sub.vpc.id, sub)
	if sub.prefix6.IsValid() {
		net := sub.prefix6.Addr().As16()
		binary.BigEndian.PutUint64(net[8:], mix(uint64(host)))
		a.v6 = s.newAddress(netip.AddrFrom16(net), PublicScope, sub)
	}
	return a
}

// hold makes o the holder of a from now on.
func (s *Sim) hold(a *address, o *owner, now int64) {
	s.drop(a, now)
	a.holder = o
	if n := len(a.past); n > 8 && s.keep > 0 {
		cut := 0
		for cut < n-1 && a.past[cut].to < now-s.keep {
			cut++
		}
		a.past = append(a.past[:0], a.past[cut:]...)
	}
	a.past = append(a.past, tenure{from: now, to: forever, owner: o})
}

func (s *Sim) drop(a *address, now int64) {
	if a.holder == nil {
		return
	}
	last := &a.past[len(a.past)-1]
	last.to = now
	a.holder, a.freed = nil, now
}
