package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Bounds of what is read. etcd refuses objects beyond 1.5 MiB.
const (
	pageSize  = 500
	maxObject = 8 << 20
	maxPage   = 512 << 20

	// watchFor is after what time the server is asked to end a watch; silence is how long a watch may say nothing at all, bookmarks
	// included (the server sends one a minute), before it counts as dead.
	watchFor = 5 * time.Minute
	silence  = 3 * time.Minute

	listTimeout = 2 * time.Minute
	firstRetry  = time.Second
	lastRetry   = time.Minute
)

// errGone: the server no longer knows the position that was asked for.
var errGone = errors.New("resource version is too old")

// statusError is an answer that is none of the expected.
type statusError struct {
	code    int
	message string
	after   time.Duration // Retry-After
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.message) }

// handler takes what a watcher reads. All calls come from one goroutine.
type handler interface {
	// begin starts a complete listing that was asked for at asked.
	begin(asked time.Time)
	// object takes a listed object.
	object(raw json.RawMessage)
	// end ends the listing; all of it was told.
	end(rv string)
	// change takes one event of the watch.
	change(kind string, raw json.RawMessage)
	// position says that the watch has told everything up to rv; "" means that it was cut off.
	position(rv string)
	// fault is told everything that went wrong.
	fault(f fault, err error)
}

// watcher keeps up with one kind of object: it lists, watches from there, resumes a watch that ended, and lists anew when its
// position has expired.
type watcher struct {
	client *http.Client
	base   string
	path   string // of the collection
	// anew asks for a listing in place of the next watch; nil never does.
	anew *atomic.Bool
	handler
}

// run works until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	rv, wait := "", firstRetry
	for ctx.Err() == nil {
		var err error
		if w.anew != nil && w.anew.Swap(false) {
			rv = ""
		}
		if rv == "" {
			rv, err = w.list(ctx)
		} else {
			var next string
			var heard bool
			next, heard, err = w.watch(ctx, rv)
			w.position("")
			if heard {
				rv, wait = next, firstRetry
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end of ctx is how this ends
		case err == nil:
			wait = firstRetry
			continue
		case errors.Is(err, errGone):
			w.fault(faultExpired, err)
			rv = ""
		default:
			w.fault(reasonOf(err), err)
		}
		rest := wait/2 + rand.N(wait/2)
		if status, ok := errors.AsType[*statusError](err); ok {
			rest = max(rest, min(status.after, lastRetry))
		}
		wait = min(2*wait, lastRetry)
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
	return nil
}

func reasonOf(err error) fault {
	status, ok := errors.AsType[*statusError](err)
	switch {
	case ok && (status.code == http.StatusUnauthorized || status.code == http.StatusForbidden):
		return faultDenied
	case errors.Is(err, io.ErrUnexpectedEOF):
		return faultDropped
	default:
		return faultRequest
	}
}

// get asks for the collection. The caller closes the body.
func (w *watcher) get(ctx context.Context, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+w.path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusGone {
		return nil, errGone
	}
	var status struct {
		Message string `json:"message"`
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(body, &status) != nil || status.Message == "" {
		status.Message = http.StatusText(resp.StatusCode)
	}
	fault := &statusError{code: resp.StatusCode, message: status.Message}
	if sec, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && sec > 0 {
		fault.after = time.Duration(sec) * time.Second
	}
	return nil, fault
}

// list reads the collection page by page, as it was at one moment: without a resource version the server answers with its newest
// state, and the pages after the first are of that same state. It returns the version.
func (w *watcher) list(ctx context.Context) (string, error) {
	w.begin(time.Now())
	rv := ""
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for {
		page, err := w.page(ctx, query, w.object)
		if err != nil {
			return "", err
		}
		if rv == "" {
			rv = page.ResourceVersion
		}
		if page.Continue == "" {
			if rv == "" {
				return "", errors.New("listing: the answer has no resourceVersion")
			}
			w.end(rv)
			return rv, nil
		}
		query.Set("continue", page.Continue)
	}
}

// newest returns the version of the server's newest state.
func (w *watcher) newest(ctx context.Context) (string, error) {
	page, err := w.page(ctx, url.Values{"limit": {"1"}}, func(json.RawMessage) {})
	return page.ResourceVersion, err
}

type listMeta struct {
	ResourceVersion string `json:"resourceVersion"`
	Continue        string `json:"continue"`
}

// page reads one page and hands its objects over one by one, so that none of it is held as a whole.
func (w *watcher) page(ctx context.Context, query url.Values, each func(json.RawMessage)) (listMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := w.get(ctx, query)
	if err != nil {
		return listMeta{}, fmt.Errorf("listing %s: %w", w.path, err)
	}
	defer resp.Body.Close()
	meta, err := readPage(resp.Body, each)
	if err != nil {
		return listMeta{}, fmt.Errorf("listing %s: %w", w.path, err)
	}
	return meta, nil
}

// readPage reads a list object.
func readPage(r io.Reader, each func(json.RawMessage)) (listMeta, error) {
	var meta listMeta
	dec := json.NewDecoder(io.LimitReader(r, maxPage))
	if err := delim(dec, '{'); err != nil {
		return meta, err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return meta, cutOff(err)
		}
		switch key {
		case "metadata":
			err = dec.Decode(&meta)
		case "items":
			err = readItems(dec, each)
		default:
			var skip json.RawMessage
			err = dec.Decode(&skip)
		}
		if err != nil {
			return meta, cutOff(err)
		}
	}
	return meta, delim(dec, '}')
}

func readItems(dec *json.Decoder, each func(json.RawMessage)) error {
	open, err := dec.Token()
	if err != nil {
		return err
	}
	if open == nil { // null: Go servers write an empty list so
		return nil
	}
	if open != json.Delim('[') {
		return fmt.Errorf("items: %v stands where a list belongs", open)
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		each(raw)
	}
	return delim(dec, ']')
}

func delim(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return cutOff(err)
	}
	if t != want {
		return fmt.Errorf("%v stands where %v belongs", t, want)
	}
	return nil
}

// cutOff makes the end of a stream in the middle of something an error.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// watch follows changes from rv on until the server ends the watch, and returns where it got to; heard says that it got anywhere.
func (w *watcher) watch(ctx context.Context, rv string) (next string, heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	resp, err := w.get(ctx, url.Values{
		"watch": {"true"}, "resourceVersion": {rv}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(int(watchFor.Seconds()))},
	})
	if err != nil {
		if errors.Is(err, errGone) {
			return rv, false, errGone
		}
		return rv, false, fmt.Errorf("watching %s: %w", w.path, err)
	}
	defer resp.Body.Close()
	w.position(rv)
	frames := &bounded{r: resp.Body}
	dec := json.NewDecoder(frames)
	for {
		frames.left = maxObject
		var ev struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := dec.Decode(&ev); err != nil {
			if errors.Is(err, io.EOF) { // between two events: the server's own end
				return rv, heard, nil
			}
			return rv, heard, fmt.Errorf("watching %s: %w", w.path, err)
		}
		dead.Reset(silence)
		if ev.Type == "ERROR" {
			return rv, heard, watchError(ev.Object)
		}
		var head struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
			} `json:"metadata"`
		}
		if json.Unmarshal(ev.Object, &head) != nil || head.Metadata.ResourceVersion == "" {
			w.fault(faultBadObject, fmt.Errorf("watching %s: an event of type %q without a resourceVersion", w.path, ev.Type))
			continue
		}
		if ev.Type != "BOOKMARK" {
			w.change(ev.Type, ev.Object)
		}
		rv, heard = head.Metadata.ResourceVersion, true
		w.position(rv)
	}
}

func watchError(raw json.RawMessage) error {
	var status struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return fmt.Errorf("watch ended with an error that cannot be read: %w", err)
	}
	if status.Code == http.StatusGone {
		return errGone
	}
	return &statusError{code: status.Code, message: status.Message}
}

// bounded fails when more than left is read.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("an object of more than %d bytes", maxObject)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
