package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dredge/metadata/event"
)

// apiServer is a Kubernetes API server in memory: one history of versions, lists of one moment in pages, watches from a version on,
// bookmarks and faults on order. It is reached through its RoundTrip, without a socket, so that time may be virtual.
type apiServer struct {
	mu      sync.Mutex
	version uint64
	oldest  uint64                       // versions before it are compacted away
	objects map[string]map[string]object // by collection, by uid
	history []change
	changed chan struct{} // closed at every change and order
	drops   int           // raised to end every watch in the middle of an object
	marks   int           // raised to send bookmarks

	// pageSize bounds a page beside the client's limit; lists counts complete ones, pages all.
	pageSize, lists, pages int
	// expireContinue makes the next continue token too old; slow holds the next list back until it is closed.
	expireContinue bool
	slow           chan struct{}
	// deny answers everything with this status.
	deny int
}

type object map[string]any

type change struct {
	version    uint64
	collection string
	kind       string
	obj        object
}

func newAPIServer() *apiServer {
	return &apiServer{
		version: 100, objects: map[string]map[string]object{podsPath: {}, nodesPath: {}}, changed: make(chan struct{}), pageSize: 1000,
	}
}

func (s *apiServer) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// order changes the server under its lock and wakes the watches.
func (s *apiServer) order(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.wake()
}

// put creates or replaces an object, remove deletes one.
func (s *apiServer) put(collection string, obj object) { s.write(collection, "", obj) }

func (s *apiServer) remove(collection string, obj object) { s.write(collection, "DELETED", obj) }

func (s *apiServer) write(collection, kind string, obj object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	obj = clone(obj)
	meta := obj["metadata"].(map[string]any)
	meta["resourceVersion"] = strconv.FormatUint(s.version, 10)
	uid := meta["uid"].(string)
	_, known := s.objects[collection][uid]
	switch {
	case kind != "":
		delete(s.objects[collection], uid)
	case known:
		kind = "MODIFIED"
	default:
		kind = "ADDED"
	}
	if kind != "DELETED" {
		s.objects[collection][uid] = obj
	}
	s.history = append(s.history, change{s.version, collection, kind, obj})
	s.wake()
}

func clone(o object) object {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var out object
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	return out
}

// RoundTrip implements http.RoundTripper.
func (s *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("watch") == "true" {
		return s.watch(r), nil
	}
	w := httptest.NewRecorder()
	s.list(r.Context(), w, r)
	return w.Result(), r.Context().Err()
}

func status(w *httptest.ResponseRecorder, code int, message string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","code":%d,"message":%q}`, code, message)
}

// list serves one page. A continue token is version/offset: every page is of the first one's version.
func (s *apiServer) list(ctx context.Context, w *httptest.ResponseRecorder, r *http.Request) {
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	if slow != nil && r.URL.Query().Get("limit") != "1" {
		select {
		case <-slow:
		case <-ctx.Done():
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deny != 0 {
		status(w, s.deny, "denied by order")
		return
	}
	at, offset := s.version, 0
	if token := r.URL.Query().Get("continue"); token != "" {
		if s.expireContinue {
			s.expireContinue = false
			status(w, http.StatusGone, "the provided continue parameter is too old")
			return
		}
		if _, err := fmt.Sscanf(token, "%d/%d", &at, &offset); err != nil {
			status(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	items := s.asOf(r.URL.Path, at)
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	n := min(limit, s.pageSize, len(items)-offset)
	meta := map[string]any{"resourceVersion": strconv.FormatUint(at, 10)}
	if offset+n < len(items) {
		meta["continue"] = fmt.Sprintf("%d/%d", at, offset+n)
	} else if limit != 1 {
		s.lists++
	}
	s.pages++
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "List", "metadata": meta, "items": items[offset : offset+n]})
}

// asOf returns a collection as it was, by uid.
func (s *apiServer) asOf(collection string, at uint64) []object {
	now := map[string]object{}
	for _, c := range s.history {
		if c.collection != collection || c.version > at {
			continue
		}
		uid := c.obj["metadata"].(map[string]any)["uid"].(string)
		if c.kind == "DELETED" {
			delete(now, uid)
		} else {
			now[uid] = c.obj
		}
	}
	out := make([]object, 0, len(now))
	for _, o := range now {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b object) int {
		return strings.Compare(a["metadata"].(map[string]any)["uid"].(string), b["metadata"].(map[string]any)["uid"].(string))
	})
	return out
}

// watch serves changes after a version until the client goes, the server was told to drop it, or timeoutSeconds are over.
func (s *apiServer) watch(r *http.Request) *http.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := httptest.NewRecorder()
	if s.deny != 0 {
		status(w, s.deny, "denied by order")
		return w.Result()
	}
	from, _ := strconv.ParseUint(r.URL.Query().Get("resourceVersion"), 10, 64)
	seconds, _ := strconv.Atoi(r.URL.Query().Get("timeoutSeconds"))
	pr, pw := io.Pipe()
	drops, marks, oldest := s.drops, s.marks, s.oldest
	go func() { //nolint:gosec // ends with the request
		timeout := time.NewTimer(time.Duration(seconds) * time.Second)
		defer timeout.Stop()
		enc := json.NewEncoder(pw)
		if from < oldest {
			_ = enc.Encode(map[string]any{"type": "ERROR", "object": map[string]any{"kind": "Status", "code": 410, "message": "too old resource version"}})
			_ = pw.Close()
			return
		}
		for {
			s.mu.Lock()
			var send []change
			for _, c := range s.history {
				if c.version > from && c.collection == r.URL.Path {
					send = append(send, c)
				}
			}
			dropped, mark, now, changed := s.drops != drops, s.marks != marks, s.version, s.changed
			marks = s.marks
			s.mu.Unlock()
			if dropped {
				_, _ = io.WriteString(pw, `{"type":"MODIFIED","object":{"metada`)
				_ = pw.Close()
				return
			}
			for _, c := range send {
				from = c.version
				if enc.Encode(map[string]any{"type": c.kind, "object": c.obj}) != nil {
					return
				}
			}
			if mark {
				_ = enc.Encode(map[string]any{"type": "BOOKMARK", "object": map[string]any{"metadata": map[string]any{"resourceVersion": strconv.FormatUint(now, 10)}}})
			}
			select {
			case <-changed:
			case <-timeout.C:
				_ = pw.Close()
				return
			case <-r.Context().Done():
				pw.CloseWithError(r.Context().Err())
				return
			}
		}
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: pr, Request: r}
}

// ledger writes events down as short lines.
type ledger struct {
	mu       sync.Mutex
	start    time.Time
	lines    []string
	events   []event.Event
	progress int64
	told     int
}

func (l *ledger) Apply(e *event.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := (event.Parser{}).Validate(e); err != nil {
		return err
	}
	l.events = append(l.events, *e)
	sec := func(ms int64) string {
		return strconv.FormatFloat(float64(ms-l.start.UnixMilli())/1000, 'g', -1, 64)
	}
	switch e.Op {
	case event.Progress:
		l.progress = e.To
		l.told++
	case event.Assign:
		l.lines = append(l.lines, fmt.Sprintf("assign %s %s/%s from %s acc %g app %s (%s)", e.Owner, e.Scope, e.IP, sec(e.From), float64(e.Acc)/1000, e.WL.App, e.WL.AppSource))
	case event.Release:
		l.lines = append(l.lines, fmt.Sprintf("release %s %s/%s to %s acc %g", e.Owner, e.Scope, e.IP, sec(e.To), float64(e.Acc)/1000))
	case event.Describe:
		l.lines = append(l.lines, fmt.Sprintf("describe %s app %s from %s", e.Owner, e.WL.App, sec(e.From)))
	default:
		l.lines = append(l.lines, string(e.Op))
	}
	return nil
}

// take returns the lines since the last take.
func (l *ledger) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.lines
	l.lines = nil
	return out
}
