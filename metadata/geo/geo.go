// Package geo knows public addresses: the AWS service and region whose published ranges hold one, and the country and autonomous
// system that MaxMind DB files give it.
//
// What is in force is an immutable table behind an atomic pointer. Look-ups load it once, wait for nobody and allocate nothing; a
// new file is read and checked aside and then swapped in, and a bad one leaves the old in force.
package geo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Dependencies are what a Geo needs from outside.
type Dependencies struct {
	// Client asks for ip_ranges when that is a URL; nil is http.DefaultClient.
	Client *http.Client
	Logger zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Geo answers for public addresses. Look-ups are safe for concurrent use, also with Load and Run.
type Geo struct {
	cfg     Config
	deps    Dependencies
	metrics *metrics

	// ranges and databases are replaced as a whole by Load and Run. databases has one place per configured file, nil until
	// it was read.
	ranges    atomic.Pointer[Ranges]
	databases atomic.Pointer[[]*database]

	reload chan struct{}

	mu           sync.Mutex // one load at a time; it guards what follows
	rangesOrigin origin
	origins      []origin
	logged       map[string]string // by path: the fault that was logged last, so that a lasting one is logged once
}

// New returns a Geo that knows nothing yet. It opens nothing.
func New(cfg Config, deps Dependencies) (*Geo, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making public addresses: %w", err)
	}
	if deps.Client == nil {
		deps.Client = http.DefaultClient
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	g := &Geo{cfg: cfg, deps: deps, metrics: newMetrics(deps.Registerer), reload: make(chan struct{}, 1), logged: map[string]string{}}
	g.rangesOrigin = origin{path: cfg.IPRanges, max: maxRangesBytes}
	for _, path := range cfg.Databases {
		g.origins = append(g.origins, origin{path: path, max: maxDatabaseBytes})
	}
	return g, nil
}

// Load reads whatever has changed since the last Load, all of it the first time, and returns every fault. What a faulty file
// told before stays in force.
func (g *Geo) Load(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.load(ctx, true)...)
}

// Reload makes Run look at everything now. It does not wait.
func (g *Geo) Reload() {
	select {
	case g.reload <- struct{}{}:
	default: // one is due already
	}
}

// Run loads everything and follows changes until ctx ends: files every poll_interval, a URL every refresh, sooner after a fault.
// Faults are logged when they change, and counted. It returns nil.
func (g *Geo) Run(ctx context.Context) error {
	ticker := time.NewTicker(g.cfg.PollInterval)
	defer ticker.Stop()
	for all := true; ; {
		g.mu.Lock()
		for _, err := range g.load(ctx, all) {
			g.deps.Logger.Error().Err(err).Msg("public addresses cannot be read; what was known stays in force")
		}
		g.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			all = false
		case <-g.reload:
			all = true
			g.mu.Lock()
			clear(g.logged) // somebody waits for the answer
			g.mu.Unlock()
		}
	}
}

// load reads what is due and returns the faults that are new. all asks a URL before its time.
func (g *Geo) load(ctx context.Context, all bool) []error {
	var errs []error
	if g.cfg.IPRanges != "" {
		errs = append(errs, g.note(&g.rangesOrigin, kindRanges, g.loadRanges(ctx, all)))
	}
	for i := range g.origins {
		errs = append(errs, g.note(&g.origins[i], kindDatabases, g.loadDatabase(ctx, i)))
	}
	if ctx.Err() != nil {
		return nil
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// note counts err and returns it unless it is nothing or the same as last time.
func (g *Geo) note(o *origin, kind string, err error) error {
	switch {
	case errors.Is(err, errUnchanged):
		return nil
	case err == nil:
		delete(g.logged, o.path)
		return nil
	}
	reason := Unreadable
	if fault, ok := errors.AsType[*Error](err); ok {
		reason = fault.Reason
	}
	g.metrics.faults[kind][reason].Inc()
	text := err.Error()
	if g.logged[o.path] == text {
		return nil
	}
	g.logged[o.path] = text
	return o.wrap(err)
}

// retry is how long a URL that could not be read rests.
const retry = time.Minute

func (g *Geo) loadRanges(ctx context.Context, all bool) error {
	o := &g.rangesOrigin
	now := g.deps.Now()
	if isURL(o.path) {
		if !all && now.Before(o.next) {
			return errUnchanged
		}
		o.next = now.Add(min(retry, g.cfg.Refresh))
	}
	data, err := o.read(ctx, g.deps.Client)
	if err == nil || errors.Is(err, errUnchanged) {
		o.next = now.Add(g.cfg.Refresh)
	}
	if err != nil {
		return err
	}
	r, err := ParseRanges(data)
	if err != nil {
		o.forget()
		return err
	}
	// A cache between here and Amazon may answer with an old copy. A file is its owner's word.
	if old := g.ranges.Load(); isURL(o.path) && old != nil && r.Published.Before(old.Published) {
		o.forget()
		return refuse(Older, "published %s, older than what is in force (%s)", r.Published.Format(time.RFC3339), old.Published.Format(time.RFC3339))
	}
	g.ranges.Store(r)
	g.metrics.loaded(kindRanges, r.Blocks, r.Published)
	g.metrics.faults[kindRanges][BadEntry].Add(float64(r.Refused))
	if r.Refused > 0 {
		g.deps.Logger.Warn().Err(r.Fault).Int("entries", r.Refused).Str("path", o.path).Msg("entries of the ip ranges were left out")
	}
	g.deps.Logger.Info().Str("path", o.path).Int("networks", r.Blocks).Time("published", r.Published).Msg("ip ranges are in force")
	return nil
}

func (g *Geo) loadDatabase(ctx context.Context, i int) error {
	o := &g.origins[i]
	data, err := o.read(ctx, nil)
	if err != nil {
		return err
	}
	d, err := parseDatabase(data)
	if err != nil {
		return err
	}
	next := make([]*database, len(g.origins))
	if now := g.databases.Load(); now != nil {
		copy(next, *now)
	}
	next[i] = d
	g.databases.Store(&next)
	networks, oldest := 0, d.built
	for _, d := range next {
		if d != nil {
			networks += d.networks
			if d.built.Before(oldest) {
				oldest = d.built
			}
		}
	}
	g.metrics.loaded(kindDatabases, networks, oldest)
	g.deps.Logger.Info().Str("path", o.path).Str("type", d.kind).Int("networks", d.networks).Time("published", d.built).Msg("database of public addresses is in force")
	return nil
}

// Service returns the AWS service whose published ranges hold ip, "" when none does. It neither blocks nor allocates, and the
// string may be kept.
func (g *Geo) Service(ip netip.Addr) string {
	r, _ := g.ranges.Load().Lookup(ip)
	return r.Service
}

// ServiceIn returns the AWS service whose published ranges hold ip, with the region that they give it: "" for blocks of no single
// region. It neither blocks nor allocates, and the strings may be kept.
func (g *Geo) ServiceIn(ip netip.Addr) (service, region string) {
	r, _ := g.ranges.Load().Lookup(ip)
	if r.Region == Global {
		return r.Service, ""
	}
	return r.Service, r.Region
}

// Where is Place in plain values, for callers that do not know this package.
func (g *Geo) Where(ip netip.Addr) (country string, asn uint32, org string) {
	p, _ := g.Place(ip)
	return p.Country, p.ASN, p.Org
}

// Range returns what Amazon publishes of ip. It neither blocks nor allocates.
func (g *Geo) Range(ip netip.Addr) (Range, bool) { return g.ranges.Load().Lookup(ip) }

// Place returns the country and autonomous system of ip, each field from the first database that knows it; false when none does. It
// neither blocks nor allocates.
func (g *Geo) Place(ip netip.Addr) (Place, bool) {
	databases := g.databases.Load()
	if databases == nil || !ip.IsValid() {
		return Place{}, false
	}
	ip = ip.Unmap()
	var p Place
	for _, d := range *databases {
		if d == nil {
			continue
		}
		q, ok := d.lookup(ip)
		if !ok {
			continue
		}
		if p.Country == "" {
			p.Country = q.Country
		}
		if p.ASN == 0 {
			p.ASN, p.Org = q.ASN, q.Org
		}
	}
	return p, p != Place{}
}

// Describe says in one line what is in force.
func (g *Geo) Describe() string {
	var parts []string
	if r := g.ranges.Load(); r != nil {
		parts = append(parts, fmt.Sprintf("%d networks of AWS published %s", r.Blocks, r.Published.Format(time.DateOnly)))
	}
	if databases := g.databases.Load(); databases != nil {
		for _, d := range *databases {
			if d != nil {
				parts = append(parts, fmt.Sprintf("%d networks of %s built %s", d.networks, d.kind, d.built.Format(time.DateOnly)))
			}
		}
	}
	return strings.Join(parts, ", ")
}
