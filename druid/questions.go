package druid

import (
	"context"
	"embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed questions/*.sql
var questionFiles embed.FS

// Question is a query that ships with dredge.
type Question struct {
	// Name is what it is called by: who-talks-to-whom.
	Name string
	// Doc says what it answers.
	Doc string
	// App says that it asks for one application, Priced that its answer is an estimate made with Prices.
	App    bool
	Priced bool
	sql    string
}

// Questions returns every shipped query by name.
func Questions() ([]Question, error) {
	files, err := questionFiles.ReadDir("questions")
	if err != nil {
		return nil, err
	}
	var list []Question
	for _, f := range files {
		text, err := questionFiles.ReadFile("questions/" + f.Name())
		if err != nil {
			return nil, err
		}
		doc, sql, ok := strings.Cut(string(text), "\n")
		if !ok || !strings.HasPrefix(doc, "-- ") {
			return nil, fmt.Errorf("questions/%s does not begin with a line that says what it answers", f.Name())
		}
		list = append(list, Question{Name: strings.TrimSuffix(f.Name(), ".sql"), Doc: strings.TrimPrefix(doc, "-- "), App: strings.Contains(sql, "{app}"), Priced: strings.Contains(sql, "{priced}"), sql: sql})
	}
	return list, nil
}

// Ask names what a question is asked of.
type Ask struct {
	From, To time.Time
	// App is the application; only questions with App use it.
	App string
	// Limit bounds the rows of the answer.
	Limit int
	// Prices are what questions that are Priced are answered with.
	Prices Prices
	// Late says that there is a table of late rows: questions about raw rows then ask it, too.
	Late bool
}

// SQL returns the query and its parameters.
func (q Question) SQL(d Datasources, ask Ask) (string, []Parameter, error) {
	if q.App && ask.App == "" {
		return "", nil, fmt.Errorf("%s asks for one application; name it with --app", q.Name)
	}
	raw := quote(d.Raw)
	if ask.Late {
		raw = "TABLE(APPEND(" + quoted(d.Raw) + ", " + quoted(d.Late) + "))"
	}
	sql := strings.Replace(strings.TrimSpace(q.sql), "{priced}", ask.Prices.priced("{raw}"), 1)
	sql = strings.NewReplacer("{raw}", raw, "{minute}", quote(d.Minute), "{late}", quote(d.Late), "{limit}", strconv.Itoa(ask.Limit)).Replace(sql)
	// What remains in braces becomes parameters, in the order of the text.
	values := map[string]Parameter{"{from}": At(ask.From), "{to}": At(ask.To), "{app}": Text(ask.App)}
	var params []Parameter
	var out strings.Builder
	for {
		at, name := -1, ""
		for _, n := range slices.Sorted(maps.Keys(values)) {
			if i := strings.Index(sql, n); i >= 0 && (at < 0 || i < at) {
				at, name = i, n
			}
		}
		if at < 0 {
			break
		}
		out.WriteString(sql[:at] + "?")
		params = append(params, values[name])
		sql = sql[at+len(name):]
	}
	out.WriteString(sql)
	return out.String(), params, nil
}

// Ask answers a question, of late rows too where there are any. A table that has no rows yet answers with none.
func (c *Client) Ask(ctx context.Context, d Datasources, q Question, ask Ask) (Result, error) {
	found, err := c.Query(ctx, `SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'druid' AND TABLE_NAME IN (?, ?)`, Text(d.Raw), Text(d.Late))
	if err != nil {
		return Result{}, err
	}
	ask.Late = len(found.Rows) == 2
	sql, params, err := q.SQL(d, ask)
	if err != nil {
		return Result{}, err
	}
	r, err := c.Query(ctx, sql, params...)
	if NoTable(err) {
		return Result{}, fmt.Errorf("%w; no row has reached that datasource yet (see `dredge druid status`)", err)
	}
	return r, err
}
