package flowgen

// VPC traffic-path codes.
const (
	pathLocal         = 1
	pathPeering       = 4
	pathRemotePeering = 5
	pathGatewayEnd    = 7
	pathInternet      = 8
)

// tcp-flags as flow logs have them.
const (
	flagFIN    = 1
	flagSYN    = 2
	flagRST    = 4
	flagSYNACK = 18
)

// party is one end of a connection, or an interface on its way.
type party struct {
	addr *address
	at   *iface // nil outside the estate
}

func (o *owner) party() party { return party{addr: o.addr, at: o.iface} }

// conn is one connection: two directions, each with its own counters.
type conn struct {
	id               uint64
	open, end        int64
	client, server   *address
	cport, sport     uint16
	proto            uint8
	reject           bool
	fin              uint8 // FIN or RST in the last packet, 0 when it was cut off
	forward, reverse counters
	// clientOwner and serverOwner had the ends while the connection lived.
	clientOwner, serverOwner *owner
}

type counters struct{ packets, bytes int64 }

// sentBefore counts the packets of a direction that left before t; they are spread evenly over the connection.
func (c *conn) sentBefore(n counters, t int64) int64 {
	switch {
	case t <= c.open:
		return 0
	case t > c.end || n.packets == 1:
		return n.packets
	}
	// Packet i leaves at open + ⌊i·d/(n−1)⌋.
	d := c.end - c.open
	return min(n.packets, ((t-c.open)*(n.packets-1)+d-1)/d)
}

func (c *conn) sentAt(n counters, i int64) int64 {
	if n.packets <= 1 {
		return c.open
	}
	return c.open + i*(c.end-c.open)/(n.packets-1)
}

// bytesOf is the bytes of the first i packets.
func (n counters) bytesOf(i int64) int64 { return n.bytes * i / n.packets }

// scheduleTraffic opens the next connection after an exponential gap, for ever.
func (s *Sim) scheduleTraffic() {
	gap := s.traffic.ExpFloat64() * 1e6 / s.cfg.ConnRate // microseconds: many connections share a millisecond
	s.nextConn += gap
	s.world.push(int64(s.nextConn/1000)+s.start0, func() {
		s.openOne()
		s.scheduleTraffic()
	})
}

func (s *Sim) openOne() {
	r := s.traffic
	switch p := r.Float64(); {
	case p < s.cfg.DeadShare:
		s.openToDead()
	case p < s.cfg.DeadShare+s.cfg.ProbeShare:
		s.openProbe()
	case s.cfg.Instances > 0:
		s.openEdge()
	default:
		switch kind := r.IntN(100); {
		case kind < 68:
			s.openEdge()
		case kind < 78:
			s.openIngress()
		case kind < 86:
			s.openEgress(s.pick(s.internet), pathInternet)
		case kind < 93:
			s.openGatewayEndpoint()
		case kind < 95:
			s.openEgress(s.pick(s.dynamodb), pathInternet)
		case kind < 98:
			s.openHairpin()
		default:
			s.openPing()
		}
	}
}

func (s *Sim) pick(list []*address) *address { return list[s.traffic.IntN(len(list))] }

func (s *Sim) member(a *app) *owner {
	if len(a.alive) == 0 {
		return nil
	}
	return a.alive[s.traffic.IntN(len(a.alive))]
}

func (s *Sim) pickEdge() (from, to *app) {
	x := s.traffic.Float64() * s.edges[len(s.edges)-1].until
	lo, hi := 0, len(s.edges)-1
	for lo < hi {
		if mid := (lo + hi) / 2; s.edges[mid].until <= x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return s.edges[lo].from, s.edges[lo].to
}

// newConn draws sizes and duration; the ends decide how long it can last.
func (s *Sim) newConn(client, server party, proto uint8, sport uint16) *conn {
	r := s.traffic
	s.conns++
	c := &conn{
		id: s.conns, open: s.now, client: client.addr, server: server.addr, proto: proto, sport: sport,
		cport: client.addr.ephemeral(client.at), clientOwner: client.addr.holder, serverOwner: server.addr.holder,
	}
	var last int64
	switch p := r.IntN(100); {
	case p < 75:
		last = r.between(5, 3_000)
	case p < 95:
		last = r.between(3_000, 60_000)
	default:
		last = r.between(60_000, 1_200_000)
	}
	c.end = c.open + last
	seconds := float64(last)/1000 + 1
	c.forward = s.size(4, 900, seconds)
	c.reverse = s.size(4, 6_000, seconds)
	if proto == protoUDP {
		c.reverse = counters{}
	} else if c.fin = flagFIN; r.chance(0.05) {
		c.fin = flagRST
	}
	return c
}

func (s *Sim) size(least int64, median, seconds float64) counters {
	bytes := int64(s.traffic.logNormal(median, 1.4)*(1+seconds/4)) + 40*least
	return counters{packets: max(least, bytes/900), bytes: bytes}
}

// ephemeral returns the next client port of a. One counter per address, whoever holds it: so no 5-tuple repeats within an
// aggregation interval, not even over a change of owner.
func (a *address) ephemeral(at *iface) uint16 {
	low, high := uint16(32768), uint16(60999)
	if at != nil && at.kind == kindNAT {
		low, high = 1024, 65535
	}
	if a.port >= high || a.port < low {
		a.port = low
	} else {
		a.port++
	}
	return a.port
}

// outlive cuts c where one of those it needs ends.
func (c *conn) outlive(owners ...*owner) {
	for _, o := range owners {
		if o != nil && o.dies <= c.end {
			c.end, c.fin = o.dies-1, 0
		}
	}
	c.end = max(c.end, c.open)
}

// unanswered makes c a few SYNs that nobody answers.
func (s *Sim) unanswered(c *conn) {
	n := s.traffic.between(1, 4)
	c.forward, c.reverse, c.fin = counters{packets: n, bytes: 60 * n}, counters{}, 0
	c.end = c.open + (n-1)*1000*n/2
}

// openEdge opens one connection of the declared graph.
func (s *Sim) openEdge() {
	from, to := s.pickEdge()
	client, server := s.member(from), s.member(to)
	if client == nil || server == nil || client == server || client.iface == server.iface {
		return
	}
	a, b := client.party(), server.party()
	if v6 := s.traffic.chance(s.cfg.IPv6Share); v6 && a.addr.v6 != nil && b.addr.v6 != nil && a.addr.v6.holder == client && b.addr.v6.holder == server {
		a.addr, b.addr = a.addr.v6, b.addr.v6
	}
	c := s.newConn(a, b, to.proto, to.port)
	s.connect(c, a, b, true)
}

// connect routes c between two interfaces of the estate.
func (s *Sim) connect(c *conn, a, b party, declared bool) {
	from, to := a.at.subnet.vpc, b.at.subnet.vpc
	c.outlive(c.clientOwner, c.serverOwner)
	s.count(c, declared)
	path := uint8(pathLocal)
	switch from.routes[to] {
	case routePeering:
		path = pathPeering
	case routeRemotePeering:
		path = pathRemotePeering
	case routeTGW:
		s.throughTGW(c, a, b)
		return
	default:
	}
	s.see(c, a.at, view{forward: true, egress: true, src: a.addr, dst: b.addr, path: path, next: b.at, counts: from.logged})
	s.see(c, b.at, view{forward: true, src: a.addr, dst: b.addr, next: a.at, counts: c.reject || !from.logged})
	if c.reject || c.reverse.packets == 0 {
		return
	}
	s.see(c, b.at, view{egress: true, src: b.addr, dst: a.addr, path: path, next: a.at, counts: to.logged})
	s.see(c, a.at, view{src: b.addr, dst: a.addr, next: b.at, counts: !to.logged})
}

// throughTGW shows c at both attachments as well: they log their own address where the packet only passes.
func (s *Sim) throughTGW(c *conn, a, b party) {
	ta, tb := attachment(a.at), attachment(b.at)
	s.see(c, a.at, view{forward: true, egress: true, src: a.addr, dst: b.addr, path: pathLocal, next: ta.iface, counts: true})
	s.see(c, ta.iface, view{forward: true, src: a.addr, dst: b.addr, plainDst: ta.addr, next: a.at})
	s.see(c, tb.iface, view{forward: true, egress: true, src: a.addr, dst: b.addr, plainSrc: tb.addr, path: pathLocal, next: b.at})
	s.see(c, b.at, view{forward: true, src: a.addr, dst: b.addr, next: tb.iface, counts: c.reject})
	if c.reject || c.reverse.packets == 0 {
		return
	}
	s.see(c, b.at, view{egress: true, src: b.addr, dst: a.addr, path: pathLocal, next: tb.iface, counts: true})
	s.see(c, tb.iface, view{src: b.addr, dst: a.addr, plainDst: tb.addr, next: b.at})
	s.see(c, ta.iface, view{egress: true, src: b.addr, dst: a.addr, plainSrc: ta.addr, path: pathLocal, next: a.at})
	s.see(c, a.at, view{src: b.addr, dst: a.addr, next: ta.iface})
}

func attachment(f *iface) *owner {
	for _, t := range f.subnet.vpc.tgw {
		if t.iface.subnet.az == f.subnet.az {
			return t
		}
	}
	return f.subnet.vpc.tgw[0]
}

// openIngress is a client on the internet at one of the load balancers.
func (s *Sim) openIngress() {
	remote := s.pick(s.internet)
	switch s.traffic.IntN(4) {
	case 0:
		s.throughNLB(remote)
		return
	case 1:
		s.fromOutside(remote, s.member(s.partnerNLB))
	default:
		s.fromOutside(remote, s.member(s.albs))
	}
}

func (s *Sim) fromOutside(remote *address, server *owner) {
	if server == nil {
		return
	}
	b := server.party()
	c := s.newConn(party{addr: remote}, b, protoTCP, server.app.port)
	c.outlive(c.clientOwner, server)
	s.count(c, true)
	s.see(c, b.at, view{forward: true, src: remote, dst: b.addr, counts: true})
	s.see(c, b.at, view{egress: true, src: b.addr, dst: remote, path: pathInternet, counts: true})
}

// throughNLB is a network load balancer that preserves the client's address: a leg to the balancer's own address, and one
// to the target that shows the client.
func (s *Sim) throughNLB(remote *address) {
	balancer, target := s.member(s.streamNLB), s.member(s.streamers)
	if balancer == nil || target == nil {
		return
	}
	n, b := balancer.party(), target.party()
	c := s.newConn(party{addr: remote}, b, protoTCP, s.streamers.port)
	c.outlive(target)
	front := *c
	s.conns++
	front.id, front.server, front.serverOwner = s.conns, n.addr, balancer
	s.count(c, true)
	s.see(&front, n.at, view{forward: true, src: remote, dst: n.addr})
	s.see(c, n.at, view{forward: true, egress: true, src: remote, dst: b.addr, plainSrc: n.addr, path: pathLocal, next: b.at})
	s.see(c, b.at, view{forward: true, src: remote, dst: b.addr, next: n.at, counts: true})
	s.see(c, b.at, view{egress: true, src: b.addr, dst: remote, path: pathLocal, next: n.at, counts: true})
	s.see(c, n.at, view{src: b.addr, dst: remote, plainDst: n.addr, next: b.at})
	s.see(&front, n.at, view{egress: true, src: n.addr, dst: remote, path: pathInternet})
}

// insider picks any client application's member; pods leave the VPC with their node's address.
func (s *Sim) insider() (party, bool) {
	from, _ := s.pickEdge()
	o := s.member(from)
	if o == nil || o.kind.managed() || !o.iface.subnet.vpc.logged {
		return party{}, false
	}
	if o.kind == kindPod {
		return o.iface.owner.party(), true
	}
	return o.party(), true
}

// openEgress reaches an outside address through the zone's NAT gateway.
func (s *Sim) openEgress(remote *address, path uint8) {
	if a, ok := s.insider(); ok {
		s.throughNAT(s.newConn(a, party{addr: remote}, protoTCP, 443), a, path)
	}
}

// throughNAT shows the inside legs under c and the outside legs under a connection of the gateway; it returns the latter.
func (s *Sim) throughNAT(c *conn, a party, path uint8) *conn {
	v := a.at.subnet.vpc
	gateway := v.nat[0]
	for _, g := range v.nat {
		if g.iface.subnet.az == a.at.subnet.az {
			gateway = g
		}
	}
	n := gateway.party()
	remote := c.server
	c.outlive(c.clientOwner, c.serverOwner)
	out := *c
	s.conns++
	out.id, out.client, out.cport, out.clientOwner = s.conns, n.addr, n.addr.ephemeral(n.at), gateway
	s.count(c, true)
	s.see(c, a.at, view{forward: true, egress: true, src: a.addr, dst: remote, path: pathLocal, next: n.at, counts: true})
	s.see(c, n.at, view{forward: true, src: a.addr, dst: remote, plainDst: n.addr, next: a.at})
	s.see(&out, n.at, view{forward: true, egress: true, src: n.addr, dst: remote, path: path})
	s.see(&out, n.at, view{src: remote, dst: n.addr})
	s.see(c, n.at, view{egress: true, src: remote, dst: a.addr, plainSrc: n.addr, path: pathLocal, next: a.at})
	s.see(c, a.at, view{src: remote, dst: a.addr, next: n.at, counts: true})
	return &out
}

// openGatewayEndpoint is S3 traffic over the VPC's gateway endpoint.
func (s *Sim) openGatewayEndpoint() {
	a, ok := s.insider()
	if !ok {
		return
	}
	remote := s.pick(s.s3)
	c := s.newConn(a, party{addr: remote}, protoTCP, 443)
	c.outlive(c.clientOwner)
	s.count(c, true)
	s.see(c, a.at, view{forward: true, egress: true, src: a.addr, dst: remote, path: pathGatewayEnd, counts: true})
	s.see(c, a.at, view{src: remote, dst: a.addr, counts: true})
}

// openHairpin is one of our own applications that reaches the public load balancer over the internet: both ends have public
// addresses of the estate.
func (s *Sim) openHairpin() {
	a, ok := s.insider()
	server := s.member(s.albs)
	if !ok || server == nil || len(server.extra) == 0 {
		return
	}
	front := server.extra[len(server.extra)-1]
	c := s.newConn(a, party{addr: front, at: server.iface}, protoTCP, server.app.port)
	out := s.throughNAT(c, a, pathInternet)
	// At the load balancer the packet has the gateway's public address and the balancer's private one.
	gateway := out.clientOwner
	last := *out
	s.conns++
	last.id, last.client, last.server = s.conns, gateway.extra[0], server.addr
	s.see(&last, server.iface, view{forward: true, src: last.client, dst: server.addr, counts: true})
	s.see(&last, server.iface, view{egress: true, src: server.addr, dst: last.client, path: pathInternet, counts: true})
}

func (s *Sim) openPing() {
	from, to := s.pickEdge()
	client, server := s.member(from), s.member(to)
	if client == nil || server == nil || client.iface == server.iface {
		return
	}
	a, b := client.party(), server.party()
	c := s.newConn(a, b, protoICMP, 0)
	n := s.traffic.between(1, 8)
	c.cport, c.fin = 0, 0
	c.forward, c.reverse = counters{n, 84 * n}, counters{n, 84 * n}
	c.end = c.open + 1000*(n-1)
	// ICMP records have no ports: two pings of one pair in one interval would be one record.
	key := [2]*address{a.addr, b.addr}
	busy := 3 * max(a.at.subnet.vpc.interval, b.at.subnet.vpc.interval)
	if last, ok := s.pings[key]; ok && s.now < last+busy {
		return
	}
	s.pings[key], s.pings[[2]*address{b.addr, a.addr}] = s.now, s.now
	s.connect(c, a, b, false)
}

// openProbe is an attempt that the receiver's security group refuses.
func (s *Sim) openProbe() {
	target := s.apps[s.traffic.IntN(len(s.apps))]
	server := s.member(target)
	if server == nil {
		return
	}
	port := [...]uint16{22, 23, 445, 3389, 6379, 9200}[s.traffic.IntN(6)]
	b := server.party()
	if target.kind == kindALB || target.kind == kindNLB {
		remote := s.pick(s.internet)
		c := s.newConn(party{addr: remote}, b, protoTCP, port)
		c.reject = true
		s.unanswered(c)
		c.outlive(server)
		s.count(c, false)
		s.see(c, b.at, view{forward: true, src: remote, dst: b.addr, counts: true})
		return
	}
	client := s.member(s.apps[s.traffic.IntN(len(s.apps))])
	if client == nil || client.kind.managed() || client.iface == b.at ||
		client.iface.subnet.vpc.routes[b.at.subnet.vpc] == routeNone {
		return
	}
	c := s.newConn(client.party(), b, protoTCP, port)
	c.reject = true
	s.unanswered(c)
	s.connect(c, client.party(), b, false)
}

// openToDead is a client that still believes in an address whose owner is gone: nobody answers, or another owner refuses.
func (s *Sim) openToDead() {
	v := s.vpcs[s.traffic.IntN(len(s.vpcs))]
	for len(v.recent) > 0 && v.recent[0].at < s.now-120_000 {
		v.recent = v.recent[1:]
	}
	if len(v.recent) == 0 {
		return
	}
	gone := v.recent[s.traffic.IntN(len(v.recent))]
	var client *owner
	for _, e := range s.edges {
		if e.to == gone.app {
			if client = s.member(e.from); client != nil && s.traffic.chance(0.5) {
				break
			}
		}
	}
	if client == nil || client.kind.managed() || gone.addr.holder == client {
		return
	}
	a, b := client.party(), party{addr: gone.addr}
	c := s.newConn(a, b, gone.app.proto, gone.app.port)
	s.unanswered(c)
	now := gone.addr.holder
	if now != nil && now.iface != a.at {
		b.at = now.iface
		if c.reject = now.kind != kindNode; !c.reject {
			c.end = c.open // the node may give the address to its next pod at any time
		}
		c.reverse = counters{}
		s.connect(c, a, b, false)
		return
	}
	if now != nil {
		return
	}
	// Nobody has the address, and nobody must get it while the attempt lasts: else one record would have two truths.
	c.outlive(c.clientOwner)
	c.end = min(c.end, c.open)
	s.count(c, false)
	s.see(c, a.at, view{forward: true, egress: true, src: a.addr, dst: gone.addr, path: pathLocal, counts: true})
}
