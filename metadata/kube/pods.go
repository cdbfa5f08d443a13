package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"dredge/metadata/event"
)

// podState is what was told of one pod.
type podState struct {
	claims []claim
	ep     event.Endpoint
	wl     event.Workload
	// obs is when the pod was last heard of.
	obs int64
	// over says that its claims have ended while its object lives on.
	over bool
}

// claim is one open tenure.
type claim struct {
	scope, ip string
	from      int64
}

// podHandler takes pods in.
type podHandler struct {
	*cluster
	seen  map[string]struct{}
	whole bool
	asked time.Time
}

func (h *podHandler) begin(asked time.Time) {
	h.seen, h.whole, h.asked = map[string]struct{}{}, true, asked
}

func (h *podHandler) object(raw json.RawMessage) {
	p, err := parsePod(raw)
	if err != nil { // its absence proves nothing then
		h.whole = false
		h.fault(faultBadObject, err)
		return
	}
	h.seen[p.Metadata.UID] = struct{}{}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.takePod(p, time.Now().UnixMilli())
}

// end releases what was not listed: it went some time after the watch had last told everything.
func (h *podHandler) end(rv string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().UnixMilli()
	if h.whole {
		for uid, st := range h.pods {
			if _, ok := h.seen[uid]; ok {
				continue
			}
			known := max(st.obs, h.reached)
			h.release(uid, st, 0, known, clampAcc(now-known), now)
			delete(h.pods, uid)
		}
		for uid := range h.unplaced {
			if _, ok := h.seen[uid]; !ok {
				delete(h.unplaced, uid)
			}
		}
		for uid := range h.host {
			if _, ok := h.seen[uid]; !ok {
				delete(h.host, uid)
			}
		}
	}
	h.metrics.lists.Inc()
	h.reached = max(h.reached, h.asked.UnixMilli())
	h.at, _ = strconv.ParseUint(rv, 10, 64)
	h.cluster.asked = h.cluster.asked[:0]
	h.loaded.Store(true)
	h.seen = nil
	h.gauges()
}

func (h *podHandler) change(kind string, raw json.RawMessage) {
	p, err := parsePod(raw)
	if err != nil {
		h.fault(faultBadObject, err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().UnixMilli()
	if kind == "DELETED" {
		h.deletePod(p, now)
	} else {
		h.takePod(p, now)
	}
}

func (h *podHandler) position(rv string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rv == "" {
		h.watching = false
		h.cluster.asked = h.cluster.asked[:0]
		return
	}
	first := !h.watching
	h.watching = true
	h.at, _ = strconv.ParseUint(rv, 10, 64)
	h.credit()
	if first {
		h.tellProgress()
	}
}

func parsePod(raw json.RawMessage) (*pod, error) {
	var p pod
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("reading a pod: %w", err)
	}
	if p.Metadata.UID == "" || p.Metadata.Name == "" {
		return nil, fmt.Errorf("reading a pod: %w", errNoName)
	}
	return &p, nil
}

// gauges counts pods. It walks all of them, so it is called now and then, not per event.
func (c *cluster) gauges() {
	held := 0
	for _, st := range c.pods {
		if len(st.claims) > 0 {
			held++
		}
	}
	c.metrics.claimed.Set(float64(held))
	c.metrics.unplaced.Set(float64(len(c.unplaced)))
	c.metrics.hostNetwork.Set(float64(len(c.host)))
}

// takePod takes in a pod as it is now. A terminating pod keeps its claims: it has its address until its containers have ended.
func (c *cluster) takePod(p *pod, obs int64) {
	uid := p.Metadata.UID
	if p.Spec.HostNetwork { // the address is the node's
		c.host[uid] = struct{}{}
		return
	}
	ips, bad := p.addresses()
	if bad > 0 {
		c.metrics.faults[faultBadIP].Add(float64(bad))
	}
	st := c.pods[uid]
	if st != nil && st.over {
		return
	}
	at := c.nodes[p.Spec.NodeName]
	if at.scope == "" && p.Spec.NodeName != "" && c.cfg.VPCFrom == "" {
		at.scope, at.region = c.cfg.VPC, c.cfg.Region // its node is not known yet, the VPC is that of all
	}
	if at.scope == "" {
		if len(ips) > 0 && !p.completed() {
			c.unplaced[uid] = p
		}
		return
	}
	if st == nil {
		if len(ips) == 0 {
			return
		}
		st = &podState{}
		c.pods[uid] = st
	}
	delete(c.unplaced, uid)
	ep, wl := c.describe(p, at)
	changed := !reflect.DeepEqual(ep, st.ep) || !reflect.DeepEqual(wl, st.wl)
	known := len(st.claims) > 0
	st.ep, st.wl = ep, wl
	c.move(uid, st, p, at.scope, ips, obs)
	if changed && known {
		c.tell(&event.Event{Op: event.Describe, Owner: uid, From: obs, Rver: version(p), EP: &ep, WL: &wl}, obs)
	}
	st.obs = obs
	if p.completed() {
		to, acc := p.ended(obs)
		c.release(uid, st, version(p), to, acc, obs)
		st.over = true
	}
}

// move opens claims of addresses that are new and ends those that went: a pod whose network was made anew has another address.
func (c *cluster) move(uid string, st *podState, p *pod, scope string, ips []netip.Addr, obs int64) {
	has := func(cl claim) bool {
		for _, ip := range ips {
			if cl.ip == ip.String() && cl.scope == scope {
				return true
			}
		}
		return false
	}
	if len(ips) > 0 { // a status without addresses says nothing of where they went
		var gone podState
		kept := st.claims[:0:0]
		for _, cl := range st.claims {
			if has(cl) {
				kept = append(kept, cl)
			} else {
				gone.claims = append(gone.claims, cl)
			}
		}
		c.release(uid, &gone, version(p), st.obs, clampAcc(obs-st.obs), obs)
		st.claims = kept
	}
	for _, ip := range ips {
		if c.holds(st, scope, ip.String()) {
			continue
		}
		from, acc := p.began(obs)
		if st.obs != 0 && from < st.obs { // it was seen without this address
			from, acc = obs, clampAcc(obs-st.obs)
		}
		st.claims = append(st.claims, claim{scope, ip.String(), from})
		c.tell(&event.Event{
			Op: event.Assign, From: from, Acc: acc, Scope: scope, IP: ip.String(), Owner: uid, Rver: version(p), EP: &st.ep, WL: &st.wl,
		}, obs)
	}
}

func (*cluster) holds(st *podState, scope, ip string) bool {
	for _, cl := range st.claims {
		if cl.scope == scope && cl.ip == ip {
			return true
		}
	}
	return false
}

// deletePod ends what a pod held. The last state of its object may no longer name the addresses: what was told counts.
func (c *cluster) deletePod(p *pod, obs int64) {
	uid := p.Metadata.UID
	delete(c.host, uid)
	delete(c.unplaced, uid)
	st := c.pods[uid]
	if st == nil {
		return
	}
	if !st.over {
		to, acc := p.ended(obs)
		c.release(uid, st, version(p), to, acc, obs)
	}
	delete(c.pods, uid)
}

// release ends st's claims at to; never before they began.
func (c *cluster) release(uid string, st *podState, rver, to, acc, obs int64) {
	for _, cl := range st.claims {
		end := max(to, cl.from+1)
		c.tell(&event.Event{Op: event.Release, To: end, Acc: clampAcc(to + acc - end), Scope: cl.scope, IP: cl.ip, Owner: uid, Rver: rver}, obs)
	}
	st.claims = nil
}

// reopen takes over what an earlier run left open, to be released after the first listing unless it is listed.
func (c *cluster) reopen(claims []Claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, old := range claims {
		st := c.pods[old.Owner]
		if st == nil {
			st = &podState{}
			c.pods[old.Owner] = st
		}
		st.claims = append(st.claims, claim{old.Scope, old.IP, old.From})
		st.obs = max(st.obs, old.Known)
	}
}

// describe says what a pod is and what runs in it.
func (c *cluster) describe(p *pod, at place) (event.Endpoint, event.Workload) {
	m := &p.Metadata
	ep := event.Endpoint{Kind: "pod", Name: m.Namespace + "/" + m.Name, Instance: at.instance, AZ: at.az, ENI: branchInterface(m.Annotations)}
	wl := event.Workload{Cluster: c.cfg.Name, Account: c.cfg.Account, VPC: at.scope, Region: at.region}
	c.name(m, &ep, &wl)
	return ep, wl
}

// branchInterface returns the interface of a pod that has one of its own (security groups for pods); "" otherwise: which of its
// node's interfaces carries a pod's address, Kubernetes does not know.
func branchInterface(annotations map[string]string) string {
	text := annotations["vpc.amazonaws.com/pod-eni"]
	if text == "" {
		return ""
	}
	var interfaces []struct {
		ID string `json:"eniId"`
	}
	if json.Unmarshal([]byte(text), &interfaces) != nil || len(interfaces) == 0 {
		return ""
	}
	return interfaces[0].ID
}

func version(p *pod) int64 {
	n, err := strconv.ParseInt(p.Metadata.ResourceVersion, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return n
}
