package druid

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dredge/row"
)

// Table is one datasource and the topic that fills it.
type Table struct {
	Datasource string
	Topic      string
	Columns    []row.Column
	// Rollup merges rows that are equal in all dimensions and in the minute.
	Rollup bool
}

// SupervisorSpec is Druid's spec of a Kafka supervisor; only what is set on purpose stands in it. docs/druid.md explains each field.
type SupervisorSpec struct {
	Type    string          `json:"type"`
	Context map[string]bool `json:"context"`
	Spec    struct {
		DataSchema   dataSchema   `json:"dataSchema"`
		IOConfig     ioConfig     `json:"ioConfig"`
		TuningConfig tuningConfig `json:"tuningConfig"`
	} `json:"spec"`
}

type dataSchema struct {
	DataSource      string            `json:"dataSource"`
	TimestampSpec   timestampSpec     `json:"timestampSpec"`
	DimensionsSpec  dimensionsSpec    `json:"dimensionsSpec"`
	MetricsSpec     []row.DruidMetric `json:"metricsSpec"`
	GranularitySpec granularitySpec   `json:"granularitySpec"`
	TransformSpec   *transformSpec    `json:"transformSpec,omitempty"`
}

type timestampSpec struct {
	Column string `json:"column"`
	Format string `json:"format"`
}

type dimensionsSpec struct {
	Dimensions []row.DruidDimension `json:"dimensions"`
}

type granularitySpec struct {
	Type               string `json:"type"`
	SegmentGranularity string `json:"segmentGranularity"`
	QueryGranularity   string `json:"queryGranularity"`
	Rollup             bool   `json:"rollup"`
	// Intervals are set only where they are replaced: Druid throws rows outside of them away.
	Intervals []string `json:"intervals,omitempty"`
}

type transformSpec struct {
	Filter     *druidType  `json:"filter,omitempty"`
	Transforms []transform `json:"transforms,omitempty"`
}

type transform struct {
	Type       string `json:"type"`
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

type druidType struct {
	Type string `json:"type"`
}

type ioConfig struct {
	Type               string            `json:"type"`
	Topic              string            `json:"topic"`
	InputFormat        map[string]string `json:"inputFormat"`
	ConsumerProperties map[string]string `json:"consumerProperties"`
	UseEarliestOffset  bool              `json:"useEarliestOffset"`
	TaskCount          int               `json:"taskCount"`
	Replicas           int               `json:"replicas"`
	TaskDuration       string            `json:"taskDuration"`
}

type tuningConfig struct {
	Type                     string `json:"type"`
	MaxParseExceptions       int    `json:"maxParseExceptions"`
	LogParseExceptions       bool   `json:"logParseExceptions"`
	MaxSavedParseExceptions  int    `json:"maxSavedParseExceptions"`
	ResetOffsetAutomatically bool   `json:"resetOffsetAutomatically"`
}

// schema is how rows become those of t.
func (t Table) schema() dataSchema {
	var s dataSchema
	s.DataSource = t.Datasource
	s.DimensionsSpec.Dimensions = row.DruidDimensions(t.Columns)
	for _, col := range t.Columns {
		if col.Role == row.Timestamp {
			s.TimestampSpec = timestampSpec{Column: col.Name, Format: "millis"}
		}
	}
	s.MetricsSpec = []row.DruidMetric{}
	s.GranularitySpec = granularitySpec{Type: "uniform", SegmentGranularity: "HOUR", QueryGranularity: "NONE"}
	if t.Rollup {
		s.MetricsSpec = row.DruidMetrics(t.Columns)
		s.GranularitySpec.QueryGranularity, s.GranularitySpec.Rollup = "MINUTE", true
		return s
	}
	// Nothing is summed up at ingestion, so measures are plain numbers, which keeps "not told" apart from 0.
	for _, m := range row.DruidMetrics(t.Columns) {
		s.DimensionsSpec.Dimensions = append(s.DimensionsSpec.Dimensions, row.DruidDimension{Type: "long", Name: m.Name})
	}
	return s
}

// NewSupervisorSpec returns the spec that reads t's topic from brokers.
//
// What is set, and why: transactions that were aborted are never read (isolation.level); a new supervisor begins with the oldest row of
// the topic (useEarliestOffset), since Druid's default skips what came before it; appends, compaction and reprocessing may go on at once
// (useConcurrentLocks); a row that can't be read fails its task loudly (maxParseExceptions 0) instead of being dropped and counted; lost
// offsets stop the supervisor (resetOffsetAutomatically false) instead of skipping rows. No lateMessageRejectionPeriod or
// earlyMessageRejectionPeriod: Druid would throw rows away silently, and dredge itself sends late rows elsewhere.
func NewSupervisorSpec(c SupervisorConfig, brokers []string, t Table) SupervisorSpec {
	if len(c.Brokers) > 0 {
		brokers = c.Brokers
	}
	s := SupervisorSpec{Type: "kafka", Context: map[string]bool{"useConcurrentLocks": true}}
	s.Spec.DataSchema = t.schema()
	properties := map[string]string{"bootstrap.servers": strings.Join(brokers, ","), "isolation.level": "read_committed"}
	maps.Copy(properties, c.ConsumerProperties)
	s.Spec.IOConfig = ioConfig{
		Type: "kafka", Topic: t.Topic, InputFormat: map[string]string{"type": "json"}, ConsumerProperties: properties,
		UseEarliestOffset: true, TaskCount: c.TaskCount, Replicas: c.Replicas, TaskDuration: period(c.TaskDuration),
	}
	s.Spec.TuningConfig = tuningConfig{Type: "kafka", LogParseExceptions: true, MaxSavedParseExceptions: 10}
	return s
}

// period writes d as ISO 8601, as Druid writes it back: PT1H, PT90S is PT1M30S.
func period(d time.Duration) string {
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	text := "PT"
	if h > 0 {
		text += fmt.Sprintf("%dH", h)
	}
	if m > 0 {
		text += fmt.Sprintf("%dM", m)
	}
	if s > 0 || text == "PT" {
		text += fmt.Sprintf("%dS", s)
	}
	return text
}

// CompactionSpec is the automatic compaction of a table: small segments of streaming become few of a day, sorted by the applications.
type CompactionSpec struct {
	DataSource           string          `json:"dataSource"`
	SkipOffsetFromLatest string          `json:"skipOffsetFromLatest"`
	TaskContext          map[string]bool `json:"taskContext"`
	GranularitySpec      struct {
		SegmentGranularity string `json:"segmentGranularity"`
	} `json:"granularitySpec"`
	TuningConfig struct {
		PartitionsSpec struct {
			Type                string   `json:"type"`
			PartitionDimensions []string `json:"partitionDimensions"`
			TargetRows          int      `json:"targetRowsPerSegment"`
		} `json:"partitionsSpec"`
	} `json:"tuningConfig"`
}

// NewCompactionSpec returns the compaction of t. It leaves the last hours alone, which still get rows.
func NewCompactionSpec(t Table) CompactionSpec {
	c := CompactionSpec{DataSource: t.Datasource, SkipOffsetFromLatest: "PT6H", TaskContext: map[string]bool{"useConcurrentLocks": true}}
	c.GranularitySpec.SegmentGranularity = "DAY"
	p := &c.TuningConfig.PartitionsSpec
	p.Type, p.PartitionDimensions, p.TargetRows = "range", []string{"src_app", "dst_app"}, 3_000_000
	return c
}

// Difference is a place where Druid's spec is not what it should be. Want and Have are JSON; "" is absent.
type Difference struct{ Path, Want, Have string }

// Diff returns the places where have, a spec as Druid keeps it, differs from want. What Druid added by itself (its defaults) is no
// difference; more list entries than wanted are.
func Diff(want, have json.RawMessage) ([]Difference, error) {
	var w, h any
	if err := json.Unmarshal(want, &w); err != nil {
		return nil, fmt.Errorf("reading the wanted spec: %w", err)
	}
	if err := json.Unmarshal(have, &h); err != nil {
		return nil, fmt.Errorf("reading druid's spec: %w", err)
	}
	var list []Difference
	compare("", w, h, &list)
	return list, nil
}

func compare(path string, want, have any, list *[]Difference) {
	differ := func() { *list = append(*list, Difference{path, text(want), text(have)}) }
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			differ()
			return
		}
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if k == "type" && h[k] == nil {
				continue // Druid does not write back the type where only one can be
			}
			compare(strings.TrimPrefix(path+"."+k, "."), w[k], h[k], list)
		}
	case []any:
		h, ok := have.([]any)
		if !ok {
			differ()
			return
		}
		for i := range max(len(w), len(h)) {
			at := fmt.Sprintf("%s[%d]", path, i)
			switch {
			case i >= len(h):
				*list = append(*list, Difference{at, text(w[i]), ""})
			case i >= len(w):
				*list = append(*list, Difference{at, "", text(h[i])})
			default:
				compare(at, w[i], h[i], list)
			}
		}
	case string:
		// Druid writes the names of granularities and modes in its own case.
		h, ok := have.(string)
		if !ok || !strings.EqualFold(w, h) && !samePeriod(w, h) {
			if g, isMap := have.(map[string]any); isMap && g["type"] != nil && strings.EqualFold(w, "none") && g["type"] == "none" {
				return
			}
			differ()
		}
	default:
		if want != have {
			differ()
		}
	}
}

// samePeriod says whether two texts are the same ISO 8601 duration of hours, minutes and seconds: Druid writes PT1H as PT3600S.
func samePeriod(a, b string) bool {
	parse := func(s string) (time.Duration, bool) {
		rest, ok := strings.CutPrefix(s, "PT")
		if !ok {
			return 0, false
		}
		d, err := time.ParseDuration(strings.ToLower(rest))
		return d, err == nil
	}
	x, ok := parse(a)
	y, ok2 := parse(b)
	return ok && ok2 && x == y
}

func text(v any) string {
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
