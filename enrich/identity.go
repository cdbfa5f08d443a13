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

// party is an Identity with what the join itself asks of it, in numbers: comparing texts of random parties would cost a cache
// miss each.
type party struct {
	// region, az, account and vpc stand for the texts; 0 is an absent one.
	region, az, account, vpc uint32
	class                    class
	// named says that App is the name of an application, whole that no part of the place is missing.
	named, whole bool

	row.Identity

	_ [24]byte // to 256 bytes, which the allocator aligns: what every row asks of a party then lies in one cache line, the first
}

// class is where a party is as far as the path of a flow is concerned.
type class uint8

const (
	inCloud class = iota
	service
	internet
	offCloud
)

func (x *facts) party(number func(string) uint32) *party {
	p := &party{
		region: number(x.region), az: number(x.az), account: number(x.account), vpc: number(x.vpc),
		whole: x.region != "" && x.az != "" && x.account != "" && x.vpc != "" && x.subnet != "",
	}
	switch {
	case x.kind == row.KindService:
		p.class = service
	case x.kind == row.KindInternet:
		p.class = internet
	case x.site != "" || x.kind == row.KindNetwork && x.vpc == "":
		p.class = offCloud
	}
	app := x.token
	if app == "" {
		app = row.EscapeApp(x.app)
	}
	kind := x.kind
	if kind == "" {
		kind = row.KindUnknown
	}
	_, p.named = row.UnescapeApp(app)
	p.App, p.AppSource, p.Cluster, p.Team, p.Kind = app, x.appSource, x.cluster, x.team, kind
	p.Account, p.Region, p.AZ, p.VPC, p.Subnet = x.account, x.region, x.az, x.vpc, x.subnet
	p.Network, p.Site = x.network, x.site
	return p
}

// factsOf is the way back. The name stays escaped, so it is taken for a token.
func factsOf(id *party) facts {
	return facts{
		token: id.App, appSource: id.AppSource, cluster: id.Cluster, team: id.Team, account: id.Account, region: id.Region, az: id.AZ,
		vpc: id.VPC, subnet: id.Subnet, kind: id.Kind, network: id.Network, site: id.Site,
	}
}

// identities makes each Identity once and finds it again by its content, so that a million endpoints share the few thousand
// that differ in workload, zone or subnet. Nothing is ever removed: rows refer to identities for as long as a sink holds them.
type identities struct {
	internet *party

	byScope [2]table[party] // unknown, ambiguous

	mu       sync.RWMutex
	byFacts  map[facts]*party
	services map[place]*party
	numbers  map[string]uint32
}

// Bounds of what is interned: an estate has some thousands of identities and AWS some dozens of services in some dozens of regions, but lines may hold
// anything.
const (
	maxIdentities = 1 << 19
	maxServices   = 1 << 12
)

func newIdentities() *identities {
	t := &identities{byFacts: map[facts]*party{}, services: map[place]*party{}, numbers: map[string]uint32{"": 0}}
	t.internet = t.facts(facts{token: row.AppInternet, kind: row.KindInternet})
	return t
}

// named returns the identity of an owner in a scope and what it ran there.
func (t *identities) named(view metadata.View, ep metadata.EndpointID, wl metadata.WorkloadID, scope metadata.Scope) *party {
	e := view.Endpoint(ep)
	return t.placed(view, &metadata.Place{Kind: e.Kind, Subnet: e.Subnet, AZ: e.AZ}, wl, scope)
}

// placed is named for an owner of which the place is known. Sources that know no VPC still tell the scope, whose name is the
// VPC's id.
func (t *identities) placed(view metadata.View, p *metadata.Place, wl metadata.WorkloadID, scope metadata.Scope) *party {
	x := ownerFacts(p, view.Workload(wl))
	if x.vpc == "" {
		x.vpc = vpcID(view.ScopeName(scope))
	}
	return t.facts(x)
}

// node returns the identity of a shared interface's node: where it is, but not who.
func (t *identities) node(view metadata.View, ep metadata.EndpointID, wl metadata.WorkloadID) *party {
	e := view.Endpoint(ep)
	x := ownerFacts(&metadata.Place{Kind: e.Kind, Subnet: e.Subnet, AZ: e.AZ}, view.Workload(wl))
	x.app, x.appSource, x.team, x.token = "", "", "", row.AppUnknown
	return t.facts(x)
}

func ownerFacts(p *metadata.Place, w *metadata.Workload) facts {
	return facts{
		app: w.App, appSource: w.AppSource, cluster: w.Cluster, team: w.Team, account: w.Account, region: w.Region, az: p.AZ,
		vpc: w.VPC, subnet: p.Subnet, kind: p.Kind,
	}
}

// unnamed returns the identity of an end of which only the scope is known. token is row.AppUnknown or row.AppAmbiguous.
func (t *identities) unnamed(view metadata.View, s metadata.Scope, token string) *party {
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

// place is an AWS service in a region, "" where that is not known.
type place struct{ service, region string }

// service returns the identity of an AWS service.
func (t *identities) service(name, region string) *party {
	key := place{name, region}
	t.mu.RLock()
	id := t.services[key]
	t.mu.RUnlock()
	if id != nil {
		return id
	}
	id = t.facts(facts{token: row.ServicePrefix + name, kind: row.KindService, region: region})
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.services) < maxServices {
		t.services[key] = id
	}
	return id
}

// facts returns the identity with content x.
func (t *identities) facts(x facts) *party {
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
	id = x.party(func(text string) uint32 {
		n, ok := t.numbers[text]
		if !ok {
			n = uint32(len(t.numbers))
			if n < maxIdentities {
				t.numbers[text] = n
			}
		}
		return n
	})
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
