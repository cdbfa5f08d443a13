package httpd

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
)

// An address may send ten wrong secrets at once and then one every 30 seconds; until then not even the right one is looked at. Others
// are not concerned, nor is who sends none.
func TestGuessingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		var logged strings.Builder
		s, err := New(locked(t), Deps{Gatherer: reg, Registry: reg, Log: zerolog.New(&logged)})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(from, token string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
			r.RemoteAddr = from
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			r.Header.Set("X-Forwarded-For", fmt.Sprint("10.9.9.", time.Now().UnixNano()%200)) // nobody is believed
			rec := httptest.NewRecorder()
			s.http.Handler.ServeHTTP(rec, r)
			return rec
		}
		expect := func(from, token string, want int) {
			t.Helper()
			if rec := ask(from, token); rec.Code != want {
				t.Errorf("%s: %d %s, want %d", from, rec.Code, strings.TrimSpace(rec.Body.String()), want)
			}
		}
		const bad, good = "a-token-that-is-wrong", "scraper-token-1"
		for range triesAtOnce {
			expect("10.0.0.7:1", bad, http.StatusUnauthorized)
		}
		rec := ask("10.0.0.7:2", good)
		if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") != "30" || !strings.Contains(rec.Body.String(), "try again in 30s") {
			t.Errorf("%d, Retry-After %q: %s", rec.Code, rec.Header().Get("Retry-After"), rec.Body.String())
		}
		expect("10.0.0.7:3", "", http.StatusUnauthorized) // a browser's first request
		expect("10.0.0.8:1", good, http.StatusOK)
		expect("[::ffff:10.0.0.7]:1", good, http.StatusTooManyRequests) // the same, as a socket for both families tells it

		<-time.After(tryAgainEvery)
		expect("10.0.0.7:1", good, http.StatusOK) // is no wrong one, so there is still one left
		expect("10.0.0.7:1", bad, http.StatusUnauthorized)
		expect("10.0.0.7:1", good, http.StatusTooManyRequests)
		<-time.After(triesAtOnce * tryAgainEvery)
		for range triesAtOnce {
			expect("10.0.0.7:1", bad, http.StatusUnauthorized)
		}
		expect("10.0.0.7:1", bad, http.StatusTooManyRequests)

		for i := range triesAtOnce { // one host has a whole /64
			expect(fmt.Sprintf("[2001:db8:1:2::%x]:1", i+1), bad, http.StatusUnauthorized)
		}
		expect("[2001:db8:1:2:ffff::1]:1", good, http.StatusTooManyRequests)
		expect("[2001:db8:1:3::1]:1", good, http.StatusOK)

		if got := testutil.ToFloat64(s.refused.tries); got != 5 {
			t.Errorf("%v requests were refused for too many tries, want 5", got)
		}
		if n := strings.Count(logged.String(), `"from":"10.0.0.7/32"`); n == 0 || strings.Contains(logged.String(), good) || strings.Contains(logged.String(), bad) {
			t.Errorf("logged:\n%s", logged.String())
		}
	})
}

// However many addresses try, what is remembered is bounded.
func TestGuessingAddressesAreBounded(t *testing.T) {
	tr, err := newTries()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxAddresses {
		r := &http.Request{RemoteAddr: fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)}
		if wait := tr.try(r, func() bool { return false }); wait != 0 {
			t.Fatalf("address %d has to wait %s", i, wait)
		}
	}
	if n := tr.full.Len(); n != maxAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
}
