// Package enrich joins flow-log records with identity: it names both ends of every flow as they were when the flow happened.
//
// A row is a pure function of its record and of what identity says about that time. Nothing is remembered from record to
// record, so a stream, a replay and a file of the same lines give the same rows. Nothing blocks, no error is possible: what
// can't be known is said to be unknown, with a reason.
//
// For each record the join finds, in this order: the interface that recorded and the direction (local.go), who each end was
// (ends.go), what the record itself proves about them (record.go), which side is the client (client.go), whether this
// observation of the flow is the one that counts (counted.go), and the class of way the flow took (path.go).
//
// The package also looks at records for the sake of identity: Sightings takes heartbeats from them, Gate tells which scopes
// must be complete before they are joined.
package enrich

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// Config is what the join needs to know of other packages' settings; it has no keys of its own.
type Config struct {
	// NamingGrades are the grades that put a name into a row: metadata.Config.Naming.
	NamingGrades metadata.Grades
	// ColumnSets are the sets of columns that rows are written with: row.Config.ColumnSets. What no column asks for is not
	// looked up.
	ColumnSets []row.Set
	// LateAfter is row.Config.LateAfter: how long after a flow's start its line may arrive before the row is late; 0 is never.
	LateAfter time.Duration
}

// DefaultConfig never guesses and fills the core columns.
func DefaultConfig() Config { return Config{NamingGrades: metadata.DefaultGrades} }

// PublicNames knows whose public addresses are.
type PublicNames interface {
	// Service returns the AWS service whose published ranges hold ip, as ip-ranges.json names it, and "" when none does. It
	// neither blocks nor allocates, and the string may be kept.
	Service(ip netip.Addr) string
}

// PublicRegions is a PublicNames that also knows in which region an AWS service's address is; "" is none.
type PublicRegions interface {
	ServiceIn(ip netip.Addr) (service, region string)
}

// PublicPlaces is a PublicNames that also knows where public addresses are; "" and 0 are not known. The strings may be kept.
type PublicPlaces interface {
	Where(ip netip.Addr) (country string, asn uint32, org string)
}

// Rules are the user's, applied to rows when all else about them is known.
type Rules interface {
	// Apply applies the rules to the rows of b from the given one on, and counts those that it takes away in b.Dropped.
	Apply(b *row.Batch, from int)
}

// Segments judges flows by the edges that are declared.
type Segments interface {
	// Judge returns what the declared edges say of row i of b, which is complete but for that.
	Judge(b *row.Batch, i int) row.Segmentation
}

// Deps are what the join works with.
type Deps struct {
	// Resolver answers who an address was.
	Resolver metadata.Resolver
	// Public names public ends; nil leaves that to what the record says. It is asked for more when it is also a PublicRegions
	// or PublicPlaces.
	Public PublicNames
	// Rules and Segments may be nil: then rows stay as the join made them, and nothing is said about segmentation.
	Rules    Rules
	Segments Segments
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
}

// Enricher makes rows. It is safe for concurrent use, each call with batches of its own.
type Enricher struct {
	resolver  metadata.Resolver
	public    PublicNames
	regions   PublicRegions // nil when Public knows none, and so is the next one
	places    PublicPlaces
	rules     Rules
	segments  Segments
	naming    metadata.Grades
	endpoints bool
	tags      bool
	lateAfter int64 // milliseconds, 0 is never

	identities *identities
	metrics    *metrics

	mu   sync.Mutex
	idle []*scratch
}

// New returns an Enricher.
func New(c Config, d Deps) (*Enricher, error) {
	var errs []error
	if d.Resolver == nil {
		errs = append(errs, errors.New("Resolver: is missing; without metadata give one that knows nothing")) //nolint:staticcheck // a field's name
	}
	if d.Registerer == nil {
		errs = append(errs, errors.New("Registerer: is missing; give prometheus.NewRegistry()")) //nolint:staticcheck // a field's name
	}
	if c.NamingGrades == 0 {
		errs = append(errs, errors.New("NamingGrades: is empty, so nothing would ever be named; give metadata.DefaultGrades"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	e := &Enricher{
		resolver: d.Resolver, public: d.Public, rules: d.Rules, segments: d.Segments, naming: c.NamingGrades,
		endpoints:  slices.Contains(c.ColumnSets, row.Endpoint),
		tags:       slices.Contains(c.ColumnSets, row.TagSet),
		lateAfter:  c.LateAfter.Milliseconds(),
		identities: newIdentities(),
		metrics:    newMetrics(d.Registerer),
	}
	e.regions, _ = d.Public.(PublicRegions)
	if slices.Contains(c.ColumnSets, row.Public) {
		e.places, _ = d.Public.(PublicPlaces)
	}
	return e, nil
}

// Enrich appends to out one row for each record of in that is a flow, in their order, but for those that rules take away, and copies
// partition and origins. A record is a flow when its status is OK or absent and it has both addresses: Flow tells. The rows' lineage points into
// out.Origins as the records' does into in.Origins, so out must be empty or hold rows of in's origins only. The rows own
// nothing of in. In steady state nothing is allocated.
func (e *Enricher) Enrich(in *flowlog.Batch, out *row.Batch) {
	out.Partition = in.Partition
	for i := len(out.Origins); i < len(in.Origins); i++ {
		o := &in.Origins[i]
		out.Origins = append(out.Origins, row.Origin{Position: o.Position, Arrived: o.Arrived, LogGroup: o.LogGroup})
	}
	s := e.take()
	j := s.start(e, in, out)
	first := len(out.Rows)
	for records := in.Records; len(records) > 0; {
		n := min(len(records), warmBlock)
		j.block(records[:n])
		records = records[n:]
	}
	e.metrics.add(&j.counts)
	e.give(s)
	if e.rules != nil {
		e.rules.Apply(out, first)
	}
}

// Flow says whether r is a flow: a row is made for it. NODATA and SKIPDATA records are none, even when they carry counters,
// and neither is a record whose layout has no addresses.
func Flow(r *flowlog.Record) bool {
	if r.Status == flowlog.StatusNoData || r.Status == flowlog.StatusSkipData {
		return false
	}
	return (r.SrcAddr.IsValid() || r.PktSrcAddr.IsValid()) && (r.DstAddr.IsValid() || r.PktDstAddr.IsValid())
}

// scratch is what one call of Enrich works with and the next one can use again.
type scratch struct {
	text    flowlog.Interner
	tags    map[row.Tags]*row.Tags
	parties parties
	triples map[triple]*party
	ahead   ahead
	flows   [warmBlock]flow
	join    join
}

// start begins the work on a batch. out is nil when no rows are to be made.
func (s *scratch) start(e *Enricher, in *flowlog.Batch, out *row.Batch) *join {
	s.join = join{e: e, view: e.resolver.View(), in: in, out: out, scratch: s}
	s.join.ports, _ = s.join.view.(ports)
	s.join.placer, _ = s.join.view.(metadata.Placer)
	s.join.warmer, _ = s.join.view.(metadata.Warmer)
	s.join.handles, _ = s.join.view.(metadata.Handles)
	return &s.join
}

// maxTags bounds the distinct sets of tag values that a scratch remembers.
const maxTags = 1 << 14

func (e *Enricher) take() *scratch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.idle); n > 0 {
		s := e.idle[n-1]
		e.idle = e.idle[:n-1]
		return s
	}
	return &scratch{tags: map[row.Tags]*row.Tags{}, triples: map[triple]*party{}}
}

func (e *Enricher) give(s *scratch) {
	s.join = join{} // the batches are the caller's again
	clear(s.flows[:])
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle = append(e.idle, s) // as many as there ever were calls at once
}

// join is the work on one batch: one view of identity, and what neighbouring records have in common.
type join struct {
	e       *Enricher
	view    metadata.View
	ports   ports // nil when the view knows none, and so are the next three
	placer  metadata.Placer
	warmer  metadata.Warmer
	handles metadata.Handles
	in      *flowlog.Batch
	out     *row.Batch
	scratch *scratch
	counts  counts

	format *flowlog.Format
	traits traits

	// The interface that was looked up last, its handle, and for which window: lines of one log stream come in a run.
	handleOf  string
	handle    metadata.EndpointID
	eni       string
	eniWindow metadata.Window
	eniKnown  bool
	eniFacts  metadata.Interface
	held      holding
	vpc       string
	vpcScope  metadata.Scope
	origin    uint32
	originENI string
	// arrived is when the lines of arrivedOf did; 0 is not looked at yet.
	arrivedOf uint32
	arrived   int64

	lastFacts    facts
	lastIdentity *party
}

// end is one end of a flow while it is being found out.
type end struct {
	// addr is the packet's address; plain is what the record shows (srcaddr, dstaddr). exact says that the layout tells them
	// apart: without pkt-* fields, addr on the interface's own side is only the interface's primary address.
	addr, plain netip.Addr
	exact       bool
	scope       metadata.Scope
	// how is what led to scope.
	how metadata.Reason
	// own says that addr is proven to be the recording interface's own.
	own bool
	// outside says that addr is in no VPC, although its scope is not known.
	outside bool
	ans     metadata.Answer
	who     *party
	// pair is where who is, if it is remembered; nil when it wasn't looked for.
	pair *[2]placed
}

// flow is one record while it is being joined.
type flow struct {
	r        *flowlog.Record
	w        metadata.Window
	by       recorder
	src, dst end
	// local is the end on the interface's side; EndUnknown when the direction is not known, EndMiddle for a forwarder.
	local row.End
}
