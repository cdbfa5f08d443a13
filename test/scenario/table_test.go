package scenario

import (
	"encoding/json"
	"net/http"
	"sync"

	"dredge/consumer/kinesis/lease"
)

// tableWatch is the way to the lease table. It looks at the whole table after every request, whatever became of its answer:
// no checkpoint may ever be seen to move back.
type tableWatch struct {
	rig   *rig
	inner http.RoundTripper

	mu      sync.Mutex
	highest map[string]lease.Checkpoint
	moves   int
}

// leaseRow is what a test wants to know of a row, read past every client.
type leaseRow struct {
	owner      string
	checkpoint lease.Checkpoint
}

func (w *tableWatch) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.inner.RoundTrip(req)
	w.read()
	return resp, err
}

// read returns the table and compares it with what it held before. One at a time, or an older table could be taken for a newer.
func (w *tableWatch) read() map[string]leaseRow {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := map[string]leaseRow{}
	for _, item := range w.rig.aws.DynamoDB().Items(application) {
		key := w.text(item, "leaseKey")
		at, err := lease.ParseCheckpoint(w.text(item, "checkpoint"), w.number(item, "checkpointSubSequenceNumber"))
		if err != nil {
			w.rig.Errorf("lease row %s: %v", key, err)
			continue
		}
		rows[key] = leaseRow{owner: w.text(item, "leaseOwner"), checkpoint: at}
		switch was := w.highest[key]; at.Compare(was) {
		case -1:
			w.rig.Errorf("the checkpoint of %s moved back from %s to %s", key, was, at)
		case 1:
			w.highest[key] = at
			w.moves++
		}
	}
	return rows
}

func (w *tableWatch) text(item map[string]json.RawMessage, name string) string {
	var v struct{ S string }
	if raw := item[name]; raw != nil {
		if err := json.Unmarshal(raw, &v); err != nil {
			w.rig.Errorf("attribute %s: %v", name, err)
		}
	}
	return v.S
}

func (w *tableWatch) number(item map[string]json.RawMessage, name string) int64 {
	var v struct {
		N int64 `json:",string"`
	}
	if raw := item[name]; raw != nil {
		if err := json.Unmarshal(raw, &v); err != nil {
			w.rig.Errorf("attribute %s: %v", name, err)
		}
	}
	return v.N
}
