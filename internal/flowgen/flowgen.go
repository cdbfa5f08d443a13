// Package flowgen simulates an AWS estate whose truth is known: accounts, VPCs with overlapping addresses, applications that
// scale and lose members all the time, gateways and load balancers, the connections between them, the flow logs that AWS
// would write of those connections and deliver late, and the identity events that tell late, wrongly or not at all who has
// which address. Truth says who really had it.
//
// A Sim is driven by virtual time alone: nothing in it reads a clock, and the same Config gives the same bytes. Bulk is a
// second, much simpler generator for benchmarks of throughput.
package flowgen

import (
	"bytes"
	"iter"
	"time"

	"dredge/metadata/event"

	"github.com/klauspost/compress/gzip"
)

// Item is one thing that arrives: a payload for the stream or an identity event. Exactly one of the two is set.
type Item struct {
	Arrive  time.Time
	Payload *Payload
	Event   *event.Event

	source *source
}

// Sim is a simulation. It is not safe for concurrent use, except for its Truth.
type Sim struct {
	cfg    Config
	start0 int64
	keep   int64
	now    int64

	world    queue[func()]
	arrivals queue[Item]

	estate, churn, traffic, delivery, identity, keys random

	vpcs       []*vpc
	vpcByName  map[string]*vpc
	apps       []*app
	edges      []edge
	albs       *app
	streamNLB  *app
	streamers  *app
	partnerNLB *app
	internet   []*address
	s3         []*address
	dynamodb   []*address
	freeEIPs   []*address
	nodeTarget int
	eips       int
	ids        uint64
	conns      uint64
	events     uint64
	nextConn   float64
	pings      map[[2]*address]int64

	sources []*source
	static  *source
	owners  []*owner
	truth   *Truth
	base    *baseline

	zip    *gzip.Writer
	text   []byte
	lines  []line
	truths []Expected
}

// New checks cfg and builds the estate as it is at cfg.Start.
func New(cfg Config) (*Sim, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	zip, err := newGzip(gzip.DefaultCompression)
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg: cfg, start0: cfg.Start.UnixMilli(), keep: cfg.Keep.Milliseconds(), zip: zip, pings: map[[2]*address]int64{},
		estate: newRandom(cfg.Seed, streamEstate), churn: newRandom(cfg.Seed, streamChurn), traffic: newRandom(cfg.Seed, streamTraffic),
		delivery: newRandom(cfg.Seed, streamDelivery), identity: newRandom(cfg.Seed, streamIdentity), keys: newRandom(cfg.Seed, streamKeys),
	}
	s.now = s.start0
	s.truth = newTruth(s.keep, cfg.Check)
	s.truth.since = s.start0
	if cfg.Baseline {
		s.base = &baseline{latest: NewLatestValue()}
	}
	if err := s.buildEstate(); err != nil {
		return nil, err
	}
	s.buildSources()
	s.populate()
	s.scheduleSources()
	s.scheduleTraffic()
	if cfg.Logs.ControlEvery > 0 && cfg.Logs.Envelope == CloudWatch {
		for i, v := range s.vpcs {
			if v.logged {
				s.scheduleControl(v, s.start0+int64(i+1)*1_000)
			}
		}
	}
	return s, nil
}

// Until yields everything that arrives before t, in order of arrival, and moves the simulation there. A loop that breaks
// off goes on with the next Until.
func (s *Sim) Until(t time.Time) iter.Seq[Item] {
	end := t.UnixMilli()
	return func(yield func(Item) bool) {
		for {
			w, _ := s.world.next() // never empty: traffic goes on for ever
			a, ok := s.arrivals.next()
			switch {
			case ok && a < w && a < end:
				_, it := s.arrivals.pop()
				s.arrive(&it)
				if !yield(it) {
					return
				}
			case w < end:
				s.step()
			default:
				s.now = max(s.now, end)
				return
			}
		}
	}
}

// step lets the next thing in the world happen. Whatever it makes arrives no earlier than it happens.
func (s *Sim) step() {
	s.truth.mu.Lock()
	defer s.truth.mu.Unlock()
	at, do := s.world.pop()
	s.now = max(s.now, at)
	do()
}

func (s *Sim) arrive(it *Item) {
	if it.Event != nil {
		it.source.seq++
		it.Event.Seq = it.source.seq
	}
	if s.base != nil {
		if it.Event != nil {
			s.base.latest.Apply(it.Event)
		} else {
			s.base.ask(it.Payload.Truth)
		}
	}
	if it.Payload != nil && !s.cfg.Expect {
		it.Payload.Truth = nil
	}
}

// Now is the virtual time.
func (s *Sim) Now() time.Time { return fromMillis(s.now) }

// Truth is the simulation's knowledge of itself.
func (s *Sim) Truth() *Truth { return s.truth }

// Baseline is how the latest-value join did so far; it needs Config.Baseline.
func (s *Sim) Baseline() BaselineResult {
	if s.base == nil {
		return BaselineResult{}
	}
	return s.base.result
}

// LogGroups returns the layout of every log group.
func (s *Sim) LogGroups() map[string]*Layout {
	m := map[string]*Layout{}
	for _, v := range s.vpcs {
		if v.logged {
			m[v.logGroup] = v.layout
		}
	}
	return m
}

// VPC returns the id of a VPC by its name, "" when the estate has none.
func (s *Sim) VPC(name string) string {
	if v := s.vpcByName[name]; v != nil {
		return v.id
	}
	return ""
}

// DeclaredEdges returns the dependency graph as it was designed.
func (s *Sim) DeclaredEdges() [][2]string {
	list := make([][2]string, len(s.edges))
	for i, e := range s.edges {
		list[i] = [2]string{e.from.name, e.to.name}
	}
	return list
}

// SplitLines calls f for each line of a payload made with the Lines envelope.
func SplitLines(data []byte, f func(line []byte)) {
	for line := range bytes.Lines(data) {
		f(bytes.TrimSuffix(line, []byte("\n")))
	}
}
