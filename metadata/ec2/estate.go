package ec2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/rs/zerolog"
)

// estate is one account in one region: what is listed, told and vouched for as one.
type estate struct {
	cfg     Config
	deps    Deps
	account string
	region  string
	src     string
	api     *ec2.Client
	log     zerolog.Logger
	caller  *awscall.Caller
	metrics estateMetrics

	// mu guards all below and orders what is emitted: a listing, a look-up and an event may end at the same time.
	mu     sync.Mutex
	teller awscall.Teller
	ledger *ledger
	// machines and zones are of the last listing.
	machines map[string]machine
	zones    map[string]string
	// listed is when the last complete listing began; 0 when there was none yet.
	listed      int64
	covered     map[logged]coverage
	everCovered map[logged]bool
	uncovered   map[logged]int64

	faults awscall.Faults
}

func newEstate(cfg Config, deps Deps, account, region string, api *ec2.Client, m *metrics) *estate {
	src := "ec2/" + account + "/" + region
	em := m.estate(account, region)
	return &estate{
		cfg: cfg, deps: deps, account: account, region: region, src: src, api: api,
		log: deps.Log.With().Str("source", src).Logger(), metrics: em,
		caller: &awscall.Caller{
			Service: "ec2", Limiter: awscall.NewLimiter(cfg.CallsPerSecond, deps.Now), Calls: em.calls, Throttled: em.throttled, Failed: em.failed,
		},
		teller: awscall.Teller{Src: src, Now: deps.Now, Events: em.events},
		ledger: newLedger(cfg.Consistency.Milliseconds(), cfg.MassRelease), machines: map[string]machine{}, zones: map[string]string{},
		covered: map[logged]coverage{}, everCovered: map[logged]bool{}, uncovered: map[logged]int64{},
	}
}

func (e *estate) millis() int64 { return e.deps.Now().UnixMilli() }

// run lists and tells until ctx ends.
func (e *estate) run(ctx context.Context) error {
	crawl := time.NewTicker(e.cfg.CrawlInterval)
	defer crawl.Stop()
	for {
		if err := e.crawl(ctx); err != nil {
			return err
		}
		e.metrics.rate.Set(e.caller.Limiter.Rate())
		select {
		case <-ctx.Done():
			return nil
		case <-crawl.C:
		}
	}
}

// tell hands events over. e.mu is held.
func (e *estate) tell(events []event.Event) error {
	e.metrics.claims.Set(float64(len(e.ledger.told)))
	return e.teller.Tell(events)
}

// listing is the part of the work that all else stands on.
const listing = "listing"

// crawl is one listing. What fails is named, counted and tried again at the next turn; the error is only that of emit.
func (e *estate) crawl(ctx context.Context) error {
	err := e.listAll(ctx)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // the end has come
	case err == nil:
		e.metrics.complete.Inc()
		return nil
	}
	if _, listing := errors.AsType[*listingError](err); !listing {
		return err
	}
	e.metrics.broken.Inc()
	e.mu.Lock()
	e.teller.Fail()
	e.mu.Unlock()
	e.faults.Note(e.log, listing, err)
	return nil
}

// listingError is a listing that did not come to its end.
type listingError struct{ err error }

func (e *listingError) Error() string { return e.err.Error() }
func (e *listingError) Unwrap() error { return e.err }

// listAll lists everything and tells what has changed.
func (e *estate) listAll(ctx context.Context) error {
	e.mu.Lock()
	before := e.listed
	e.mu.Unlock()
	begin := e.millis()
	nets, err := e.listNetworks(ctx)
	if err != nil {
		return &listingError{err}
	}
	seen, err := e.listInterfaces(ctx, before)
	if err != nil {
		return &listingError{err}
	}
	// Instances come second: what was launched meanwhile is in here, with its tags.
	machines, err := e.listInstances(ctx)
	if err != nil {
		return &listingError{err}
	}
	if err := e.missingInstances(ctx, seen, machines); err != nil {
		return &listingError{err}
	}
	v := look{begin: begin, end: e.millis(), before: before}
	gone, doubtful, err := e.takeIn(nets, seen, machines, v)
	if err != nil {
		return err
	}
	if !doubtful && len(gone) > 0 {
		if gone, err = e.confirm(ctx, gone, v); err != nil {
			return err
		}
	}
	if err := e.complete(gone, doubtful, v); err != nil {
		return err
	}
	e.faults.Note(e.log, listing, nil)
	return e.listBeside(ctx, nets, seen, v)
}

// takeIn tells what a listing shows, and returns what it lacks.
func (e *estate) takeIn(nets estateNetworks, seen []sighting, machines map[string]machine, v look) (gone []*entry, doubtful bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.machines = machines
	clear(e.zones)
	for id, s := range nets.subnets {
		e.zones[id] = s.zone
	}
	out := e.reconcile(networks, nets.claims, v, []event.Event{{Op: event.SnapBegin}})
	shown := e.seeAll(seen, nil, &out)
	gone, doubtful = e.ledger.missing(interfaces, shown, v)
	e.doubt(interfaces, gone, doubtful)
	return gone, doubtful, e.tell(out)
}

// confirm looks what a listing lacked up by id, and returns what is really gone: interfaces move between pages while they are
// read.
func (e *estate) confirm(ctx context.Context, gone []*entry, v look) ([]*entry, error) {
	found, again, err := e.lookUp(ctx, "network-interface-id", interfaceIDs(gone), v)
	if err != nil {
		return nil, &listingError{err}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event.Event
	shown := e.seeAll(found, nil, &out)
	gone = slices.DeleteFunc(gone, func(g *entry) bool {
		switch {
		case shown[g.key]:
			e.metrics.drifts.Inc()
			return true
		case e.ledger.told[g.key] != g: // an event has released it meanwhile
			return true
		}
		g.miss(again)
		return false
	})
	return gone, e.tell(out)
}

// complete ends a listing: releases, and the watermark.
func (e *estate) complete(gone []*entry, doubtful bool, v look) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.ledger.release(gone, doubtful, v, nil)
	e.listed = v.begin
	e.metrics.lastComplete.Set(float64(v.begin) / 1000)
	return e.tell(append(out, event.Event{Op: event.SnapEnd}, e.teller.Complete(v.begin-e.cfg.Consistency.Milliseconds())))
}

// listBeside lists what may be missing: a permission that lacks here costs topology or coverage, not names.
func (e *estate) listBeside(ctx context.Context, nets estateNetworks, seen []sighting, v look) error {
	for _, l := range []struct {
		part part
		list func(context.Context) ([]*claim, error)
	}{
		{peerings, e.listPeerings},
		{transit, func(ctx context.Context) ([]*claim, error) { return e.listTransit(ctx, nets.vpcs) }},
		{prefixLists, e.listPrefixLists},
	} {
		claims, err := l.list(ctx)
		if ctx.Err() != nil {
			return nil
		}
		e.faults.Note(e.log, string(l.part), err)
		if err != nil {
			continue
		}
		e.mu.Lock()
		err = e.tell(e.reconcile(l.part, claims, look{begin: v.begin, end: e.millis(), before: v.before}, nil))
		e.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if len(e.cfg.FlowLogs) == 0 {
		return nil
	}
	now, err := e.listCoverage(ctx, nets, seen)
	if ctx.Err() != nil {
		return nil
	}
	e.faults.Note(e.log, "flow-logs", err)
	if err != nil {
		return nil // named by Faults and tried again
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tell(e.tellCoverage(now, look{begin: v.begin, end: e.millis()}, nil))
}

// seeAll takes interfaces into the ledger. named, if set, replaces what their looks say of an event. e.mu is held.
func (e *estate) seeAll(seen []sighting, named *look, out *[]event.Event) map[key]bool {
	shown := map[key]bool{}
	for i := range seen {
		v := seen[i].look
		if named != nil {
			v.changed, v.named, v.before = named.changed, named.named, named.before
		}
		for _, c := range e.claims(&seen[i].NetworkInterface, e.machines) {
			shown[c.key] = true
			*out = e.ledger.see(c, v, *out)
		}
	}
	return shown
}

// reconcile takes a complete listing of a part that has no look-up by id: a second listing confirms. e.mu is held.
func (e *estate) reconcile(p part, claims []*claim, v look, out []event.Event) []event.Event {
	shown := map[key]bool{}
	for _, c := range claims {
		shown[c.key] = true
		out = e.ledger.see(c, v, out)
	}
	gone, doubtful := e.ledger.missing(p, shown, v)
	e.doubt(p, gone, doubtful)
	return e.ledger.release(gone, doubtful, v, out)
}

// doubt raises the alarm when a listing lacks too much, and takes it back. e.mu is held.
func (e *estate) doubt(p part, gone []*entry, doubtful bool) {
	what := "absence of " + string(p)
	if !doubtful {
		e.faults.Note(e.log, what, nil)
		return
	}
	e.metrics.doubts.Inc()
	e.faults.Note(e.log, what, fmt.Errorf("the listing of %s lacks %d that were there before; none is released before EC2 says so three times", p, len(gone)))
}

func interfaceIDs(entries []*entry) []string {
	ids := map[string]bool{}
	for _, g := range entries {
		ids[strings.TrimPrefix(g.owner, "eni:")] = true
	}
	return sorted(ids)
}
