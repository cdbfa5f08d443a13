//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/druid"
	"dredge/test/questions"
)

// One flow of two logged interfaces, there and back, in a VPC of its own.
const (
	j10Events = `{"v":1,"src":"j10","op":"assign","from":%[1]d,"scope":"vpc-j10","ip":"10.99.0.5","primary":true,"owner":"eni:eni-j10a","wl":{"app":"j10-web","vpc":"vpc-j10"}}
{"v":1,"src":"j10","op":"assign","from":%[1]d,"scope":"vpc-j10","ip":"10.99.0.6","primary":true,"owner":"eni:eni-j10b","wl":{"app":"j10-ledger","vpc":"vpc-j10"}}
{"v":1,"src":"j10","op":"coverage","from":%[1]d,"scope":"vpc-j10","prefix":"10.99.0.0/16","logged":true}
`
	j10Lines = `interface-id vpc-id srcaddr dstaddr srcport dstport protocol packets bytes start end action flow-direction log-status
eni-j10a vpc-j10 10.99.0.5 10.99.0.6 40000 443 6 10 5000 %[1]d %[2]d ACCEPT egress OK
eni-j10b vpc-j10 10.99.0.5 10.99.0.6 40000 443 6 10 5000 %[1]d %[2]d ACCEPT ingress OK
eni-j10b vpc-j10 10.99.0.6 10.99.0.5 443 40000 6 8 70000 %[1]d %[2]d ACCEPT egress OK
eni-j10a vpc-j10 10.99.0.6 10.99.0.5 443 40000 6 8 70000 %[1]d %[2]d ACCEPT ingress OK
`
)

// TestQ1Q2Q3Q4J10InDruid: the shipped questions, as SQL in a real Druid, give line by line the answers that test/questions gives over the same rows in memory, where Q1 to Q4 compare them
// with the simulated estate's truth: roll-up, drill-down and slices by time (Q1), the dependencies of every application (Q2), bytes that cross zones and regions (Q3), rejected
// traffic (Q4), and what it costs. J10: of a flow that both of its interfaces logged, one side's rows are exactly half of the bytes, and so are the counted ones.
func TestQ1Q2Q3Q4J10InDruid(t *testing.T) {
	dir, binary := t.TempDir(), build(t)
	addresses := strings.Fields(setting(t, "DREDGE_TEST_DRUID"))
	name := prefix() + "q"
	w, err := questions.Simulate(4*time.Minute, 8)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := w.Rows()
	if err != nil {
		t.Fatal(err)
	}
	files, err := w.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	events, err := os.OpenFile(files.Identity, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(events, j10Events, w.Start.Add(-time.Hour).UnixMilli())
	if err := events.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	twice := filepath.Join(dir, "j10.log")
	if err := os.WriteFile(twice, fmt.Appendf(nil, j10Lines, w.Start.Unix()+60, w.Start.Unix()+70), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "dredge.yaml")
	yaml := `sink:
  type: kafka
  kafka: {brokers: ["` + setting(t, "DREDGE_TEST_KAFKA") + `"], topic: ` + name + `, create_topic: true, partitions: 2, replication: 1}
identity: {geo: {ip_ranges: ` + files.Ranges + `}}
druid:
  overlord: ` + addresses[0] + `
  broker: ` + addresses[1] + `
  datasources: {raw: ` + name + `, minute: ` + name + `_1m, late: ` + name + `_late}
  supervisor: {task_duration: 1m}
`
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{append([]string{"replay", "-c", config, "--identity", files.Identity, twice}, files.Logs...), {"druid", "apply", "-c", config}} {
		if out, err := dredge(t, binary, nil, args...).CombinedOutput(); err != nil {
			t.Fatalf("dredge %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	client, err := druid.NewClient(druid.Config{Overlord: addresses[0], Broker: addresses[1], Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer func() { _ = client.Terminate(context.WithoutCancel(t.Context()), name) }()
	await(t, "every row in Druid", 5*time.Minute, func() bool {
		r, err := client.Query(t.Context(), `SELECT COUNT(*) FROM "`+name+`"`)
		if err != nil && !druid.NoTable(err) {
			t.Fatal(err)
		}
		return err == nil && r.Rows[0][0] == float64(len(rows)+4)
	})

	sources := druid.Datasources{Raw: name, Minute: name + "_1m", Late: name + "_late"}
	list, err := druid.Questions()
	if err != nil {
		t.Fatal(err)
	}
	apps := map[string]bool{}
	for edge := range w.Edges() {
		apps[edge[0]], apps[edge[1]] = true, true
	}
	asked := 0
	for _, q := range list {
		of := []string{""}
		if q.App {
			of = of[:0]
			for app := range apps {
				of = append(of, app)
			}
			slices.Sort(of)
		}
		for _, app := range of {
			want, err := questions.Answer(q.Name, rows, w.Ask(app))
			if err != nil {
				break // no second answer; TestO4 asks those, too
			}
			got, err := client.Ask(t.Context(), sources, q, w.Ask(app))
			if err != nil {
				t.Fatalf("%s %s: %v", q.Name, app, err)
			}
			asked++
			ours := slices.DeleteFunc(got.Rows, func(line []any) bool {
				return slices.ContainsFunc(line, func(v any) bool { s, _ := v.(string); return strings.HasPrefix(s, "j10-") })
			})
			if diff := cmp.Diff(questions.Lines(want), questions.Lines(ours)); diff != "" {
				t.Errorf("%s %s (-in memory +Druid):\n%.3000s", q.Name, app, diff)
			}
		}
	}
	if asked < 20 {
		t.Errorf("%d questions were asked", asked)
	}

	for where, want := range map[string]float64{"1 = 1": 150_000, "counted = 1": 75_000, "observed_at = 'src'": 75_000, "observed_at = 'dst'": 75_000} {
		r, err := client.Query(t.Context(), `SELECT SUM(bytes) FROM "`+name+`" WHERE src_app LIKE 'j10-%' AND `+where)
		if err != nil {
			t.Fatal(err)
		}
		if r.Rows[0][0] != want {
			t.Errorf("J10: %s: %v bytes, want %v", where, r.Rows[0][0], want)
		}
	}
}
