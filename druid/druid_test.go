package druid

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dredge/row"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden compares with a file of testdata.
func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, have, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(have)); d != "" {
		t.Errorf("%s (-want +have):\n%s", name, d)
	}
}

func rawTable() Table {
	return Table{Datasource: "flows_raw", Topic: "flows", Columns: row.DefaultConfig().Columns(row.Raw)}
}

func specJSON(t *testing.T, s any) json.RawMessage {
	t.Helper()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSupervisorSpec(t *testing.T) {
	s := NewSupervisorSpec(DefaultConfig().Supervisor, []string{"a:9092", "b:9092"}, rawTable())
	golden(t, "supervisor.json", append(specJSON(t, s), '\n'))
	golden(t, "compaction.json", append(specJSON(t, NewCompactionSpec(rawTable())), '\n'))
}

// Every column of a row is in the spec once: as time, dimension or measure.
func TestSpecHasEveryColumn(t *testing.T) {
	for _, rollup := range []bool{false, true} {
		table := rawTable()
		table.Rollup = rollup
		s := NewSupervisorSpec(DefaultConfig().Supervisor, nil, table).Spec.DataSchema
		count := map[string]int{s.TimestampSpec.Column: 1}
		for _, d := range s.DimensionsSpec.Dimensions {
			count[d.Name]++
		}
		for _, m := range s.MetricsSpec {
			count[m.Name]++
		}
		for _, c := range table.Columns {
			if count[c.Name] != 1 {
				t.Errorf("rollup %v: column %s stands %d times in the spec", rollup, c.Name, count[c.Name])
			}
		}
		if len(count) != len(table.Columns) {
			t.Errorf("rollup %v: %d names for %d columns", rollup, len(count), len(table.Columns))
		}
	}
}

func TestDiff(t *testing.T) {
	want := specJSON(t, NewSupervisorSpec(DefaultConfig().Supervisor, []string{"a:9092"}, rawTable()))
	// What Druid 33 wrote back for this spec, cut to what matters: with defaults, without ioConfig.type, PT1H as PT3600S.
	kept := func(change func(spec map[string]any)) json.RawMessage {
		var m map[string]any
		if err := json.Unmarshal(want, &m); err != nil {
			t.Fatal(err)
		}
		spec, _ := m["spec"].(map[string]any)
		ioc, _ := spec["ioConfig"].(map[string]any)
		delete(ioc, "type")
		ioc["taskDuration"] = "PT3600S"
		ioc["completionTimeout"] = "PT1800S"
		change(spec)
		return specJSON(t, m)
	}
	section := func(spec map[string]any, name string) map[string]any { m, _ := spec[name].(map[string]any); return m }
	for name, tt := range map[string]struct {
		change func(spec map[string]any)
		paths  []string
	}{
		"as kept": {change: func(map[string]any) {}},
		"rejection period": {change: func(s map[string]any) {
			section(s, "ioConfig")["taskDuration"] = "PT7200S"
		}, paths: []string{"spec.ioConfig.taskDuration"}},
		"uncommitted rows read": {change: func(s map[string]any) {
			section(section(s, "ioConfig"), "consumerProperties")["isolation.level"] = "read_uncommitted"
		}, paths: []string{"spec.ioConfig.consumerProperties.isolation.level"}},
		"a column more": {change: func(s map[string]any) {
			d := section(section(s, "dataSchema"), "dimensionsSpec")
			list, _ := d["dimensions"].([]any)
			d["dimensions"] = append(list, map[string]any{"type": "string", "name": "other"})
		}, paths: []string{"spec.dataSchema.dimensionsSpec.dimensions[N]"}},
	} {
		t.Run(name, func(t *testing.T) {
			diff, err := Diff(want, kept(tt.change))
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, d := range diff {
				p := d.Path
				if i := strings.Index(p, "["); i >= 0 {
					p = p[:i] + "[N]"
				}
				paths = append(paths, p)
			}
			if d := cmp.Diff(tt.paths, paths); d != "" {
				t.Errorf("%s", d)
			}
		})
	}
}

// server is a Druid that answers what it is told to.
func server(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	c, err := NewClient(Config{Overlord: s.URL, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// The answers are those of Druid 33.0.0.
func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		status                    int
		body, want                string
		already, transient, table bool
	}{
		"known task": {
			status: 400, body: `{"error":"druidException","errorCode":"entryAlreadyExists","persona":"USER","category":"INVALID_INPUT","errorMessage":"Task[b1] already exists","context":{}}`,
			want: "Task[b1] already exists", already: true,
		},
		"bad spec":        {status: 400, body: `{"error":"Cannot construct instance of X"}`, want: "Cannot construct instance of X"},
		"not JSON":        {status: 500, body: "<html><body><h2>HTTP ERROR 500</h2><table><tr><th>URI:</th><td>/x</td></tr></table></body></html>", want: "HTTP ERROR 500"},
		"plain":           {status: 404, body: "Cannot find any task with id: [x]", want: "Cannot find any task"},
		"queue full":      {status: 429, body: `{"errorMessage":"too many"}`, want: "too many", transient: true},
		"no leader":       {status: 503, body: "", want: "503", transient: true},
		"password":        {status: 401, body: "", want: "druid.password_file"},
		"table not there": {status: 400, body: `{"error":"druidException","errorCode":"invalidInput","errorMessage":"Object 'flows_raw' not found (line [1], column [22])"}`, want: "not found", table: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			err := c.SubmitTask(t.Context(), json.RawMessage(`{}`))
			e, ok := errors.AsType[*Error](err)
			if !ok || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if AlreadyExists(err) != tt.already || e.Transient() != tt.transient || NoTable(err) != tt.table {
				t.Errorf("already exists %v, transient %v, no table %v", AlreadyExists(err), e.Transient(), NoTable(err))
			}
		})
	}
}

func TestTaskReport(t *testing.T) {
	const body = `{"ingestionStatsAndErrors":{"taskId":"b1","payload":{"ingestionState":"COMPLETED","rowStats":{"buildSegments":
		{"processed":1000,"processedBytes":132079,"processedWithError":1,"thrownAway":2,"unparseable":3}},"segmentsPublished":1},"type":"ingestionStatsAndErrors"}}`
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/druid/indexer/v1/task/b1/reports" {
			http.Error(w, "Cannot find", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, body)
	})
	have, ok, err := c.TaskReport(t.Context(), "b1")
	want := TaskReport{State: "COMPLETED", Rows: RowStats{Processed: 1000, ProcessedWithError: 1, ThrownAway: 2, Unparseable: 3}, Segments: 1}
	if err != nil || !ok || have != want {
		t.Errorf("report %+v, %v, %v", have, ok, err)
	}
	if _, ok, err := c.TaskReport(t.Context(), "other"); ok || err != nil {
		t.Errorf("an unknown task: %v, %v", ok, err)
	}
}

func TestTaskStatuses(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"a":{"id":"a","status":"FAILED","duration":-1,"errorMsg":"why","location":{"host":"127.0.0.1","port":28584,"tlsPort":-1}},"b":null}`)
	})
	have, err := c.TaskStatuses(t.Context(), []string{"a", "b"})
	if err != nil || len(have) != 1 || have["a"].State != TaskFailed || have["a"].Error != "why" {
		t.Errorf("%+v, %v", have, err)
	}
}

func TestStatusFindsWhatTheSupervisorHides(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/status"):
			_, _ = io.WriteString(w, `{"id":"flows_raw","payload":{"state":"RUNNING","detailedState":"RUNNING","healthy":true,"stream":"flows","minimumLag":{"0":1,"1":8},
				"activeTasks":[{"id":"t","currentOffsets":{"0":5}}]}}`)
		case strings.HasSuffix(r.URL.Path, "/stats"):
			_, _ = io.WriteString(w, `{"0":{"t":{"totals":{"buildSegments":{"processed":7,"thrownAway":1,"unparseable":2}}}}}`)
		case strings.HasSuffix(r.URL.Path, "/tasks"):
			_, _ = io.WriteString(w, `[{"id":"f","statusCode":"FAILED","errorMsg":"Failed with exception [null]","createdTime":"2026-11-22T10:00:00Z"},
				{"id":"old","statusCode":"FAILED","createdTime":"2026-11-21T10:00:00Z"}]`)
		case strings.HasSuffix(r.URL.Path, "/reports"):
			http.Error(w, "none", http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, `[["EXPR$0","EXPR$1"],[12,3]]`)
		}
	})
	s, err := c.TableStatus(t.Context(), rawTable(), time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	want := TableStatus{
		Datasource: "flows_raw", State: "RUNNING", Reading: true, Lag: 7, Tasks: 1, FailedTasks: 1,
		Rows: RowStats{Processed: 7, ThrownAway: 1, Unparseable: 2}, Segments: 12, Unavailable: 3,
		Problems: []string{
			"1 tasks failed, last f: Failed with exception [null]",
			"1 rows were thrown away and 2 could not be read: they are in the topic, but not in the table",
		},
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Error(d)
	}
}

func TestReconcileFindsFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		h    Hour
		want int
	}{
		"agrees":         {Hour{Raw: 5, Distinct: 5, RowsIn: 5, Bytes: 9, MinuteBytes: 9}, 0},
		"no roll-up":     {Hour{Raw: 5, Distinct: 5, RowsIn: -1, Bytes: 9}, 0},
		"twice":          {Hour{Raw: 6, Distinct: 5, RowsIn: 6}, 1},
		"lost in one":    {Hour{Raw: 5, Distinct: 5, RowsIn: 4, Bytes: 9, MinuteBytes: 9}, 1},
		"bytes disagree": {Hour{Raw: 5, Distinct: 5, RowsIn: 5, Bytes: 9, MinuteBytes: 8}, 1},
	} {
		if have := tt.h.Faults(); len(have) != tt.want {
			t.Errorf("%s: %v", name, have)
		}
	}
}

func TestQuestions(t *testing.T) {
	questions, err := Questions()
	if err != nil || len(questions) < 8 {
		t.Fatalf("%d questions, %v", len(questions), err)
	}
	prices, err := LoadPrices("")
	if err != nil {
		t.Fatal(err)
	}
	ask := Ask{From: time.Unix(0, 0), To: time.Unix(60, 0), App: "it's", Limit: 7, Prices: prices}
	for _, q := range questions {
		sql, params, err := q.SQL(Datasources{Raw: `a"b`, Minute: "m", Late: "l"}, ask)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(sql, "{}") || strings.Contains(sql, "it's") || strings.Count(sql, "?") != len(params) || q.Doc == "" {
			t.Errorf("%s: %d parameters for\n%s", q.Name, len(params), sql)
		}
		if q.App {
			if _, _, err := q.SQL(Datasources{}, Ask{}); err == nil {
				t.Errorf("%s is answered without an application", q.Name)
			}
		}
	}
}

func TestConfigFaults(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("the default is invalid: %v", err)
	}
	c.Overlord, c.Broker, c.Username = "druid:8888", "http://user:hunter2@host", "u"
	c.Datasources.Minute = c.Datasources.Raw
	c.Supervisor = SupervisorConfig{TaskDuration: 30 * time.Second, ConsumerProperties: map[string]string{"sasl.jaas.config": "hunter2"}}
	err := c.Validate()
	for _, want := range []string{"overlord:", "broker:", "username:", "datasources:", "supervisor.task_count", "supervisor.replicas", "supervisor.task_duration", "sasl.jaas.config"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no fault names %s in %v", want, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret stands in %v", err)
	}
	for _, id := range []string{"", ".x", "a/b", strings.Repeat("x", MaxTaskID+1)} {
		if CheckTaskID(id) == nil {
			t.Errorf("task id %.20q is accepted", id)
		}
	}
	if err := CheckTaskID("flows-a1"); err != nil {
		t.Error(err)
	}
}

// What was sent is compared hour by hour, also with hours of which the tables have nothing.
func TestCompareSent(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	hours := []Hour{{Hour: noon, Raw: 5, Distinct: 5, RowsIn: 5}, {Hour: noon.Add(2 * time.Hour), Raw: 3, Distinct: 3, Late: 1, RowsIn: 3}}
	sent := map[time.Time]Sent{noon: {Raw: 5, RowsIn: 5}, noon.Add(time.Hour): {Raw: 2, RowsIn: 2}}
	var faults []string
	for _, h := range Compare(hours, sent, true) {
		for _, f := range h.Faults() {
			faults = append(faults, h.Hour.Format("15h ")+f)
		}
	}
	want := []string{
		"13h 2 raw rows were sent, the table has 0", "13h 2 rows in rolled-up ones were sent, the table has 0",
		"14h 0 raw rows were sent, the table has 3", "14h 0 late rows were sent, the table has 1", "14h 0 rows in rolled-up ones were sent, the table has 3",
	}
	if d := cmp.Diff(want, faults); d != "" {
		t.Error(d)
	}
	for _, h := range Compare([]Hour{{Hour: noon, Raw: 5, Distinct: 5, RowsIn: -1}}, map[time.Time]Sent{noon: {Raw: 5}}, false) {
		if f := h.Faults(); len(f) > 0 {
			t.Errorf("without rolled-up rows: %v", f)
		}
	}
}
