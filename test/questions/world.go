// Package questions holds the shipped questions of package druid to a truth that is known: a simulated estate, the rows that the product makes of its flow logs,
// and the answers that the simulator itself gives. The questions are SQL for Druid; Answer says in Go what each of them says, over rows in memory, and the
// integration tests hold Druid's answers to it.
package questions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/internal/flowgen"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/store"
	"dredge/row"
	"dredge/row/encode"
)

// World is some minutes of a calm estate, known in hindsight: owners neither come nor go, so that every name can be told and answers can be compared
// exactly. What churn does to names is test/truth's to measure.
type World struct {
	Start, End time.Time
	Events     []event.Event
	// Logs are the lines of each log group, in their layout.
	Logs  []Log
	truth *flowgen.Truth
	// places are region and zone by owner.
	places map[string]place
}

// Log is what one log group received.
type Log struct {
	Group   string
	Layout  *flowgen.Layout
	Streams []Stream
}

// Stream is the lines of one log stream, each with its truth.
type Stream struct {
	Name  string
	Lines [][]byte
	Truth []flowgen.Expected
}

type place struct{ region, az string }

// Simulate makes a World. More extra applications make more edges.
func Simulate(length time.Duration, extraApps int) (*World, error) {
	start := time.Date(2026, 3, 2, 7, 58, 0, 0, time.UTC) // across a full hour
	c := flowgen.Small(start)
	c.ExtraApps, c.ConnRate = extraApps, 40
	c.DeadShare, c.ProbeShare = 0, 0.05
	c.Churn.ShortShare, c.Churn.LongMean = 0, 10_000*time.Hour
	c.Logs.Envelope, c.Logs.ControlEvery, c.Logs.SkipShare = flowgen.Lines, 0, 0
	c.Identity.Policy = flowgen.Silent
	sim, err := flowgen.New(c)
	if err != nil {
		return nil, err
	}
	w := &World{Start: start, End: start.Add(length), truth: sim.Truth(), places: map[string]place{}}
	layouts := sim.LogGroups()
	logs, streams := map[string]int{}, map[string]int{}
	for it := range sim.Until(w.End) {
		p := it.Payload
		if p == nil || p.Lines == 0 {
			continue
		}
		g, ok := logs[p.LogGroup]
		if !ok {
			g = len(w.Logs)
			logs[p.LogGroup] = g
			w.Logs = append(w.Logs, Log{Group: p.LogGroup, Layout: layouts[p.LogGroup]})
		}
		l := &w.Logs[g]
		k, ok := streams[p.LogGroup+p.LogStream]
		if !ok {
			k = len(l.Streams)
			streams[p.LogGroup+p.LogStream] = k
			l.Streams = append(l.Streams, Stream{Name: p.LogStream})
		}
		s := &l.Streams[k]
		flowgen.SplitLines(p.Data, func(line []byte) { s.Lines = append(s.Lines, line) })
		s.Truth = append(s.Truth, p.Truth...)
		if len(s.Lines) != len(s.Truth) {
			return nil, fmt.Errorf("log stream %s: %d lines, %d truths", p.LogStream, len(s.Lines), len(s.Truth))
		}
	}
	if w.Events, err = sim.Hindsight(); err != nil {
		return nil, err
	}
	for i := range w.Events {
		e := &w.Events[i]
		p := w.places[e.Owner]
		if e.EP != nil && e.EP.AZ != "" {
			p.az = e.EP.AZ
		}
		if e.WL != nil && e.WL.Region != "" {
			p.region = e.WL.Region
		}
		w.places[e.Owner] = p
	}
	return w, nil
}

// Each calls f for every line that is a flow, in the order in which Rows makes rows.
func (w *World) Each(f func(e *flowgen.Expected)) {
	for i := range w.Logs {
		for k := range w.Logs[i].Streams {
			s := &w.Logs[i].Streams[k]
			for n := range s.Truth {
				if s.Truth[n].Status == "OK" {
					f(&s.Truth[n])
				}
			}
		}
	}
}

// Row is a row as it was written.
type Row map[string]any

type heartbeats struct{ *store.Store }

func (h heartbeats) Observe(s enrich.Sighting) { h.Store.Observe(store.Sighting(s)) }

// Rows runs the lines through decoder, heartbeats, join and encoder, and reads back what was written.
func (w *World) Rows() ([]Row, error) {
	reg := prometheus.NewRegistry()
	c := metadata.DefaultConfig()
	c.Retention = 31 * 24 * time.Hour
	known, err := store.New(c, store.Dependencies{Registerer: reg, Now: func() time.Time { return w.End }})
	if err != nil {
		return nil, err
	}
	for i := range w.Events {
		if err := known.Apply(&w.Events[i]); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	cfg := row.DefaultConfig()
	cfg.ColumnSets = []row.Set{row.Endpoint, row.Evidence}
	join, err := enrich.New(enrich.Config{NamingGrades: c.Naming(), ColumnSets: cfg.ColumnSets}, enrich.Deps{Resolver: known, Public: w.published(), Registerer: reg})
	if err != nil {
		return nil, err
	}
	sightings, err := enrich.NewSightings(known, heartbeats{known})
	if err != nil {
		return nil, err
	}
	batches, err := w.decode()
	if err != nil {
		return nil, err
	}
	for _, b := range batches {
		sightings.Observe(b)
	}
	enc, err := encode.NewJSON(cfg.Columns(row.Raw))
	if err != nil {
		return nil, err
	}
	var list []Row
	var out row.Batch
	for _, b := range batches {
		out.Reset()
		join.Enrich(b, &out)
		for i := range out.Rows {
			dec := json.NewDecoder(bytes.NewReader(enc.Append(nil, &out, i)))
			var r Row
			if err := dec.Decode(&r); err != nil {
				return nil, err
			}
			list = append(list, r)
		}
	}
	return list, nil
}

// decode makes a batch of each log stream.
func (w *World) decode() ([]*flowlog.Batch, error) {
	d := flowlog.NewDecoder()
	var list []*flowlog.Batch
	for i := range w.Logs {
		l := &w.Logs[i]
		format, err := flowlog.ParseFormat(l.Layout.String())
		if err != nil {
			return nil, err
		}
		for k := range l.Streams {
			s := &l.Streams[k]
			b := &flowlog.Batch{Partition: s.Name, Origins: []flowlog.Origin{{Position: "1", Arrived: w.End, LogGroup: l.Group, LogStream: s.Name}}}
			for n, line := range s.Lines {
				if reason := d.Append(b, format, line, 0, uint32(n)); reason != 0 {
					return nil, fmt.Errorf("line %q is refused: %s", line, reason)
				}
			}
			list = append(list, b)
		}
	}
	return list, nil
}
