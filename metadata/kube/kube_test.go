package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata/app"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type rig struct {
	*testing.T
	*ledger
	api      *apiServer
	source   *Source
	log      bytes.Buffer
	registry *prometheus.Registry
}

// run watches a cluster of two nodes in a bubble of virtual time; change may prepare it.
func run(t *testing.T, change func(r *rig, c *Cluster, d *Dependencies), body func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, ledger: &ledger{start: time.Now()}, api: newAPIServer(), registry: prometheus.NewPedanticRegistry()}
		for i := range 2 {
			r.api.put(nodesPath, object{
				"metadata": map[string]any{"name": fmt.Sprint("node", i), "uid": fmt.Sprint("n", i), "labels": map[string]any{
					"topology.kubernetes.io/region": "us-east-1", "topology.k8s.aws/zone-id": "use1-az4", "vpc": fmt.Sprint("vpc-", i),
				}},
				"spec": map[string]any{"providerID": fmt.Sprint("aws:///us-east-1a/i-", i)},
			})
		}
		names, err := app.New(app.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		cfg := Cluster{Name: "main", VPC: "vpc-1"}
		deps := Dependencies{
			Target: r.ledger, Names: names, Logger: zerolog.New(&r.log), Registerer: r.registry,
			Connect: func(Cluster) (*http.Client, string, error) { return &http.Client{Transport: r.api}, "http://api", nil },
		}
		if change != nil {
			change(r, &cfg, &deps)
		}
		if r.source, err = New(Config{Clusters: []Cluster{cfg}}, deps); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.source.Run(ctx) }()
		synctest.Wait()
		body(r)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if problems, err := testutil.GatherAndLint(r.registry); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

func (r *rig) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (r *rig) expect(lines ...string) {
	r.Helper()
	if diff := cmp.Diff(lines, r.take()); diff != "" {
		r.Errorf("%s\n%s", diff, r.log.String())
	}
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// running is a pod whose network was ready at ready, 3 s after the node took it.
func (r *rig) running(uid, ip string, ready time.Time) object {
	return object{
		"metadata": map[string]any{
			"name": "web-5d-" + uid, "namespace": "shop", "uid": uid, "labels": map[string]any{"pod-template-hash": "5d"},
			"ownerReferences": []any{map[string]any{"kind": "ReplicaSet", "name": "web-5d", "controller": true}},
		},
		"spec": map[string]any{"nodeName": "node0", "terminationGracePeriodSeconds": 10},
		"status": map[string]any{
			"phase": "Running", "podIP": ip, "podIPs": []any{map[string]any{"ip": ip}}, "startTime": at(ready.Add(-3 * time.Second)),
			"conditions":        []any{map[string]any{"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": at(ready)}},
			"containerStatuses": []any{map[string]any{"state": map[string]any{"running": map[string]any{"startedAt": at(ready)}}}},
		},
	}
}

// over makes all containers of p ended.
func over(p object, phase string, finished time.Time) object {
	p = clone(p)
	st := p["status"].(map[string]any)
	st["phase"] = phase
	st["containerStatuses"] = []any{map[string]any{"state": map[string]any{"terminated": map[string]any{"finishedAt": at(finished)}}}}
	return p
}

func meta(p object) map[string]any { return p["metadata"].(map[string]any) }

// A pod's life: its claim begins when its network was ready and ends when its containers had; deletion names no address.
func TestLifeOfAPod(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.pass(time.Minute)
		p := r.running("u1", "10.0.0.1", r.start.Add(55*time.Second))
		r.api.put(podsPath, p)
		synctest.Wait()
		r.expect("assign u1 vpc-1/10.0.0.1 from 56 acc 4 app web (kube-workload)")
		if ep := r.events[len(r.events)-1].EP; ep.Kind != "pod" || ep.Name != "shop/web-5d-u1" || ep.Instance != "i-0" || ep.AZ != "use1-az4" {
			t.Errorf("%+v", ep)
		}
		r.api.put(podsPath, p) // a status update that changes nothing
		r.pass(time.Minute)
		meta(p)["deletionTimestamp"] = at(time.Now().Add(10 * time.Second))
		r.api.put(podsPath, p) // terminating: it still has its address
		synctest.Wait()
		r.expect()
		r.pass(5 * time.Second)
		gone := over(p, "Running", time.Now().Add(-2*time.Second))
		delete(gone["status"].(map[string]any), "podIP")
		delete(gone["status"].(map[string]any), "podIPs")
		r.api.remove(podsPath, gone)
		synctest.Wait()
		r.expect("release u1 vpc-1/10.0.0.1 to 123 acc 30")
	})
}

// A completed pod keeps its address in its status; it no longer has it, and its object's deletion says nothing new.
func TestCompletedPodGivesItsAddressBack(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.pass(time.Minute)
		p := r.running("job", "10.0.0.1", r.start.Add(55*time.Second))
		r.api.put(podsPath, p)
		r.pass(10 * time.Second)
		done := over(p, "Succeeded", r.start.Add(68*time.Second))
		r.api.put(podsPath, done)
		synctest.Wait()
		r.expect("assign job vpc-1/10.0.0.1 from 56 acc 4 app web (kube-workload)", "release job vpc-1/10.0.0.1 to 68 acc 30")
		next := r.running("next", "10.0.0.1", r.start.Add(80*time.Second))
		r.pass(time.Minute)
		r.api.put(podsPath, next)
		r.api.put(podsPath, done)
		r.api.remove(podsPath, done)
		synctest.Wait()
		r.expect("assign next vpc-1/10.0.0.1 from 81 acc 4 app web (kube-workload)")
	})
}

func TestHostNetworkPodsClaimNothing(t *testing.T) {
	run(t, nil, func(r *rig) {
		p := r.running("agent", "10.0.0.9", r.start)
		p["spec"].(map[string]any)["hostNetwork"] = true
		r.api.put(podsPath, p)
		r.api.remove(podsPath, p)
		synctest.Wait()
		r.expect()
	})
}

func TestForcedDeletionIsUncertain(t *testing.T) {
	run(t, nil, func(r *rig) {
		p := r.running("u1", "10.0.0.1", r.start)
		r.pass(time.Minute)
		r.api.put(podsPath, p)
		r.api.remove(podsPath, p)
		synctest.Wait()
		r.expect("assign u1 vpc-1/10.0.0.1 from 1 acc 4 app web (kube-workload)", "release u1 vpc-1/10.0.0.1 to 60 acc 40")
	})
}

func TestDualStackAndLabelsAndANewSandbox(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.pass(time.Minute)
		p := r.running("u1", "10.0.0.1", r.start.Add(30*time.Second))
		st := p["status"].(map[string]any)
		st["podIPs"] = []any{map[string]any{"ip": "10.0.0.1"}, map[string]any{"ip": "2600:1f18::1"}, map[string]any{"ip": "nonsense"}}
		r.api.put(podsPath, p)
		r.pass(10 * time.Second)
		r.expect("assign u1 vpc-1/10.0.0.1 from 31 acc 4 app web (kube-workload)", "assign u1 vpc-1/2600:1f18::1 from 31 acc 4 app web (kube-workload)")
		meta(p)["labels"].(map[string]any)["app.kubernetes.io/name"] = "shopfront"
		r.api.put(podsPath, p)
		r.pass(10 * time.Second)
		r.expect("describe u1 app shopfront from 70")
		st["podIPs"] = []any{map[string]any{"ip": "10.0.0.2"}, map[string]any{"ip": "2600:1f18::1"}}
		r.api.put(podsPath, p)
		synctest.Wait()
		r.expect("release u1 vpc-1/10.0.0.1 to 70 acc 10", "assign u1 vpc-1/10.0.0.2 from 80 acc 10 app shopfront (tag:app.kubernetes.io/name)")
	})
}

// After 410 Gone the cluster is listed anew; what went meanwhile is released at the time of the last certain knowledge.
func TestGoneListsAnew(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.pass(time.Minute)
		a, b := r.running("a", "10.0.0.1", r.start), r.running("b", "10.0.0.2", r.start)
		r.api.put(podsPath, a)
		r.api.put(podsPath, b)
		r.pass(time.Minute)
		r.take()
		lists := r.api.lists
		r.api.mu.Lock()
		r.api.objects[podsPath] = map[string]object{}
		r.api.mu.Unlock()
		// Nobody sees it go: the history up to here is compacted while the watch is down.
		r.api.order(func() { r.api.deny = http.StatusServiceUnavailable; r.api.drops++ })
		r.api.remove(podsPath, a)
		r.pass(5 * time.Second)
		before := r.progress
		r.api.order(func() { r.api.deny = 0; r.api.oldest = r.api.version + 1; r.api.version += 2 })
		r.pass(30 * time.Second)
		if r.api.lists <= lists {
			t.Errorf("%d lists, %d before", r.api.lists, lists)
		}
		lines := r.take()
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "release a vpc-1/10.0.0.1 to 120 acc ") {
			t.Errorf("%q", lines)
		}
		if r.progress <= before {
			t.Error("no progress after the new listing")
		}
		for _, s := range []string{`"reason":"expired"`, `"reason":"dropped"`} {
			if !strings.Contains(r.log.String(), s) {
				t.Errorf("%s is not in the log\n%s", s, r.log.String())
			}
		}
	})
}

// A dropped watch is taken up where it was; nothing is listed anew, nothing lost.
func TestDroppedWatchResumes(t *testing.T) {
	run(t, nil, func(r *rig) {
		lists := r.api.lists
		for i := range 5 {
			r.api.order(func() { r.api.drops++ })
			r.api.put(podsPath, r.running(fmt.Sprint("u", i), fmt.Sprint("10.0.0.", i+1), r.start))
			r.pass(2 * time.Minute)
		}
		if got := len(r.take()); got != 5 || r.api.lists != lists {
			t.Errorf("%d events, %d lists", got, r.api.lists-lists)
		}
	})
}

// Pages are of one moment; a token that expires on the way starts the listing again.
func TestPages(t *testing.T) {
	run(t, func(r *rig, _ *Cluster, _ *Dependencies) {
		r.api.pageSize = 10
		for i := range 95 {
			r.api.put(podsPath, r.running(fmt.Sprintf("u%02d", i), fmt.Sprint("10.0.0.", i+1), r.start))
		}
		r.api.expireContinue = true
	}, func(r *rig) {
		r.pass(5 * time.Second)
		owners := map[string]int{}
		for _, e := range r.events {
			if e.Op == event.Assign {
				owners[e.Owner]++
			}
		}
		if len(owners) != 95 {
			t.Errorf("%d owners", len(owners))
		}
		for owner, n := range owners {
			if n != 1 {
				t.Errorf("%s was told %d times", owner, n)
			}
		}
		if ok, _ := r.source.Loaded(); !ok || r.api.expireContinue {
			t.Error("not loaded, or no token expired")
		}
	})
}

// Progress follows the watch, not the clock: without a bookmark a quiet watch proves nothing, and a cut one tells nothing.
func TestProgress(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.pass(11 * time.Second)
		if got := time.UnixMilli(r.progress).Sub(r.start); got != 0 {
			t.Fatalf("progress %s: nothing has changed, so the watch is where the server is, less settling", got)
		}
		r.api.put(nodesPath, object{"metadata": map[string]any{"name": "other", "uid": "other"}}) // versions go on elsewhere
		r.pass(time.Minute)
		stuck := r.progress
		told := r.told
		r.pass(time.Minute)
		if r.progress != stuck || r.told <= told {
			t.Errorf("progress %d then %d without a bookmark; told %d then %d times", stuck, r.progress, told, r.told)
		}
		r.api.order(func() { r.api.marks++ })
		r.pass(10 * time.Second)
		if behind := time.Since(time.UnixMilli(r.progress)); behind > 25*time.Second {
			t.Errorf("progress is %s behind after a bookmark", behind)
		}
		r.api.order(func() { r.api.deny = http.StatusForbidden; r.api.drops++ })
		synctest.Wait()
		told = r.told
		r.pass(5 * time.Minute)
		if r.told != told {
			t.Error("progress was told without a watch")
		}
		if !strings.Contains(r.log.String(), `"reason":"denied"`) {
			t.Error(r.log.String())
		}
	})
}

// A slow listing is no progress, and readiness waits for it.
func TestSlowList(t *testing.T) {
	held := make(chan chan struct{}, 1)
	run(t, func(r *rig, _ *Cluster, _ *Dependencies) {
		r.api.slow = make(chan struct{})
		held <- r.api.slow
	}, func(r *rig) {
		slow := <-held
		r.pass(time.Minute)
		if ok, missing := r.source.Loaded(); ok || missing != "main" || r.told != 0 {
			t.Errorf("loaded %v, progress told %d times", ok, r.told)
		}
		close(slow)
		r.pass(11 * time.Second)
		if ok, _ := r.source.Loaded(); !ok || r.told == 0 {
			t.Errorf("loaded %v, progress told %d times", ok, r.told)
		}
	})
}

// A pod whose node's VPC is not known waits for its node.
func TestScopeFromNodes(t *testing.T) {
	run(t, func(_ *rig, c *Cluster, _ *Dependencies) { c.VPC, c.VPCFrom = "", "vpc" }, func(r *rig) {
		p := r.running("u1", "10.0.0.1", r.start)
		p["spec"].(map[string]any)["nodeName"] = "late"
		r.pass(time.Minute)
		r.api.put(podsPath, p)
		synctest.Wait()
		r.expect()
		r.api.put(nodesPath, object{"metadata": map[string]any{"name": "late", "uid": "n9", "annotations": map[string]any{"vpc": "vpc-9"}}})
		synctest.Wait()
		r.expect("assign u1 vpc-9/10.0.0.1 from 1 acc 4 app web (kube-workload)")
	})
}

// What an earlier run left open and is gone is released after the first listing; what is still there is not told twice.
func TestClaimsOfAnEarlierRun(t *testing.T) {
	run(t, func(r *rig, _ *Cluster, d *Dependencies) {
		d.Open = func(string) []Claim {
			old := r.start.Add(-time.Hour).UnixMilli()
			return []Claim{{"a", "vpc-1", "10.0.0.1", old, old + 60_000}, {"gone", "vpc-1", "10.0.0.2", old, old + 60_000}}
		}
		r.api.put(podsPath, r.running("a", "10.0.0.1", r.start.Add(-time.Hour)))
	}, func(r *rig) {
		r.pass(time.Second)
		lines := r.take()
		releases := 0
		for _, l := range lines {
			if strings.HasPrefix(l, "release") {
				releases++
				if l != "release gone vpc-1/10.0.0.2 to -3540 acc 3540" {
					t.Error(l)
				}
			}
			if strings.HasPrefix(l, "assign") {
				t.Error(l)
			}
		}
		if releases != 1 {
			t.Errorf("%q", lines)
		}
	})
}

// What keeps a pod running, without what a name carries of the moment at which it was made.
func TestController(t *testing.T) {
	for _, c := range []struct {
		kind, name, hash, want string
	}{
		{"ReplicaSet", "web-api-7c9", "7c9", "web-api"},
		{"ReplicaSet", "web-api-7c9", "", "web-api-7c9"},
		{"StatefulSet", "db-0x1", "", "db-0x1"},
		{"Job", "nightly-29012345", "", "nightly"},
		{"Job", "load-2026", "", "load-2026"},
		{"Node", "ip-10-0-0-1", "", ""},
		{"", "", "", ""},
	} {
		var m objectMeta
		text := fmt.Sprintf(`{"labels":{"pod-template-hash":%q},"ownerReferences":[{"kind":"Other","name":"other"},{"kind":%q,"name":%q,"controller":true}]}`, c.hash, c.kind, c.name)
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if got := m.controller(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// The rules of identity.names look at a pod's labels, its controller and its namespace as they look at tags elsewhere; the cluster's own
// labels come first.
func TestNames(t *testing.T) {
	rules, err := app.New(app.Config{
		Rules: []app.Rule{
			{Name: "product", Tags: []string{"product"}, Kinds: []string{"pod"}, Match: "^p-(.+)$"},
			{Name: "system", Tags: []string{app.KubeNamespace}, Match: "^kube-system$", App: "kubernetes"},
			{Name: "workload", Tags: []string{app.KubeWorkload}},
		},
		TeamTags: []string{"squad"}, Labels: []string{"tier"},
	})
	if err != nil {
		t.Fatal(err)
	}
	owned := []byte(`{"metadata":{"uid":"u","name":"n","ownerReferences":[{"kind":"DaemonSet","name":"agent","controller":true}]}}`)
	f := func(own []string, namespace string, labels map[string]string, want event.Workload) {
		t.Helper()
		p, err := parsePod(owned)
		if err != nil {
			t.Fatal(err)
		}
		p.Metadata.Namespace, p.Metadata.Labels = namespace, labels
		c := newCluster(Cluster{Name: "c", AppLabels: own}, Dependencies{Names: rules}, nil, "", newMetrics(nil).of("c"))
		_, got := c.describe(p, place{scope: "vpc-1"})
		want.Cluster, want.VPC = "c", "vpc-1"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", labels, diff)
		}
	}
	f(nil, "shop", nil, event.Workload{App: "agent", AppSource: "workload"})
	f(nil, "shop", map[string]string{"product": "p-cart", "squad": "blue", "tier": "web"}, event.Workload{App: "cart", AppSource: "product", Team: "blue", Labels: map[string]string{"tier": "web"}})
	f(nil, "shop", map[string]string{"product": "cart"}, event.Workload{App: "agent", AppSource: "workload"})
	f(nil, "kube-system", nil, event.Workload{App: "kubernetes", AppSource: "system"})
	f([]string{"own"}, "kube-system", map[string]string{"own": "mine", "squad": "blue"}, event.Workload{App: "mine", AppSource: "tag:own", Team: "blue"})
}

// Pods that do not change get their names by new rules, too, when the present watch has ended.
func TestRenamed(t *testing.T) {
	names, err := app.New(app.Config{Rules: []app.Rule{{Tags: []string{app.KubeWorkload}}}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, func(r *rig, _ *Cluster, d *Dependencies) {
		d.Names = names
		r.api.put(podsPath, r.running("u1", "10.0.0.1", r.start))
	}, func(r *rig) {
		r.pass(time.Minute)
		if lines := r.take(); len(lines) != 1 || !strings.Contains(lines[0], "app web (tag:aws:eks:workload)") {
			t.Errorf("%q", lines)
		}
		next, err := app.New(app.Config{Rules: []app.Rule{{Tags: []string{app.KubeNamespace}}}})
		if err != nil {
			t.Fatal(err)
		}
		names.Take(next)
		r.source.Renamed()
		r.pass(watchFor + time.Minute)
		if lines := r.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "describe u1") || !strings.Contains(lines[0], "app shop") {
			t.Errorf("%q", lines)
		}
	})
}

func TestConfig(t *testing.T) {
	err := Config{Clusters: []Cluster{{Name: "a/b"}, {Name: "x", VPC: "v", Context: "c"}, {Name: "x", VPC: "v"}}}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`clusters[0].name: "a/b"`, "clusters[0].vpc: is empty", "clusters[1].context", `clusters[2].name: "x" stands there twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

// Whatever a server writes as a page or a pod: no panic, and every event that is told is a valid one.
func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"uid":"u","name":"n"},"spec":{"nodeName":"x"},"status":{"phase":"Running","podIP":"10.0.0.1","startTime":"2026-01-01T00:00:00Z"}}]}`))
	f.Add([]byte(`{"items":null,"metadata":{"continue":"x"}}`))
	f.Add([]byte(`{"items":[{},7,{"status":{"podIPs":[{"ip":"::"}]}}]}`))
	f.Add([]byte(`{"items":[{"metadata":{"uid":"u","name":"n"},"status":{"phase":"Failed","podIP":"::1.2.3.4","conditions":[{"type":"PodReadyToStartContainers","status":"True","lastTransitionTime":"1601-01-01T00:00:00Z"}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &ledger{start: time.Now()}
		c := newCluster(Cluster{Name: "c", VPC: "vpc-1"}, Dependencies{Target: l}, nil, "", newMetrics(nil).of("c"))
		h := &podHandler{cluster: c}
		h.begin(time.Now())
		if _, err := readPage(bytes.NewReader(data), h.object); err == nil {
			h.end("7")
		}
		if n := testutil.ToFloat64(c.metrics.faults[faultRefused]); n > 0 {
			t.Errorf("%v events were refused", n)
		}
	})
}
