package tail

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"dredge/row"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func batch() *row.Batch {
	b := &row.Batch{Partition: "shard-1", Origins: []row.Origin{{Position: "1"}}}
	for i, app := range []string{"web", "db", "batch"} {
		r := b.Add()
		r.Src = row.Side{App: app, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Port: uint16(8000 + i), Grade: "confirmed", Named: true, Identity: &row.Identity{App: app, Account: "123456789012"}}
		r.Dst = row.Side{App: "cache", Addr: netip.MustParseAddr("10.1.0.1"), Grade: row.GradeUnknown}
		r.Bytes = int64(i)
	}
	return b
}

func TestFilter(t *testing.T) {
	b := batch()
	f := func(text, want string) {
		t.Helper()
		filter, err := ParseFilter(text, row.Of(row.Raw))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		var got []string
		for i := range b.Rows {
			if filter.Match(b, &b.Rows[i]) {
				got = append(got, b.Rows[i].Src.App)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q picks %q, want %q", text, got, want)
		}
	}
	f("", "web db batch")
	f("src_app=web", "web")
	f("app=web", "web")
	f("app=cache", "web db batch")
	f("src_app!=web", "db batch")
	f("src_app!=web bytes=2", "batch")
	f("10.0.0.1", "db")
	f("10.0.0.*", "web db batch")
	f("ba*", "batch")
	f("port=8001", "db")
	f("counted=true", "")
	f("dst_grade=unknown src_grade=confirmed app=db", "db")
	f("src_app=nobody", "")
}

func TestFilterFaults(t *testing.T) {
	for text, want := range map[string]string{
		"colour=red":                       `no column is called "colour"`,
		strings.Repeat("x", maxFilter+1):   "write at most 1024",
		strings.Repeat("x ", maxTerms+1):   "write at most 20",
		"src_app=web nothing!=1 app=batch": `"nothing!=1"`,
	} {
		if _, err := ParseFilter(text, row.Of(row.Raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("src_app=web 10.0.0.* counted!=true")
	f.Add("= != * =*")
	b, columns := batch(), row.Of(row.Raw)
	f.Fuzz(func(t *testing.T, text string) {
		if filter, err := ParseFilter(text, columns); err == nil {
			filter.Match(b, &b.Rows[0])
		}
	})
}

// A viewer gets the rows that its filter picks, and hears how many it was not shown.
func TestViewerGetsItsRows(t *testing.T) {
	tap, err := New()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(tap)
	defer server.Close()
	events := watch(t, server, "src_app=db")
	for tap.watched.Load() == 0 {
		<-events // counts come until it is entered
	}
	for range perSecond + 1 {
		tap.Tap(batch())
	}
	var seen int
	for e := range events {
		if strings.HasPrefix(e, "event: row") {
			seen++
			continue
		}
		if strings.Contains(e, `"matched":51`) {
			break
		}
	}
	if seen == 0 {
		t.Error("no row was shown")
	}
	tap.Close()
	for range events { // it ends by itself
	}
	if rec := ask(t, tap, ""); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("a closed one answers %d", rec.Code)
	}
}

// watch returns the events that a viewer gets, until the answer ends.
func watch(t *testing.T, server *httptest.Server, filter string) <-chan string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"?filter="+url.QueryEscape(filter), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req) //nolint:bodyclose // closed by the goroutine below
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		event := ""
		for lines.Scan() {
			if lines.Text() != "" {
				event += lines.Text() + "\n"
				continue
			}
			out <- event
			event = ""
		}
	}()
	return out
}

func ask(t *testing.T, h http.Handler, filter string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?filter="+url.QueryEscape(filter), nil))
	return rec
}

func TestBadQuestionsAreRefused(t *testing.T) {
	tap, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if rec := ask(t, tap, "colour=red"); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "colour") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for range maxViewers {
		tap.enter(&viewer{})
	}
	if rec := ask(t, tap, ""); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("one too many is answered %d", rec.Code)
	}
}

// While nobody looks, rows cost nothing.
func TestNobodyLooks(t *testing.T) {
	tap, err := New()
	if err != nil {
		t.Fatal(err)
	}
	b := batch()
	if n := testing.AllocsPerRun(100, func() { tap.Tap(b) }); n > 0 {
		t.Errorf("%.1f allocations", n)
	}
}
