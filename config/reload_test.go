package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dredge/metadata/app"
	"dredge/metadata/networks"
)

func TestChangesNameEveryKeyThatDiffers(t *testing.T) {
	a := Default()
	b := Default()
	b.Identity.Networks = networks.Config{} // as good as none
	if got := Changes(a, b); len(got) != 0 {
		t.Errorf("nothing differs, but %q are told", got)
	}
	b.Pipeline.Hold = time.Second
	b.Sink.Kafka.Brokers = []string{"b:1"}
	b.Identity.Names.Accounts = map[string]string{"123456789012": "prod"}
	b.Identity.Networks = networks.Config{{CIDR: "10.0.0.0/8", Name: "a"}}
	want := []string{"pipeline.hold", "identity.networks", "identity.names.accounts", "sink.kafka.brokers"}
	if diff := cmp.Diff(want, Changes(a, b)); diff != "" {
		t.Error(diff)
	}
}

// rig is a Reloader over a configuration that the test sets, with parts that write down what they did.
type rig struct {
	*Reloader
	next    Config
	loadErr error
	prepErr error
	did     []string
	reg     *prometheus.Registry
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{next: Default(), reg: prometheus.NewPedanticRegistry()}
	part := func(key string) Part {
		return Part{Key: key, Prepare: func(next Config) (func(), error) {
			r.did = append(r.did, "prepare "+key)
			if key == "identity.names" && r.prepErr != nil {
				return nil, r.prepErr
			}
			return func() { r.did = append(r.did, fmt.Sprintf("commit %s %s", key, next.Pipeline.Hold)) }, nil
		}}
	}
	var err error
	r.Reloader, err = NewReloader(Default(), ReloaderDeps{
		Load: func() (Config, error) { return r.next, r.loadErr }, Parts: []Part{part("pipeline.hold"), part("identity.names")}, Registry: r.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) outcome(t *testing.T, applied, unchanged, refused, successful int) {
	t.Helper()
	want := fmt.Sprintf(`# HELP dredge_config_last_reload_successful 1 when the configuration file, as last read, is in force; 0 when it was refused.
# TYPE dredge_config_last_reload_successful gauge
dredge_config_last_reload_successful %d
# HELP dredge_config_reloads_total Times the configuration was read anew, by outcome; a refused one changed nothing.
# TYPE dredge_config_reloads_total counter
dredge_config_reloads_total{outcome="applied"} %d
dredge_config_reloads_total{outcome="refused"} %d
dredge_config_reloads_total{outcome="unchanged"} %d
`, successful, applied, refused, unchanged)
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "dredge_config_reloads_total", "dredge_config_last_reload_successful"); err != nil {
		t.Error(err)
	}
}

// Everything that changed is got ready before anything is put in force, and only that is touched.
func TestReloadPutsTheNewInForce(t *testing.T) {
	r := newRig(t)
	if changed, err := r.Reload(); err != nil || len(changed) != 0 || len(r.did) != 0 {
		t.Errorf("without a change: %q %v, did %q", changed, err, r.did)
	}
	r.next.Pipeline.Hold = 7 * time.Second
	r.next.Identity.Names.TeamTags = []string{"squad"}
	changed, err := r.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pipeline.hold", "identity.names.team_tags"}, changed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"prepare pipeline.hold", "prepare identity.names", "commit pipeline.hold 7s", "commit identity.names 7s"}, r.did); diff != "" {
		t.Error(diff)
	}
	r.did = nil
	r.next.Pipeline.Hold = 8 * time.Second
	if _, err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"prepare pipeline.hold", "commit pipeline.hold 8s"}, r.did); diff != "" {
		t.Error(diff)
	}
	if got := r.Current().Pipeline.Hold; got != 8*time.Second {
		t.Errorf("%s is in force", got)
	}
	r.outcome(t, 2, 1, 0, 1)
}

// What is refused is refused as a whole, with every reason, and the old stays in force.
func TestReloadRefusesTheWholeFile(t *testing.T) {
	r := newRig(t)
	r.next.Pipeline.Hold = 7 * time.Second
	r.next.Kinesis.StreamName = "other"
	r.next.HTTP.Listen = "127.0.0.1:1"
	_, err := r.Reload()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"kinesis.stream_name: cannot change while dredge runs; write the old value back, or restart", "http.listen: ", "pipeline.hold, identity.names"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the reason does not say %q: %v", want, err)
		}
	}
	r.next = Default()
	r.next.Pipeline.Hold = 7 * time.Second
	r.loadErr = errors.New("not YAML")
	if _, err := r.Reload(); !errors.Is(err, r.loadErr) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	if len(r.did) != 0 {
		t.Errorf("refused, but %q", r.did)
	}
	r.loadErr = nil
	r.next.Identity.Names = app.Config{Rules: []app.Rule{{Tags: []string{"x"}}}}
	r.prepErr = errors.New("will not do")
	if _, err := r.Reload(); err == nil || err.Error() != "identity.names: will not do" {
		t.Errorf("a part that refuses: %v", err)
	}
	if diff := cmp.Diff([]string{"prepare pipeline.hold", "prepare identity.names"}, r.did); diff != "" {
		t.Error(diff)
	}
	if diff := Changes(Default(), r.Current()); len(diff) != 0 {
		t.Errorf("%q changed", diff)
	}
	r.outcome(t, 0, 0, 3, 0)
	r.prepErr = nil
	if _, err := r.Reload(); err != nil {
		t.Error(err)
	}
	r.outcome(t, 1, 0, 3, 1)
}

// A file that a setting names is part of it: it is looked at every time, and a bad one is refused with everything else.
func TestReloadLooksIntoFiles(t *testing.T) {
	file, inForce := "one", "one"
	var bad error
	hold := time.Minute
	next := Default()
	r, err := NewReloader(Default(), ReloaderDeps{Load: func() (Config, error) { return next, nil }, Registry: prometheus.NewRegistry(), Parts: []Part{
		{Key: "pipeline.hold", Prepare: func(next Config) (func(), error) { return func() { hold = next.Pipeline.Hold }, nil }},
		{Key: "segmentation", Files: true, Prepare: func(Config) (func(), error) {
			if bad != nil || file == inForce {
				return nil, bad
			}
			read := file
			return func() { inForce = read }, nil
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want []string, refused string) {
		t.Helper()
		before, _ := r.Standing()
		changed, err := r.Reload()
		if diff := cmp.Diff(want, changed); diff != "" {
			t.Error(diff)
		}
		since, denied := r.Standing()
		switch {
		case refused == "" && (err != nil || denied != nil || since.Before(before)):
			t.Errorf("%v, in force since %s, refused %v", err, since, denied)
		case refused != "" && (err == nil || err.Error() != refused || denied == nil || !errors.Is(denied.Err, bad) || denied.At.Before(since)):
			t.Errorf("%v, in force since %s, refused %v", err, since, denied)
		}
	}
	expect(nil, "")
	file = "two"
	expect([]string{"segmentation"}, "")
	next.Segmentation.PollInterval, file = time.Hour, "three"
	expect([]string{"segmentation.poll_interval"}, "")
	if inForce != "three" {
		t.Errorf("%s is in force", inForce)
	}
	bad, next.Pipeline.Hold = errors.New("edges[0]: rubbish"), time.Second
	expect(nil, "segmentation: edges[0]: rubbish")
	if hold != time.Minute || inForce != "three" {
		t.Errorf("a refused reload changed something: hold %s, file %s", hold, inForce)
	}
	bad = nil
	expect([]string{"pipeline.hold"}, "")
	if hold != time.Second {
		t.Errorf("hold %s", hold)
	}
}

func TestReloadKnowsItsKeys(t *testing.T) {
	_, err := NewReloader(Default(), ReloaderDeps{Parts: []Part{{Key: "pipeline.hld"}}, Registry: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), `"pipeline.hld"`) {
		t.Errorf("a part of a setting that does not exist: %v", err)
	}
}
