package httpd

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAdminIsForThisMachine(t *testing.T) {
	const path = "/drain"
	ask := func(cfg Config, change func(*http.Request)) (code, calls int) {
		t.Helper()
		s, err := New(cfg, Deps{Gatherer: prometheus.NewRegistry(), Admin: map[string]http.Handler{
			"POST " + path: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }),
		}})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil)
		r.RemoteAddr, r.Host = "127.0.0.1:55555", "127.0.0.1:9090"
		change(r)
		rec := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(rec, r)
		return rec.Code, calls
	}
	f := func(what string, want int, change func(*http.Request)) {
		t.Helper()
		code, calls := ask(DefaultConfig(), change)
		if code != want || (calls == 1) != (want == http.StatusOK) {
			t.Errorf("%s: %d after %d calls, want %d", what, code, calls, want)
		}
	}
	f("loopback", http.StatusOK, func(*http.Request) {})
	f("loopback, IPv6", http.StatusOK, func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:5", "[::1]:9090" })
	f("localhost", http.StatusOK, func(r *http.Request) { r.Host = "localhost:9090" })
	f("another machine", http.StatusForbidden, func(r *http.Request) { r.RemoteAddr = "10.0.0.7:5" })
	f("a proxy here", http.StatusForbidden, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.7") })
	f("a name that points here", http.StatusForbidden, func(r *http.Request) { r.Host = "evil.example:9090" })
	f("a page of another origin", http.StatusForbidden, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	f("another method", http.StatusMethodNotAllowed, func(r *http.Request) { r.Method = http.MethodGet })

	anywhere := DefaultConfig()
	anywhere.AdminAnywhere = true
	if code, calls := ask(anywhere, func(r *http.Request) { r.RemoteAddr, r.Host = "10.0.0.7:5", "dredge-0:9090" }); code != http.StatusOK || calls != 1 {
		t.Errorf("admin_anywhere: %d after %d calls", code, calls)
	}
}
