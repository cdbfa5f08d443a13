package druidtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// query answers the few queries of package druid that batches need.
func (c *Cluster) query(w http.ResponseWriter, body []byte) {
	var in struct {
		Query      string
		Parameters []struct{ Value any }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rows := [][]any{{"EXPR$0"}}
	switch {
	case in.Query == "SELECT 1":
		rows = append(rows, []any{1})
	case strings.Contains(in.Query, "sys.segments"):
		for _, s := range c.tables[fmt.Sprint(in.Parameters[0].Value)] {
			if s.gone {
				rows = append(rows, []any{s.id, 0, 1})
			} else if !time.Now().Before(s.served) {
				rows = append(rows, []any{s.id, 1, 0})
			}
		}
	case strings.HasPrefix(in.Query, "SELECT COUNT(*) FROM ") || strings.HasPrefix(in.Query, "SELECT SUM(rows_in) FROM "):
		_, rest, _ := strings.Cut(in.Query, `FROM "`)
		name, _, _ := strings.Cut(rest, `"`)
		batch := ""
		if strings.Contains(in.Query, "batch_id") {
			batch = fmt.Sprint(in.Parameters[0].Value)
		}
		n, known := c.count(name, batch, strings.Contains(in.Query, "rows_in"))
		if !known {
			w.WriteHeader(http.StatusBadRequest)
			answer(w, map[string]string{"error": "druidException", "errorCode": "invalidInput", "errorMessage": "Object '" + name + "' not found (line [1], column [15])"})
			return
		}
		rows = append(rows, []any{n})
	default:
		http.Error(w, "druidtest does not know this query", http.StatusBadRequest)
		return
	}
	answer(w, rows)
}

// count counts the rows of a batch, or all of them, that can be queried.
func (c *Cluster) count(datasource, batch string, rowsIn bool) (n int64, known bool) {
	for _, s := range c.tables[datasource] {
		if s.gone || time.Now().Before(s.served) {
			continue
		}
		known = true
		for _, r := range s.rows {
			if batch != "" && r.Batch != batch {
				continue
			}
			var in struct {
				RowsIn int64 `json:"rows_in"`
			}
			if n++; rowsIn && json.Unmarshal([]byte(r.Line), &in) == nil {
				n += in.RowsIn - 1
			}
		}
	}
	return n, known
}
