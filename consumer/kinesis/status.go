package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dredge/consumer/kinesis/lease"
)

// Status is what a worker knows at one moment, for the status page and for scaling.
type Status struct {
	Application string    `json:"application"`
	Stream      string    `json:"stream"`
	WorkerID    string    `json:"worker_id"`
	Draining    bool      `json:"draining"`
	TableReadAt time.Time `json:"table_read_at"` // zero until the lease table was read once
	// Workers hold leases; this one is always among them.
	Workers []string `json:"workers"`
	// Unfinished counts the leases whose shards are not read to their end: what the number of workers should follow.
	Unfinished int `json:"unfinished"`
	// Target is this worker's fair share.
	Target int `json:"target"`
	Owned  int `json:"owned"`
	// Balanced says that, at the last look at the table, all leases had owners and this worker lacked none.
	Balanced bool `json:"balanced"`
	// GaveUp says that the sink made no progress here while other workers' did, so that this worker left its shards to them.
	GaveUp bool `json:"gave_up"`
	// Behind is the greatest lag of this worker's shards.
	Behind time.Duration `json:"behind"`
	// HandledBytes is how much data the processor has taken from this worker since it was made.
	HandledBytes int64 `json:"handled_bytes"`
	// ClientVersion is the migration state of the application's Java workers; "" when there is none.
	ClientVersion string        `json:"client_version,omitempty"`
	Shards        []ShardStatus `json:"shards"`
}

// ShardStatus is one lease. Position, State, Since, Behind, LastRead and LastError are known of this worker's shards only.
type ShardStatus struct {
	Key        string        `json:"key"`
	Owner      string        `json:"owner"`
	NextOwner  string        `json:"next_owner,omitempty"` // during a hand-off
	Mine       bool          `json:"mine"`
	Finished   bool          `json:"finished"`
	Checkpoint string        `json:"checkpoint"`
	Parents    []string      `json:"parents,omitempty"`
	Children   []string      `json:"children,omitempty"`
	Position   string        `json:"position,omitempty"` // up to which everything is durable
	State      string        `json:"state,omitempty"`
	Since      time.Time     `json:"since,omitzero"`
	Behind     time.Duration `json:"behind"`
	LastRead   time.Time     `json:"last_read,omitzero"`
	LastError  string        `json:"last_error,omitempty"`
	InFlight   int           `json:"in_flight"` // reads whose rows are not yet durable
	KBps       float64       `json:"kbps"`
}

// Status returns a snapshot. It may be called at any time, from any goroutine; it calls nobody.
func (w *Worker) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{
		Application:   w.cfg.Application,
		Stream:        w.streamLabels(),
		WorkerID:      w.id,
		Draining:      w.draining != nil,
		TableReadAt:   w.table.at,
		Workers:       w.table.workers,
		Target:        w.table.target,
		Owned:         len(w.held),
		ClientVersion: w.version,
		Balanced:      w.table.balanced,
		GaveUp:        w.gaveUp,
		HandledBytes:  w.handled.Load(),
	}
	leases := slices.Clone(w.table.leases)
	for key, h := range w.held { // won since the table was last scanned
		if !slices.ContainsFunc(leases, func(l lease.Lease) bool { return l.Key == key }) {
			leases = append(leases, h.current())
		}
	}
	slices.SortFunc(leases, func(x, y lease.Lease) int { return strings.Compare(x.Key, y.Key) })
	for _, l := range leases {
		st := ShardStatus{
			Key: l.Key, Owner: l.ActualOwner(), Finished: l.Checkpoint.IsShardEnd(), Checkpoint: l.Checkpoint.String(),
			Parents: l.Parents, Children: l.Children, KBps: l.ThroughputKBps,
		}
		if l.InHandOff() {
			st.NextOwner = l.Owner
		}
		if !st.Finished {
			s.Unfinished++
		}
		if h := w.held[l.Key]; h != nil {
			h.describe(&st)
			st.Owner = w.id
			s.Behind = max(s.Behind, st.Behind)
		}
		s.Shards = append(s.Shards, st)
	}
	return s
}

// Restart has a shard of this worker read anew from its last durable position: what is not durable is given up and comes again.
// It returns at once. The error is ErrNotHeld.
func (w *Worker) Restart(key string) error {
	w.mu.Lock()
	h := w.held[key]
	w.mu.Unlock()
	if h == nil {
		return fmt.Errorf("restart %q: %w", key, ErrNotHeld)
	}
	select {
	case h.restart <- struct{}{}:
	default: // it was asked for already
	}
	return nil
}

// streamLabels names all streams.
func (w *Worker) streamLabels() string {
	labels := make([]string, len(w.sources))
	for i, s := range w.sources {
		labels[i] = s.cfg.label()
	}
	return strings.Join(labels, ", ")
}

func (h *held) describe(st *ShardStatus) {
	position := h.safe()
	h.mu.Lock()
	defer h.mu.Unlock()
	st.Mine = true
	st.Checkpoint = h.lease.Checkpoint.String()
	st.Position = position.String()
	st.State, st.Since = h.state, h.since
	st.Behind, st.LastRead, st.LastError = h.behind, h.lastRead, h.lastError
	st.KBps = h.kbps
	if h.window != nil {
		st.InFlight = h.window.InFlight()
	}
}
