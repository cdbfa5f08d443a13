package httpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	missing := errors.New("identity: no complete listing yet")
	s, err := New(DefaultConfig(), Deps{
		Gatherer: prometheus.NewRegistry(),
		Checks: []Check{
			{Name: "kafka", Ready: func() error { return nil }},
			{Name: "identity", Ready: func() error { return missing }},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return rec.Code, rec.Body.String()
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, missing.Error()) || !strings.Contains(body, `"kafka":"ok"`) {
		t.Errorf("readyz = %d %s", code, body)
	}
	missing = nil
	if code, _ := get("/readyz"); code != http.StatusOK {
		t.Errorf("readyz = %d when every check holds", code)
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz = %d", code)
	}
}

func TestProfilesStayOnLoopback(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		err := cfg.Validate()
		switch {
		case want == "" && err != nil:
			t.Errorf("%+v: %v", cfg, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%+v: error %v does not say %q", cfg, err, want)
		}
	}
	f(Config{Listen: "127.0.0.1:0", Debug: true}, "")
	f(Config{Listen: "[::1]:0", Debug: true}, "")
	f(Config{Listen: "0.0.0.0:9090"}, "")
	f(Config{Listen: "0.0.0.0:9090", Debug: true}, "debug_anywhere")
	f(Config{Listen: ":9090", Debug: true}, "debug_anywhere")
	f(Config{Listen: "0.0.0.0:9090", Debug: true, DebugAnywhere: true}, "")
	f(Config{Listen: "9090"}, "host:port")
	f(Config{Listen: "127.0.0.1:65536"}, `listen: "127.0.0.1:65536" has no port from 0 to 65535; write`)
	f(Config{Listen: "127.0.0.1:"}, "has no port")
	f(Config{Listen: "127.0.0.1:http"}, "has no port")
	f(Config{}, "")
}

// What to do about an address that cannot be bound depends on why.
func TestListenSaysWhatToWriteInstead(t *testing.T) {
	f := func(cause error, want string) {
		t.Helper()
		err := listenError("h:1", &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", cause)})
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), `http.listen "h:1": `) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(syscall.EADDRINUSE, "is another dredge running here?")
	f(syscall.EACCES, "write one from 1024 on")
	f(syscall.EADDRNOTAVAIL, "no interface of this machine has this address")
	f(syscall.EMFILE, "listen: bind: too many open files")
	s, err := New(Config{Listen: "127.0.0.1:0"}, Deps{Gatherer: prometheus.NewRegistry(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.cfg.Listen = taken.Addr().String()
	if _, err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "is another dredge running here?") {
		t.Errorf("a port in use: %v", err)
	}
}

func TestServesUntilItsContextEnds(t *testing.T) {
	s, err := New(Config{Listen: "127.0.0.1:0"}, Deps{Gatherer: prometheus.NewRegistry(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+"/debug/pprof/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("profiles answer %d although debug is off", resp.StatusCode)
	}
	if got := resp.Header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'self'") {
		t.Errorf("content security policy %q", got)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
