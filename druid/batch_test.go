package druid

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/row"
)

func minuteTable() Table {
	return Table{Datasource: "flows_1m", Columns: row.DefaultConfig().Columns(row.Minute), Rollup: true}
}

// some leaves of t's columns the time, an application and the measures.
func some(t Table) Table {
	t.Columns = slices.DeleteFunc(slices.Clone(t.Columns), func(c row.Column) bool { return c.Role == row.Dimension && c.Name != "src_app" })
	return t
}

func TestTaskSpec(t *testing.T) {
	hour := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := func(file string, b Batch) {
		t.Helper()
		s, err := NewTaskSpec(b)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, file, append(specJSON(t, s), '\n'))
	}
	f("append.json", Batch{TaskID: "dredge-1-raw-a1", ID: "dredge-1", Table: some(rawTable()), Inline: []byte("{\"time\":1}\n")})
	f("replace.json", Batch{
		TaskID: "dredge-1-1m-a1", ID: "dredge-1", Table: some(minuteTable()), From: hour, To: hour.Add(2 * time.Hour),
		Objects: []Object{{"s3", "bucket/a.json.gz"}, {"s3", "bucket/b.json.gz"}},
	})
}

func TestTaskSpecOfNothing(t *testing.T) {
	s, err := NewTaskSpec(Batch{TaskID: "a", Table: rawTable()})
	if err != nil || s.Spec.DataSchema.TransformSpec.Filter == nil || s.Spec.IOConfig.InputSource.Data == "" {
		t.Errorf("%+v, %v; want a row, since druid takes no input without bytes, and a filter for it", s, err)
	}
}

func TestTaskSpecRefuses(t *testing.T) {
	hour := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := func(want string, change func(*Batch)) {
		t.Helper()
		b := Batch{TaskID: "a", ID: "b", Table: rawTable(), Inline: []byte("{}\n")}
		change(&b)
		if _, err := NewTaskSpec(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	f("200 are safe", func(b *Batch) { b.TaskID = strings.Repeat("a", 201) })
	f("batch id", func(b *Batch) { b.ID = "a'b" })
	f("only whole hours", func(b *Batch) { b.From, b.To = hour, hour.Add(time.Minute) })
	f("only whole hours", func(b *Batch) { b.From, b.To = hour, hour })
	f("one scheme", func(b *Batch) { b.Objects = []Object{{"s3", "a"}, {"file", "/b"}} })
	f("Druid reads s3 and file", func(b *Batch) { b.Objects = []Object{{"gs", "a"}} })
}

// A batch is counted by its id; in a rolled-up table by the raw rows behind its rows. What is not there yet counts nothing.
func TestCountBatch(t *testing.T) {
	from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var sql string
	answer := ""
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Query string }
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err != nil {
			t.Error(err)
		}
		sql = in.Query
		if !strings.HasPrefix(answer, "[") {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, answer)
	})
	f := func(table Table, reply string, want int64, words string) {
		t.Helper()
		answer = reply
		n, err := c.CountBatch(t.Context(), table, "dredge-1", from, from.Add(time.Hour))
		if err != nil || n != want || !strings.Contains(sql, words) {
			t.Errorf("%d, %v by %s; want %d by %s", n, err, sql, want, words)
		}
	}
	f(rawTable(), `[["EXPR$0"],[7]]`, 7, `SELECT COUNT(*) FROM "flows_raw" WHERE "batch_id" = ?`)
	f(minuteTable(), `[["EXPR$0"],[9]]`, 9, `SELECT SUM(rows_in) FROM "flows_1m"`)
	f(minuteTable(), `[["EXPR$0"],[null]]`, 0, "SUM")
	// As Druid 33 says it.
	f(rawTable(), `{"error":"druidException","errorCode":"invalidInput","errorMessage":"Object 'flows_raw' not found (line [1], column [15])"}`, 0, "COUNT")
	f(rawTable(), `{"error":"druidException","errorCode":"invalidInput","errorMessage":"Column 'batch_id' not found in any table (line [1], column [34])"}`, 0, "COUNT")
}

func TestUnserved(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/segments") {
			_, _ = io.WriteString(w, `["a","b","c"]`)
			return
		}
		_, _ = io.WriteString(w, `[["segment_id","is_available","is_overshadowed"],["a",1,0],["b",0,0],["c",0,1]]`)
	})
	from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ids, err := c.Published(t.Context(), "flows_raw", from, from.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	have, err := c.Unserved(t.Context(), "flows_raw", ids)
	if d := cmp.Diff([]string{"b"}, have); d != "" || err != nil {
		t.Errorf("unserved segments (-want +have), %v:\n%s", err, d)
	}
}
