package enrich_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/internal/flowgen"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/store"
	"dredge/row"
)

// countingSim is what a simulated estate told and logged: instances, pods, tasks, NAT and transit gateways, application load balancers, and
// network load balancers with and without client addresses.
type countingSim struct {
	items   []flowgen.Item
	formats map[string]*flowlog.Format
	end     time.Time
}

func newCountingSim(t *testing.T, change func(*flowgen.Config)) *countingSim {
	t.Helper()
	cfg := flowgen.Small(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	cfg.Identity.Policy = flowgen.AllSources
	cfg.Logs.SkipShare, cfg.Logs.ControlEvery, cfg.Logs.Envelope = 0, 0, flowgen.Lines
	cfg.Check, cfg.Baseline, cfg.ConnRate = false, false, 5
	change(&cfg)
	sim, err := flowgen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &countingSim{formats: map[string]*flowlog.Format{}, end: cfg.Start.Add(8 * time.Minute)}
	for group, layout := range sim.LogGroups() {
		if c.formats[group], err = flowlog.ParseFormat(layout.String()); err != nil {
			t.Fatal(err)
		}
	}
	c.items = slices.Collect(sim.Until(c.end))
	return c
}

// coverage says of which interfaces flows are logged into this application: those in the public and in the private subnets of each VPC,
// by the second number of its addresses.
type coverage map[[2]byte]bool

const (
	inPublic  = 0 // gateways and load balancers
	inPrivate = 1 // everything else
)

func (c coverage) has(ip netip.Addr) bool {
	var second, third byte
	if b := ip.AsSlice(); ip.Is4() {
		second, third = b[1], b[2]
	} else {
		second, third = b[5], b[7]
	}
	if third < 16 {
		return c[[2]byte{second, inPublic}]
	}
	return c[[2]byte{second, inPrivate}]
}

// events replaces what the estate says of a whole VPC by what is logged of each of its subnets.
func (c coverage) events(e *event.Event) []event.Event {
	vpc := netip.MustParsePrefix(e.Prefix)
	var list []event.Event
	for _, third := range []byte{0, 1, 2, 16, 32, 48} {
		b := vpc.Addr().AsSlice()
		bits := 64
		if vpc.Addr().Is4() {
			if b[2], bits = third, 24; third >= 16 {
				bits = 20
			}
		} else {
			b[7] = third
		}
		ip, _ := netip.AddrFromSlice(b)
		logged := *e.Logged && c.has(ip)
		one := *e
		one.Prefix, one.Logged = netip.PrefixFrom(ip, bits).String(), &logged
		list = append(list, one)
	}
	return list
}

// direction is one direction of one connection, accepted and rejected packets apart.
type direction struct {
	flow            uint64
	forward, reject bool
}

// traffic is what was seen of a direction, and what was counted.
type traffic struct {
	// at is the bytes at each interface that logged it, of which each saw all.
	at              map[string]int64
	last            int64
	counted         int64
	unsure, expects bool
}

// play joins what was logged under a coverage, each line when it arrives, and gathers what was counted. told decides which events the
// store hears.
func (c *countingSim) play(t *testing.T, logged coverage, told func(*event.Event) bool) map[direction]*traffic {
	t.Helper()
	now := c.end
	s, err := store.New(metadata.DefaultConfig(), store.Dependencies{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	e, err := enrich.New(enrich.DefaultConfig(), enrich.Deps{Resolver: s, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	sightings, err := enrich.NewSightings(s, storeBeats{s})
	if err != nil {
		t.Fatal(err)
	}
	all := map[direction]*traffic{}
	decoder := flowlog.NewDecoder()
	for _, it := range c.items {
		if it.Event != nil {
			list := []event.Event{*it.Event}
			if it.Event.Op == event.Coverage {
				list = logged.events(it.Event)
			}
			for i := range list {
				if !told(&list[i]) {
					continue
				}
				if err := s.Apply(&list[i]); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		var in flowlog.Batch
		in.Origins = append(in.Origins, flowlog.Origin{Arrived: it.Arrive, LogStream: it.Payload.LogStream})
		n := uint32(0)
		flowgen.SplitLines(it.Payload.Data, func(line []byte) {
			if reason := decoder.Append(&in, c.formats[it.Payload.LogGroup], line, 0, n); reason != 0 {
				t.Fatalf("%q: %s", line, reason)
			}
			n++
		})
		in.Records = slices.DeleteFunc(in.Records, func(r flowlog.Record) bool {
			own := r.DstAddr
			if it.Payload.Truth[r.Index].Egress {
				own = r.SrcAddr
			}
			return !own.IsValid() || !logged.has(own)
		})
		sightings.Observe(&in)
		var out row.Batch
		e.Enrich(&in, &out)
		for i := range out.Rows {
			add(all, &it.Payload.Truth[out.Rows[i].Index], &out.Rows[i])
		}
	}
	return all
}

func add(all map[direction]*traffic, truth *flowgen.Expected, r *row.Row) {
	k := direction{truth.Flow, truth.Forward, truth.Reject}
	x := all[k]
	if x == nil {
		x = &traffic{at: map[string]int64{}}
		all[k] = x
	}
	point := truth.Interface
	if truth.Egress {
		point += " out" // a gateway sees a flow come in and go out
	}
	x.at[point] += truth.Bytes
	x.last = max(x.last, truth.Last)
	x.expects = x.expects || truth.Counted
	if r.Counted {
		x.counted += r.Bytes
		x.unsure = x.unsure || r.CountedHow == row.CountedUnsure
	}
}

// everything is the coverage in which all that the estate logs is logged into this application.
func everything() coverage {
	c := coverage{}
	for second := range byte(5) {
		c[[2]byte{second, inPublic}], c[[2]byte{second, inPrivate}] = true, true
	}
	return c
}

func (c coverage) without(second byte, kind byte) coverage {
	out := maps.Clone(c)
	out[[2]byte{second, kind}] = false
	return out
}

// TestCountedBytesAreTrueBytes: of everything that the simulated estate sent and any logged interface saw, the counted rows hold each byte once,
// accepted and rejected apart, whichever interfaces are logged and however late or little is known of the owners. Where the join says
// that it is unsure it may count more, never less.
func TestCountedBytesAreTrueBytes(t *testing.T) {
	pkt := map[string]string{"data": flowgen.V5, "dev": flowgen.V5}
	mixes := map[string]coverage{
		"everything":            everything(),
		"no instances in prod":  everything().without(0, inPrivate),
		"no gateways in prod":   everything().without(0, inPublic),
		"nothing of eks":        everything().without(2, inPrivate).without(2, inPublic),
		"gateways only":         everything().without(0, inPrivate).without(1, inPrivate).without(2, inPrivate).without(4, inPrivate),
		"instances only":        everything().without(0, inPublic).without(1, inPublic).without(2, inPublic).without(4, inPublic),
		"shared and data alone": everything().without(0, inPrivate).without(0, inPublic).without(2, inPrivate).without(2, inPublic),
	}
	for _, knowledge := range []struct {
		name   string
		policy flowgen.Policy
		told   func(*event.Event) bool
		unsure float64 // the greatest share of directions that may be unsure
	}{
		{"all sources", flowgen.AllSources, func(*event.Event) bool { return true }, 0.02},
		{"late", flowgen.CrawlOnly, func(*event.Event) bool { return true }, 0.05},
		{"owners unknown", flowgen.AllSources, func(e *event.Event) bool {
			switch {
			case e.IP == "" || e.EP == nil:
				return e.IP == ""
			default: // the network's own devices change rarely
				return e.EP.Kind == "nat_gateway" || e.EP.Kind == "transit_gateway" || e.EP.Kind == "network_load_balancer"
			}
		}, 0.25}, // pods above all: nobody knows that their node's interface ends their connections
	} {
		t.Run(knowledge.name, func(t *testing.T) {
			t.Parallel()
			sim := newCountingSim(t, func(c *flowgen.Config) { c.Identity.Policy, c.Logs.Formats = knowledge.policy, pkt })
			counts := map[direction]bool{} // the ones that are to be in a sum, wherever they are seen
			for _, it := range sim.items {
				if it.Payload == nil {
					continue
				}
				for _, e := range it.Payload.Truth {
					k := direction{e.Flow, e.Forward, e.Reject}
					counts[k] = counts[k] || e.Counted
				}
			}
			for name, logged := range mixes {
				all := sim.play(t, logged, knowledge.told)
				sums := map[bool][2]int64{}
				unsure, judged, wrong := 0, 0, 0
				for k, x := range all {
					if x.last > sim.end.Add(-3*time.Minute).UnixMilli() {
						continue // it goes on
					}
					truth := slices.Max(slices.Collect(maps.Values(x.at)))
					if !counts[k] {
						truth = 0 // the outside leg of a gateway: another connection's bytes
					}
					if _, refused := all[direction{k.flow, k.forward, true}]; refused && !k.reject && !x.expects {
						truth = 0 // a gateway let it pass and the destination did not: counted there as rejected
					}
					judged++
					if x.unsure {
						unsure++
					}
					sum := sums[k.reject]
					if !x.unsure {
						sum[0] += truth
						sum[1] += x.counted
					}
					sums[k.reject] = sum
					if x.counted < truth || !x.unsure && x.counted != truth {
						if wrong++; wrong <= 3 {
							t.Errorf("%s: %+v: %d bytes counted of %d, seen %v, unsure %v", name, k, x.counted, truth, x.at, x.unsure)
						}
					}
				}
				if wrong > 0 {
					t.Errorf("%s: %d of %d directions are counted wrongly", name, wrong, judged)
				}
				for reject, sum := range sums {
					if sum[0] != sum[1] || sum[0] == 0 {
						t.Errorf("%s, reject %v: %d bytes are counted of %d", name, reject, sum[1], sum[0])
					}
				}
				if share := float64(unsure) / float64(max(judged, 1)); share > knowledge.unsure || judged < 500 {
					t.Errorf("%s: %.4f of %d directions are unsure, want at most %.2f", name, share, judged, knowledge.unsure)
				}
			}
		})
	}
}
