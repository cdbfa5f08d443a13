package httpd

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func locked(t *testing.T) Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("scraper-token-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Listen = "0.0.0.0:9090"
	cfg.DebugAnywhere = true
	cfg.Auth = []Login{
		{Name: "ada", Role: RoleAdmin, Password: "correct horse battery"},
		{Name: "bob", Role: RoleRead, Password: "staple staple staple"},
		{Name: "prometheus", Role: RoleRead, TokenFile: file},
		{Name: "deploy", Role: RoleAdmin, Token: "deploy-token-12"},
	}
	return cfg
}

// Who may do what: nobody without a login, readers only look, admins also change something; probes are open to all.
func TestLogins(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := New(locked(t), Deps{
		Gatherer: reg, Registry: reg,
		Handlers: map[string]http.Handler{"GET /api/status": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
		Admin:    map[string]http.Handler{"POST /drain": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	f := func(login func(*http.Request), path string, want int) {
		t.Helper()
		method := http.MethodGet
		if path == "/drain" {
			method = http.MethodPost
		}
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		asked++ // each from an address of its own, as tries are counted by address
		r.RemoteAddr, r.Host = fmt.Sprintf("10.0.0.%d:5", asked), "dredge-0:9090"
		login(r)
		rec := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("%s: %d %s, want %d", path, rec.Code, strings.TrimSpace(rec.Body.String()), want)
		}
		if (rec.Code == http.StatusUnauthorized) != (rec.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: %d with the challenge %q", path, rec.Code, rec.Header().Get("WWW-Authenticate"))
		}
	}
	user := func(name, pass string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(name, pass) }
	}
	token := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
	}
	nobody := func(*http.Request) {}
	here := func(r *http.Request) { r.RemoteAddr, r.Host = "127.0.0.1:5", "127.0.0.1:9090" }
	elsewhere := func(r *http.Request) {
		r.SetBasicAuth("ada", "correct horse battery")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	const (
		ok, no, less = http.StatusOK, http.StatusUnauthorized, http.StatusForbidden
		profiles     = "/debug/pprof/cmdline"
	)
	for _, open := range []string{"/healthz", "/readyz"} {
		f(nobody, open, ok)
	}
	for _, path := range []string{"/metrics", "/api/status"} {
		f(nobody, path, no)
		f(here, path, no)
		f(user("bob", "staple staple staple"), path, ok)
		f(user("ada", "correct horse battery"), path, ok)
		f(token("scraper-token-1"), path, ok)
		f(token("deploy-token-12"), path, ok)
		f(user("bob", "correct horse battery"), path, no)
		f(user("", ""), path, no)
		f(token(""), path, no)
		f(token("bob:staple staple staple"), path, no) // a token is no password
		f(user("deploy-token-12", ""), path, no)
	}
	for _, path := range []string{"/drain", profiles} {
		f(nobody, path, no)
		f(here, path, no) // this machine has to log in, too
		f(user("bob", "staple staple staple"), path, less)
		f(token("scraper-token-1"), path, less)
		f(user("ada", "correct horse battery"), path, ok)
		f(token("deploy-token-12"), path, ok)
	}
	f(elsewhere, "/drain", less) // a page of another origin with the browser's login
	want := `# HELP dredge_http_refused_requests_total Requests that were refused, by reason: no valid login, too many tries from the address, a login without the role, or not from this machine.
# TYPE dredge_http_refused_requests_total counter
dredge_http_refused_requests_total{reason="elsewhere"} 0
dredge_http_refused_requests_total{reason="login"} 18
dredge_http_refused_requests_total{reason="role"} 4
dredge_http_refused_requests_total{reason="tries"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestOpenMetrics(t *testing.T) {
	cfg := locked(t)
	cfg.OpenMetrics = true
	s, err := New(cfg, Deps{Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Errorf("open metrics answer %d", rec.Code)
	}
}

func TestLoginFaults(t *testing.T) {
	f := func(l Login, want string) {
		t.Helper()
		cfg := DefaultConfig()
		cfg.Auth = []Login{l}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "auth[0]."+want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	f(Login{Name: "a", Role: "root", Password: "long enough a one"}, `role: "root" is unknown; write read or admin`)
	f(Login{Name: "a", Role: RoleRead}, "password: 0 of password")
	f(Login{Name: "a", Role: RoleRead, Password: "long enough a one", Token: "long enough a one"}, "password: 2 of password")
	f(Login{Name: "a", Role: RoleRead, Token: "short"}, "password: has 5 characters")
	f(Login{Role: RoleRead, Password: "long enough a one"}, `name: "" is no user`)
	f(Login{Name: "a:b", Role: RoleRead, PasswordFile: "f"}, `name: "a:b"`)

	cfg := DefaultConfig()
	cfg.Auth = []Login{{Name: "a", Role: RoleRead, TokenFile: filepath.Join(t.TempDir(), "none")}}
	if _, err := New(cfg, Deps{Gatherer: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "auth[0]") {
		t.Errorf("a file that is not there: %v", err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Auth[0].TokenFile = short
	if _, err := New(cfg, Deps{Gatherer: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "holds 1 characters") {
		t.Errorf("a file with too short a secret: %v", err)
	}
}

// No secret is in what is printed of a configuration, or in an error.
func TestLoginsKeepTheirSecrets(t *testing.T) {
	cfg := locked(t)
	cfg.Auth = append(cfg.Auth, Login{Name: "x", Role: "none", Token: "shortsecret"})
	text := fmt.Sprintf("%v %+v %#v %v", cfg, cfg, cfg, cfg.Validate())
	for _, s := range []string{"correct horse", "staple staple", "deploy-token", "shortsecret"} {
		if strings.Contains(text, s) {
			t.Errorf("%q is in %s", s, text)
		}
	}
}

func TestAdvice(t *testing.T) {
	f := func(c Config, want ...string) {
		t.Helper()
		got := c.Advice()
		if len(got) != len(want) {
			t.Errorf("%+v: %q", c, got)
			return
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%q does not say %q", got[i], want[i])
			}
		}
	}
	some := []Login{{Name: "a", Role: RoleAdmin, Token: "long enough a one"}}
	f(Config{Listen: "127.0.0.1:1"})
	f(Config{})
	f(Config{Listen: ":1"}, "nobody has to log in")
	f(Config{Listen: ":1", AdminAnywhere: true}, "nobody has to log in", "may drain")
	f(Config{Listen: ":1", Auth: some}, "in clear")
	f(Config{Listen: ":1", Auth: some, TLS: TLSConfig{CertFile: "c", KeyFile: "k"}})
}
