package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/metadata/app"
	"dredge/metadata/event"
)

func newNamesCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "names", Short: "Try the rules of application names"}
	cmd.AddCommand(newNamesTestCmd())
	return cmd
}

func newNamesTestCmd() *cobra.Command {
	var (
		path    string
		asJSON  bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "test -c FILE [CASES.yaml]",
		Short: "Show what the rules of application names give on the present estate, or check them against cases",
		Long: `Without CASES, list the estate that identity.ec2, identity.ecs and identity.kube configure once, apply the rules of identity.names, and show how many
endpoints each rule names, and which have no name and what tags they carry. Nothing is written anywhere.

With CASES, a list of endpoints and the names that they should get, no estate is needed: it is a unit test of the rules. Exit code 1
when a case fails.

  - tags: {app: Checkout, team: payments}
    kind: instance
    want: {app: Checkout, app_source: "tag:app", team: payments}
  - tags: {CostCenter: "4711"}
    want: {app: ""}            # nothing may name it`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return testNameCases(c.Identity.Names, args[0], cmd.OutOrStdout())
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			got, err := surveyNames(ctx, c)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), got.report())
			}
			return got.report().print(cmd.OutOrStdout())
		},
	}
	addConfigFlag(cmd, &path)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long the listing may take")
	return cmd
}

// nameCase is one endpoint and the names that it should get.
type nameCase struct {
	Tags    map[string]string `yaml:"tags"`
	Kind    string            `yaml:"kind"`
	Account string            `yaml:"account"`
	// Want holds some of app, app_source, cluster and team; what it leaves out may be anything.
	Want map[string]string `yaml:"want"`
}

// maxCases bounds a file of cases.
const maxCases = 4 << 20

func testNameCases(cfg app.Config, path string, out io.Writer) error {
	names, err := app.New(cfg)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCases+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxCases { // the rest would pass unseen
		return fmt.Errorf("%s is larger than %d MiB; split it", path, maxCases>>20)
	}
	var cases []nameCase
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&cases); err != nil {
		return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	if len(cases) == 0 {
		return fmt.Errorf("%s holds no case; write a list of {tags, want}", path)
	}
	failed := 0
	for i, c := range cases {
		faults := c.faults(names)
		if len(faults) == 0 {
			continue
		}
		failed++
		fmt.Fprintf(out, "FAIL  case %d %v: %s\n", i+1, c.Tags, strings.Join(faults, "; "))
	}
	fmt.Fprintf(out, "%d of %d cases pass\n", len(cases)-failed, len(cases))
	if failed > 0 {
		return &exitError{code: 1}
	}
	return nil
}

// faults says what the rules give other than the case wants.
func (c nameCase) faults(names *app.Namer) []string {
	wl := event.Workload{Account: c.Account}
	steps := names.Explain(c.Tags, &event.Endpoint{Kind: c.Kind}, &wl)
	got := map[string]string{"app": wl.App, "app_source": wl.AppSource, "cluster": wl.Cluster, "team": wl.Team}
	var out []string
	if len(c.Want) == 0 {
		out = append(out, "wants nothing; write want: {app: NAME}")
	}
	for _, key := range slices.Sorted(maps.Keys(c.Want)) {
		have, known := got[key]
		switch {
		case !known:
			out = append(out, fmt.Sprintf("want.%s: unknown; write app, app_source, cluster or team", key))
		case have != c.Want[key]:
			out = append(out, fmt.Sprintf("%s is %q, not %q", key, have, c.Want[key]))
		}
	}
	if len(out) > 0 && len(steps) > 0 {
		last := steps[len(steps)-1]
		out = append(out, fmt.Sprintf("the last rule asked was %d %q, of tag %q", last.Rule, last.Name, last.Tag))
	}
	return out
}

// namesSeen is a namer that remembers what became of every endpoint. Safe for concurrent use.
type namesSeen struct {
	names *app.Namer

	mu   sync.Mutex
	seen map[string]namedEndpoint // by what identifies the endpoint
}

type namedEndpoint struct {
	kind, app, source string
	rule              int
	tags              map[string]string
}

// Name implements the Namer of every source.
func (n *namesSeen) Name(tags map[string]string, ep *event.Endpoint, wl *event.Workload) {
	before := wl.App
	steps := n.names.Explain(tags, ep, wl)
	e := namedEndpoint{app: wl.App, source: wl.AppSource, tags: maps.Clone(tags)}
	id := wl.Account + "/" + wl.Region
	if ep != nil {
		e.kind = ep.Kind
		id += "/" + ep.ENI + "/" + ep.Instance + "/" + ep.Name
	}
	if wl.App != "" && before == "" && len(steps) > 0 {
		e.rule = steps[len(steps)-1].Rule
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen[id] = e
}

// surveyNames lists the configured estate once.
func surveyNames(ctx context.Context, c config.Config) (*namesSeen, error) {
	if !c.Identity.EC2.Enabled() && !c.Identity.ECS.Enabled() && len(c.Identity.Kube.Clusters) == 0 {
		return nil, errors.New("identity.ec2.accounts, identity.ecs.accounts and identity.kube.clusters are empty, so there is no estate to list; write them, or give a file of cases")
	}
	clients, err := newAWSClients(ctx, c.AWS, checkTimeout)
	if err != nil {
		return nil, err
	}
	names, err := newNames(c)
	if err != nil {
		return nil, err
	}
	seen := &namesSeen{names: names, seen: map[string]namedEndpoint{}}
	// Changes are somebody else's to read: a survey must not take messages out of their queues.
	c.Identity.EC2.QueueURL, c.Identity.ECS.QueueURL = "", ""
	estates, err := newAWSSources(c, clients.base, seen, zerolog.Nop(), prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	var sources []lister
	for _, src := range estates.list {
		sources = append(sources, src)
	}
	if len(c.Identity.Kube.Clusters) > 0 {
		pods, err := newKubeSource(c.Identity.Kube, seen, zerolog.Nop(), prometheus.NewRegistry())
		if err != nil {
			return nil, fmt.Errorf("identity.kube: %w", err)
		}
		sources = append(sources, pods)
	}
	return seen, listOnce(ctx, sources)
}

// lister is a source that can say whether it has listed everything once.
type lister interface {
	event.Source
	Listed() error
}

// listOnce runs sources until each has listed everything once.
func listOnce(ctx context.Context, sources []lister) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	failed := make(chan error, len(sources))
	for _, src := range sources {
		group.Go(func() { failed <- src.Run(running, func([]event.Event) error { return running.Err() }) })
	}
	defer group.Wait()
	defer stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		var faults []string
		for _, src := range sources {
			err = cmp.Or(err, src.Listed())
			faults = append(faults, src.Faults()...)
		}
		switch {
		case err == nil && len(faults) > 0:
			return fmt.Errorf("the estate was not listed completely: %s", strings.Join(faults, "; "))
		case err == nil:
			return nil
		}
		select {
		case <-tick.C:
		case end := <-failed:
			if end != nil {
				return end
			}
		case <-ctx.Done():
			return fmt.Errorf("the estate was not listed in time: %w", err)
		}
	}
}

// namesReport is what the rules give on an estate.
type namesReport struct {
	Endpoints int `json:"endpoints"`
	// Rules are those that named somebody, in the order of the configuration.
	Rules   []ruleUse      `json:"rules"`
	Unnamed []unnamedGroup `json:"unnamed"`
}

// ruleUse is what one rule gave.
type ruleUse struct {
	Rule      int      `json:"rule"`
	Source    string   `json:"source"`
	Endpoints int      `json:"endpoints"`
	Apps      []string `json:"apps"`
}

// unnamedGroup are unnamed endpoints of one kind with the same keys of tags.
type unnamedGroup struct {
	Kind      string   `json:"kind"`
	Tags      []string `json:"tags"`
	Endpoints int      `json:"endpoints"`
}

func (n *namesSeen) report() namesReport {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := namesReport{Endpoints: len(n.seen)}
	type use struct {
		rule   int
		source string
	}
	uses, apps, lacking := map[use]int{}, map[use]map[string]bool{}, map[string]*unnamedGroup{}
	for _, e := range n.seen {
		if e.app == "" {
			keys := slices.Sorted(maps.Keys(e.tags))
			id := e.kind + "\x00" + strings.Join(keys, "\x00")
			if lacking[id] == nil {
				lacking[id] = &unnamedGroup{Kind: e.kind, Tags: keys}
			}
			lacking[id].Endpoints++
			continue
		}
		u := use{e.rule, e.source}
		uses[u]++
		if apps[u] == nil {
			apps[u] = map[string]bool{}
		}
		apps[u][e.app] = true
	}
	for u, count := range uses {
		r.Rules = append(r.Rules, ruleUse{Rule: u.rule, Source: u.source, Endpoints: count, Apps: slices.Sorted(maps.Keys(apps[u]))})
	}
	slices.SortFunc(r.Rules, func(a, b ruleUse) int { return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Source, b.Source)) })
	for _, g := range lacking {
		r.Unnamed = append(r.Unnamed, *g)
	}
	slices.SortFunc(r.Unnamed, func(a, b unnamedGroup) int {
		return cmp.Or(cmp.Compare(b.Endpoints, a.Endpoints), cmp.Compare(a.Kind, b.Kind), slices.Compare(a.Tags, b.Tags))
	})
	return r
}

// shownApps is how many applications of a rule are printed.
const shownApps = 5

func (r namesReport) print(out io.Writer) error {
	rules := [][]string{{"RULE", "APP_SOURCE", "ENDPOINTS", "APPS"}}
	for _, u := range r.Rules {
		apps := strings.Join(u.Apps[:min(shownApps, len(u.Apps))], ", ")
		if len(u.Apps) > shownApps {
			apps += fmt.Sprintf(", … %d in all", len(u.Apps))
		}
		rule := strconv.Itoa(u.Rule)
		if u.Rule == 0 {
			rule = "-" // the source knew the name itself
		}
		rules = append(rules, []string{rule, u.Source, strconv.Itoa(u.Endpoints), apps})
	}
	if err := printList(out, rules, "no rule names anybody", len(r.Rules), len(r.Rules)); err != nil {
		return err
	}
	unnamed, total := [][]string{{"UNNAMED KIND", "ENDPOINTS", "ITS TAGS"}}, 0
	for _, g := range r.Unnamed {
		total += g.Endpoints
		unnamed = append(unnamed, []string{dash(g.Kind), strconv.Itoa(g.Endpoints), dash(strings.Join(g.Tags, ", "))})
	}
	if err := printList(out, unnamed, "every endpoint has a name", len(r.Unnamed), firstOf); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d endpoints, %d named\n", r.Endpoints, r.Endpoints-total)
	return err
}
