package row

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Sums are the measures of a rolled-up row. Bytes, Packets and Flows hold counted observations only, so that a plain sum over rows
// counts no flow twice; the Observed ones hold every observation.
type Sums struct {
	Bytes, Packets, Flows                         int64
	BytesObserved, PacketsObserved, FlowsObserved int64
	// RowsIn is the number of raw rows that were added.
	RowsIn int64
}

// Add adds one raw row. A sum that an int64 cannot hold stays at the largest one.
func (s *Sums) Add(r *Row) {
	var bytes, packets int64
	if r.Missing&MissingBytes == 0 {
		bytes = r.Bytes
	}
	if r.Missing&MissingPackets == 0 {
		packets = r.Packets
	}
	if r.Counted {
		s.Bytes = plus(s.Bytes, bytes)
		s.Packets = plus(s.Packets, packets)
		s.Flows += r.Flows()
	}
	s.BytesObserved = plus(s.BytesObserved, bytes)
	s.PacketsObserved = plus(s.PacketsObserved, packets)
	s.FlowsObserved += r.Flows()
	s.RowsIn++
}

// plus adds two numbers that are not negative.
func plus(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return math.MaxInt64
}

// MinuteOf is the minute that a row is rolled up into, in Unix milliseconds: that of the flow's start.
func MinuteOf(r *Row) int64 {
	const minute = 60_000
	m := r.Start - r.Start%minute
	if m > r.Start { // before 1970
		m -= minute
	}
	return m
}

// minuteColumns are the columns that only rolled-up rows have.
func minuteColumns() []Column {
	metric := func(name, unit, doc string, of func(*Sums) int64) Column {
		return Column{Name: name, Type: Long, Unit: unit, Role: Metric, Set: Core, Grains: Minute, Doc: doc, OfSums: of}
	}
	return []Column{
		{
			Name: "service_port", Set: Core, Grains: Minute, Optional: true,
			Doc:    "Port of the side that did not open the connection; absent when it is not known which that was. The other port is dropped: it is a new one for every connection.",
			Digits: func(r *Row) (uint64, bool) { p, ok := r.ServicePort(); return uint64(p), ok },
		},
		metric("bytes_observed", "bytes", "Bytes of all observations, counted or not.", func(s *Sums) int64 { return s.BytesObserved }),
		metric("packets_observed", "packets", "Packets of all observations, counted or not.", func(s *Sums) int64 { return s.PacketsObserved }),
		metric("flows_observed", "flows", "All observations, counted or not.", func(s *Sums) int64 { return s.FlowsObserved }),
		metric("rows_in", "rows", "Raw rows that were rolled up into this one.", func(s *Sums) int64 { return s.RowsIn }),
	}
}

// inMinute marks c when it also stands in rolled-up rows, and how.
func (c *Column) inMinute() {
	switch c.Name {
	case "time":
		c.Grains |= Minute
		c.MinuteDoc = "The minute in which the flow started: its first millisecond."
	case "bytes":
		c.Grains |= Minute
		c.MinuteDoc, c.OfSums = "Bytes of counted observations.", func(s *Sums) int64 { return s.Bytes }
	case "packets":
		c.Grains |= Minute
		c.MinuteDoc, c.OfSums = "Packets of counted observations.", func(s *Sums) int64 { return s.Packets }
	case "flows":
		c.Grains |= Minute
		c.MinuteDoc, c.OfSums = "Counted observations.", func(s *Sums) int64 { return s.Flows }
	default:
		// What is nearly unique for each flow would make the rolled-up row as many as the raw ones.
		unique := c.Role != Dimension || c.Type == Long || c.Type == StringArray || c.Addr != nil || c.Set == Lineage || c.Name == "row_id" ||
			strings.HasSuffix(c.Name, "_port") || strings.HasSuffix(c.Name, "_eni") || strings.HasSuffix(c.Name, "_instance") || strings.HasSuffix(c.Name, "_name") || c.Name == "counted"
		if !unique {
			c.Grains |= Minute
		}
	}
}

// DefaultMinuteDimensions are the dimensions of rolled-up rows: who, where and what, but no address, no instance and no client's port.
func DefaultMinuteDimensions() []string {
	var names []string
	for _, end := range []string{"src_", "dst_"} {
		for _, name := range []string{"app", "kind", "cluster", "account", "region", "az", "vpc", "network", "site"} {
			names = append(names, end+name)
		}
	}
	return append(names, "src_status", "dst_status", "protocol", "service_port", "action", "path", "client", "via_kind", "segmentation")
}

// mustRollUpBy are the dimensions without which the sums would be of unlike things: what was let through and what was rejected
// stand in sums of their own.
const mustRollUpBy = "action"

func (c Config) minuteDimensions() []string {
	if c.MinuteDimensions == nil {
		return DefaultMinuteDimensions()
	}
	return c.MinuteDimensions
}

func (c Config) validateMinute() []error {
	var errs []error
	possible := map[string]bool{}
	for _, col := range Of(Minute) {
		possible[col.Name] = col.Role == Dimension
	}
	dims := c.minuteDimensions()
	for i, name := range dims {
		switch dimension, known := possible[name]; {
		case !known:
			errs = append(errs, fmt.Errorf("minute_dimensions: %q is no column of rolled-up rows; docs/reference/rows.md lists them", name))
		case !dimension:
			errs = append(errs, fmt.Errorf("minute_dimensions: %q is a measure and always there; write dimensions only", name))
		case slices.Contains(dims[:i], name):
			errs = append(errs, fmt.Errorf("minute_dimensions: %q stands twice", name))
		}
	}
	if !slices.Contains(dims, mustRollUpBy) {
		errs = append(errs, fmt.Errorf("minute_dimensions: %q is missing; what was let through and what was rejected must not be summed together", mustRollUpBy))
	}
	return errs
}

// minute returns the columns of rolled-up rows in the order of the catalogue.
func (c Config) minute() []Column {
	dims := c.minuteDimensions()
	var chosen []Column
	for _, col := range Of(Minute) {
		if col.Role == Dimension && !slices.Contains(dims, col.Name) {
			continue
		}
		col.Set = Core
		if col.MinuteDoc != "" {
			col.Doc = col.MinuteDoc
		}
		if col.Role == Metric {
			col.Optional = false
		}
		chosen = append(chosen, col)
	}
	return chosen
}

// AllMinuteColumns are the columns that rolled-up rows can have, whatever dimensions are chosen, as a Config would return them.
func AllMinuteColumns() []Column {
	var c Config
	for _, col := range Of(Minute) {
		if col.Role == Dimension {
			c.MinuteDimensions = append(c.MinuteDimensions, col.Name)
		}
	}
	columns := c.minute()
	for i := range columns {
		if columns[i].Role == Dimension {
			columns[i].Optional = true // it need not be chosen
		}
	}
	return columns
}

// NeededSets are the sets of which the join must fill columns: those that raw rows are written with, and those of dimensions that
// are not known without being looked up.
func (c Config) NeededSets() []Set {
	sets := slices.Clone(c.ColumnSets)
	dims := c.minuteDimensions()
	for _, col := range Of(Minute) {
		if col.Set != Core && (col.Text != nil || col.Append != nil) && slices.Contains(dims, col.Name) && !slices.Contains(sets, col.Set) {
			sets = append(sets, col.Set)
		}
	}
	return sets
}
