package pipeline

import (
	"strings"
	"time"

	"dredge/row"
)

const (
	// forgetApps is how many minutes an application is remembered after its last flow.
	forgetApps = 24 * 60
	// minuteApps bounds the applications kept for each minute beside those of the edges that are kept.
	minuteApps = 10_000
)

// apps remembers when each application was last an end of a counted flow. It is no map of all there are: at most so many are watched,
// first come, first served, and each is forgotten a day after its last flow, so that series of names that come and go come and go, too.
type apps struct {
	most int
	// last is the minute of an application's last flow, in minutes since 1970.
	last map[string]int64
	// upTo is the minute up to which the minutes were looked through.
	upTo int64
}

// noteApp notes an application of an edge for which minute m has no room.
func (t *traffic) noteApp(m *minute, app string) {
	if len(m.beyond) >= minuteApps || t.recent.has(m.number, app) {
		return
	}
	if m.beyond == nil {
		m.beyond = make(map[string]struct{})
	}
	m.beyond[app] = struct{}{}
}

// recentApps are names that were noted in one minute already, by where they lie: most of them, each in the one entry that it may be in.
type recentApps struct {
	minute int64
	names  *[1 << recentBits]string
}

const recentBits = 14

// has says whether app is remembered for minute, which it is from then on.
func (r *recentApps) has(minute int64, app string) bool {
	switch {
	case r.names == nil:
		r.names = new([1 << recentBits]string)
	case r.minute != minute:
		clear(r.names[:])
	}
	r.minute = minute
	at := &r.names[place(app)*0x9e3779b97f4a7c15>>(64-recentBits)]
	if same(*at, app) && app != "" {
		return true
	}
	*at = app
	return false
}

// eachApp calls f for every application that is watched, by the name that rows show, with the end of the minute of its last flow, which may be now. It returns
// how many applications of the last minutes are not watched because there are more than the bound. f must not call t.
func (t *traffic) eachApp(now time.Time, f func(app string, last time.Time)) (unwatched int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := now.Unix() / 60
	for app, at := range t.apps.last {
		if at < number-forgetApps {
			delete(t.apps.last, app)
		}
	}
	left := map[string]struct{}{}
	// The minutes come in no order, and known texts go first because they are nearly all.
	seen := func(app string, at int64) (known bool) {
		last, known := t.apps.last[app]
		if known {
			t.apps.last[app] = max(last, at)
		}
		return known
	}
	take := func(app string, at int64) {
		if seen(app, at) {
			return
		}
		if _, ok := row.UnescapeApp(app); !ok {
			return
		}
		app = strings.ToValidUTF8(app, "\ufffd") // a record's own names can be anything, and a label cannot
		if seen(app, at) {
			return
		}
		if len(t.apps.last) >= t.apps.most {
			left[app] = struct{}{}
			return
		}
		t.apps.last[strings.Clone(app)] = at // the text is the identity tables' own, which may let it go
	}
	for i := range t.minutes {
		m := &t.minutes[i]
		if m.number < t.apps.upTo || m.number < number-summaryMinutes {
			continue
		}
		for _, e := range m.edges.list {
			take(e.src, m.number)
			take(e.dst, m.number)
		}
		for app := range m.beyond {
			take(app, m.number)
		}
	}
	t.apps.upTo = number - 1 // rows of the minute before may have come since
	for app, at := range t.apps.last {
		last := time.Unix((at+1)*60, 0)
		if last.After(now) {
			last = now
		}
		f(app, last)
	}
	return len(left)
}
