package druid

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Published returns the ids of the segments that the metadata store has of a datasource and an interval, replaced ones too. It knows a
// segment from the moment of its publication, which sys.segments does not.
func (c *Client) Published(ctx context.Context, datasource string, from, to time.Time) ([]string, error) {
	var ids []string
	err := c.do(ctx, c.overlord, http.MethodPost, "/druid/coordinator/v1/metadata/datasources/"+url.PathEscape(datasource)+"/segments",
		[]string{interval(from, to)}, &ids)
	if unknown(err) {
		return nil, fmt.Errorf("%w; the coordinator answers this: write the router's address into druid.overlord, or that of a coordinator that is the overlord too", err)
	}
	return ids, err
}

// Unserved returns those of the segments ids that no query sees yet although it should: they are published, but the broker does not know
// of them, or no historical serves them.
func (c *Client) Unserved(ctx context.Context, datasource string, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	r, err := c.Query(ctx, `SELECT segment_id, is_available, is_overshadowed FROM sys.segments WHERE datasource = ?`, Text(datasource))
	if err != nil {
		return nil, err
	}
	served := make(map[string]bool, len(r.Rows))
	for _, values := range r.Rows {
		if id, ok := values[0].(string); ok && (integer(values[1]) == 1 || integer(values[2]) == 1) {
			served[id] = true
		}
	}
	var list []string
	for _, id := range ids {
		if !served[id] {
			list = append(list, id)
		}
	}
	return list, nil
}

// CountBatch returns how many rows of a batch a query of [from, to) sees. A rolled-up row counts for the raw rows that it is made of.
func (c *Client) CountBatch(ctx context.Context, t Table, batch string, from, to time.Time) (int64, error) {
	count := "COUNT(*)"
	if t.Rollup {
		count = "SUM(rows_in)"
	}
	r, err := c.Query(ctx, "SELECT "+count+" FROM "+quote(t.Datasource)+" WHERE "+quote(BatchColumn)+" = ? AND __time >= ? AND __time < ?",
		Text(batch), At(from), At(to))
	if NoTable(err) || noColumn(err) {
		return 0, nil
	}
	if err != nil || len(r.Rows) == 0 {
		return 0, err
	}
	return integer(r.Rows[0][0]), nil
}

// CountRows returns how many rows a query of [from, to) sees.
func (c *Client) CountRows(ctx context.Context, datasource string, from, to time.Time) (int64, error) {
	r, err := c.Query(ctx, "SELECT COUNT(*) FROM "+quote(datasource)+" WHERE __time >= ? AND __time < ?", At(from), At(to))
	if NoTable(err) {
		return 0, nil
	}
	if err != nil || len(r.Rows) == 0 {
		return 0, err
	}
	return integer(r.Rows[0][0]), nil
}
