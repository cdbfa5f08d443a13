package sonar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of the API.
const (
	// maxQuestions is how many questions are answered at once; more are refused with 503.
	maxQuestions = 16
	// questionTime is how long an answer may take.
	questionTime = 5 * time.Second
)

// API serves the questions over HTTP: GET /v1/ip/{addr}, /v1/ip/{addr}/history, /v1/workload/{app}, /v1/diff. Answers are JSON.
type API struct {
	asker   *Asker
	slots   chan struct{}
	seconds *prometheus.HistogramVec
	refused prometheus.Counter
}

// NewAPI returns the API over asker. The registerer may be nil.
func NewAPI(asker *Asker, r prometheus.Registerer) *API {
	a := &API{
		asker: asker, slots: make(chan struct{}, maxQuestions),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dredge_identity_question_seconds", Help: "Time that answers of the identity API took, by question.",
			Buckets: []float64{.0001, .0005, .001, .005, .025, .1, .5, 1, 5},
		}, []string{"question"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_refused_questions_total", Help: "Questions to the identity API that were refused because too many were asked at once.",
		}),
	}
	if r != nil {
		r.MustRegister(a.seconds, a.refused)
	}
	return a
}

// Handlers returns what to mount, by ServeMux pattern: without a fold only the questions about addresses.
func (a *API) Handlers() map[string]http.Handler {
	handlers := map[string]http.Handler{
		"GET /v1/ip/{addr}": a.answer("ip", []string{"at", "scope"}, func(ctx context.Context, r *http.Request, q url.Values) (any, error) {
			at := int64(0)
			if q.Has("at") {
				var err error
				if at, err = ParseTime(q.Get("at")); err != nil {
					return nil, badQuestion("at: %w", err)
				}
			}
			return a.asker.IP(ctx, address(r), at, q.Get("scope"))
		}),
		"GET /v1/ip/{addr}/history": a.answer("history", []string{"scope"}, func(ctx context.Context, r *http.Request, q url.Values) (any, error) {
			return a.asker.History(ctx, address(r), q.Get("scope"))
		}),
	}
	if a.asker.Fold == nil {
		return handlers
	}
	maps.Copy(handlers, map[string]http.Handler{
		"GET /v1/workload/{app}": a.answer("workload", []string{"from", "to"}, func(ctx context.Context, r *http.Request, q url.Values) (any, error) {
			from, to, err := a.span(q)
			if err != nil {
				return nil, err
			}
			return a.asker.Workload(ctx, r.PathValue("app"), from, to)
		}),
		"GET /v1/diff": a.answer("diff", []string{"scope", "from", "to"}, func(ctx context.Context, _ *http.Request, q url.Values) (any, error) {
			from, to, err := a.span(q)
			if err != nil {
				return nil, err
			}
			return a.asker.Diff(ctx, q.Get("scope"), from, to)
		}),
	})
	return handlers
}

// address returns the address in the path; an invalid one is refused by the Asker.
func address(r *http.Request) netip.Addr {
	ip, err := netip.ParseAddr(r.PathValue("addr"))
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap()
}

// span reads from and to: the last hour when they are absent.
func (a *API) span(q url.Values) (from, to int64, err error) {
	to = a.asker.now().UnixMilli()
	if q.Has("to") {
		if to, err = ParseTime(q.Get("to")); err != nil {
			return 0, 0, badQuestion("to: %w", err)
		}
	}
	from = to - time.Hour.Milliseconds()
	if q.Has("from") {
		if from, err = ParseTime(q.Get("from")); err != nil {
			return 0, 0, badQuestion("from: %w", err)
		}
	}
	return from, to, nil
}

type question func(ctx context.Context, r *http.Request, q url.Values) (any, error)

func (a *API) answer(name string, known []string, f question) http.Handler {
	seconds := a.seconds.WithLabelValues(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		default:
			a.refused.Inc()
			w.Header().Set("Retry-After", "1")
			writeJSON(w, http.StatusServiceUnavailable, problem{"too many questions at once; ask again"})
			return
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), questionTime)
		defer cancel()
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			err = badQuestion("query: %w", err)
		}
		for key := range q {
			if !slices.Contains(known, key) {
				err = badQuestion("%q is no parameter here; there are %s", key, strings.Join(known, ", "))
			}
		}
		var out any
		if err == nil {
			out, err = f(ctx, r, q)
		}
		seconds.Observe(time.Since(began).Seconds())
		switch {
		case errors.Is(err, ErrBadQuestion):
			writeJSON(w, http.StatusBadRequest, problem{strings.TrimPrefix(err.Error(), ErrBadQuestion.Error()+": ")})
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			writeJSON(w, http.StatusServiceUnavailable, problem{fmt.Sprintf("no answer within %s; ask for less", questionTime)})
		case err != nil:
			writeJSON(w, http.StatusInternalServerError, problem{err.Error()})
		default:
			writeJSON(w, http.StatusOK, out)
		}
	})
}

// problem is the body of an answer that is none.
type problem struct {
	Error string `json:"error"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client went away; there is nobody to tell
}
