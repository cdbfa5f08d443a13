// Package httpd is dredge's HTTP server: /metrics, /healthz, /readyz, whatever the caller mounts (the page and its API), and
// profiles on loopback. It has time-outs and a header limit, TLS and logins with two roles. What changes something is mounted apart: it
// needs a login of role admin or, where nobody has to log in, a request of this machine.
package httpd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// Check is one condition of readiness.
type Check struct {
	Name string
	// Ready returns nil when the condition holds, else what is missing.
	Ready func() error
}

// Deps are what the server shows.
type Deps struct {
	Gatherer prometheus.Gatherer
	// Registry takes the server's own metrics; nil keeps them nowhere.
	Registry prometheus.Registerer
	Log      zerolog.Logger
	// Checks must all hold for /readyz to answer 200.
	Checks []Check
	// Detail stands in the answer of /readyz: what a person asks first, ready or not. It is called for each answer; nil tells nothing.
	Detail func() map[string]string
	// Handlers are mounted by their pattern (net/http.ServeMux syntax).
	Handlers map[string]http.Handler
	// Admin is what changes something, by its pattern.
	Admin map[string]http.Handler
}

// Server answers HTTP until its context ends.
type Server struct {
	cfg  Config
	log  zerolog.Logger
	http *http.Server
	ln   net.Listener
	// certificate is nil without TLS.
	certificate *pair
	refused     *refusals
}

// New checks cfg and builds the routes. Nothing listens yet.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	entrance, err := newDoor(cfg.Auth, deps.Log)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	refused, err := newRefusals(deps.Registry)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	s := &Server{cfg: cfg, log: deps.Log, refused: refused}
	if cfg.TLS.Enabled() {
		if s.certificate, err = newPair(cfg.TLS, deps.Log); err != nil {
			return nil, fmt.Errorf("http: %w", err)
		}
	}
	mux := http.NewServeMux()
	read := func(pattern string, h http.Handler) { mux.Handle(pattern, entrance.require(RoleRead, h, refused)) }
	metrics := promhttp.HandlerFor(deps.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	if cfg.OpenMetrics {
		mux.Handle("GET /metrics", metrics)
	} else {
		read("GET /metrics", metrics)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { serveReady(w, deps.Checks, deps.Detail) })
	if cfg.Debug {
		for pattern, h := range map[string]http.HandlerFunc{
			"GET /debug/pprof/": pprof.Index, "GET /debug/pprof/cmdline": pprof.Cmdline, "GET /debug/pprof/profile": pprof.Profile,
			"GET /debug/pprof/symbol": pprof.Symbol, "GET /debug/pprof/trace": pprof.Trace,
		} {
			mux.Handle(pattern, entrance.require(RoleAdmin, h, refused))
		}
	}
	for pattern, h := range deps.Handlers {
		read(pattern, h)
	}
	for pattern, h := range deps.Admin {
		mux.Handle(pattern, entrance.require(RoleAdmin, admin(h, cfg.AdminAnywhere || !entrance.open(), refused), refused))
	}
	s.http = &http.Server{
		Handler:           secure(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a CPU profile takes 30 s by default
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return s, nil
}

// Scheme is http or https.
func (s *Server) Scheme() string {
	if s.certificate != nil {
		return "https"
	}
	return "http"
}

// listenError says what to write instead of an address that cannot be bound.
func listenError(address string, err error) error {
	err = fmt.Errorf("http.listen %q: %w", address, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; is another dredge running here? write another port, or 127.0.0.1:0 for any free one", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w; ports below 1024 are not for everybody, write one from 1024 on", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; no interface of this machine has this address, write one that it has, or 0.0.0.0 for all", err)
	}
	return err
}

// Listen binds the configured address, so that a wrong one is known before anything else starts, and returns what was bound.
// It returns nil, nil when the server is turned off.
func (s *Server) Listen(ctx context.Context) (net.Addr, error) {
	if s.cfg.Listen == "" {
		return nil, nil //nolint:nilnil // no address is the answer when the server is off
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return nil, listenError(s.cfg.Listen, err)
	}
	s.ln = ln
	if s.certificate != nil {
		s.ln = tls.NewListener(ln, s.certificate.config())
	}
	return ln.Addr(), nil
}

// Run serves until ctx ends, then lets requests under way finish for up to two seconds. It returns when nothing it started runs.
func (s *Server) Run(ctx context.Context) error {
	if s.ln == nil {
		<-ctx.Done()
		return nil
	}
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve http on %s: %w", s.ln.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.http.Shutdown(stop); err != nil {
		s.log.Warn().Err(err).Msg("http requests were cut off at shutdown")
		_ = s.http.Close() // the error above says it all
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http on %s: %w", s.ln.Addr(), err)
	}
	return nil
}

func serveReady(w http.ResponseWriter, checks []Check, about func() map[string]string) {
	status := http.StatusOK
	detail := make(map[string]string, len(checks))
	for _, c := range checks {
		detail[c.Name] = "ok"
		if err := c.Ready(); err != nil {
			detail[c.Name] = err.Error()
			status = http.StatusServiceUnavailable
		}
	}
	answer := map[string]any{"ready": status == http.StatusOK, "checks": detail}
	if about != nil {
		answer["detail"] = about()
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client went away; there is nobody to tell
}

// secure sets the headers that hold for every answer. The page needs no third party: everything comes from this server.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}
