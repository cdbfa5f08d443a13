// Package tail shows rows live: it is handed every batch of rows and passes those that a viewer's filter picks on to the viewer,
// a few each second. While nobody looks it costs one atomic load for each batch.
package tail

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"dredge/row"
	"dredge/row/encode"
)

const (
	// maxViewers look at once; more are refused.
	maxViewers = 8
	// perSecond is how many rows a viewer gets; those beyond are counted and not shown.
	perSecond = 50
	// looksPerSecond bounds how many rows are held against a viewer's filter in a second, so that watching never slows the join.
	looksPerSecond = 50_000
	// session is how long one answer lasts; the page asks again.
	session = 5 * time.Minute
	// beat is how often a viewer hears of what it was not shown, also when nothing comes.
	beat = time.Second
)

// Tail is the live view. Safe for concurrent use.
type Tail struct {
	columns []row.Column
	encoder *encode.JSON
	watched atomic.Int32

	mu      sync.Mutex
	viewers map[*viewer]struct{}
	closed  chan struct{}
}

// viewer is one reader of rows. Its fields are guarded by Tail.mu.
type viewer struct {
	filter Filter
	rows   chan []byte
	// second is when looks and shown began to count.
	second       int64
	looks, shown int
	// matched rows were picked by the filter; skipped ones of those were not shown, unseen rows were not even looked at.
	matched, skipped, unseen int64
}

// New returns a Tail that shows every column.
func New() (*Tail, error) {
	columns := row.Of(row.Raw)
	encoder, err := encode.NewJSON(columns)
	if err != nil {
		return nil, fmt.Errorf("making the live view: %w", err)
	}
	return &Tail{columns: columns, encoder: encoder, viewers: map[*viewer]struct{}{}, closed: make(chan struct{})}, nil
}

// Tap takes a batch. It keeps nothing of it and does not block.
func (t *Tail) Tap(b *row.Batch) {
	if t.watched.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now().Unix()
	for v := range t.viewers {
		if v.second != now {
			v.second, v.looks, v.shown = now, 0, 0
		}
		for i := range b.Rows {
			if v.looks == looksPerSecond {
				v.unseen += int64(len(b.Rows) - i)
				break
			}
			v.looks++
			r := &b.Rows[i]
			if !v.filter.Match(b, r) {
				continue
			}
			v.matched++
			if v.shown == perSecond {
				v.skipped++
				continue
			}
			select {
			case v.rows <- t.encoder.Append(nil, b, i):
				v.shown++
			default: // the viewer's line is slow
				v.skipped++
			}
		}
	}
}

// Close ends every answer under way and refuses new ones.
func (t *Tail) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.closed:
	default:
		close(t.closed)
	}
}

// counts are what a viewer is told beside the rows.
type counts struct {
	Matched int64 `json:"matched"`
	Skipped int64 `json:"skipped"`
	Unseen  int64 `json:"unseen"`
}

// ServeHTTP answers with server-sent events: row for each row, counts once a second. The query's filter is that of ParseFilter.
func (t *Tail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	filter, err := ParseFilter(r.URL.Query().Get("filter"), t.columns)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	v := &viewer{filter: filter, rows: make(chan []byte, 2*perSecond)}
	if !t.enter(v) {
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("%d others look already, or dredge is about to end; try again later", maxViewers))
		return
	}
	defer t.leave(v)
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(time.Now().Add(session + 10*time.Second)); err != nil {
		refuse(w, http.StatusInternalServerError, "this connection cannot be kept open: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	t.stream(w, out, r, v)
}

// stream writes until the viewer leaves, the session is over or the Tail is closed.
func (t *Tail) stream(w http.ResponseWriter, out *http.ResponseController, r *http.Request, v *viewer) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	over := time.NewTimer(session)
	defer over.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-t.closed:
			return
		case <-over.C:
			return
		case line := <-v.rows:
			_, err = fmt.Fprintf(w, "event: row\ndata: %s\n\n", line)
		case <-tick.C:
			var text []byte
			if text, err = json.Marshal(t.counts(v)); err == nil {
				_, err = fmt.Fprintf(w, "event: counts\ndata: %s\n\n", text)
			}
		}
		if err == nil && len(v.rows) == 0 {
			err = out.Flush()
		}
		if err != nil {
			return // the viewer went away; there is nobody to tell
		}
	}
}

func (t *Tail) counts(v *viewer) counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return counts{v.matched, v.skipped, v.unseen}
}

func (t *Tail) enter(v *viewer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.closed:
		return false
	default:
	}
	if len(t.viewers) >= maxViewers {
		return false
	}
	t.viewers[v] = struct{}{}
	t.watched.Store(int32(len(t.viewers)))
	return true
}

func (t *Tail) leave(v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.viewers, v)
	t.watched.Store(int32(len(t.viewers)))
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why}) // the client went away; there is nobody to tell
}
