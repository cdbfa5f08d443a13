package flowgen

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"net/netip"
	"strconv"
	"time"

	"dredge/metadata/event"

	"github.com/klauspost/compress/gzip"
)

// BulkMix is how the lines of a bulk payload are chosen.
type BulkMix int

// The mixes.
const (
	// OneInterface is CloudWatch's way: all lines of an envelope are of one interface.
	OneInterface BulkMix = iota
	// RandomInterface has another interface in every line: the worst case for compression and caches.
	RandomInterface
)

// BulkScope is the scope (VPC id) of all bulk addresses.
const BulkScope = "vpc-0bbbbbbbbbbbbbbbb"

// BulkLogGroup is the log group of all bulk lines; their layout is V2.
const BulkLogGroup = "/vpc/flow-logs/bulk"

const bulkAccount = "123456789012"

// near is the distance to a change of owner that makes a flow a hard one.
const near = 60_000

// BulkConfig describes a workload for benchmarks.
type BulkConfig struct {
	Seed uint64
	// Lines is the number of lines in all payloads, LinesPerPayload how many one has.
	Lines, LinesPerPayload int
	// Addresses is the number of addresses, a power of two up to 2^23; Versions how many owners each has had.
	Addresses, Versions int
	// Workloads is the number of applications behind the owners.
	Workloads int
	// NearShare is the share of lines whose remote address changed its owner within 60 s of the flow, NoOwnerShare the
	// share of lines whose remote address never had one. All other lines keep clear of changes.
	NearShare, NoOwnerShare float64
	Mix                     BulkMix
	// End is the newest time, History how far back owners reach, Recent how far back flows reach.
	End             time.Time
	History, Recent time.Duration
	// GzipLevel is the level of the envelopes; 0 leaves them uncompressed.
	GzipLevel int
}

// DefaultBulkConfig is the published benchmark: a million addresses with four owners each, 500 lines per payload.
func DefaultBulkConfig(end time.Time, lines int) BulkConfig {
	return BulkConfig{
		Seed: 1, Lines: lines, LinesPerPayload: 500, Addresses: 1 << 20, Versions: 4, Workloads: 8192,
		NearShare: 0.05, NoOwnerShare: 0.01, End: end, History: 4 * time.Hour, Recent: 10 * time.Minute, GzipLevel: 6,
	}
}

// Bulk is a workload in which everything is a function of the seed and an index: payload i is always the same, and any
// number of BulkWriters may make payloads at the same time.
//
// The owners of an address change once in each part of the history but the first; the times are an affine permutation of
// the addresses, so that the address which changes at a given time can be computed backwards.
type Bulk struct {
	cfg       BulkConfig
	from, end int64 // of the history
	part      int64 // length of a part
	mult      []uint64
	inverse   []uint64
	add       []uint64
	workloads []event.Workload
}

// NewBulk checks cfg and prepares the workload; it is cheap.
func NewBulk(cfg BulkConfig) (*Bulk, error) {
	var errs []error
	if cfg.Lines < 1 || cfg.LinesPerPayload < 1 {
		errs = append(errs, fmt.Errorf("lines %d, lines per payload %d: both must be at least 1", cfg.Lines, cfg.LinesPerPayload))
	}
	if n := cfg.Addresses; n < 1024 || n > 1<<23 || bits.OnesCount(uint(n)) != 1 {
		errs = append(errs, fmt.Errorf("addresses: %d is no power of two from 1024 to %d", n, 1<<23))
	}
	if cfg.Versions < 2 || cfg.Workloads < 1 {
		errs = append(errs, fmt.Errorf("versions %d, workloads %d: write at least 2 and 1", cfg.Versions, cfg.Workloads))
	}
	if cfg.NearShare < 0 || cfg.NoOwnerShare < 0 || cfg.NearShare+cfg.NoOwnerShare > 1 {
		errs = append(errs, fmt.Errorf("near share, no-owner share: %v, %v are not shares", cfg.NearShare, cfg.NoOwnerShare))
	}
	b := &Bulk{cfg: cfg, end: cfg.End.UnixMilli() / 60_000 * 60_000}
	b.from = b.end - cfg.History.Milliseconds()
	if len(errs) == 0 {
		b.part = (b.end - b.from) / int64(cfg.Versions)
		if cfg.Recent.Milliseconds()+4*near > b.part || cfg.Recent < 2*time.Minute {
			errs = append(errs, fmt.Errorf("recent: %s: write at least 2m and 4m less than History/Versions", cfg.Recent))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if _, err := newGzip(cfg.GzipLevel); err != nil {
		return nil, fmt.Errorf("gzip level: %w", err)
	}
	for v := range uint64(cfg.Versions) {
		odd := mix(cfg.Seed+v*31) | 1
		inverse := odd // Newton's iteration: each step doubles the number of right bits
		for range 6 {
			inverse *= 2 - odd*inverse
		}
		b.mult, b.inverse, b.add = append(b.mult, odd), append(b.inverse, inverse), append(b.add, mix(cfg.Seed^v<<20))
	}
	for i := range cfg.Workloads {
		name := fmt.Sprintf("app-%04d", i)
		b.workloads = append(b.workloads, event.Workload{
			App: name, AppSource: "tag:app", Cluster: name + "-main", Account: bulkAccount, VPC: BulkScope, Region: Home,
			Team: fmt.Sprintf("team-%03d", i%97),
		})
	}
	return b, nil
}

// BulkTenure is one owner of one address; To is 0 when it still has it.
type BulkTenure struct {
	IP       netip.Addr
	From, To int64
	// ENI is the owner's interface; its owner id in events is "eni:" and this.
	ENI      string
	Workload int
}

func (b *Bulk) addr(i uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// begins is when version v of address i begins.
func (b *Bulk) begins(i uint64, v int) int64 {
	if v == 0 {
		return b.from
	}
	n := uint64(b.cfg.Addresses)
	slot := (b.mult[v]*i + b.add[v]) & (n - 1)
	return b.from + int64(v)*b.part + int64(slot)*b.part/int64(n)
}

// changesAt is an address whose owner changes in the last part at about t.
func (b *Bulk) changesAt(t int64) uint64 {
	n := uint64(b.cfg.Addresses)
	v := b.cfg.Versions - 1
	slot := uint64(t-b.from-int64(v)*b.part) * n / uint64(b.part)
	return (slot - b.add[v]) * b.inverse[v] & (n - 1)
}

func (b *Bulk) versionAt(i uint64, t int64) int {
	for v := b.cfg.Versions - 1; v > 0; v-- {
		if b.begins(i, v) <= t {
			return v
		}
	}
	return 0
}

func (b *Bulk) appendENI(dst []byte, i uint64, v int) []byte {
	dst = append(dst, "eni-0"...)
	id := mix(b.cfg.Seed<<32 ^ (i*uint64(b.cfg.Versions) + uint64(v)))
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[id>>shift&15])
	}
	return dst
}

func (b *Bulk) workload(i uint64, v int) int {
	return int(mix(i*uint64(b.cfg.Versions)+uint64(v)+b.cfg.Seed) % uint64(b.cfg.Workloads))
}

func (b *Bulk) tenure(i uint64, v int) BulkTenure {
	t := BulkTenure{IP: b.addr(i), From: b.begins(i, v), ENI: string(b.appendENI(nil, i, v)), Workload: b.workload(i, v)}
	if v+1 < b.cfg.Versions {
		t.To = b.begins(i, v+1)
	}
	return t
}

// Owner returns who had ip at a time (Unix milliseconds).
func (b *Bulk) Owner(ip netip.Addr, at int64) (BulkTenure, bool) {
	if !ip.Is4() || at < b.from {
		return BulkTenure{}, false
	}
	o := ip.As4()
	i := uint64(o[1])<<16 | uint64(o[2])<<8 | uint64(o[3])
	if o[0] != 10 || i >= uint64(b.cfg.Addresses) {
		return BulkTenure{}, false
	}
	return b.tenure(i, b.versionAt(i, at)), true
}

// Workload returns the data behind BulkTenure.Workload. It is shared: don't change it.
func (b *Bulk) Workload(i int) *event.Workload { return &b.workloads[i] }

// Tenures yields every owner of every address: Addresses × Versions of them.
func (b *Bulk) Tenures() iter.Seq[BulkTenure] {
	return func(yield func(BulkTenure) bool) {
		for i := range uint64(b.cfg.Addresses) {
			for v := range b.cfg.Versions {
				if !yield(b.tenure(i, v)) {
					return
				}
			}
		}
	}
}

// Events yields the same as identity events: the scope's CIDR, an assign for every tenure, and the progress that makes it
// complete. The event is re-used: it is valid until the next one; its strings and WL may be kept.
func (b *Bulk) Events() iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		const src = "file/bulk"
		seq := int64(1)
		e := event.Event{
			V: event.Version, Src: src, Epoch: 1, Seq: seq, Op: event.Assign, From: b.from, Scope: BulkScope, CIDR: "10.0.0.0/8",
			Owner: "vpc:" + BulkScope, EP: &event.Endpoint{Kind: "vpc", Name: "bulk"},
			WL: &event.Workload{Account: bulkAccount, VPC: BulkScope, Region: Home},
		}
		if !yield(&e) {
			return
		}
		var ep event.Endpoint
		primary, check := true, true
		for t := range b.Tenures() {
			seq++
			ep = event.Endpoint{Kind: "instance", ENI: t.ENI}
			e = event.Event{
				V: event.Version, Src: src, Epoch: 1, Seq: seq, Op: event.Assign, From: t.From, To: t.To, Scope: BulkScope,
				IP: t.IP.String(), Owner: "eni:" + t.ENI, Primary: &primary, SDC: &check, EP: &ep, WL: &b.workloads[t.Workload],
			}
			if !yield(&e) {
				return
			}
		}
		e = event.Event{V: event.Version, Src: src, Epoch: 1, Seq: seq + 1, Op: event.Progress, To: b.end}
		yield(&e)
	}
}

// Payloads is the number of payloads.
func (b *Bulk) Payloads() int {
	return (b.cfg.Lines + b.cfg.LinesPerPayload - 1) / b.cfg.LinesPerPayload
}

// All yields all payloads in order, made on the caller's goroutine.
func (b *Bulk) All() iter.Seq[Payload] {
	return func(yield func(Payload) bool) {
		w := b.NewWriter()
		for i := range b.Payloads() {
			if !yield(w.Payload(i)) {
				return
			}
		}
	}
}

// BulkWriter makes payloads. One per goroutine.
type BulkWriter struct {
	b    *Bulk
	zip  *gzip.Writer
	text []byte
	eni  []byte
	rnd  uint64
	// stream is the log stream of the message in text.
	stream string
}

// NewWriter returns a writer.
func (b *Bulk) NewWriter() *BulkWriter {
	zip, _ := newGzip(b.cfg.GzipLevel) // the level was checked by NewBulk
	return &BulkWriter{b: b, zip: zip}
}

func (w *BulkWriter) draw() uint64 {
	w.rnd++
	return mix(w.rnd)
}

// below returns a number in [0, n) from 32 fresh bits.
func (w *BulkWriter) below(n uint64) uint64 { return w.draw() >> 32 * n >> 32 }

// Payload makes payload i. Its Data belongs to the caller.
func (w *BulkWriter) Payload(i int) Payload {
	cfg := &w.b.cfg
	n := min(cfg.LinesPerPayload, cfg.Lines-i*cfg.LinesPerPayload)
	window := w.window(i)
	text := w.Text(i)
	p := Payload{
		Arrive: fromMillis(window + 65_000), Lines: n, LogGroup: BulkLogGroup, LogStream: w.stream,
	}
	p.PartitionKey = p.LogStream
	if cfg.Mix == RandomInterface {
		p.PartitionKey = strconv.FormatUint(mix(uint64(i)), 16)
	}
	if cfg.GzipLevel == 0 {
		p.Data = bytes.Clone(text)
		return p
	}
	out := bytes.NewBuffer(make([]byte, 0, len(text)/6))
	w.zip.Reset(out)
	_, _ = w.zip.Write(text) // to memory: can't fail
	_ = w.zip.Close()
	p.Data = out.Bytes()
	return p
}

// window is the aggregation interval of payload i: payloads march through the recent time.
func (w *BulkWriter) window(i int) int64 {
	recent := w.b.cfg.Recent.Milliseconds()/60_000 - 1
	minute := int64(i) * recent / int64(w.b.Payloads())
	return w.b.end - (recent-minute+1)*60_000
}

// Text is the subscription message of payload i before compression, valid until the next call.
func (w *BulkWriter) Text(i int) []byte {
	cfg := &w.b.cfg
	n := min(cfg.LinesPerPayload, cfg.Lines-i*cfg.LinesPerPayload)
	w.rnd = mix(cfg.Seed^uint64(i)<<24) &^ 0xffffff
	window := w.window(i)
	local := w.clear(window, window+60_000)
	w.eni = w.b.appendENI(w.eni[:0], local, w.b.versionAt(local, window))
	w.stream = string(w.eni) + "-all"
	dst := appendHead(w.text[:0], bulkAccount, BulkLogGroup, w.stream)
	for k := range n {
		if k > 0 && cfg.Mix == RandomInterface {
			local = w.clear(window, window+60_000)
			w.eni = w.b.appendENI(w.eni[:0], local, w.b.versionAt(local, window))
		}
		start := window/1000 + int64(w.below(50))
		dst = appendEventHead(dst, k, start*1000, uint64(i*cfg.LinesPerPayload+k+1))
		dst = w.appendLine(dst, local, start, start+int64(w.below(10)))
		dst = append(dst, `"}`...)
	}
	dst = append(dst, "]}"...)
	w.text = dst
	return w.text
}

// clear draws an address whose owner does not change near [from, to).
func (w *BulkWriter) clear(from, to int64) uint64 {
	for {
		i := w.draw() & uint64(w.b.cfg.Addresses-1)
		if c := w.b.begins(i, w.b.cfg.Versions-1); c < from-near-5_000 || c > to+near+5_000 {
			return i
		}
	}
}

// appendLine renders one version 2 line of the interface in w.eni; appendLine of Layout would do, this one is made of
// fewer steps.
func (w *BulkWriter) appendLine(dst []byte, local uint64, start, end int64) []byte {
	cfg := &w.b.cfg
	var remote uint64
	switch p := float64(w.below(1<<20)) / (1 << 20); {
	case p < cfg.NearShare:
		remote = w.b.changesAt(start*1000 - near + 2_000 + int64(w.below(2*near-4_000)))
	case p < cfg.NearShare+cfg.NoOwnerShare:
		remote = 1<<23 | w.below(1<<22)
	default:
		remote = w.clear(start*1000, end*1000)
	}
	r := w.draw()
	src, dstIP, sport, dport := local, remote, 32768+r&0x3fff, 1024+r>>14&0xfff
	if r>>63 == 0 {
		src, dstIP, sport, dport = remote, local, dport, sport
	}
	packets := 1 + r>>26&0xff
	dst = append(dst, "2 "+bulkAccount+" "...)
	dst = append(dst, w.eni...)
	dst = append(dst, ' ')
	dst = w.b.addr(src).AppendTo(dst)
	dst = append(dst, ' ')
	dst = w.b.addr(dstIP).AppendTo(dst)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, sport, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, dport, 10)
	dst = append(dst, " 6 "...)
	dst = strconv.AppendUint(dst, packets, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, packets*(60+r>>34&0x3ff), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, start, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, end, 10)
	if r>>58&31 == 0 {
		return append(dst, " REJECT OK"...)
	}
	return append(dst, " ACCEPT OK"...)
}
