//go:build integration

package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/druid"
)

// TestDoingItAgain sends files to a real Druid as tasks, in both grains, and then replaces the hours by the same files: row ids and sums are what
// they were. Without --replace or --append the second run is refused.
func TestDoingItAgain(t *testing.T) {
	dir, binary := t.TempDir(), build(t)
	addresses := strings.Fields(setting(t, "DREDGE_TEST_DRUID"))
	name := prefix() + "again"
	config := filepath.Join(dir, "dredge.yaml")
	yaml := `druid:
  overlord: ` + addresses[0] + `
  broker: ` + addresses[1] + `
  datasources: {raw: ` + name + `, minute: ` + name + `_1m, late: ` + name + `_late}
sink: {type: druid, druid: {objects: "file://` + filepath.Join(dir, "objects") + `", minute: true, poll_interval: 500ms, batch_interval: 2s}}
`
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		t.Helper()
		out, err := dredge(t, binary, nil, args...).CombinedOutput()
		return string(out), err
	}
	hour := time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour)
	if out, err := run("generate", "--out", dir, "--for", "3m", "--start", hour.Add(10*time.Minute).Format(time.RFC3339)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "flows-*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("generate wrote %v (%v)", logs, err)
	}
	lines, _, _, _ := generated(t, logs)
	replay := append([]string{"replay", "-c", config, "--identity", filepath.Join(dir, "events.jsonl")}, logs...)
	if out, err := run(replay...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	reconciled := func() (hours []druid.Hour) {
		t.Helper()
		await(t, "every row in both tables", 2*time.Minute, func() bool {
			out, err := dredge(t, binary, nil, "druid", "reconcile", "-c", config, "--from", "24h", "--json").Output()
			hours = nil
			return err == nil && json.Unmarshal(out, &hours) == nil && len(hours) == 1 && hours[0].Raw == lines && hours[0].RowsIn == lines
		})
		return hours
	}
	before := reconciled()
	if out, err := run(replay...); err == nil || !strings.Contains(out, "--append") {
		t.Errorf("adding the same rows again: %v\n%s", err, out)
	}
	hours := hour.Format(time.RFC3339) + ".." + hour.Add(time.Hour).Format(time.RFC3339)
	if out, err := run(append(replay, "--replace", hours)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if d := cmp.Diff(before, reconciled()); d != "" {
		t.Errorf("the hour done again (-before +after):\n%s", d)
	}
}
