package pipeline

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/row"
)

// An application was heard of when a counted flow had it as an end; tokens are no applications. It is forgotten after a day.
func TestApplicationsLastSeen(t *testing.T) {
	start := time.Unix(1_700_000_040, 0) // a full minute
	tr, l := newTraffic(start, 10), &local{}
	at := func(after time.Duration, rows ...row.Row) {
		l.sum(rows)
		tr.add(l, int64(len(rows)), start.Add(after))
	}
	seen := func(after time.Duration) map[string]string {
		t.Helper()
		out := map[string]string{}
		if n := tr.eachApp(start.Add(after), func(app string, last time.Time) { out[app] = last.Sub(start).String() }); n != 0 {
			t.Errorf("%d applications are not watched", n)
		}
		return out
	}
	at(0, summaryRow("web", "db", 100, true), summaryRow("uncounted", "db", 1, false), summaryRow("web", "internet", 1, true),
		summaryRow("aws:S3", "unknown", 1, true), summaryRow("ambiguous", "=internet", 1, true), summaryRow("bad\xff", "db", 1, true))
	want := map[string]string{"web": "30s", "db": "30s", "=internet": "30s", "bad\ufffd": "30s"}
	if diff := cmp.Diff(want, seen(30*time.Second)); diff != "" {
		t.Error(diff)
	}
	at(40*time.Second, summaryRow("late", "db", 1, true)) // in a minute that was looked at already
	at(10*time.Minute, summaryRow("web", "cache", 1, true))
	want = map[string]string{"web": "10m30s", "cache": "10m30s", "db": "1m0s", "=internet": "1m0s", "bad\ufffd": "1m0s"}
	if diff := cmp.Diff(want, seen(10*time.Minute+30*time.Second)); diff != "" {
		t.Error(diff)
	}
	want = map[string]string{"web": "11m0s", "cache": "11m0s"}
	if diff := cmp.Diff(want, seen(24*time.Hour+2*time.Minute)); diff != "" {
		t.Error(diff)
	}
	if got := seen(25 * time.Hour); len(got) != 0 {
		t.Errorf("after a day %v are remembered", got)
	}
}

// The last minute counts wherever the ring of minutes begins, for a name that is no UTF-8, too.
func TestApplicationsInAnyOrderOfMinutes(t *testing.T) {
	start := time.Unix(1_700_000_040, 0)
	for k := range summaryMinutes {
		tr, l := newTraffic(start, 10), &local{}
		for _, after := range []int{k, k + 1} {
			l.sum([]row.Row{summaryRow("bad\xff", "db", 1, true)})
			tr.add(l, 1, start.Add(time.Duration(after)*time.Minute))
		}
		now := start.Add(time.Duration(k+3) * time.Minute)
		tr.eachApp(now, func(app string, last time.Time) {
			if want := start.Add(time.Duration(k+2) * time.Minute); !last.Equal(want) {
				t.Errorf("%q, minutes %d and %d: last seen %s, want %s", app, k, k+1, last.Sub(start), want.Sub(start))
			}
		})
	}
}

// However many applications and edges there are, only so many are watched, each that is watched is heard of, and the others are counted.
func TestApplicationsAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_040, 0)
	tr, l := newTraffic(now, 5), &local{}
	hear := func(from, to int) {
		for i := from; i < to; i++ {
			l.sum([]row.Row{summaryRow(fmt.Sprintf("app-%d", i), "hub", 1, true)})
			tr.add(l, 1, now)
		}
	}
	hear(0, 4)
	got := map[string]time.Time{}
	look := func() int {
		clear(got)
		return tr.eachApp(now, func(app string, last time.Time) { got[app] = last })
	}
	if n := look(); n != 0 || len(got) != 5 {
		t.Fatalf("%d are not watched, of %v", n, got)
	}
	hear(100, 100+minuteEdges)
	if n := look(); n != minuteEdges || len(got) != 5 {
		t.Errorf("%d are not watched, and %d are", n, len(got))
	}
	// In the next minute there is no room for the edges of those that are watched, yet they are heard of.
	now = now.Add(time.Minute)
	hear(100, 100+minuteEdges)
	hear(0, 4)
	look()
	for app, last := range got {
		if !last.Equal(now) {
			t.Errorf("%s was last heard of at %s", app, last)
		}
	}
	hear(5000, 5000+2*minuteApps)
	if m := &tr.minutes[now.Unix()/60%int64(len(tr.minutes))]; len(m.edges.list) > minuteEdges || len(m.beyond) > minuteApps {
		t.Errorf("%d edges and %d applications are kept", len(m.edges.list), len(m.beyond))
	}
}

// An application whose edges have no room is heard of in every minute anew, also when its name is the very same text.
func TestApplicationBeyondTheEdges(t *testing.T) {
	now := time.Unix(1_700_000_040, 0)
	tr, l := newTraffic(now, 10*minuteEdges), &local{}
	one := []row.Row{summaryRow("quiet", "hub", 1, true)}
	for range 3 {
		now = now.Add(time.Minute)
		for i := range minuteEdges {
			l.sum([]row.Row{summaryRow(fmt.Sprintf("app-%d", i), "hub", 1, true)})
			tr.add(l, 1, now)
		}
		for range 2 {
			l.sum(one)
			tr.add(l, 1, now)
		}
		var last time.Time
		tr.eachApp(now, func(app string, at time.Time) {
			if app == "quiet" {
				last = at
			}
		})
		if !last.Equal(now) {
			t.Errorf("last heard of at %s, want %s", last, now)
		}
	}
}
