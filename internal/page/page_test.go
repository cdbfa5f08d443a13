package page

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, mux http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return rec
}

func serve() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range Handlers(Views{
		Status: func() Status { return Status{Version: "v1", Worker: "w"} },
		Talks:  func() Talks { return Talks{} }, Unknowns: func() Unknowns { return Unknowns{} }, Coverage: func() Coverage { return Coverage{} },
		Settings: func(w io.Writer) error { _, err := io.WriteString(w, "http: {listen: a}\n"); return err },
	}) {
		mux.Handle(pattern, h)
	}
	return mux
}

// Every file that the page names exists, and none lies elsewhere: the page works on a machine without a network.
func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	mux := serve()
	page := get(t, mux, "/").Body.String()
	refs := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(refs) < 5 {
		t.Fatalf("found only %d references in the page", len(refs))
	}
	for _, m := range refs {
		if !strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "#") {
			t.Errorf("the page refers to %s", m[1])
		}
		if strings.HasPrefix(m[1], "/assets/") && get(t, mux, m[1]).Code != http.StatusOK {
			t.Errorf("%s is not served", m[1])
		}
	}
	files, err := fs.Glob(static, "static/*.js")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, name := range files {
		data, err := static.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`from "([^"]+)"`).FindAllStringSubmatch(string(data), -1) {
			if get(t, mux, "/assets/"+strings.TrimPrefix(m[1], "./")).Code != http.StatusOK {
				t.Errorf("%s imports %s, which is not served", name, m[1])
			}
		}
		if strings.Contains(string(data), "innerHTML") {
			t.Errorf("%s uses innerHTML; log lines are not markup", name)
		}
	}
}

// The form that asks about an address is the same on the page and on that of sonar.
func TestBothPagesAskAboutAddresses(t *testing.T) {
	alone := http.NewServeMux()
	for pattern, h := range LookupHandlers() {
		alone.Handle(pattern, h)
	}
	form, err := fs.ReadFile(files(), lookupForm)
	if err != nil {
		t.Fatal(err)
	}
	for name, mux := range map[string]http.Handler{"page": serve(), "sonar": alone} {
		rec := get(t, mux, "/")
		if body := rec.Body.String(); strings.Count(body, string(form)) != 1 || strings.Contains(body, lookupForm) || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%s: %s\n%s", name, rec.Header().Get("Content-Type"), body)
		}
	}
}

func TestStatusAnswersJSON(t *testing.T) {
	rec := get(t, serve(), "/api/status")
	var s Status
	if err := json.Unmarshal(rec.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Worker != "w" || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%+v %v", s, rec.Header())
	}
}

func TestConfigurationIsText(t *testing.T) {
	rec := get(t, serve(), "/api/config")
	if got := rec.Body.String(); got != "http: {listen: a}\n" || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%q %v", got, rec.Header())
	}
}
