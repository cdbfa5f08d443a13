package flowgen

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dredge/flowlog"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newSim(tb testing.TB, cfg Config) *Sim {
	tb.Helper()
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// bare is an estate for tests that look at lines: no envelopes, and nothing lost.
func bare() Config {
	cfg := Small(start)
	cfg.Logs.Envelope = Lines
	cfg.Logs.SkipShare = 0
	cfg.Baseline = false
	return cfg
}

func digest(t *testing.T, cfg Config, events bool) string {
	t.Helper()
	h := sha256.New()
	var buf []byte
	for it := range newSim(t, cfg).Until(start.Add(4 * time.Minute)) {
		switch {
		case it.Payload != nil:
			_, _ = fmt.Fprint(h, it.Payload.PartitionKey, it.Arrive.UnixMilli(), it.Payload.Lines)
			h.Write(it.Payload.Data)
		case events:
			var err error
			if buf, err = event.Append(buf[:0], it.Event); err != nil {
				t.Fatal(err)
			}
			h.Write(buf)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestSameConfigGivesSameBytes(t *testing.T) {
	cfg := Small(start)
	first := digest(t, cfg, true)
	if again := digest(t, cfg, true); again != first {
		t.Error("the same config gave other bytes")
	}
	cfg.Seed++
	if other := digest(t, cfg, true); other == first {
		t.Error("another seed gave the same bytes")
	}
}

func TestKnowledgeDoesNotChangeTraffic(t *testing.T) {
	cfg := Small(start)
	var digests []string
	for _, p := range []Policy{CrawlOnly, CrawlAndEvents, AllSources, Silent} {
		cfg.Identity.Policy = p
		digests = append(digests, digest(t, cfg, false))
	}
	if got := slices.Compact(digests); len(got) != 1 {
		t.Errorf("policies change the flow logs: %v", got)
	}
}

func TestUntilCanBeCutAnywhere(t *testing.T) {
	cfg := Small(start)
	whole, cut := newSim(t, cfg), newSim(t, cfg)
	var want, got []string
	name := func(it Item) string {
		if it.Event != nil {
			return fmt.Sprintf("%d %s %d %s", it.Arrive.UnixMilli(), it.Event.Src, it.Event.Seq, it.Event.Op)
		}
		return fmt.Sprintf("%d %s", it.Arrive.UnixMilli(), it.Payload.LogStream)
	}
	for it := range whole.Until(start.Add(4 * time.Minute)) {
		want = append(want, name(it))
	}
	for at := start; at.Before(start.Add(4 * time.Minute)); at = at.Add(777 * time.Millisecond) {
		for it := range cut.Until(at) {
			got = append(got, name(it))
			break
		}
	}
	for it := range cut.Until(start.Add(4 * time.Minute)) {
		got = append(got, name(it))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLinesDecode reads every line with the product's decoder and compares it with the truth.
func TestLinesDecode(t *testing.T) {
	for _, offset := range []StartOffset{StartExact, StartEarly, StartEither} {
		cfg := bare()
		cfg.Logs.Offset = offset
		s := newSim(t, cfg)
		formats := map[string]*flowlog.Format{}
		for group, l := range s.LogGroups() {
			f, err := flowlog.ParseFormat(l.String())
			if err != nil {
				t.Fatal(err)
			}
			formats[group] = f
		}
		d, b := flowlog.NewDecoder(), &flowlog.Batch{}
		seen := map[string]int{}
		last := start
		for it := range s.Until(start.Add(6 * time.Minute)) {
			if it.Arrive.Before(last) {
				t.Fatalf("arrivals go back from %s to %s", last, it.Arrive)
			}
			last = it.Arrive
			if it.Payload == nil {
				continue
			}
			b.Reset()
			f := formats[it.Payload.LogGroup]
			SplitLines(it.Payload.Data, func(line []byte) {
				if n, want := len(strings.Fields(string(line))), len(strings.Fields(s.LogGroups()[it.Payload.LogGroup].String())); n != want {
					t.Fatalf("%q has %d fields; its layout has %d", line, n, want)
				}
				if reason := d.Append(b, f, line, 0, 0); reason != flowlog.ReasonNone {
					t.Fatalf("%q: %s", line, flowlog.Explain(f, line))
				}
			})
			if len(b.Records) != it.Payload.Lines || len(it.Payload.Truth) != it.Payload.Lines {
				t.Fatalf("%d records and %d truths of %d lines", len(b.Records), len(it.Payload.Truth), it.Payload.Lines)
			}
			for i := range b.Records {
				compareLine(t, &b.Records[i], &it.Payload.Truth[i], seen)
				if end := time.UnixMilli(b.Records[i].End); it.Arrive.Before(end) {
					t.Fatalf("line that ends at %s arrives at %s", end, it.Arrive)
				}
			}
		}
		for _, want := range []string{
			"NODATA", "IPv6", "REJECT", "ICMP", "UDP", "pkt differs", "unknown account", "aws service", "ecs", "next hop", "pod",
			"SYN", "SYN-ACK", "FIN", "RST", "long", "egress", "ingress", "v4 path 1", "v4 path 4", "v4 path 5", "v4 path 7", "v4 path 8", "unowned",
		} {
			if seen[want] == 0 {
				t.Errorf("no line shows: %s (%v)", want, seen)
			}
		}
	}
}

func compareLine(t *testing.T, r *flowlog.Record, e *Expected, seen map[string]int) {
	t.Helper()
	if r.InterfaceID != e.Interface || r.Status.String() != e.Status || r.Start != e.Start || r.End != e.End {
		t.Fatalf("%q is not %+v", r.Line, e)
	}
	if e.Status != "OK" {
		seen[e.Status]++
		return
	}
	src, dst := r.PktSrcAddr, r.PktDstAddr
	if !src.IsValid() {
		src, dst = r.SrcAddr, r.DstAddr
	} else if src != r.SrcAddr || dst != r.DstAddr {
		seen["pkt differs"]++
	}
	type fields struct {
		Src, Dst         netip.Addr
		SrcPort, DstPort uint16
		Protocol         uint8
		Reject           bool
		Packets, Bytes   int64
	}
	got := fields{src, dst, r.SrcPort, r.DstPort, r.Protocol, r.Action == flowlog.Reject, r.Packets, r.Bytes}
	want := fields{e.Src, e.Dst, e.SrcPort, e.DstPort, e.Protocol, e.Reject, e.Packets, e.Bytes}
	if got != want {
		t.Fatalf("%q decodes to %+v; want %+v", r.Line, got, want)
	}
	note := func(what string, is bool) {
		if is {
			seen[what]++
		}
	}
	line := string(r.Line)
	note("IPv6", src.Is6())
	note("REJECT", e.Reject)
	note("ICMP", e.Protocol == 1)
	note("UDP", e.Protocol == 17)
	note("unknown account", r.AccountID == "unknown")
	note("aws service", strings.Contains(line, " S3 "))
	note("ecs", strings.Contains(line, "arn:aws:ecs"))
	note("next hop", strings.Count(line, "vpc-") == 2)
	note("pod", strings.Contains(e.SrcOwner, "-4") && e.SrcApp != "")
	note("SYN", r.TCPFlags == 2)
	note("SYN-ACK", r.TCPFlags&18 == 18)
	note("FIN", r.TCPFlags&1 != 0)
	note("RST", r.TCPFlags&4 != 0)
	note("long", e.Last-e.First > 50_000)
	note(r.Direction.String(), r.Direction != flowlog.DirectionNone)
	note(fmt.Sprintf("v4 path %d", r.TrafficPath), r.TrafficPath > 0)
	note("unowned", !e.DstOwned && e.DstApp == "")
	// The true packets lie in what a reader has to assume of a record.
	if slack := int64(61_000); e.First < r.Start-slack || e.Last >= r.End+1000 && e.End == e.Last/1000*1000 {
		t.Fatalf("%q stands for packets from %d to %d", r.Line, e.First, e.Last)
	}
}

func TestEnvelopes(t *testing.T) {
	cfg := Small(start)
	cfg.Logs.MaxLines = 7
	s := newSim(t, cfg)
	ids := map[string]bool{}
	control, lines := 0, 0
	for it := range s.Until(start.Add(3 * time.Minute)) {
		if it.Payload == nil {
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(it.Payload.Data))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			MessageType, Owner, LogGroup, LogStream string
			SubscriptionFilters                     []string
			LogEvents                               []struct {
				ID        string
				Timestamp int64
				Message   string
			}
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&m); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if m.MessageType == "CONTROL_MESSAGE" {
			control++
			if it.Payload.Lines != 0 || !strings.HasPrefix(m.LogEvents[0].Message, "CWL CONTROL MESSAGE") {
				t.Fatalf("control message %s", text)
			}
			continue
		}
		if m.MessageType != "DATA_MESSAGE" || m.LogStream != it.Payload.PartitionKey || m.LogGroup != it.Payload.LogGroup ||
			len(m.LogEvents) != it.Payload.Lines || it.Payload.Lines > 7 {
			t.Fatalf("payload %+v has %+v", it.Payload, m)
		}
		for i, e := range m.LogEvents {
			if len(e.ID) != 56 || ids[e.ID] {
				t.Fatalf("event id %q has %d digits or comes twice", e.ID, len(e.ID))
			}
			ids[e.ID] = true
			if e.Timestamp != it.Payload.Truth[i].Start || !strings.Contains(e.Message, it.Payload.Truth[i].Interface) {
				t.Fatalf("event %+v is not of %+v", e, it.Payload.Truth[i])
			}
			lines++
		}
	}
	if control == 0 || lines < 1000 {
		t.Errorf("%d control messages, %d lines", control, lines)
	}
}

// TestIntervalsConserve cuts connections by any intervals: nothing is lost or doubled, and flags stand where they belong.
func TestIntervalsConserve(t *testing.T) {
	s := newSim(t, bare())
	f := s.vpcByName["prod"].nat[0].iface
	rapid.Check(t, func(t *rapid.T) {
		c := &conn{
			open: rapid.Int64Range(1_000, 100_000).Draw(t, "open"), proto: protoTCP, fin: flagFIN,
			forward: counters{packets: rapid.Int64Range(1, 5_000).Draw(t, "packets")},
		}
		c.forward.bytes = c.forward.packets * rapid.Int64Range(40, 9_000).Draw(t, "size")
		c.end = c.open + rapid.Int64Range(0, 400_000).Draw(t, "lasts")
		o := observation{conn: c, view: view{forward: true, egress: true, src: f.primary, dst: s.internet[0], plainSrc: f.primary, plainDst: s.internet[0]}}
		step := rapid.Int64Range(1, 70_000).Draw(t, "interval")
		var sum counters
		var flags []uint8
		for from := c.open - rapid.Int64Range(0, step).Draw(t, "phase"); from <= c.end; from += step {
			l, e, ok := s.record(f, &o, from, from+step)
			if !ok {
				continue
			}
			if e.First < max(from, c.open) || e.Last >= from+step || e.Last > c.end || e.First > e.Last || e.Packets < 1 {
				t.Fatalf("part of [%d, %d) is %+v", from, from+step, e)
			}
			sum.packets += e.Packets
			sum.bytes += e.Bytes
			flags = append(flags, l.flags)
		}
		if sum != c.forward {
			t.Fatalf("parts sum to %+v; the connection has %+v", sum, c.forward)
		}
		for i, got := range flags {
			want := uint8(0)
			if i == 0 {
				want |= flagSYN
			}
			if i == len(flags)-1 {
				want |= flagFIN
			}
			if got != want {
				t.Fatalf("flags %v", flags)
			}
		}
	})
}

// TestObserversAgree: every interface that sees a direction of a connection from end to end counts the same bytes, and no
// direction is counted twice.
func TestObserversAgree(t *testing.T) {
	cfg := bare()
	cfg.ConnRate = 6
	s := newSim(t, cfg)
	type direction struct {
		flow    uint64
		forward bool
	}
	type seen struct {
		bytes, packets int64
		last           int64
		counted        bool
		reject         bool
	}
	flows := map[direction]map[string]*seen{}
	keys := map[string]bool{}
	end := start.Add(40 * time.Minute)
	for it := range s.Until(end) {
		if it.Payload == nil {
			continue
		}
		for _, e := range it.Payload.Truth {
			if e.Status != "OK" {
				continue
			}
			key := fmt.Sprint(e.Interface, e.Src, e.Dst, e.SrcPort, e.DstPort, e.Protocol, e.First, e.Egress)
			if keys[key] {
				t.Fatalf("two records for one key: %s", key)
			}
			keys[key] = true
			d := direction{e.Flow, e.Forward}
			if flows[d] == nil {
				flows[d] = map[string]*seen{}
			}
			side := fmt.Sprint(e.Interface, e.Egress)
			o := flows[d][side]
			if o == nil {
				o = &seen{counted: e.Counted, reject: e.Reject}
				flows[d][side] = o
			}
			o.bytes += e.Bytes
			o.packets += e.Packets
			o.last = max(o.last, e.Last)
		}
	}
	compared := 0
	for d, sides := range flows {
		var first *seen
		counted := map[bool]int{}
		complete := true
		for _, o := range sides {
			complete = complete && o.last < end.Add(-2*time.Minute).UnixMilli()-1_200_000
		}
		for _, o := range sides {
			if o.counted {
				counted[o.reject]++
			}
			if first == nil {
				first = o
			}
			if complete && (o.bytes != first.bytes || o.packets != first.packets) {
				t.Fatalf("flow %+v: %+v and %+v", d, o, first)
			}
		}
		if counted[false] > 1 || counted[true] > 1 {
			t.Fatalf("flow %+v is counted %v times", d, counted)
		}
		if complete && len(sides) > 1 {
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("only %d flows compared", compared)
	}
}

func TestOverlappingNetworks(t *testing.T) {
	s := newSim(t, bare())
	both := 0
	for it := range s.Until(start.Add(5 * time.Minute)) {
		if it.Payload == nil {
			continue
		}
		for _, e := range it.Payload.Truth {
			if e.Status != "OK" || e.SrcScope != s.VPC("prod") || !e.SrcOwned {
				continue
			}
			other, ok := s.Truth().Lookup(s.VPC("dev"), e.Src, e.First)
			if ok && other.App != "" && other.App != e.SrcApp {
				both++
			}
		}
	}
	if both == 0 {
		t.Error("no address had two owners in two networks at the same time")
	}
}

func TestTotals(t *testing.T) {
	s := newSim(t, bare())
	var want Totals
	want.Pairs = map[PairKey]Sum{}
	end := start.Add(6 * time.Minute)
	for it := range s.Until(end.Add(time.Minute)) {
		if it.Payload == nil {
			continue
		}
		for _, e := range it.Payload.Truth {
			if e.Counted {
				k := PairKey{e.SrcApp, e.DstApp, e.Reject}
				sum := want.Pairs[k]
				want.Pairs[k] = Sum{sum.Bytes + e.Bytes, sum.Packets + e.Packets, sum.Lines + 1}
			}
		}
	}
	// What was written but has not arrived is in the books already, so they can only be ahead.
	got := s.Truth().Totals()
	for k, w := range want.Pairs {
		if g := got.Pairs[k]; g.Bytes < w.Bytes || g.Lines < w.Lines || g.Packets < w.Packets {
			t.Errorf("%+v: books have %+v, lines %+v", k, g, w)
		}
		if !s.Truth().HasEdge(k.Src, k.Dst) {
			t.Errorf("%+v flowed without an edge", k)
		}
	}
	if got.NoData == 0 || got.OK < 10_000 {
		t.Errorf("totals %+v", got)
	}
	declared := map[[2]string]bool{}
	for _, e := range s.Truth().Edges() {
		if e.Declared {
			declared[[2]string{e.Src, e.Dst}] = true
		}
	}
	found := 0
	for _, e := range s.DeclaredEdges() {
		if declared[e] {
			found++
		}
	}
	if found < len(s.DeclaredEdges())*9/10 {
		t.Errorf("%d of %d declared edges were used", found, len(s.DeclaredEdges()))
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		mend func(*Config)
		want string
	}{
		{"start", func(c *Config) { c.Start = time.Time{} }, "Start:"},
		{"scale", func(c *Config) { c.Scale = 0 }, "Scale:"},
		{"rate", func(c *Config) { c.ConnRate = -1 }, "ConnRate:"},
		{"share", func(c *Config) { c.DeadShare = 2 }, "DeadShare: 2"},
		{"life", func(c *Config) { c.Churn.ShortMean = 0 }, "Churn.ShortMean:"},
		{"delay", func(c *Config) { c.Logs.Delay.Median = 0 }, "Logs.Delay:"},
		{"lines", func(c *Config) { c.Logs.MaxLines = 0 }, "Logs.MaxLines:"},
		{"policy", func(c *Config) { c.Identity.Policy = 9 }, "Identity.Policy: 9"},
		{"crawl", func(c *Config) { c.Identity.CrawlTakes = time.Hour }, "Identity.CrawlTakes:"},
		{"vpc", func(c *Config) { c.Logs.Formats = map[string]string{"moon": V2} }, `VPC "moon"`},
		{"format", func(c *Config) { c.Logs.Formats = map[string]string{"prod": "version colour"} }, `"colour"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := DefaultConfig(start)
			tt.mend(&cfg)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q in it", err, tt.want)
			}
		})
	}
	for _, cfg := range []Config{DefaultConfig(start), Demo(start), Accuracy(start), Small(start)} {
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestPace(t *testing.T) {
	p := DemoPace(start)
	for _, tt := range []struct{ real, virtual time.Duration }{
		{0, -10 * time.Minute}, {30 * time.Second, -5 * time.Minute}, {100 * time.Second, 100 * time.Second}, {time.Hour, time.Hour},
	} {
		if got := p.Virtual(start.Add(tt.real)).Sub(start); got != tt.virtual {
			t.Errorf("virtual time after %s is %s; want %s", tt.real, got, tt.virtual)
		}
		if got := p.Due(start.Add(tt.virtual)).Sub(start); got != tt.real {
			t.Errorf("what arrives at %s is due after %s; want %s", tt.virtual, got, tt.real)
		}
	}
	if got := p.Due(p.Start); !got.Equal(start) {
		t.Errorf("the backlog is due at %s; want at once", got)
	}
}

// BenchmarkSim runs the demo's estate; one iteration is a second of virtual time.
func BenchmarkSim(b *testing.B) {
	s := newSim(b, Demo(start))
	at, lines := start.Add(2*time.Minute), 0
	for range s.Until(at) {
		continue
	}
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Second)
		for it := range s.Until(at) {
			if it.Payload != nil {
				lines += it.Payload.Lines
			}
		}
	}
	b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "lines/s")
}
