package druid

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dredge/sink/internal/ack"
	"dredge/stream"
)

// part is what one partition has in a batch: the rows after the position after and up to last.
type part struct {
	w           *Writer
	after, last stream.Position
	rows        stack
	bytes       int64 // of rows, when the loads have taken them over
	entries     []*ack.Entry
}

// batch is what one task for each of its tables publishes: the rows of some partitions, each between two positions.
type batch struct {
	id    string
	parts []*part
	loads []*load
	// born is when the oldest row was handed over.
	born time.Time
}

// load is the rows of a batch for one table, and the task that indexes them. What has a name in JSON is recorded before the task is
// submitted: it is all that the next owner of a shard needs to find out what became of it.
type load struct {
	// Table is the name of the table.
	Table string `json:"table"`
	// Datasource is kept because a configuration may change.
	Datasource string `json:"datasource"`
	// Rows is what the task must report, Count what a query by the batch's id must count.
	Rows  int64 `json:"rows"`
	Count int64 `json:"count"`
	// From and To are the first and last time of a row, in Unix milliseconds.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Object is the key of the object that holds the rows; empty when they are in the task's spec.
	Object string `json:"object,omitempty"`
	// Attempt is the number of the latest task; its id ends in it. First is that of the first.
	Attempt int `json:"attempt"`
	First   int `json:"first"`

	table  table
	inline []byte
	// begun, when set, is called when a task of this load is known to be there.
	begun func()
}

// record is the state of a pending checkpoint.
type record struct {
	// Dredge is the version of this form.
	Dredge int     `json:"dredge"`
	Batch  string  `json:"batch"`
	Loads  []*load `json:"loads"`
}

const recordVersion = 1

// newBatch names the batch of parts, which have rows. The name follows from the ranges, so that one range has one name, whoever gives it.
func (s *Sink) newBatch(parts []*part, born time.Time) (*batch, error) {
	b := &batch{parts: parts, born: born}
	h := sha256.New()
	attempt := 1
	var all stack
	fmt.Fprintf(h, "%q %q", s.application, s.run)
	for _, p := range parts {
		fmt.Fprintf(h, " %q %q %q", p.w.partition, string(p.after), string(p.last))
		attempt = max(attempt, p.w.burnt+1)
		if err := all.add(&p.rows); err != nil {
			return nil, err
		}
	}
	const digits = 32
	b.id = "dredge-" + hex.EncodeToString(h.Sum(nil))[:digits]
	for t := range all {
		r := &all[t]
		if r.n == 0 {
			continue
		}
		b.loads = append(b.loads, &load{
			Table: table(t).String(), Datasource: s.tables[t].Datasource, Rows: r.n, Count: r.count, From: r.from, To: r.to, Attempt: attempt, First: attempt, table: table(t),
		})
	}
	small := all.bytes() <= int64(s.cfg.InlineBytes)
	if s.cfg.Objects == "" {
		small = all.bytes() <= maxInlineBatch
	}
	for _, l := range b.loads {
		var err error
		if len(b.loads) == 1 && small {
			if l.inline, err = all[l.table].text(); err != nil {
				return nil, err
			}
			continue
		}
		if s.cfg.Objects == "" {
			return nil, &stream.PermanentError{Err: fmt.Errorf(
				"objects: is empty, and a batch that cannot be cut has %d bytes, more than the %d that the spec of a task may hold; write objects: s3://bucket/prefix", all.bytes(), maxInlineBatch)}
		}
		if l.inline, err = all[l.table].file(); err != nil {
			return nil, err
		}
		l.Object = b.id + "-" + l.Table + "-" + s.nonce() + ".json.gz"
	}
	return b, nil
}

// state is what is recorded of b.
func (b *batch) state() ([]byte, error) {
	return json.Marshal(record{Dredge: recordVersion, Batch: b.id, Loads: b.loads})
}

// parseState reads what batch.state wrote; false when it is somebody else's.
func parseState(state []byte) (record, bool) {
	const limit = 64 << 10
	var r record
	if len(state) > limit || json.Unmarshal(state, &r) != nil || r.Dredge != recordVersion || r.Batch == "" || len(r.Loads) == 0 {
		return record{}, false
	}
	for _, l := range r.Loads {
		t := table(0)
		for t < tables && t.String() != l.Table {
			t++
		}
		if t == tables || l.Datasource == "" || l.First < 1 || l.Attempt < l.First || l.Rows < 1 || l.From > l.To || strings.Contains(l.Object, "/") {
			return record{}, false
		}
		l.table = t
	}
	return r, true
}

// taskID is the id of the present attempt of l.
func (l *load) taskID(batch string) string { return l.attemptID(batch, l.Attempt) }

func (l *load) attemptID(batch string, n int) string {
	return fmt.Sprintf("%s-%s-a%d", batch, l.Table, n)
}

// hours are the whole hours that l has rows in.
func (l *load) hours() (from, to time.Time) {
	return time.UnixMilli(l.From).UTC().Truncate(time.Hour), time.UnixMilli(l.To).UTC().Truncate(time.Hour).Add(time.Hour)
}
