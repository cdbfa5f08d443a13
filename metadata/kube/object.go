package kube

import (
	"net/netip"
	"strings"
	"time"
)

// The parts of Kubernetes objects that identity needs.

type objectMeta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
	OwnerReferences   []struct {
		Kind       string `json:"kind"`
		Name       string `json:"name"`
		Controller bool   `json:"controller"`
	} `json:"ownerReferences"`
}

type node struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		ProviderID string `json:"providerID"`
	} `json:"spec"`
}

type pod struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		NodeName     string `json:"nodeName"`
		HostNetwork  bool   `json:"hostNetwork"`
		GraceSeconds *int64 `json:"terminationGracePeriodSeconds"`
	} `json:"spec"`
	Status struct {
		Phase      string     `json:"phase"`
		PodIP      string     `json:"podIP"`
		PodIPs     []podIP    `json:"podIPs"`
		StartTime  *time.Time `json:"startTime"`
		Conditions []struct {
			Type       string     `json:"type"`
			Status     string     `json:"status"`
			Transition *time.Time `json:"lastTransitionTime"`
		} `json:"conditions"`
		Containers     []containerStatus `json:"containerStatuses"`
		InitContainers []containerStatus `json:"initContainerStatuses"`
	} `json:"status"`
}

type podIP struct {
	IP string `json:"ip"`
}

type containerStatus struct {
	State struct {
		Running *struct {
			StartedAt *time.Time `json:"startedAt"`
		} `json:"running"`
		Terminated *struct {
			StartedAt  *time.Time `json:"startedAt"`
			FinishedAt *time.Time `json:"finishedAt"`
		} `json:"terminated"`
	} `json:"state"`
}

// second is what Kubernetes leaves open of a time: it writes whole seconds, cut off.
const second = 1000

// addresses returns the pod's addresses; bad counts those that are none.
func (p *pod) addresses() (ips []netip.Addr, bad int) {
	told := p.Status.PodIPs
	if len(told) == 0 && p.Status.PodIP != "" {
		told = []podIP{{p.Status.PodIP}}
	}
	for _, t := range told[:min(len(told), maxAddresses)] {
		ip, err := netip.ParseAddr(t.IP)
		if err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
			bad++
			continue
		}
		ips = append(ips, ip.Unmap())
	}
	return ips, bad + max(0, len(told)-maxAddresses)
}

// maxAddresses is far beyond the two of dual stack.
const maxAddresses = 16

// completed says whether all containers ended for good. The status keeps its address, but another pod may have it.
func (p *pod) completed() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// sandbox returns when the pod's network was last made ready or taken down.
func (p *pod) sandbox() (at int64, ready, known bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == "PodReadyToStartContainers" && c.Transition != nil {
			return c.Transition.UnixMilli(), c.Status == "True", true
		}
	}
	return 0, false, false
}

// began returns since when the pod is known to have its addresses, and how much earlier it may have got them. Its network was
// ready before its first container started, and after the node had accepted it.
func (p *pod) began(obs int64) (from, acc int64) {
	from = obs
	if at, ready, known := p.sandbox(); known && ready && at > 0 {
		from = min(from, at+second)
	} else {
		for _, list := range [...][]containerStatus{p.Status.InitContainers, p.Status.Containers} {
			for _, c := range list {
				var started *time.Time
				switch {
				case c.State.Running != nil:
					started = c.State.Running.StartedAt
				case c.State.Terminated != nil:
					started = c.State.Terminated.StartedAt
				}
				if started != nil && started.UnixMilli() > 0 {
					from = min(from, started.UnixMilli()+second)
				}
			}
		}
	}
	if s := p.Status.StartTime; s != nil {
		acc = from - s.UnixMilli()
	}
	return from, clampAcc(acc)
}

// teardown is how long a node takes at most, in the usual run of things, from a pod's last container to its network.
const teardown = 30 * second

// ended returns until when a completed or deleted pod is known to have had its addresses, and how much longer it may have had
// them. obs is when that was seen.
func (p *pod) ended(obs int64) (to, acc int64) {
	last, all := int64(0), len(p.Status.Containers) > 0
	for _, c := range p.Status.Containers {
		t := c.State.Terminated
		if t == nil || t.FinishedAt == nil || t.FinishedAt.IsZero() {
			all = false
			continue
		}
		last = max(last, t.FinishedAt.UnixMilli())
	}
	switch {
	case all:
		to, acc = last, teardown
		if at, ready, known := p.sandbox(); known && !ready && at >= last {
			acc = at + second - last
		}
	case p.Metadata.DeletionTimestamp != nil: // when it is to be gone at the latest: the request and the grace period
		to = min(obs, p.Metadata.DeletionTimestamp.UnixMilli())
		acc = obs - to + teardown
	default: // forced: the API has forgotten it, its node may still run it
		grace := int64(30 * second)
		if g := p.Spec.GraceSeconds; g != nil {
			grace = *g * second
		}
		to, acc = obs, grace+teardown
	}
	return min(to, obs), clampAcc(acc)
}

func clampAcc(acc int64) int64 { return min(max(acc, 0), int64(time.Hour/time.Millisecond)) }

// instance returns the EC2 instance of a node, "" for Fargate and for what is not in AWS.
func (n *node) instance() string {
	rest, ok := strings.CutPrefix(n.Spec.ProviderID, "aws://")
	if !ok {
		return ""
	}
	if i := strings.LastIndexByte(rest, '/'); strings.HasPrefix(rest[i+1:], "i-") {
		return rest[i+1:]
	}
	return ""
}
