package druid

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Result is a table of values; numbers are float64, absent values nil.
type Result struct {
	Columns []string
	Rows    [][]any
}

// Parameter is a value for a ? of a query.
type Parameter struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

// At is a Parameter of a point in time. It is a number: in a query without GROUP BY, Druid 33 fails on a text with a ClassCastException.
func At(t time.Time) Parameter { return Parameter{"TIMESTAMP", t.UnixMilli()} }

// Text is a Parameter of a text.
func Text(s string) Parameter { return Parameter{"VARCHAR", s} }

// Query runs SQL. Counts are exact: approximate distinct counting is off.
func (c *Client) Query(ctx context.Context, sql string, params ...Parameter) (Result, error) {
	request := map[string]any{
		"query": sql, "resultFormat": "array", "header": true,
		"context": map[string]any{"useApproximateCountDistinct": false, "sqlTimeZone": "UTC"},
	}
	if len(params) > 0 {
		request["parameters"] = params
	}
	var rows [][]any
	if err := c.do(ctx, c.broker, http.MethodPost, "/druid/v2/sql", request, &rows); err != nil {
		return Result{}, err
	}
	if len(rows) == 0 {
		return Result{}, errors.New("druid's answer to a query has no header")
	}
	r := Result{Rows: rows[1:]}
	for _, name := range rows[0] {
		text, _ := name.(string)
		r.Columns = append(r.Columns, text)
	}
	return r, nil
}

// NoTable says that err is Druid's answer to a query of a datasource that has no rows yet: it is an error there, not an empty table.
func NoTable(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusBadRequest && strings.Contains(e.Message, "Object '") && strings.Contains(e.Message, "not found")
}

// quoted makes a literal of s.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quote makes an identifier of name.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// noColumn says that err is Druid's answer to a query of a column that no segment has.
func noColumn(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusBadRequest && strings.Contains(e.Message, "Column '") && strings.Contains(e.Message, "not found")
}
