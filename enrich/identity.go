package enrich

import (
	"slices"
	"sync"
	"sync/atomic"

	"dredge/metadata"
	"dredge/row"
)

// facts is the content of an Identity. app is the plain name; token stands in its place where nobody is named.
type facts struct {
	app, token                       string
	appSource, cluster, team         string
	account, region, az, vpc, subnet string
	kind, network, site              string
}

func (x *facts) identity() *row.Identity {
	app := x.token
	if app == "" {
		app = row.EscapeApp(x.app)
	}
	kind := x.kind
	if kind == "" {
		kind = row.KindUnknown
	}
	return &row.Identity{
		App: app, AppSource: x.appSource, Cluster: x.cluster, Team: x.team, Account: x.account, Region: x.region, AZ: x.az,
		VPC: x.vpc, Subnet: x.subnet, Kind: kind, Network: x.network, Site: x.site,
	}
}

// factsOf is the way back. The name stays escaped, so it is taken for a token.
func factsOf(id *row.Identity) facts {
	return facts{
		token: id.App, appSource: id.AppSource, cluster: id.Cluster, team: id.Team, account: id.Account, region: id.Region, az: id.AZ,
		vpc: id.VPC, subnet: id.Subnet, kind: id.Kind, network: id.Network, site: id.Site,
	}
}

// identities makes each Identity once and finds it again by what metadata calls it. Identities are interned by content, so a
// million endpoints share the few thousand that differ in workload, zone or subnet. Nothing is ever removed: handles live as
// long as the process, and so do their identities. Reading never blocks once an endpoint was met.
type identities struct {
	internet *row.Identity

	byEndpoint table[named]
	byScope    [2]table[row.Identity] // unknown, ambiguous

	mu       sync.RWMutex
	byFacts  map[facts]*row.Identity
	services map[string]*row.Identity
}

// Bounds of what is interned: an estate has some thousands of identities and AWS some dozens of services, but lines may hold
// anything.
const (
	maxIdentities = 1 << 19
	maxServices   = 1 << 10
)

// named is the identity that was last made for an endpoint, and what from: the workload and the endpoint's own data, which
// metadata replaces when it learns more.
type named struct {
	ep *metadata.Endpoint
	wl metadata.WorkloadID
	id *row.Identity
}

func newIdentities() *identities {
	return &identities{
		internet: &row.Identity{App: row.AppInternet, Kind: row.KindInternet},
		byFacts:  map[facts]*row.Identity{}, services: map[string]*row.Identity{},
	}
}

// named returns the identity of an owner and what it ran.
func (t *identities) named(view metadata.View, ep metadata.EndpointID, wl metadata.WorkloadID) *row.Identity {
	e := view.Endpoint(ep)
	if n := t.byEndpoint.load(uint32(ep)); n != nil && n.ep == e && n.wl == wl {
		return n.id
	}
	id := t.facts(ownerFacts(e, view.Workload(wl)))
	t.byEndpoint.store(uint32(ep), &named{e, wl, id})
	return id
}

// node returns the identity of a shared interface's node: where it is, but not who.
func (t *identities) node(view metadata.View, ep metadata.EndpointID, wl metadata.WorkloadID) *row.Identity {
	x := ownerFacts(view.Endpoint(ep), view.Workload(wl))
	x.app, x.appSource, x.team, x.token = "", "", "", row.AppUnknown
	return t.facts(x)
}

func ownerFacts(e *metadata.Endpoint, w *metadata.Workload) facts {
	return facts{
		app: w.App, appSource: w.AppSource, cluster: w.Cluster, team: w.Team, account: w.Account, region: w.Region, az: e.AZ,
		vpc: w.VPC, subnet: e.Subnet, kind: e.Kind,
	}
}

// unnamed returns the identity of an end of which only the scope is known. token is row.AppUnknown or row.AppAmbiguous.
func (t *identities) unnamed(view metadata.View, s metadata.Scope, token string) *row.Identity {
	scopes := &t.byScope[0]
	if token == row.AppAmbiguous {
		scopes = &t.byScope[1]
	}
	if id := scopes.load(uint32(s)); id != nil {
		return id
	}
	id := t.facts(facts{token: token, vpc: vpcID(view.ScopeName(s))})
	scopes.store(uint32(s), id)
	return id
}

// service returns the identity of an AWS service.
func (t *identities) service(name string) *row.Identity {
	t.mu.RLock()
	id := t.services[name]
	t.mu.RUnlock()
	if id != nil {
		return id
	}
	id = t.facts(facts{token: row.ServicePrefix + name, kind: row.KindService})
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.services) < maxServices {
		t.services[name] = id
	}
	return id
}

// facts returns the identity with content x.
func (t *identities) facts(x facts) *row.Identity {
	t.mu.RLock()
	id := t.byFacts[x]
	t.mu.RUnlock()
	if id != nil {
		return id
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if id := t.byFacts[x]; id != nil {
		return id
	}
	id = x.identity()
	if len(t.byFacts) < maxIdentities { // beyond, rows carry identities of their own: only broken input gets there
		t.byFacts[x] = id
	}
	return id
}

// table holds a value for each dense handle. Any number of goroutines may load and store at once.
type table[T any] struct {
	mu    sync.Mutex // growing
	pages atomic.Pointer[[]*page[T]]
}

const pageSize = 1 << 12

type page[T any] [pageSize]atomic.Pointer[T]

func (t *table[T]) load(handle uint32) *T {
	pages := t.pages.Load()
	if pages == nil || int(handle/pageSize) >= len(*pages) {
		return nil
	}
	p := (*pages)[handle/pageSize]
	if p == nil {
		return nil
	}
	return p[handle%pageSize].Load()
}

func (t *table[T]) store(handle uint32, v *T) {
	t.page(int(handle / pageSize))[handle%pageSize].Store(v)
}

func (t *table[T]) page(n int) *page[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	var pages []*page[T]
	if old := t.pages.Load(); old != nil {
		if n < len(*old) && (*old)[n] != nil {
			return (*old)[n]
		}
		pages = slices.Clone(*old)
	}
	for len(pages) <= n {
		pages = append(pages, nil)
	}
	pages[n] = new(page[T])
	t.pages.Store(&pages)
	return pages[n]
}
