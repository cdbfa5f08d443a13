package questions

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dredge/druid"
	"dredge/internal/flowgen"
	"dredge/row"
)

// Truth answers a shipped question from the simulation. Rows are asked for one thing only: which ends they leave without a name. Those are `unknown` in the truth, too, with the
// place and way that their row gives them, since that is all that a right answer can say of them. Ends without an application, as nodes and gateways are, are unknown anyway.
func (w *World) Truth(name, app string, rows []Row) ([][]any, error) {
	var truth []Row
	i := -1
	w.Each(func(e *flowgen.Expected) {
		i++
		given := rows[i]
		if !e.Counted {
			return
		}
		r := Row{
			"time": float64(e.Start), "src_app": w.name(e.SrcApp), "dst_app": w.name(e.DstApp), "dst_port": strconv.Itoa(int(e.DstPort)),
			"bytes": float64(e.Bytes), "packets": float64(e.Packets), "flows": 1.0, "counted": true, "action": "ACCEPT",
		}
		if e.Reject {
			r["action"] = "REJECT"
		}
		src, dst := w.places[e.SrcOwner], w.places[e.DstOwner]
		set(r, "src_region", src.region)
		set(r, "dst_region", dst.region)
		switch {
		case e.SrcApp == "internet" || e.DstApp == "internet":
			r["path"] = "internet"
		case !e.SrcOwned || !e.DstOwned:
		case src.region != dst.region && src.region != "" && dst.region != "":
			r["path"] = "cross-region"
		case src.az != dst.az && src.az != "" && dst.az != "":
			r["path"] = "cross-az"
		}
		for _, side := range []string{"src_", "dst_"} {
			if unnamed(given, side) {
				r[side+"app"] = row.AppUnknown
				for _, k := range []string{side + "region", "path"} {
					delete(r, k)
					if v, ok := given[k]; ok {
						r[k] = v
					}
				}
			}
		}
		truth = append(truth, r)
	})
	return Answer(name, truth, w.Ask(app))
}

func set(r Row, name, value string) {
	if value != "" {
		r[name] = value
	}
}

// unnamed says whether a row leaves one end without a name.
func unnamed(r Row, side string) bool {
	return r[side+"status"] == "unattributed" || r[side+"status"] == "ambiguous"
}

// Unattributed is the share of flows of which rows leave an end without a name that has an application: an edge needs both of its ends.
func (w *World) Unattributed(rows []Row) float64 {
	i, flows, without := -1, 0, 0
	w.Each(func(e *flowgen.Expected) {
		i++
		flows++
		if unnamed(rows[i], "src_") && e.SrcApp != "" || unnamed(rows[i], "dst_") && e.DstApp != "" {
			without++
		}
	})
	return float64(without) / float64(flows)
}

// Edges are the pairs of application and peer that counted, accepted lines were written for.
func (w *World) Edges() map[[2]string]bool {
	edges := map[[2]string]bool{}
	w.Each(func(e *flowgen.Expected) {
		if e.Counted && !e.Reject {
			edges[[2]string{w.name(e.SrcApp), w.name(e.DstApp)}] = true
		}
	})
	return edges
}

// name is how rows call an application.
func (w *World) name(app string) string {
	if app == "" {
		return row.AppUnknown
	}
	return app
}

// Ask is a question about all of w.
func (w *World) Ask(app string) druid.Ask {
	prices, err := druid.LoadPrices("")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return druid.Ask{From: w.Start.Add(-time.Hour), To: w.End.Add(time.Hour), App: app, Limit: 1 << 20, Prices: prices}
}

// published is what Amazon publishes of its addresses in this world.
type published map[netip.Addr]string

// Service implements enrich.PublicNames.
func (p published) Service(ip netip.Addr) string { return p[ip] }

func (w *World) published() published {
	p := published{}
	w.Each(func(e *flowgen.Expected) {
		for ip, app := range map[netip.Addr]string{e.Src: e.SrcApp, e.Dst: e.DstApp} {
			if service, ok := strings.CutPrefix(app, row.ServicePrefix); ok {
				p[ip] = service
			}
		}
	})
	return p
}
