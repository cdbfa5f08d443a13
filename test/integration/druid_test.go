//go:build integration

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/druid"
)

// TestO4: the supervisor specs that dredge makes are accepted by a real Druid, which reads the rows from a real Kafka, and the sums by
// addresses, ports and action, and those of the rolled-up table by minute and action, equal those of the generator's lines. The spec that Druid keeps shows no difference, every shipped
// question is answered, and reconciling finds nothing. Here it is some ten thousand lines; `DREDGE_TEST_LINES=1000000 test/integration.sh -run TestO4` sends a million.
func TestO4(t *testing.T) {
	dir := t.TempDir()
	binary := build(t)
	addresses := strings.Fields(setting(t, "DREDGE_TEST_DRUID"))
	name := prefix() + "raw"
	config := filepath.Join(dir, "dredge.yaml")
	yaml := `sink:
  type: kafka
  kafka: {brokers: ["` + setting(t, "DREDGE_TEST_KAFKA") + `"], topic: ` + name + `, minute_topic: ` + name + `_1m, late_topic: ` + name + `_late, create_topic: true, partitions: 2, replication: 1}
druid:
  overlord: ` + addresses[0] + `
  broker: ` + addresses[1] + `
  datasources: {raw: ` + name + `, minute: ` + name + `_1m, late: ` + name + `_late}
  supervisor: {task_duration: 1m}
`
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := dredge(t, binary, nil, args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("dredge %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
		}
		return string(out)
	}
	estate, patience := []string{"--for", "3m"}, 3*time.Minute
	if many := os.Getenv("DREDGE_TEST_LINES"); many != "" {
		n, err := strconv.Atoi(many)
		if err != nil {
			t.Fatalf("DREDGE_TEST_LINES: %v", err)
		}
		estate, patience = []string{"--for", "10m", "--rate", strconv.Itoa(n/600 + n/6000)}, 10*time.Minute
	}
	run(append([]string{"generate", "--out", dir}, estate...)...)
	logs, err := filepath.Glob(filepath.Join(dir, "flows-*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("generate wrote %v (%v)", logs, err)
	}
	lines, bytes, sums, minutes := generated(t, logs)
	input := append([]string{"--identity", filepath.Join(dir, "events.jsonl")}, logs...)
	run(append([]string{"replay", "-c", config}, input...)...)

	run("druid", "apply", "-c", config)
	if out := run("druid", "apply", "-c", config); strings.Count(out, "unchanged") != 3 {
		t.Errorf("the second apply says %q; an unchanged supervisor must be left alone", out)
	}
	run("druid", "diff", "-c", config)

	client, err := druid.NewClient(druid.Config{Overlord: addresses[0], Broker: addresses[1], Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, table := range []string{name, name + "_1m", name + "_late"} {
		defer func() { _ = client.Terminate(context.WithoutCancel(t.Context()), table) }()
	}
	var total druid.Result
	await(t, "every row in Druid", patience, func() bool {
		var err error
		total, err = client.Query(t.Context(), `SELECT COUNT(*), SUM(bytes), SUM(flows) FROM "`+name+`"`)
		if err != nil && !druid.NoTable(err) {
			t.Fatal(err)
		}
		return err == nil && total.Rows[0][0] == float64(lines)
	})
	t.Logf("%d lines", lines)
	if total.Rows[0][1] != float64(bytes) || total.Rows[0][2] != float64(lines) {
		t.Errorf("Druid sums %v bytes and %v flows; the generator wrote %d bytes in %d lines", total.Rows[0][1], total.Rows[0][2], bytes, lines)
	}
	have := map[string][2]int64{}
	for part := range 16 { // nearly every line is a group of its own: no answer may be too large
		byFlow, err := client.Query(t.Context(), fmt.Sprintf(`SELECT src_ip, dst_ip, src_port, dst_port, action, SUM(bytes), COUNT(*) FROM "%s"
			WHERE MOD(COALESCE(CAST(src_port AS BIGINT), 0), 16) = %d GROUP BY 1, 2, 3, 4, 5`, name, part))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range byFlow.Rows {
			sum, _ := r[5].(float64)
			n, _ := r[6].(float64)
			have[strings.Join([]string{str(r[0]), str(r[1]), str(r[2]), str(r[3]), str(r[4])}, " ")] = [2]int64{int64(sum), int64(n)}
		}
	}
	if d := cmp.Diff(sums, have); d != "" {
		t.Errorf("bytes and rows by addresses, ports and action, the generator's lines against Druid:\n%.4000s", d)
	}

	await(t, "every row in the rolled-up table", time.Minute, func() bool {
		rolled, err := client.Query(t.Context(), `SELECT SUM(rows_in) FROM "`+name+`_1m"`)
		if err != nil && !druid.NoTable(err) {
			t.Fatal(err)
		}
		return err == nil && rolled.Rows[0][0] == float64(lines)
	})
	byMinute, err := client.Query(t.Context(), `SELECT TIMESTAMP_TO_MILLIS(__time), action, SUM(bytes_observed), SUM(flows_observed) FROM "`+name+`_1m" GROUP BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	rolled := map[string][2]int64{}
	for _, r := range byMinute.Rows {
		at, _ := r[0].(float64)
		sum, _ := r[2].(float64)
		n, _ := r[3].(float64)
		rolled[fmt.Sprintf("%d %s", int64(at), str(r[1]))] = [2]int64{int64(sum), int64(n)}
	}
	if d := cmp.Diff(minutes, rolled); d != "" {
		t.Errorf("bytes and rows by minute and action, the generator's lines against Druid's rolled-up table:\n%.4000s", d)
	}

	run("druid", "status", "-c", config)
	reconciled := run("druid", "reconcile", "-c", config, "--from", "24h", "--sent", "--json")
	var hours []druid.Hour
	if err := json.Unmarshal([]byte(reconciled), &hours); err != nil {
		t.Fatal(err)
	}
	var raw, in, sent int64
	for _, h := range hours {
		raw += h.Raw
		in += h.RowsIn
		sent += h.Sent.Raw
	}
	if raw != lines || in != lines || sent != lines {
		t.Errorf("reconcile counts %d raw rows, %d in the rolled-up ones and %d that were sent, of %d", raw, in, sent, lines)
	}
	questions, err := druid.Questions()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		out := run("druid", "query", "-c", config, q.Name, "--from", "24h", "--app", "web", "--json")
		if empty := strings.TrimSpace(out) == ""; empty != (q.Name == "doubles" || q.Name == "unexpected-edges") && !q.App {
			t.Errorf("%s answers %.100q", q.Name, out)
		}
	}
	// The dashboard Traffic has data in every panel.
	for _, p := range panels(t) {
		if p.source != "druid" {
			continue
		}
		sql := strings.NewReplacer(`"flows_1m"`, `"`+name+`_1m"`, "${__from}", "0", "${__to}", "4102444800000", "$app", "").Replace(p.sql)
		if answer, err := client.Query(t.Context(), sql); err != nil || len(answer.Rows) == 0 {
			t.Errorf("panel %q of %s has no data: %v", p.title, p.file, err)
		}
	}
	// A suspended supervisor publishes; the rows stay.
	if err := client.Suspend(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	await(t, "a published segment", 2*time.Minute, func() bool {
		s, err := client.TableStatus(t.Context(), druid.Table{Datasource: name}, time.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return s.Segments > 0 && s.Unavailable == 0 && s.Tasks == 0
	})
	again, err := client.Query(t.Context(), `SELECT COUNT(*) FROM "`+name+`"`)
	if err != nil || again.Rows[0][0] != float64(lines) {
		t.Errorf("after publishing Druid counts %v of %d rows (%v)", again.Rows, lines, err)
	}
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// generated counts the lines with traffic in flow logs with a header, sums their bytes, and both by addresses, ports and action, and
// by minute and action.
func generated(t *testing.T, logs []string) (lines, bytes int64, sums, minutes map[string][2]int64) {
	t.Helper()
	sums, minutes = map[string][2]int64{}, map[string][2]int64{}
	for _, path := range logs {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		scan := bufio.NewScanner(f)
		scan.Scan()
		header := strings.Fields(scan.Text())
		for scan.Scan() {
			fields := strings.Fields(scan.Text())
			get := func(names ...string) string {
				for _, n := range names {
					if i := slices.Index(header, n); i >= 0 && fields[i] != "-" {
						return fields[i]
					}
				}
				return ""
			}
			if get("log-status") != "OK" {
				continue
			}
			n, err := strconv.ParseInt(get("bytes"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			lines++
			bytes += n
			k := strings.Join([]string{get("pkt-srcaddr", "srcaddr"), get("pkt-dstaddr", "dstaddr"), get("srcport"), get("dstport"), get("action")}, " ")
			sum := sums[k]
			sums[k] = [2]int64{sum[0] + n, sum[1] + 1}
			start, err := strconv.ParseInt(get("start"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			k = fmt.Sprintf("%d %s", (start-start%60)*1000, get("action"))
			sum = minutes[k]
			minutes[k] = [2]int64{sum[0] + n, sum[1] + 1}
		}
		if err := scan.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return lines, bytes, sums, minutes
}
