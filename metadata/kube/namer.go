package kube

import (
	"maps"
	"strings"

	"dredge/metadata/event"
)

// Namer says what an endpoint's application is called. It fills in what wl lacks.
type Namer interface {
	Name(tags map[string]string, ep *event.Endpoint, wl *event.Workload)
}

// What rules may name besides a pod's labels. No label has such a key: they hold no colon.
const (
	// workloadTag is the top of a pod's chain of owners: a Deployment, not its ReplicaSet.
	workloadTag  = "aws:eks:workload"
	namespaceTag = "aws:eks:namespace"
)

// name fills in what the pod's labels and owner say of its application. The cluster's own labels come before the rules of all.
func (c *cluster) name(m *objectMeta, ep *event.Endpoint, wl *event.Workload) {
	for _, key := range c.cfg.AppLabels {
		if v := m.Labels[key]; v != "" {
			wl.App, wl.AppSource = v, "tag:"+key
			break
		}
	}
	if c.deps.Names == nil {
		return
	}
	tags := make(map[string]string, len(m.Labels)+2)
	maps.Copy(tags, m.Labels)
	tags[namespaceTag] = m.Namespace
	if top := m.controller(); top != "" {
		tags[workloadTag] = top
	}
	c.deps.Names.Name(tags, ep, wl)
}

// controller returns the name of what keeps the pod running, "" when nothing does.
func (m *objectMeta) controller() string {
	kind, name := "", ""
	for _, o := range m.OwnerReferences {
		if o.Controller {
			kind, name = o.Kind, o.Name
		}
	}
	switch kind {
	case "Node": // a static pod is its node's
		return ""
	case "ReplicaSet": // a Deployment's carries its template's hash
		for _, label := range [...]string{"pod-template-hash", "rollouts-pod-template-hash"} {
			if hash := m.Labels[label]; hash != "" {
				return strings.TrimSuffix(name, "-"+hash)
			}
		}
	case "Job": // a CronJob's carries the minute it was due
		if i := strings.LastIndexByte(name, '-'); i > 0 && len(name)-i > 8 && strings.Trim(name[i+1:], "0123456789") == "" {
			return name[:i]
		}
	}
	return name
}
