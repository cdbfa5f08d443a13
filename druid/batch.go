package druid

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"dredge/row"
)

// BatchColumn is the column in which every row of a Batch carries the batch's id, so that its rows can be counted.
const BatchColumn = "batch_id"

// Batch is rows that one task adds to a table, or that replace what the table holds of some hours.
type Batch struct {
	// TaskID is the id of the task: whatever it is submitted with, an id is taken once.
	TaskID string
	// ID becomes the BatchColumn of every row; "" adds no such column. Letters, digits, _ and - only.
	ID    string
	Table Table
	// Inline are the rows, as JSON Lines; or Objects are where they lie: URLs of s3 or file, of one scheme. Of file every worker of Druid
	// must see the same folder. Objects may be compressed, by their ending.
	Inline  []byte
	Objects []Object
	// From and To are the hours to replace, when To is set. Without rows the hours become empty.
	From, To time.Time
}

// Object is a place for rows that Druid reads by itself.
type Object struct{ Scheme, Path string }

// TaskSpec is Druid's spec of a task that indexes a Batch; only what is set on purpose stands in it.
type TaskSpec struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	Context map[string]bool `json:"context"`
	Spec    struct {
		DataSchema   dataSchema        `json:"dataSchema"`
		IOConfig     batchIOConfig     `json:"ioConfig"`
		TuningConfig batchTuningConfig `json:"tuningConfig"`
	} `json:"spec"`
}

type batchIOConfig struct {
	Type             string      `json:"type"`
	InputSource      inputSource `json:"inputSource"`
	InputFormat      druidType   `json:"inputFormat"`
	AppendToExisting bool        `json:"appendToExisting"`
	DropExisting     bool        `json:"dropExisting"`
}

type inputSource struct {
	Type  string   `json:"type"`
	Data  string   `json:"data,omitempty"`
	URIs  []string `json:"uris,omitempty"`
	Files []string `json:"files,omitempty"`
}

type batchTuningConfig struct {
	Type                    string    `json:"type"`
	PartitionsSpec          druidType `json:"partitionsSpec"`
	MaxParseExceptions      int       `json:"maxParseExceptions"`
	LogParseExceptions      bool      `json:"logParseExceptions"`
	MaxSavedParseExceptions int       `json:"maxSavedParseExceptions"`
	MaxNumConcurrentSubs    int       `json:"maxNumConcurrentSubTasks"`
}

var batchID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// NewTaskSpec returns the spec of a task for b.
//
// What is set, and why: the task appends beside Kafka's tasks and compaction, or replaces under them (useConcurrentLocks); a row that can't
// be read fails it (maxParseExceptions 0) instead of being dropped; it runs alone in one slot (maxNumConcurrentSubTasks 1), because only
// then Druid keeps to maxParseExceptions and reports rows. No intervals when it appends: rows outside of them would be thrown away.
func NewTaskSpec(b Batch) (TaskSpec, error) {
	if err := CheckTaskID(b.TaskID); err != nil {
		return TaskSpec{}, err
	}
	s := TaskSpec{Type: "index_parallel", ID: b.TaskID, Context: map[string]bool{"useConcurrentLocks": true}}
	schema := b.Table.schema()
	if b.ID != "" {
		if !batchID.MatchString(b.ID) {
			return TaskSpec{}, fmt.Errorf("batch id %q: write 1 to 128 letters, digits, _ and -", b.ID)
		}
		schema.DimensionsSpec.Dimensions = append(schema.DimensionsSpec.Dimensions, row.DruidDimension{Type: "string", Name: BatchColumn})
		schema.TransformSpec = &transformSpec{Transforms: []transform{{Type: "expression", Name: BatchColumn, Expression: "'" + b.ID + "'"}}}
	}
	input, err := b.input()
	if err != nil {
		return TaskSpec{}, err
	}
	replaces := !b.To.IsZero()
	if replaces {
		if !b.From.Before(b.To) || !b.From.Equal(b.From.Truncate(time.Hour)) || !b.To.Equal(b.To.Truncate(time.Hour)) {
			return TaskSpec{}, fmt.Errorf("replacing %s to %s: only whole hours can be replaced", b.From.Format(time.RFC3339), b.To.Format(time.RFC3339))
		}
		schema.GranularitySpec.Intervals = []string{interval(b.From, b.To)}
	}
	s.Spec.DataSchema = schema
	s.Spec.IOConfig = batchIOConfig{Type: s.Type, InputSource: input, InputFormat: druidType{"json"}, AppendToExisting: !replaces, DropExisting: replaces}
	s.Spec.TuningConfig = batchTuningConfig{
		Type: s.Type, PartitionsSpec: druidType{"dynamic"}, LogParseExceptions: true, MaxSavedParseExceptions: 10, MaxNumConcurrentSubs: 1,
	}
	if len(b.Inline) == 0 && len(b.Objects) == 0 {
		nothing(&s, b.Table)
	}
	return s, nil
}

func (b Batch) input() (inputSource, error) {
	if len(b.Objects) == 0 {
		return inputSource{Type: "inline", Data: string(b.Inline)}, nil
	}
	in := inputSource{}
	for _, o := range b.Objects {
		if o.Scheme != b.Objects[0].Scheme {
			return in, fmt.Errorf("objects of %s and %s in one task; write one scheme", b.Objects[0].Scheme, o.Scheme)
		}
		switch o.Scheme {
		case "s3":
			in.Type, in.URIs = "s3", append(in.URIs, "s3://"+o.Path)
		case "file":
			in.Type, in.Files = "local", append(in.Files, o.Path)
		default:
			return in, fmt.Errorf("object %s://%s: Druid reads s3 and file", o.Scheme, o.Path)
		}
	}
	return in, nil
}

// emptyMark in the context of a task says that it has no rows, for those who meet its id later.
const emptyMark = "dredgeEmpty"

// nothing makes s read no row. Druid takes no input without bytes, so there is a row, which a filter takes away.
func nothing(s *TaskSpec, t Table) {
	s.Spec.IOConfig.InputSource = inputSource{Type: "inline", Data: `{"` + t.schema().TimestampSpec.Column + `":0}` + "\n"}
	s.Spec.DataSchema.TransformSpec = &transformSpec{Filter: &druidType{"false"}}
	s.Context[emptyMark] = true
}

// IsEmpty says whether the task of that id is one for a Batch without rows; known is false when the overlord knows none of that id.
func (c *Client) IsEmpty(ctx context.Context, id string) (empty, known bool, err error) {
	var answer struct {
		Payload struct {
			Context map[string]any `json:"context"`
		} `json:"payload"`
	}
	err = c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"task/"+url.PathEscape(id), nil, &answer)
	if unknown(err) {
		return false, false, nil
	}
	return answer.Payload.Context[emptyMark] == true, err == nil, err
}

// SubmitBatch submits the task for b. AlreadyExists tells whether the error says that its id is taken.
func (c *Client) SubmitBatch(ctx context.Context, b Batch) error {
	s, err := NewTaskSpec(b)
	if err != nil {
		return err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the spec of task %s: %w", b.TaskID, err)
	}
	return c.SubmitTask(ctx, body)
}

// interval writes [from, to) as Druid does.
func interval(from, to time.Time) string {
	const layout = "2006-01-02T15:04:05.000Z"
	return from.UTC().Format(layout) + "/" + to.UTC().Format(layout)
}
