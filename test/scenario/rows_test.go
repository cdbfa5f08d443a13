package scenario

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"dredge/internal/awsfake"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink/file"
)

// The rows that a simulated estate gives, as they stand in the file of the file sink.
//
// O1: account, region, zone, VPC, subnet, application, cluster and type of both ends, protocol and action stand in the rows (zone
// and subnet once the column set endpoint is on). O2: the sums of bytes, packets and flows over any dimension are those of the input;
// for the dimensions that lines themselves have, value by value. O8: every row validates against the JSON schema.
func TestO1O2O8EmittedRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	want := map[string]map[string]sums{}
	var all sums
	rows := row.Config{ColumnSets: []row.Set{row.Lineage, row.Evidence, row.Endpoint}, Time: row.AtStart}
	columns := rows.Columns(row.Raw)
	inBubble(t, 2, awsfake.Config{}, func(r *rig) {
		encoder, err := encode.NewJSON(columns)
		if err != nil {
			t.Fatal(err)
		}
		cfg := file.DefaultConfig()
		cfg.Path = path
		out, err := file.New(cfg, file.Deps{Encoder: encoder, Registry: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		r.sink, r.sets = out, rows.ColumnSets
		l := r.newLoad(3)
		w := r.start("dredge-a")
		l.play(100 * time.Second)
		r.await("all is delivered", time.Minute, func() bool { return w.pipeline.Books().Snapshot().Delivered == int64(len(l.flows)) })
		w.stop()
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		for _, f := range l.flows {
			all.add(f.Bytes, f.Packets, 1)
			action := "ACCEPT"
			if f.Reject {
				action = "REJECT"
			}
			for name, value := range map[string]string{
				"src_ip": f.Src.String(), "dst_ip": f.Dst.String(), "eni": f.Interface, "action": action,
				"src_port": strconv.Itoa(int(f.SrcPort)), "dst_port": strconv.Itoa(int(f.DstPort)),
			} {
				add(want, name, value, f.Bytes, f.Packets, 1)
			}
		}
	})

	written := readRows(t, path, columns)
	got := map[string]map[string]sums{}
	for _, m := range written {
		for _, c := range columns {
			if c.Role == row.Dimension && c.Type != row.StringArray {
				add(got, c.Name, fmt.Sprint(m[c.Name]), number(t, m, "bytes"), number(t, m, "packets"), number(t, m, "flows"))
			}
		}
	}
	for name, groups := range got {
		var total sums
		for _, g := range groups {
			total.add(g.Bytes, g.Packets, g.Flows)
		}
		if total != all {
			t.Errorf("by %s the rows add up to %+v, the input to %+v", name, total, all)
		}
	}
	for name := range want {
		if diff := cmp.Diff(want[name], got[name]); diff != "" {
			t.Errorf("by %s (-input +rows):\n%s", name, diff)
		}
	}

	for _, name := range []string{"account", "region", "az", "vpc", "subnet", "app", "cluster", "kind"} {
		for _, side := range []string{"src_", "dst_"} {
			if values := len(got[side+name]); values < 2 {
				t.Errorf("%s has %d values in %d rows: %v", side+name, values, len(written), slices.Collect(maps.Keys(got[side+name])))
			}
		}
	}
	for _, name := range []string{"protocol", "action"} {
		if len(got[name]) < 2 || got[name]["<nil>"] != (sums{}) {
			t.Errorf("%s has the values %v", name, slices.Collect(maps.Keys(got[name])))
		}
	}
}

type sums struct{ Bytes, Packets, Flows int64 }

func (s *sums) add(b, packets, flows int64) {
	s.Bytes += b
	s.Packets += packets
	s.Flows += flows
}

func add(to map[string]map[string]sums, name, value string, b, packets, flows int64) {
	if to[name] == nil {
		to[name] = map[string]sums{}
	}
	s := to[name][value]
	s.add(b, packets, flows)
	to[name][value] = s
}

func number(t *testing.T, m map[string]any, name string) int64 {
	t.Helper()
	n, err := m[name].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// readRows reads JSON Lines and holds every line to the published schema.
func readRows(t *testing.T, path string, columns []row.Column) []map[string]any {
	t.Helper()
	text, err := json.Marshal(row.JSONSchema("flows_raw", columns))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("row.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("row.json")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []map[string]any
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(lines.Bytes()))
		if err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		if err := schema.Validate(v); err != nil {
			t.Fatalf("row %s: %v", lines.Text(), err)
		}
		rows = append(rows, v.(map[string]any))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}
