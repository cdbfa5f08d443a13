package row

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Instant is which of a flow's two instants becomes the row's time.
type Instant string

// The instants.
const (
	AtStart Instant = "start"
	AtEnd   Instant = "end"
)

// Config chooses what rows hold.
type Config struct {
	// ColumnSets are the sets of columns written beside core: lineage, endpoint, evidence, network, public, tags. Every set makes each
	// row larger, which Kafka and Druid pay for.
	ColumnSets []Set `yaml:"column_sets"`
	// Time is which instant of the flow becomes the row's time: start or end.
	Time Instant `yaml:"time"`
	// LateAfter is how long after a flow's start its line may arrive before the row is late: late rows are counted, and go to a
	// place of their own where the sink has one, so that they do not disturb what is already closed; 0s for never.
	LateAfter time.Duration `yaml:"late_after"`
	// MinuteDimensions are what rows of the one-minute grain are rolled up by; every further one makes more rows. The measures are
	// always there, and action must be among the dimensions.
	MinuteDimensions []string `yaml:"minute_dimensions"`
}

// leastLateAfter is the usual delay of flow logs: an aggregation interval of ten minutes, and delivery.
const leastLateAfter = 15 * time.Minute

// DefaultConfig writes the core columns at the flow's start.
func DefaultConfig() Config {
	return Config{Time: AtStart, LateAfter: time.Hour, MinuteDimensions: DefaultMinuteDimensions()}
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var errs []error
	names := make([]string, 0, len(Sets()))
	for _, s := range Sets() {
		names = append(names, string(s.Name))
	}
	for _, s := range c.ColumnSets {
		if !slices.Contains(names, string(s)) {
			errs = append(errs, fmt.Errorf("column_sets: %q is no set of columns; write one of %s", string(s), strings.Join(names, ", ")))
		}
	}
	if c.Time != AtStart && c.Time != AtEnd {
		errs = append(errs, fmt.Errorf("time: %q is no instant of a flow; write start or end", string(c.Time)))
	}
	if c.LateAfter < 0 || c.LateAfter > 0 && c.LateAfter < leastLateAfter {
		errs = append(errs, fmt.Errorf("late_after: %s is out of range; flow logs are often 15 minutes old when they arrive, so write at least %s, or 0s for never", c.LateAfter, leastLateAfter))
	}
	errs = append(errs, c.validateMinute()...)
	return errors.Join(errs...)
}

// Columns returns the columns of grain that c chooses, in the order of the catalogue. c must be valid.
func (c Config) Columns(grain Grain) []Column {
	if grain == Minute {
		return c.minute()
	}
	var chosen []Column
	for _, col := range Of(grain) {
		if col.Set != Core && !slices.Contains(c.ColumnSets, col.Set) {
			continue
		}
		if col.Role == Timestamp && c.Time == AtEnd {
			col.Number = func(_ *Batch, r *Row) (int64, bool) { return r.End, true }
		}
		chosen = append(chosen, col)
	}
	return chosen
}

// present returns texts without the "" of an absent value; nil when the vocabulary is too long to list.
func present(texts []string) []string {
	if len(texts) > 64 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" })
}

func replaceEnd(doc, which string) string { return strings.ReplaceAll(doc, "{end}", which) }
