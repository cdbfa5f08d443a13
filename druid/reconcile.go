package druid

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Hour is what the tables hold of one hour of flow time.
type Hour struct {
	Hour time.Time `json:"hour"`
	// Raw is the number of rows in the raw table, Distinct that of their row ids, Late that of the rows in the late table.
	Raw      int64 `json:"raw"`
	Distinct int64 `json:"distinct"`
	Late     int64 `json:"late"`
	// RowsIn is the number of raw rows that the rolled-up rows say they are made of; -1 when there is no rolled-up table.
	RowsIn int64 `json:"rows_in"`
	// Bytes are the counted bytes of the raw table, MinuteBytes those of the rolled-up one.
	Bytes       int64 `json:"bytes"`
	MinuteBytes int64 `json:"minute_bytes"`
	// Sent is what was sent, if somebody has counted that.
	Sent *Sent `json:"sent,omitempty"`
}

// Sent is what was sent to Druid of one hour of flow time.
type Sent struct {
	// Raw and Late are rows; RowsIn is the number of raw rows that the rolled-up ones are made of, -1 when there are none.
	Raw    int64 `json:"raw"`
	Late   int64 `json:"late"`
	RowsIn int64 `json:"rows_in"`
}

// Faults says what does not agree; empty means that all does.
func (h Hour) Faults() []string {
	var list []string
	if h.Raw != h.Distinct {
		list = append(list, fmt.Sprintf("%d rows came twice", h.Raw-h.Distinct))
	}
	if h.RowsIn >= 0 && h.RowsIn != h.Raw {
		list = append(list, fmt.Sprintf("the rolled-up rows are made of %d rows, the raw table has %d", h.RowsIn, h.Raw))
	}
	if h.RowsIn >= 0 && h.MinuteBytes != h.Bytes {
		list = append(list, fmt.Sprintf("the rolled-up rows sum to %d counted bytes, the raw ones to %d", h.MinuteBytes, h.Bytes))
	}
	if s := h.Sent; s != nil {
		for _, x := range []struct {
			what       string
			sent, have int64
		}{{"raw rows", s.Raw, h.Raw}, {"late rows", s.Late, h.Late}, {"rows in rolled-up ones", s.RowsIn, h.RowsIn}} {
			if x.sent != x.have {
				list = append(list, fmt.Sprintf("%d %s were sent, the table has %d", x.sent, x.what, x.have))
			}
		}
	}
	return list
}

// Compare adds what was sent to hours, in order of time. An hour of which nothing was sent, or of which no table has anything, is in the result, too.
func Compare(hours []Hour, sent map[time.Time]Sent, minute bool) []Hour {
	all := map[int64]*Hour{}
	for i := range hours {
		all[hours[i].Hour.Unix()] = &hours[i]
	}
	none := int64(-1) // there is no rolled-up table
	if minute {
		none = 0
	}
	for at := range sent {
		if all[at.Unix()] == nil {
			all[at.Unix()] = &Hour{Hour: at, RowsIn: none}
		}
	}
	list := make([]Hour, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		h := *all[k]
		s := sent[h.Hour]
		if !minute {
			s.RowsIn, h.RowsIn = none, none
		}
		h.Sent = &s
		list = append(list, h)
	}
	return list
}

// Reconcile compares the tables hour by hour over [from, to).
func (c *Client) Reconcile(ctx context.Context, d Datasources, from, to time.Time) ([]Hour, error) {
	hours := map[int64]*Hour{}
	at := func(v any) *Hour {
		text, _ := v.(string)
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t = time.UnixMilli(integer(v))
		}
		h := hours[t.Unix()]
		if h == nil {
			h = &Hour{Hour: t.UTC(), RowsIn: -1}
			hours[t.Unix()] = h
		}
		return h
	}
	each := func(sql string, take func(h *Hour, values []any)) (found bool, err error) {
		r, err := c.Query(ctx, sql, At(from), At(to))
		if NoTable(err) {
			return false, nil
		}
		for _, values := range r.Rows {
			take(at(values[0]), values[1:])
		}
		return err == nil, err
	}
	const when = ` WHERE __time >= ? AND __time < ? GROUP BY 1`
	if _, err := each(`SELECT TIME_FLOOR(__time, 'PT1H'), SUM(n), COUNT(*), SUM(b) FROM (SELECT __time, row_id, COUNT(*) AS n, SUM(CASE WHEN counted = 1 THEN bytes ELSE 0 END) AS b FROM `+
		quote(d.Raw)+` WHERE __time >= ? AND __time < ? GROUP BY 1, 2) GROUP BY 1`, func(h *Hour, v []any) {
		h.Raw, h.Distinct, h.Bytes = integer(v[0]), integer(v[1]), integer(v[2])
	}); err != nil {
		return nil, err
	}
	if _, err := each(`SELECT TIME_FLOOR(__time, 'PT1H'), COUNT(*) FROM `+quote(d.Late)+when, func(h *Hour, v []any) { h.Late = integer(v[0]) }); err != nil {
		return nil, err
	}
	minute, err := each(`SELECT TIME_FLOOR(__time, 'PT1H'), SUM(rows_in), SUM(bytes) FROM `+quote(d.Minute)+when, func(h *Hour, v []any) {
		h.RowsIn, h.MinuteBytes = integer(v[0]), integer(v[1])
	})
	if err != nil {
		return nil, err
	}
	list := make([]Hour, 0, len(hours))
	for _, k := range slices.Sorted(maps.Keys(hours)) {
		if h := hours[k]; minute && h.RowsIn < 0 {
			h.RowsIn = 0
		}
		list = append(list, *hours[k])
	}
	return list, nil
}
