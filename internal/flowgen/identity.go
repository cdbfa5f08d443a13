package flowgen

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"dredge/metadata/event"
)

// crawlSlack is how far before its start a listing is taken as complete: EC2's answers are eventually consistent.
const crawlSlack = 30_000

// watchLag bounds the delay of a gap-free feed; its watermark stays this far behind.
const watchLag = 3_000

// source is one origin of identity events: an account's EC2 or ECS interface in a region, or a cluster's pods.
type source struct {
	name  string
	vpcs  []*vpc
	skew  int64
	seq   int64
	watch bool // gap-free: late by at most watchLag, loses nothing
	feed  bool // change events, late and lossy
	crawl bool

	open     map[claimKey]*told
	list     []*told // everything told and not yet released, in order
	listed   int64   // when the last listing began
	complete int64   // the watermark of the last listing
}

type claimKey struct {
	addr  *address
	owner string
}

// claim is one owner's hold on one address, as one source sees it.
type claim struct {
	addr    *address
	owner   string
	primary bool
	eni     bool // EC2 knows whether it is primary and whether source/dest check is on
	of      *owner
	ep      *event.Endpoint
	wl      *event.Workload
}

// told is what a source said of a claim so far.
type told struct {
	claim
	born, gone int64
	toldAt     int64 // when its assign arrived by the feed; forever if never
	closedAt   int64
	lastSeen   int64
	from       int64 // as told
	listed     bool
}

func (s *Sim) buildSources() {
	p := s.cfg.Identity
	add := func(name string, v *vpc, pods bool) {
		for _, src := range s.sources {
			if src.name == name {
				src.vpcs = append(src.vpcs, v)
				return
			}
		}
		skew := p.Skew.Milliseconds()
		src := &source{name: name, vpcs: []*vpc{v}, skew: s.identity.between(-skew, skew), open: map[claimKey]*told{}}
		src.crawl = p.Policy <= AllSources
		src.feed = p.Policy == CrawlAndEvents
		src.watch = p.Policy == AllSources || p.Policy == CrawlAndEvents && pods
		if src.watch {
			src.feed = false
			src.crawl = !pods
		}
		s.sources = append(s.sources, src)
	}
	for _, v := range s.vpcs {
		add("ec2/"+v.account+"/"+v.region, v, false)
		add("ecs/"+v.account+"/"+v.region, v, false)
		if v.name == "eks" {
			add("kube/main", v, true)
		}
	}
	s.static = &source{name: "file/estate"}
}

func (s *Sim) sourceOf(name string) *source {
	for _, src := range s.sources {
		if src.name == name {
			return src
		}
	}
	return nil
}

// claimsOn returns what the sources say of o's hold on a.
func (o *owner) claimsOn(a *address) (lower, upper *claim) {
	primary := a == o.addr
	switch o.kind {
	case kindPod:
		return nil, &claim{addr: a, owner: o.id, primary: false, of: o, ep: o.ep, wl: o.wl}
	case kindTask:
		// EC2 sees an interface without tags; ECS knows the task.
		wl := &event.Workload{Account: o.wl.Account, VPC: o.wl.VPC, Region: o.wl.Region}
		ep := *o.ep
		ep.Kind, ep.Name = kindIdle.String(), o.iface.id
		return &claim{addr: a, owner: "eni:" + o.iface.id, primary: primary, eni: true, of: o, ep: &ep, wl: wl},
			&claim{addr: a, owner: o.id, primary: primary, of: o, ep: o.ep, wl: o.wl}
	default:
		return &claim{addr: a, owner: o.id, primary: primary, eni: true, of: o, ep: o.ep, wl: o.wl}, nil
	}
}

// assign is the event that opens c's tenure.
func (s *Sim) assign(c *claim, listen bool) event.Event {
	e := event.Event{V: event.Version, Op: event.Assign, Scope: c.addr.scope, IP: c.addr.text, Owner: c.owner, EP: c.ep, WL: c.wl}
	if c.eni {
		e.Primary = &c.primary
		check := c.of.kind != kindNAT && c.of.kind != kindTGW && c.of.kind != kindForwardNLB
		e.SDC = &check
		if c.of.kind == kindForwardNLB {
			forwards := true
			e.Forwarder = &forwards
		}
	}
	if a := c.of.app; a != nil && a.port > 0 && (listen || a.kind.managed()) && c.owner == c.of.id {
		e.Listen = []event.Listen{{Proto: int(a.proto), Port: int(a.port)}}
	}
	return e
}

// tellBirth lets every source that concerns o know of it, in its own way.
func (s *Sim) tellBirth(o *owner) {
	if s.now > s.start0 {
		s.truth.totals.Changes++
	}
	if s.keep == 0 {
		s.owners = append(s.owners, o)
	}
	s.truth.vpcOf[o.iface.id] = o.iface.subnet.vpc.id
	s.tellAddress(o, o.addr)
	for _, a := range o.extra {
		s.tellAddress(o, a)
	}
	if o.dies != forever && o.dies > s.now+60_000 && o.app != nil && s.cfg.Identity.Policy != Silent {
		s.scheduleDeploy(o)
	}
}

func (s *Sim) tellAddress(o *owner, a *address) {
	lower, upper := o.claimsOn(a)
	v := o.iface.subnet.vpc
	where := v.account + "/" + v.region
	if lower != nil {
		s.tell(s.sourceOf("ec2/"+where), lower)
	}
	if upper != nil {
		name := "ecs/" + where
		if o.kind == kindPod {
			name = "kube/main"
		}
		s.tell(s.sourceOf(name), upper)
	}
}

func (s *Sim) tell(src *source, c *claim) {
	t := &told{claim: *c, born: c.of.born, gone: c.of.dies, toldAt: forever, closedAt: forever, lastSeen: c.of.born}
	src.list = append(src.list, t)
	src.open[claimKey{c.addr, c.owner}] = t
	if s.cfg.Identity.Policy == Silent || !src.feed && !src.watch || src.feed && s.now > s.start0 && s.identity.chance(s.cfg.Identity.AssignLoss) {
		return
	}
	e := s.assign(&t.claim, s.cfg.Identity.Policy == AllSources)
	e.From, e.Obs, e.Acc = t.born+src.skew+s.skew(), s.now+src.skew, 2*s.skew()
	t.from = e.From
	t.toldAt = s.send(src, e)
}

// skew bounds the error of every source's clock. Sources know that bound and tell the part of a tenure that is certain: it
// begins a skew later and ends a skew earlier than the clock said, and Acc reaches back over both.
func (s *Sim) skew() int64 { return s.cfg.Identity.Skew.Milliseconds() }

// send delivers e by src's feed, and returns when.
func (s *Sim) send(src *source, e event.Event) int64 {
	at := s.now
	switch {
	case s.now <= s.start0:
		// What was there before the simulation is known when it begins.
	case src.watch:
		at += s.identity.between(50, watchLag-1_000)
	default:
		p := s.cfg.Identity
		late := int64(s.identity.logNormal(float64(p.DelayMedian.Milliseconds()), p.DelaySigma))
		if p.DelayMax > 0 {
			late = min(late, p.DelayMax.Milliseconds())
		}
		at += late
	}
	s.put(src, at, e)
	return at
}

func (s *Sim) put(src *source, at int64, e event.Event) {
	e.V, e.Src, e.Epoch = event.Version, src.name, 1
	s.arrivals.push(at, Item{Arrive: fromMillis(at), Event: &e, source: src})
}

// tellDeath is called when o ends, before its addresses are taken away.
func (s *Sim) tellDeath(o *owner) {
	s.truth.totals.Changes++
	s.tellGone(o, o.addr)
	for _, a := range o.extra {
		s.tellGone(o, a)
	}
}

func (s *Sim) tellGone(o *owner, a *address) {
	lower, upper := o.claimsOn(a)
	lost := s.identity.chance(s.cfg.Identity.ReleaseLoss)
	for _, c := range []*claim{lower, upper} {
		if c == nil {
			continue
		}
		for _, src := range s.sources {
			k := claimKey{a, c.owner}
			t := src.open[k]
			if t == nil {
				continue
			}
			delete(src.open, k)
			if s.cfg.Identity.Policy == Silent || !src.watch && (!src.feed || lost) {
				continue
			}
			e := event.Event{Op: event.Release, Scope: a.scope, IP: a.text, Owner: c.owner}
			t.endsAt(&e, s.now+src.skew-s.skew(), 2*s.skew())
			e.Obs = s.now + src.skew
			t.closedAt = s.send(src, e)
		}
	}
}

// scheduleDeploy changes o's workload data once in its life: a new revision, the same application.
func (s *Sim) scheduleDeploy(o *owner) {
	at := s.now + s.identity.between(20_000, 300_000)
	s.world.push(at, func() {
		if o.dies <= at {
			return
		}
		o.app.deploys++
		wl := *o.wl
		wl.Labels = maps.Clone(wl.Labels)
		if wl.Labels == nil {
			wl.Labels = map[string]string{}
		}
		wl.Labels["revision"] = "r" + strconv.Itoa(o.app.deploys)
		o.wl = &wl
		for _, src := range s.sources {
			if src.open[claimKey{o.addr, o.id}] != nil && (src.feed || src.watch) {
				e := event.Event{Op: event.Describe, Owner: o.id, WL: &wl, From: at + src.skew, Obs: at + src.skew}
				s.send(src, e)
			}
		}
	})
}

// scheduleSources starts listings and watermarks.
func (s *Sim) scheduleSources() {
	p := s.cfg.Identity
	if p.Policy == Silent {
		return
	}
	for _, e := range s.estateEvents() {
		s.put(s.static, s.start0, e)
	}
	for i, src := range s.sources {
		if src.crawl {
			// The first listing is there at the beginning; the others are spread over the period.
			s.list(src)
			phase := p.CrawlEvery.Milliseconds() * int64(i+1) / int64(len(s.sources)+1)
			s.scheduleCrawl(src, s.start0+phase+1)
		}
	}
	s.scheduleProgress(s.start0)
}

func (s *Sim) scheduleCrawl(src *source, at int64) {
	s.world.push(at, func() {
		s.list(src)
		s.scheduleCrawl(src, at+s.cfg.Identity.CrawlEvery.Milliseconds())
	})
}

// list is one complete listing of what src has, as of now; it is told when it is through.
//
// An address seen for the first time is assigned from this listing on, unsure back to the one before; EC2's attach time
// serves the primary address only. What the source told before and does not find is released as of the last sighting,
// unsure up to this listing: nobody else may conclude anything from absence.
func (s *Sim) list(src *source) {
	now, at := s.now, s.now
	if now > s.start0 {
		at += s.cfg.Identity.CrawlTakes.Milliseconds()
	}
	stamp := now + src.skew
	before := src.listed
	src.listed = now
	for _, v := range src.vpcs {
		s.put(src, at, event.Event{Op: event.SnapBegin, Scope: v.id, Obs: stamp})
	}
	kept := src.list[:0]
	for _, t := range src.list {
		switch {
		case t.gone > now:
			kept = append(kept, t)
			s.tellListed(src, t, at, stamp, before)
			t.listed, t.lastSeen = true, now
		case t.closedAt <= now || !t.listed && t.toldAt > now:
			if t.closedAt > now && t.toldAt != forever {
				kept = append(kept, t) // its assign is still on the way: the next listing closes it
			}
		default:
			e := event.Event{Op: event.Release, Scope: t.addr.scope, IP: t.addr.text, Owner: t.owner, Obs: stamp}
			t.endsAt(&e, t.lastSeen+src.skew-s.skew(), now-t.lastSeen+2*s.skew())
			s.put(src, at, e)
		}
	}
	clear(src.list[len(kept):])
	src.list = kept
	for _, v := range src.vpcs {
		s.put(src, at, event.Event{Op: event.SnapEnd, Scope: v.id, Obs: stamp})
	}
	s.world.push(max(at, s.now), func() { src.complete = max(src.complete, now-crawlSlack) })
}

func (s *Sim) tellListed(src *source, t *told, at, stamp, before int64) {
	if t.listed || t.toldAt <= s.now {
		s.put(src, at, event.Event{Op: event.Observe, Scope: t.addr.scope, IP: t.addr.text, Owner: t.owner, From: stamp - s.skew(), Obs: stamp})
		return
	}
	e := s.assign(&t.claim, s.cfg.Identity.Policy == AllSources)
	e.Obs = stamp
	if t.primary || !t.eni {
		// Attach time, task start and pod start are in the listing itself.
		e.From, e.Acc = t.born+src.skew+s.skew(), 2*s.skew()
	} else {
		e.From, e.Acc = stamp+s.skew(), 2*s.skew()
		if before > 0 {
			e.Acc += s.now - before
		}
	}
	t.from = e.From
	s.put(src, at, e)
}

// endsAt fills in a release. It has to come after the told beginning, or it would close nothing: a hold that was never seen
// after it began is certain for one millisecond, and uncertain from there on.
func (t *told) endsAt(e *event.Event, to, acc int64) {
	e.To = max(to, t.from+1)
	e.Acc = max(0, acc-(e.To-to))
}

// scheduleProgress sends every source's watermark.
func (s *Sim) scheduleProgress(at int64) {
	s.world.push(at, func() {
		for _, src := range s.sources {
			to := src.complete
			if src.watch {
				to = max(to, at-watchLag)
			}
			if to > 0 {
				s.put(src, at, event.Event{Op: event.Progress, To: to - s.skew(), Obs: at + src.skew})
			}
		}
		s.put(s.static, at, event.Event{Op: event.Progress, To: at, Obs: at})
		s.scheduleProgress(at + s.cfg.Identity.ProgressEvery.Milliseconds())
	})
}

// estateEvents claim the networks: VPCs and subnets, what peering and transit gateways lead to, coverage, and one site.
func (s *Sim) estateEvents() []event.Event {
	from := s.start0 - (30 * 24 * time.Hour).Milliseconds()
	var list []event.Event
	cidr := func(scope, prefix, owner string, ep event.Endpoint, v *vpc) {
		e := event.Event{Op: event.Assign, From: from, Scope: scope, CIDR: prefix, Owner: owner, EP: &ep}
		if v != nil {
			e.WL = &event.Workload{Account: v.account, VPC: v.id, Region: v.region}
		}
		list = append(list, e)
	}
	yes, no := true, false
	for _, v := range s.vpcs {
		prefixes := []string{v.cidr.String()}
		if v.cidr6.IsValid() {
			prefixes = append(prefixes, v.cidr6.String())
		}
		for _, p := range prefixes {
			cidr(v.id, p, "vpc:"+v.id, event.Endpoint{Kind: "vpc", Name: v.name}, v)
			logged := &no
			if v.logged {
				logged = &yes
			}
			list = append(list, event.Event{Op: event.Coverage, From: from, Scope: v.id, Prefix: p, Logged: logged, Actions: "ALL"})
		}
		for _, sub := range slices.Concat(v.public, v.private) {
			cidr(v.id, sub.prefix.String(), "subnet:"+sub.id, event.Endpoint{Kind: "subnet", Name: v.name + "-" + sub.az, Subnet: sub.id, AZ: sub.az}, v)
		}
		for _, to := range s.vpcs {
			var via string
			switch v.routes[to] {
			case routePeering, routeRemotePeering:
				via = "peering"
			case routeTGW:
				via = "transit-gateway"
			default:
				continue
			}
			list = append(list, event.Event{
				Op: event.Topology, From: from, Scope: v.id, CIDR: to.cidr.String(), ToScope: to.id, Via: via, Owner: via + ":" + v.id + "/" + to.id,
			})
		}
	}
	cidr("", "192.168.0.0/16", "net:office-berlin", event.Endpoint{Kind: "prefix", Name: "office-berlin"}, nil)
	return list
}

// Hindsight returns perfect knowledge of everything so far: every hold on an address with its exact times, and one final
// progress. It needs Config.Keep 0.
func (s *Sim) Hindsight() ([]event.Event, error) {
	if s.keep != 0 {
		return nil, errors.New("hindsight needs the whole history; set Keep to 0")
	}
	list := s.estateEvents()
	for _, o := range s.owners {
		for _, a := range append([]*address{o.addr}, o.extra...) {
			lower, upper := o.claimsOn(a)
			for _, c := range []*claim{lower, upper} {
				if c == nil {
					continue
				}
				e := s.assign(c, true)
				e.From = o.born
				if o.dies <= s.now {
					e.To = o.dies
				}
				list = append(list, e)
			}
		}
	}
	list = append(list, event.Event{Op: event.Progress, To: s.now})
	for i := range list {
		list[i].V, list[i].Src, list[i].Epoch, list[i].Seq = event.Version, "file/hindsight", 1, int64(i+1)
	}
	return list, nil
}
