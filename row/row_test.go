package row_test

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"dredge/row"
)

var update = flag.Bool("update", false, "write docs/reference/rows.*")

func names(columns []row.Column) []string {
	var list []string
	for _, c := range columns {
		list = append(list, c.Name)
	}
	return list
}

func TestCatalogueIsSound(t *testing.T) {
	sets := map[row.Set]bool{}
	for _, s := range row.Sets() {
		sets[s.Name] = true
	}
	seen := map[string]bool{}
	for _, c := range row.Catalogue() {
		if seen[c.Name] {
			t.Errorf("column %s stands twice", c.Name)
		}
		seen[c.Name] = true
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(c.Name) {
			t.Errorf("column %q: a Druid column needs no quotes when it is lower case with underscores", c.Name)
		}
		if !sets[c.Set] {
			t.Errorf("column %s: no set %q", c.Name, c.Set)
		}
		if c.Doc == "" || !strings.HasSuffix(c.Doc, ".") || strings.Contains(c.Doc, "{") {
			t.Errorf("column %s: doc %q", c.Name, c.Doc)
		}
		accessors := 0
		for _, set := range []bool{
			c.Number != nil, c.Text != nil, c.Append != nil, c.Addr != nil, c.Digits != nil, c.Code != nil, c.List != nil, c.OfIdentity != nil,
		} {
			if set {
				accessors++
			}
		}
		ofRow := c.Grains&row.Raw != 0 || c.Role == row.Dimension
		if accessors > 1 || (accessors == 1) != ofRow {
			t.Errorf("column %s has %d accessors", c.Name, accessors)
		}
		if (c.OfSums != nil) != (c.Grains&row.Minute != 0 && c.Role == row.Metric) {
			t.Errorf("column %s: measures of rolled-up rows, and only they, come from the sums", c.Name)
		}
		if (c.OfIdentity != nil) != (c.End != row.EndUnknown) {
			t.Errorf("column %s: identity columns, and only they, belong to an end", c.Name)
		}
		if c.Role == row.Metric && c.Type != row.Long {
			t.Errorf("column %s: Druid sums integers only", c.Name)
		}
		// An empty row must be written too: what is not optional has a value.
		if _, ok := c.Value(&row.Batch{}, &row.Row{}); ofRow && !ok && !c.Optional && c.Addr == nil {
			t.Errorf("column %s is always there, but an empty row has no value", c.Name)
		}
	}
}

func TestSidesAreSymmetric(t *testing.T) {
	var src, dst []string
	for _, c := range row.Catalogue() {
		if rest, ok := strings.CutPrefix(c.Name, "src_"); ok {
			src = append(src, rest)
		} else if rest, ok := strings.CutPrefix(c.Name, "dst_"); ok {
			dst = append(dst, rest)
		}
	}
	if diff := cmp.Diff(src, dst); diff != "" || len(src) == 0 {
		t.Errorf("(-src +dst):\n%s", diff)
	}
}

// TestO1Dimensions: account, region, zone, VPC, subnet, application, cluster and type of both ends, protocol and action are
// dimensions of raw rows; zone and subnet stand in the set endpoint, which a setting turns on.
func TestO1Dimensions(t *testing.T) {
	var dims []string
	for _, d := range row.DruidDimensions(row.Config{Time: row.AtStart, ColumnSets: []row.Set{row.Endpoint}}.Columns(row.Raw)) {
		dims = append(dims, d.Name)
	}
	for _, side := range []string{"src_", "dst_"} {
		for _, name := range []string{"account", "region", "az", "vpc", "subnet", "app", "cluster", "kind"} {
			if !slices.Contains(dims, side+name) {
				t.Errorf("no dimension %s", side+name)
			}
		}
	}
	for _, name := range []string{"protocol", "action"} {
		if !slices.Contains(dims, name) {
			t.Errorf("no dimension %s", name)
		}
	}
	want := []row.DruidMetric{{Type: "longSum", Name: "flows", FieldName: "flows"}, {Type: "longSum", Name: "bytes", FieldName: "bytes"}, {Type: "longSum", Name: "packets", FieldName: "packets"}}
	if diff := cmp.Diff(want, row.DruidMetrics(row.DefaultConfig().Columns(row.Raw))); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	for _, name := range dims {
		if name == "time" || name == "bytes" {
			t.Errorf("%s is no dimension", name)
		}
	}
}

func TestColumnSets(t *testing.T) {
	core := names(row.DefaultConfig().Columns(row.Raw))
	for _, name := range []string{"row_id", "flow_start", "flow_end", "src_app"} {
		if !slices.Contains(core, name) {
			t.Errorf("core has no %s: %v", name, core)
		}
	}
	lineage := names(row.Config{ColumnSets: []row.Set{row.Lineage}, Time: row.AtStart}.Columns(row.Raw))
	if slices.Contains(core, "position") || !slices.Contains(lineage, "position") || !slices.Contains(lineage, "partition") {
		t.Errorf("core: %v, lineage: %v", core, lineage)
	}
	end := row.Config{Time: row.AtEnd}.Columns(row.Raw)
	if v, _ := end[0].Value(&row.Batch{}, &row.Row{Start: 1, End: 2}); v != int64(2) {
		t.Errorf("time is %v, want the end", v)
	}
}

func TestConfigTellsAllFaults(t *testing.T) {
	if err := row.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := row.Config{ColumnSets: []row.Set{"linage"}, Time: "middle"}.Validate()
	if err == nil || !strings.Contains(err.Error(), `"linage"`) || !strings.Contains(err.Error(), `"middle"`) {
		t.Errorf("got %v", err)
	}
}

func TestEscapeApp(t *testing.T) {
	for name, want := range map[string]string{
		"playback": "playback", "": "unknown", "unknown": "=unknown", "ambiguous": "=ambiguous", "internet": "=internet", "aws:S3": "=aws:S3",
		"=x": "==x", "=internet": "==internet", "Internet": "Internet", "awsome": "awsome",
	} {
		if got := row.EscapeApp(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.OneOf(rapid.StringN(1, -1, -1), rapid.SampledFrom([]string{"unknown", "internet", "aws:S3", "=aws:S3", "="})).Draw(rt, "name")
		back, ok := row.UnescapeApp(row.EscapeApp(name))
		if !ok || back != name {
			t.Errorf("%q came back as %q, %v", name, back, ok)
		}
	})
	for _, token := range []string{"unknown", "ambiguous", "internet", "aws:EC2"} {
		if _, ok := row.UnescapeApp(token); ok {
			t.Errorf("token %s was taken for a name", token)
		}
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	schema, err := json.MarshalIndent(row.JSONSchema("flows_raw", row.Of(row.Raw)), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	minute, err := json.MarshalIndent(row.JSONSchema("flows_1m", row.AllMinuteColumns()), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for page, want := range map[string]string{
		"../docs/reference/rows_1m.schema.json": string(minute) + "\n",
		"../docs/reference/rows.md":             row.Reference(),
		"../docs/reference/rows.schema.json":    string(schema) + "\n",
	} {
		if *update {
			if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is stale; run go test ./row -run TestReferenceIsCurrent -update\n%s", page, diff)
		}
	}
}

func TestBatchReset(t *testing.T) {
	b := &row.Batch{Partition: "p", Origins: []row.Origin{{Position: "1"}}}
	r := b.Add()
	r.Bytes = 5
	r.Src.Candidates = b.AddCandidate(r.Src.Candidates, "a")
	r.Src.Candidates = b.AddCandidate(r.Src.Candidates, "b")
	r.Dst.Candidates = b.AddCandidate(r.Dst.Candidates, "c")
	if diff := cmp.Diff([][]string{{"a", "b"}, {"c"}}, [][]string{r.Src.Candidates, r.Dst.Candidates}); diff != "" {
		t.Error(diff)
	}
	b.Reset()
	if again := b.Add(); again.Bytes != 0 || again.Src.Candidates != nil || b.Partition != "" || len(b.Origins) != 0 {
		t.Errorf("after Reset: %+v", b)
	}
}

func TestServicePort(t *testing.T) {
	r := row.Row{Src: row.Side{Port: 50000}, Dst: row.Side{Port: 443}}
	if _, ok := r.ServicePort(); ok {
		t.Error("a service port without a client")
	}
	r.Client = row.EndSrc
	if p, ok := r.ServicePort(); !ok || p != 443 {
		t.Errorf("got %d, %v", p, ok)
	}
	r.Client = row.EndDst
	if p, ok := r.ServicePort(); !ok || p != 50000 {
		t.Errorf("got %d, %v", p, ok)
	}
}
