package flowgen

import (
	"math"
	"net/netip"
	"slices"

	"dredge/metadata/event"
)

// forever is the end of what has not ended.
const forever = math.MaxInt64

// podsPerNode is the number of secondary addresses that a node's interface brings along.
const podsPerNode = 12

// dead is an address that lost its owner.
type dead struct {
	addr *address
	app  *app
	at   int64
}

// populate starts everything that is there when the simulation begins, with lives already partly lived.
func (s *Sim) populate() {
	for _, v := range s.vpcs {
		for zone := range v.public {
			gateway := s.start(kindNAT, nil, v.public[zone], s.now, true)
			s.elasticIP(gateway)
			v.nat = append(v.nat, gateway)
		}
		for _, r := range s.vpcs {
			if v.routes[r] == routeTGW {
				for zone := range v.private {
					v.tgw = append(v.tgw, s.start(kindTGW, nil, v.private[zone], s.now, true))
				}
				break
			}
		}
	}
	eks := s.vpcByName["eks"]
	pods := 0
	for _, a := range s.apps {
		if a.kind == kindPod {
			pods += a.members
		}
	}
	s.nodeTarget = pods/(podsPerNode*2/3) + 2
	for range s.nodeTarget {
		s.launchNode(eks, true)
	}
	for _, a := range s.apps {
		for range a.members {
			s.launch(a, true)
		}
	}
	for i := range s.cfg.IdleInterfaces {
		v := s.vpcs[i%len(s.vpcs)]
		s.start(kindIdle, nil, v.private[i%3], s.now, true)
	}
}

// life draws how long a new owner lives; what is there at the beginning has an exponential rest as well.
func (s *Sim) life(k kind) int64 {
	long := float64(s.cfg.Churn.LongMean.Milliseconds())
	switch k {
	case kindInstance, kindTask, kindPod:
		if s.churn.chance(s.cfg.Churn.ShortShare) {
			return 5_000 + s.churn.exp(float64(s.cfg.Churn.ShortMean.Milliseconds()))
		}
		return 20_000 + s.churn.exp(long)
	case kindNode:
		return 60_000 + s.churn.exp(2*long)
	case kindALB:
		return 60_000 + s.churn.exp(long)
	default:
		return forever
	}
}

// launch starts one more member of a; initial ones were born before the simulation.
func (s *Sim) launch(a *app, initial bool) {
	if a.kind == kindPod {
		s.launchPod(a, initial)
		return
	}
	zones := a.vpc.private
	if a.kind == kindALB || a.kind == kindNLB || a.kind == kindForwardNLB {
		zones = a.vpc.public
	}
	zone := s.churn.IntN(3)
	if a.kind.managed() {
		zone = a.emptyZone(zones)
	}
	o := s.start(a.kind, a, zones[zone], s.now, initial)
	if o == nil { // the subnet is full: try again when something ended
		s.world.push(s.now+5_000, func() { s.launch(a, false) })
		return
	}
	if a.kind == kindALB {
		s.elasticIP(o)
	}
	s.join(a, o)
}

// emptyZone is the first zone without a member: load balancers and databases have one interface in each.
func (a *app) emptyZone(zones []*subnet) int {
	for i, z := range zones {
		taken := false
		for _, o := range a.alive {
			taken = taken || o.iface.subnet == z
		}
		if !taken {
			return i
		}
	}
	return 0
}

func (s *Sim) join(a *app, o *owner) {
	o.place = len(a.alive)
	a.alive = append(a.alive, o)
	if o.dies == forever {
		return
	}
	s.world.push(o.dies, func() {
		last := a.alive[len(a.alive)-1]
		a.alive[o.place], last.place = last, o.place
		a.alive = a.alive[:len(a.alive)-1]
		a.vpc.recent = append(a.vpc.recent, &dead{addr: o.addr, app: a, at: s.now})
		s.end(o)
		s.world.push(s.now+s.churn.between(1_000, s.cfg.Churn.Relaunch.Milliseconds()), func() { s.launch(a, false) })
	})
}

func (s *Sim) launchNode(v *vpc, initial bool) {
	o := s.start(kindNode, nil, v.private[s.churn.IntN(3)], s.now, initial)
	if o == nil {
		s.world.push(s.now+5_000, func() { s.launchNode(v, false) })
		return
	}
	o.place = len(v.nodes)
	v.nodes = append(v.nodes, o)
	s.world.push(o.dies, func() {
		last := v.nodes[len(v.nodes)-1]
		v.nodes[o.place], last.place = last, o.place
		v.nodes = v.nodes[:len(v.nodes)-1]
		s.end(o)
		s.launchNode(v, false)
	})
}

func (s *Sim) launchPod(a *app, initial bool) {
	v := a.vpc
	rested := s.now - s.cfg.Churn.PodCooldown.Milliseconds()
	first := s.churn.IntN(max(1, len(v.nodes)))
	for i := range v.nodes {
		node := v.nodes[(first+i)%len(v.nodes)]
		if node.dies < s.now+10_000 {
			continue
		}
		for j, addr := range slices.Backward(node.spare) {
			if addr.freed > rested {
				continue
			}
			node.spare = append(node.spare[:j], node.spare[j+1:]...)
			o := &owner{kind: kindPod, app: a, iface: node.iface, addr: addr}
			uid := s.hex() + s.hex()
			o.id = uid[:8] + "-" + uid[8:12] + "-4" + uid[12:15] + "-a" + uid[15:18] + "-" + uid[18:30]
			o.name = a.name + "-" + s.hex()[:10]
			s.lifetime(o, initial)
			o.born, o.dies = max(o.born, node.born), min(o.dies, node.dies-1)
			s.describeOwner(o)
			s.hold(addr, o, o.born)
			s.tellBirth(o)
			s.join(a, o)
			s.world.push(o.dies, func() { node.spare = append(node.spare, addr) })
			return
		}
	}
	s.world.push(s.now+3_000, func() { s.launch(a, false) })
}

func (s *Sim) lifetime(o *owner, initial bool) {
	o.born = s.now
	if initial {
		o.born -= s.churn.exp(float64(s.cfg.Churn.LongMean.Milliseconds()))
	}
	if l := s.life(o.kind); l == forever {
		o.dies = forever
	} else {
		o.dies = s.now + l
	}
}

// start makes an owner with an interface of its own; nil when the subnet has no address left.
func (s *Sim) start(k kind, a *app, sub *subnet, now int64, initial bool) *owner {
	addr := s.allocate(sub, now)
	if addr == nil {
		return nil
	}
	o := &owner{kind: k, app: a, addr: addr}
	s.lifetime(o, initial)
	id := s.hex()
	f := &iface{
		id: "eni-0" + id, account: sub.vpc.account, kind: k, subnet: sub, primary: addr, owner: o, born: o.born, dies: o.dies,
		phase: s.churn.Int64N(sub.vpc.interval), stream: "eni-0" + id + "-all",
	}
	o.iface, o.id = f, "eni:"+f.id
	// By the id, not by a draw: the rest of the world stays as it was.
	f.logged = sub.vpc.logged && float64(mix(s.ids)>>11)/(1<<53) >= s.cfg.Logs.Unlogged
	if k.accountUnknown() {
		f.account = "unknown"
	}
	switch k {
	case kindInstance, kindNode:
		f.instance = "i-0" + s.hex()
		o.name = f.instance
	case kindTask:
		region, account, cluster := sub.vpc.region, sub.vpc.account, sub.vpc.name+"-ecs"
		id := s.hex() + s.hex()
		f.task = &task{
			id: id, arn: "arn:aws:ecs:" + region + ":" + account + ":task/" + cluster + "/" + id, cluster: cluster,
			clusterARN: "arn:aws:ecs:" + region + ":" + account + ":cluster/" + cluster, service: a.name,
			definition: "arn:aws:ecs:" + region + ":" + account + ":task-definition/" + a.name + ":1",
		}
		o.id, o.name = f.task.arn, id
	default:
		o.name = f.id
	}
	if a != nil && !k.managed() {
		f.tag = a.name
	}
	s.describeOwner(o)
	s.hold(addr, o, o.born)
	if addr.v6 != nil && (k == kindInstance || k == kindTask) {
		s.hold(addr.v6, o, o.born)
		o.extra = append(o.extra, addr.v6)
	}
	if k == kindNode {
		for range podsPerNode {
			if extra := s.allocate(sub, now); extra != nil {
				s.hold(extra, o, o.born)
				o.extra = append(o.extra, extra)
				o.spare = append(o.spare, extra)
			}
		}
	}
	s.tellBirth(o)
	if f.logged {
		s.scheduleFlush(f)
	}
	return o
}

// elasticIP gives o a public address of its own.
func (s *Sim) elasticIP(o *owner) {
	var a *address
	if n := len(s.freeEIPs); n > 0 && s.freeEIPs[0].freed <= s.now-s.cfg.Churn.Cooldown.Milliseconds() {
		a = s.freeEIPs[0]
		s.freeEIPs = s.freeEIPs[1:]
	} else {
		s.eips++
		a = s.newAddress(netip.AddrFrom4([4]byte{54, 145, byte(s.eips >> 8), byte(s.eips)}), PublicScope, o.iface.subnet)
	}
	s.hold(a, o, o.born)
	o.extra = append(o.extra, a)
	s.tellAddress(o, a)
}

// end takes all addresses from o.
func (s *Sim) end(o *owner) {
	s.tellDeath(o)
	if o.kind == kindPod {
		s.hold(o.addr, o.iface.owner, s.now)
		return
	}
	s.drop(o.addr, s.now)
	o.addr.subnet.free = append(o.addr.subnet.free, o.addr)
	for _, a := range o.extra {
		s.drop(a, s.now)
		switch {
		case a.scope == PublicScope && a.ip.Is4():
			s.freeEIPs = append(s.freeEIPs, a)
		case a.ip.Is4(): // a v6 address follows its v4 address
			a.subnet.free = append(a.subnet.free, a)
		}
	}
}

// describeOwner makes the metadata that identity events carry about o.
func (s *Sim) describeOwner(o *owner) {
	sub := o.iface.subnet
	v := sub.vpc
	o.ep = &event.Endpoint{
		Kind: o.kind.String(), ENI: o.iface.id, Instance: o.iface.instance, Name: o.name, Subnet: sub.id, AZ: sub.az,
	}
	o.wl = &event.Workload{Account: v.account, VPC: v.id, Region: v.region}
	switch o.kind {
	case kindNode:
		o.wl.Cluster = "main"
		o.wl.Labels = map[string]string{"eks:cluster-name": "main"}
	case kindForwardNLB:
		o.wl.Labels = map[string]string{"preserve_client_ip": "true"}
	default:
	}
	if a := o.app; a != nil {
		o.wl.App, o.wl.Team, o.wl.Cluster = a.name, a.team, a.name+"-v001"
		switch o.kind {
		case kindPod:
			o.wl.Cluster, o.wl.AppSource = "main", "kubernetes"
		case kindTask:
			o.wl.Cluster, o.wl.AppSource = o.iface.task.cluster, "ecs-service"
		default:
			o.wl.AppSource = "tag:app"
		}
	}
}
