package main

import (
	"encoding/json"
	"fmt"
)

// dashboard is what the tables say of one; the rest is the same in all.
type dashboard struct {
	uid, title              string
	refresh, since          string
	variable, variableLabel string // a text that whoever looks may type; none when empty
	groups                  []group
}

// group is panels below a heading.
type group struct {
	title  string
	panels []panel
}

// panel asks Prometheus its queries, or Druid its sql.
type panel struct {
	title, doc string
	unit       string
	stat       bool // one number, not a line over time
	stacked    bool
	steps      []step
	queries    []query

	sql        string
	shape      string // Grafana's type of panel
	wide, high int    // of 24 columns, and in Grafana's rows
}

type query struct{ legend, expr string }

// step is a colour from a value on; below the first it is green.
type step struct {
	color string
	value float64
}

// object is a node of Grafana's JSON model.
type object = map[string]any

// Sizes in Grafana's grid of 24 columns.
const (
	columns              = 24
	statWide, statHigh   = 6, 5
	chartWide, chartHigh = 8, 7
)

// model is the dashboard as Grafana reads it.
func (d dashboard) model() object {
	variables := []object{}
	if d.variable != "" {
		variables = append(variables, object{
			"name": d.variable, "label": d.variableLabel, "type": "textbox", "query": "", "current": object{"text": "", "value": ""}, "options": []any{},
		})
	}
	return object{
		"uid": d.uid, "title": d.title, "tags": []string{"dredge"}, "timezone": "browser", "schemaVersion": 41, "version": 1, "refresh": d.refresh,
		"time": object{"from": d.since, "to": "now"}, "editable": true, "templating": object{"list": variables}, "annotations": object{"list": []any{}},
		"links":  []object{{"type": "dashboards", "tags": []string{"dredge"}, "title": "dredge", "asDropdown": false, "includeVars": true, "keepTime": true}},
		"panels": d.layout(),
	}
}

// layout places the panels from left to right, and goes on below when a line is full.
func (d dashboard) layout() []object {
	var out []object
	y := 0
	place := func(o object, x, wide, high int) {
		o["id"] = len(out) + 1
		o["gridPos"] = object{"x": x, "y": y, "w": wide, "h": high}
		out = append(out, o)
	}
	for _, g := range d.groups {
		place(object{"type": "row", "title": g.title, "collapsed": false, "panels": []any{}}, 0, columns, 1)
		y++
		x, line := 0, 0
		for _, p := range g.panels {
			wide, high := p.size()
			if x+wide > columns {
				x, y, line = 0, y+line, 0
			}
			place(p.model(), x, wide, high)
			x, line = x+wide, max(line, high)
		}
		y += line
	}
	return out
}

func (p panel) size() (wide, high int) {
	switch {
	case p.sql != "":
		return p.wide, p.high
	case p.stat:
		return statWide, statHigh
	}
	return chartWide, chartHigh
}

func (p panel) model() object {
	if p.sql != "" {
		return p.ofDruid()
	}
	source := object{"type": "prometheus", "uid": "prometheus"}
	targets := make([]object, 0, len(p.queries))
	for i, q := range p.queries {
		targets = append(targets, object{"refId": string(rune('A' + i)), "expr": q.expr, "legendFormat": q.legend, "datasource": source})
	}
	defaults := object{"unit": p.unit, "min": 0}
	if p.steps != nil {
		steps := []object{{"color": "green", "value": nil}}
		for _, s := range p.steps {
			steps = append(steps, object{"color": s.color, "value": s.value})
		}
		defaults["thresholds"] = object{"mode": "absolute", "steps": steps}
	}
	shape, options := "stat", object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "area"}
	if !p.stat {
		shape, options = "timeseries", object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi"}}
		fill, stacking := 12, "none"
		if p.stacked {
			fill, stacking = 40, "normal"
		}
		defaults["custom"] = object{"fillOpacity": fill, "lineWidth": 1, "stacking": object{"mode": stacking}}
	}
	return object{
		"title": p.title, "description": p.doc, "type": shape, "datasource": source, "targets": targets,
		"fieldConfig": object{"defaults": defaults, "overrides": []any{}}, "options": options,
	}
}

// ofDruid is a panel of the plugin for Druid, which reads its question in two places, by version.
func (p panel) ofDruid() object {
	source := object{"type": "grafadruid-druid-datasource", "uid": "druid"}
	builder, settings := object{"queryType": "sql", "query": p.sql}, object{"format": "wide"}
	expr, err := json.Marshal(object{"builder": builder, "settings": settings})
	if err != nil {
		panic(fmt.Sprintf("a map of texts as JSON: %v", err)) // cannot be
	}
	defaults := object{}
	if p.unit != "" {
		defaults["unit"] = p.unit
	}
	if p.stacked {
		defaults["custom"] = object{"stacking": object{"mode": "normal"}, "fillOpacity": 30}
	}
	return object{
		"title": p.title, "description": p.doc, "type": p.shape, "datasource": source, "options": object{},
		"targets": []object{{"refId": "A", "datasource": source, "builder": builder, "settings": settings, "expr": string(expr)}},
		"fieldConfig": object{"defaults": defaults, "overrides": []object{
			{"matcher": object{"id": "byName", "options": "bytes"}, "properties": []object{{"id": "unit", "value": "bytes"}}},
		}},
	}
}
