package questions

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"dredge/druid"
)

// Answer answers a shipped question over rows in memory: the values of the columns that the SQL has, in no order, without its limit. Absent values are nil, numbers
// float64, times RFC 3339, as Druid's JSON has them.
func Answer(name string, rows []Row, ask druid.Ask) ([][]any, error) {
	counted := func(r Row) bool { return r["counted"] == true }
	accepted := func(r Row) bool { return r["action"] == "ACCEPT" }
	through := func(r Row) bool { return counted(r) && accepted(r) }
	values := func(names ...string) func(Row) []any {
		return func(r Row) []any {
			key := make([]any, len(names))
			for i, n := range names {
				key[i] = r[n]
			}
			return key
		}
	}
	sum := func(name string) measure {
		return func(r Row) float64 { n, _ := r[name].(float64); return n }
	}
	rows = between(rows, ask.From, ask.To)
	switch name {
	case "who-talks-to-whom":
		return group(rows, through, values("src_app", "dst_app"), sum("bytes"), sum("packets"), sum("flows")), nil
	case "over-time":
		return group(rows, through, func(r Row) []any {
			at := time.UnixMilli(int64(sum("time")(r))).UTC().Truncate(time.Hour)
			return []any{at.Format("2006-01-02T15:04:05.000Z"), r["src_app"], r["dst_app"]}
		}, sum("bytes")), nil
	case "paths":
		crossing := func(r Row) bool { return through(r) && (r["path"] == "cross-az" || r["path"] == "cross-region") }
		return group(rows, crossing, values("path", "src_app", "dst_app", "src_region", "dst_region"), sum("bytes")), nil
	case "rejected":
		return group(rows, func(r Row) bool { return counted(r) && r["action"] == "REJECT" }, values("src_app", "dst_app", "dst_port"), sum("flows"), sum("packets"), sum("bytes")), nil
	case "dependencies":
		of := func(r Row) bool { return through(r) && (r["src_app"] == ask.App || r["dst_app"] == ask.App) }
		return group(rows, of, func(r Row) []any {
			if r["src_app"] == ask.App {
				return []any{"to", r["dst_app"]}
			}
			return []any{"from", r["src_app"]}
		}, sum("bytes"), sum("flows")), nil
	case "cost", "cost-by-app", "cost-cross-az", "cost-of-app":
		return costs(name, rows, ask), nil
	default:
		return nil, fmt.Errorf("question %q has no second answer", name)
	}
}

type measure func(Row) float64

// group sums measures over the rows that where takes, by key.
func group(rows []Row, where func(Row) bool, key func(Row) []any, measures ...measure) [][]any {
	var order []string
	groups := map[string][]any{}
	for _, r := range rows {
		if !where(r) {
			continue
		}
		k := key(r)
		text := fmt.Sprint(k...) + fmt.Sprintf("%q", k)
		g, ok := groups[text]
		if !ok {
			g = k
			for range measures {
				g = append(g, 0.0)
			}
			order = append(order, text)
		}
		for i, m := range measures {
			g[len(k)+i] = g[len(k)+i].(float64) + m(r)
		}
		groups[text] = g
	}
	list := make([][]any, 0, len(order))
	for _, text := range order {
		list = append(list, groups[text])
	}
	return list
}

func between(rows []Row, from, to time.Time) []Row {
	return slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
		at, _ := r["time"].(float64)
		return int64(at) < from.UnixMilli() || int64(at) >= to.UnixMilli()
	})
}

// costs answers the questions about money.
func costs(name string, rows []Row, ask druid.Ask) [][]any {
	charge := func(r Row) string { c, _ := cost(ask.Prices, r); return c }
	where, columns := func(r Row) bool { return charge(r) != "" }, []string{"src_app", "dst_app", "", "bytes"}
	switch name {
	case "cost":
		columns = []string{"", "src_region", "dst_region"}
	case "cost-by-app":
		columns = []string{"src_app", "dst_app", ""}
	case "cost-cross-az":
		where, columns = func(r Row) bool { return charge(r) == "cross-az" }, []string{"src_app", "dst_app", "src_region"}
	default:
		where, columns = func(r Row) bool { return charge(r) != "" && r["src_app"] == ask.App }, []string{"dst_app", ""}
	}
	return group(rows, where, func(r Row) []any {
		var key []any
		for _, c := range columns {
			if c == "" {
				key = append(key, charge(r))
			} else {
				key = append(key, r[c])
			}
		}
		return key
	}, func(r Row) float64 { n, _ := r["bytes"].(float64); return n }, func(r Row) float64 { _, c := cost(ask.Prices, r); return c })
}

// cost is what a row costs and under which charge, "" for none.
func cost(p druid.Prices, r Row) (charge string, cost float64) {
	text := func(name string) string { s, _ := r[name].(string); return s }
	bytes, _ := r["bytes"].(float64)
	gb := bytes / float64(p.BytesPerGB)
	switch {
	case r["action"] != "ACCEPT":
		return "", 0
	case text("via_kind") == "nat_gateway" || text("via_kind") == "regional_nat_gateway":
		if text("src_reason") == "no-workload" || text("dst_reason") == "no-workload" {
			return "", 0 // the leg on which the gateway is an end itself
		}
		from := text("src_region")
		if from == "" {
			from = text("dst_region")
		}
		return "nat", gb * p.NAT.Of(from, "")
	case r["counted"] != true:
		return "", 0
	case r["path"] == "cross-az":
		return "cross-az", 2 * gb * p.CrossAZ.Of(text("src_region"), "")
	case r["path"] == "cross-region":
		return "cross-region", gb * p.CrossRegion.Of(text("src_region"), text("dst_region"))
	case r["path"] == "internet" && r["dst_app"] == "internet":
		return "internet", gb * p.Internet.Of(text("src_region"), "")
	default:
		return "", 0
	}
}

// Lines writes an answer as sorted lines, with money to a millionth, so that two answers can be compared.
func Lines(answer [][]any) []string {
	list := make([]string, 0, len(answer))
	for _, values := range answer {
		line := make([]string, len(values))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
				line[i] = "-"
			case float64:
				line[i] = fmt.Sprintf("%.6f", v)
				if v == math.Trunc(v) {
					line[i] = fmt.Sprintf("%.0f", v)
				}
			default:
				line[i] = fmt.Sprint(v)
			}
		}
		list = append(list, strings.Join(line, "|"))
	}
	slices.Sort(list)
	return list
}
