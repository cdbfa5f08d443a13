package idlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dredge/internal/blob"

	"github.com/rs/zerolog"
)

// Leader decides which of several processes runs the sources. Each term is an object that only one process can create; its
// creator renews it by writing it again. Two leaders at once, after a pause of the older one, do no harm: events commute.
type Leader struct {
	Bucket Bucket
	// Name is this process, as it shows in the log.
	Name   string
	Lease  time.Duration
	Logger zerolog.Logger
	// Now is the clock; nil is time.Now. Clocks of candidates need not agree: a term ends when it was not renewed for Lease as
	// seen by the watcher's own clock.
	Now func() time.Time
}

// term is the content of a term's object.
type term struct {
	Name string `json:"name"`
	// Beat changes with every renewal.
	Beat int64 `json:"beat"`
	// Ended says that its holder gave it back.
	Ended bool `json:"ended,omitempty"`
}

const maxTerm = 4 << 10

func termKey(n int64) string { return fmt.Sprintf("%s%012d", leaderPrefix, n) }

// ErrSuperseded is returned by Run when another process has taken the turn.
var ErrSuperseded = errors.New("another process has taken over the identity log; start this one again to stand by")

// Run waits for its turn and calls lead with a context that ends when the turn is over. It returns when ctx has ended, when lead
// has, or with ErrSuperseded. lead must return soon after its context ended. Faults of the store are logged and retried.
func (l *Leader) Run(ctx context.Context, lead func(ctx context.Context) error) error {
	now := clock(l.Now)
	ticker := time.NewTicker(l.Lease / 4)
	defer ticker.Stop()
	w := watch{}
	fault := ""
	for ctx.Err() == nil {
		mine, err := l.attempt(ctx, &w, now())
		switch {
		case err != nil && ctx.Err() == nil && err.Error() != fault:
			fault = err.Error()
			l.Logger.Error().Err(err).Msg("the lease of the identity log cannot be read")
		case err == nil:
			fault = ""
		}
		if mine > 0 {
			return l.hold(ctx, mine, lead)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return nil
}

// watch is what a candidate saw of the present term, and since when.
type watch struct {
	n     int64
	term  term
	since time.Time
}

// attempt looks at the newest term and creates the next one when that has ended. mine is its number, 0 when it is another's.
func (l *Leader) attempt(ctx context.Context, w *watch, now time.Time) (mine int64, err error) {
	n, err := l.newest(ctx)
	if err != nil {
		return 0, err
	}
	if n > 0 {
		var t term
		data, err := l.Bucket.Read(ctx, termKey(n), maxTerm)
		if err != nil {
			return 0, err
		}
		if json.Unmarshal(data, &t) != nil {
			t = term{Name: "unreadable"} // it never changes, so it ends in time
		}
		if n != w.n || t != w.term {
			*w = watch{n, t, now}
		}
		if !t.Ended && now.Sub(w.since) < l.Lease {
			return 0, nil
		}
	}
	data, err := json.Marshal(term{Name: l.Name, Beat: 1})
	if err != nil {
		return 0, err
	}
	switch err := l.Bucket.Create(ctx, termKey(n+1), data); {
	case errors.Is(err, blob.ErrExist):
		return 0, nil // another one was faster
	case err != nil:
		return 0, err
	}
	return n + 1, nil
}

func (l *Leader) newest(ctx context.Context) (int64, error) {
	list, err := l.Bucket.List(ctx, leaderPrefix)
	if err != nil {
		return 0, err
	}
	n := int64(0)
	for _, o := range list {
		if v, err := strconv.ParseInt(strings.TrimPrefix(o.Key, leaderPrefix), 10, 64); err == nil {
			n = max(n, v)
		}
	}
	return n, nil
}

// hold leads while the term can be renewed.
func (l *Leader) hold(ctx context.Context, n int64, lead func(context.Context) error) error {
	l.Logger.Info().Int64("term", n).Str("name", l.Name).Msg("leading: running the sources")
	leading, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- lead(leading) }()
	var failed error
	lost := l.renew(leading, n, ended, &failed)
	stop()
	if lost {
		failed = <-ended
		if ctx.Err() == nil {
			return errors.Join(ErrSuperseded, failed)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	l.end(last, n)
	return failed
}

// renew writes the term's object until the turn is over; ended says that lead has returned, with failed.
func (l *Leader) renew(ctx context.Context, n int64, ended <-chan error, failed *error) (lost bool) {
	now := clock(l.Now)
	ticker := time.NewTicker(l.Lease / 4)
	defer ticker.Stop()
	renewed := now()
	for beat := int64(2); ; beat++ {
		select {
		case *failed = <-ended:
			return false
		case <-ctx.Done():
			return true
		case <-ticker.C:
		}
		newest, err := l.newest(ctx)
		if err == nil && newest > n {
			return true
		}
		if err == nil {
			err = l.write(ctx, n, term{Name: l.Name, Beat: beat})
		}
		if err == nil {
			renewed = now()
			continue
		}
		if told := now().Sub(renewed) >= l.Lease; told && ctx.Err() == nil {
			// Whoever cannot reach the store either cannot take over, and whoever can does no harm: go on until somebody has.
			l.Logger.Error().Err(err).Int64("term", n).Msg("the lease of the identity log could not be renewed")
			renewed = now()
		}
	}
}

func (l *Leader) write(ctx context.Context, n int64, t term) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return l.Bucket.Write(ctx, termKey(n), data)
}

// end gives the term back, so that the next one need not wait, and removes older ones.
func (l *Leader) end(ctx context.Context, n int64) {
	if err := l.write(ctx, n, term{Name: l.Name, Ended: true}); err != nil {
		l.Logger.Warn().Err(err).Msg("the lease of the identity log could not be given back")
		return
	}
	if n > 1 {
		_ = l.Bucket.Delete(ctx, termKey(n-1)) // left behind it does no harm
	}
}
