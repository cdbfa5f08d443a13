// Package app says what an endpoint's application is called: an ordered list of rules over tags and what else a source knows,
// of which the first that fits wins. The rule that fitted is kept beside the name, so that people can see why. It knows no
// source; sources hand it what they found.
package app

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"dredge/metadata/event"
)

// Attributes that are no tags of AWS. Sources put them among the tags so that rules can name them; no tag can have such a key,
// since AWS keeps the prefix aws: for itself.
const (
	// ECSService is the service that started a task.
	ECSService = "aws:ecs:serviceName"
	// ECSFamily is the family of a task's definition.
	ECSFamily = "aws:ecs:family"
	// KubeWorkload is the top of a pod's chain of owners: a Deployment, not its ReplicaSet.
	KubeWorkload = "aws:eks:workload"
	// KubeNamespace is a pod's namespace.
	KubeNamespace = "aws:eks:namespace"
	// Managed is the name of a service that AWS runs: a load balancer's, a NAT gateway's.
	Managed = "aws:managed"
	// Account is the account's id.
	Account = "aws:account"
)

// Namer applies the rules. Safe for concurrent use.
type Namer struct {
	inForce atomic.Pointer[ruleset] // replaced as a whole by Take
}

// ruleset is one configuration, ready for use. Immutable.
type ruleset struct {
	rules    []rule
	teams    []string
	labels   []string
	accounts map[string]string
}

type rule struct {
	Rule
	match *regexp.Regexp
}

// New returns a Namer of valid rules.
func New(cfg Config) (*Namer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making application names: %w", err)
	}
	set := &ruleset{teams: cfg.TeamTags, labels: cfg.Labels, accounts: maps.Clone(cfg.Accounts)}
	for _, r := range cfg.Rules {
		compiled := rule{Rule: r}
		if r.Match != "" {
			compiled.match = regexp.MustCompile(r.Match) // Validate compiled it
		}
		set.rules = append(set.rules, compiled)
	}
	n := &Namer{}
	n.inForce.Store(set)
	return n, nil
}

// Take puts next's rules in force: names that are made from now on follow them.
func (n *Namer) Take(next *Namer) { n.inForce.Store(next.inForce.Load()) }

// Name fills in what wl does not hold yet of App, AppSource, Cluster, Team and Labels. tags are the endpoint's with what the
// source adds; ep may be nil. Neither is kept.
func (n *Namer) Name(tags map[string]string, ep *event.Endpoint, wl *event.Workload) {
	n.inForce.Load().name(tags, ep, wl, nil)
}

// Step is what one rule said.
type Step struct {
	// Rule is the rule's number from 1 and its name.
	Rule int
	Name string
	// Tag and Value are what it looked at; empty when the endpoint has none of its tags.
	Tag, Value string
	// App is what it made of that; empty when it did not fit.
	App string
}

// Explain is Name that also says what every rule said up to the one that won.
func (n *Namer) Explain(tags map[string]string, ep *event.Endpoint, wl *event.Workload) []Step {
	var steps []Step
	n.inForce.Load().name(tags, ep, wl, func(s Step) { steps = append(steps, s) })
	return steps
}

func (n *ruleset) name(tags map[string]string, ep *event.Endpoint, wl *event.Workload, told func(Step)) {
	kind := ""
	if ep != nil {
		kind = ep.Kind
	}
	for i := range n.rules {
		r := &n.rules[i]
		if wl.App != "" {
			break
		}
		if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, kind) {
			continue
		}
		step := Step{Rule: i + 1, Name: r.Name}
		for _, tag := range r.Tags {
			key, value := n.value(tags, tag, wl)
			if value == "" {
				continue
			}
			app, cluster := r.apply(value)
			step.Tag, step.Value, step.App = key, value, app
			if app == "" {
				continue
			}
			wl.App, wl.AppSource = clip(app), r.Name
			if wl.AppSource == "" {
				wl.AppSource = "tag:" + key
			}
			if wl.Cluster == "" {
				wl.Cluster = clip(cluster)
			}
			break
		}
		if told != nil {
			told(step)
		}
	}
	for _, tag := range n.teams {
		if _, value := n.value(tags, tag, wl); wl.Team == "" {
			wl.Team = clip(value)
		}
	}
	for _, label := range n.labels {
		if key, value := n.value(tags, label, wl); value != "" {
			if wl.Labels == nil {
				wl.Labels = map[string]string{}
			}
			wl.Labels[key] = clip(value)
		}
	}
}

// value returns a tag without regard to the case of its key; of several the first in order of key.
func (n *ruleset) value(tags map[string]string, tag string, wl *event.Workload) (key, value string) {
	if tag == Account {
		return Account, n.accounts[wl.Account]
	}
	if v := strings.TrimSpace(tags[tag]); v != "" {
		return tag, v
	}
	for k, v := range tags {
		if v = strings.TrimSpace(v); v != "" && strings.EqualFold(k, tag) && (key == "" || k < key) {
			key, value = k, v
		}
	}
	return key, value
}

// apply makes a name of a tag's value, or none when the value does not match.
func (r *rule) apply(value string) (app, cluster string) {
	if r.match == nil {
		return value, ""
	}
	at := r.match.FindStringSubmatchIndex(value)
	if at == nil {
		return "", ""
	}
	expand := func(template string) string {
		return strings.TrimSpace(string(r.match.ExpandString(nil, template, value, at)))
	}
	template := r.App
	if template == "" {
		template = "$0"
		if r.match.NumSubexp() > 0 {
			template = "$1"
		}
	}
	if r.Cluster != "" {
		cluster = expand(r.Cluster)
	}
	return expand(template), cluster
}

// clip keeps a name within what an event may hold, at a border between characters.
func clip(s string) string {
	if len(s) <= event.MaxText {
		return s
	}
	return strings.ToValidUTF8(s[:event.MaxText], "")
}
