package flowgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"dredge/flowlog"
	"dredge/metadata/event"

	"github.com/klauspost/compress/gzip"
)

func newBulk(tb testing.TB, mend func(*BulkConfig)) *Bulk {
	tb.Helper()
	cfg := DefaultBulkConfig(start, 20_000)
	cfg.Addresses = 1 << 14
	mend(&cfg)
	b, err := NewBulk(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestBulkTenures(t *testing.T) {
	b := newBulk(t, func(c *BulkConfig) { c.Addresses = 1 << 12 })
	type last struct {
		to int64
		n  int
	}
	by := map[netip.Addr]last{}
	enis := map[string]bool{}
	for h := range b.Tenures() {
		l := by[h.IP]
		if l.n > 0 && l.to != h.From || h.To != 0 && h.To <= h.From || enis[h.ENI] {
			t.Fatalf("%+v after one that ended at %d", h, l.to)
		}
		enis[h.ENI] = true
		by[h.IP] = last{h.To, l.n + 1}
		for _, at := range []int64{h.From, h.From + 1} {
			if got, ok := b.Owner(h.IP, at); !ok || got != h {
				t.Fatalf("owner at %d is %+v; want %+v", at, got, h)
			}
		}
	}
	if len(by) != 1<<12 || len(enis) != 4<<12 {
		t.Errorf("%d addresses, %d owners", len(by), len(enis))
	}
	n := 0
	parser := event.Parser{Now: func() time.Time { return start }}
	for e := range b.Events() {
		n++
		if err := parser.Validate(e); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
	}
	if n != 4<<12+2 {
		t.Errorf("%d events", n)
	}
	if _, ok := b.Owner(netip.MustParseAddr("10.128.0.1"), start.UnixMilli()); ok {
		t.Error("an address outside has an owner")
	}
}

func TestBulkLines(t *testing.T) {
	for _, mix := range []BulkMix{OneInterface, RandomInterface} {
		b := newBulk(t, func(c *BulkConfig) { c.Mix = mix })
		d, batch := flowlog.NewDecoder(), &flowlog.Batch{}
		lines, hard, unowned, payloads := 0, 0, 0, 0
		for p := range b.All() {
			payloads++
			z, err := gzip.NewReader(bytes.NewReader(p.Data))
			if err != nil {
				t.Fatal(err)
			}
			var m struct {
				LogStream string
				LogEvents []struct{ ID, Message string }
			}
			if err := json.NewDecoder(z).Decode(&m); err != nil {
				t.Fatal(err)
			}
			if len(m.LogEvents) != p.Lines || m.LogStream != p.LogStream {
				t.Fatalf("payload %+v has %d lines of %s", p.PartitionKey, len(m.LogEvents), m.LogStream)
			}
			batch.Reset()
			enis := map[string]bool{}
			for _, e := range m.LogEvents {
				if reason := d.Append(batch, flowlog.DefaultFormat(), []byte(e.Message), 0, 0); reason != flowlog.ReasonNone || len(e.ID) != 56 {
					t.Fatalf("%q (%s): %s", e.Message, e.ID, reason)
				}
			}
			for i := range batch.Records {
				r := &batch.Records[i]
				lines++
				enis[r.InterfaceID] = true
				local, remote := r.SrcAddr, r.DstAddr
				src, srcOK := b.Owner(r.SrcAddr, r.Start)
				dst, dstOK := b.Owner(r.DstAddr, r.Start)
				if src.ENI != r.InterfaceID {
					local, remote, src, srcOK, dst, dstOK = remote, local, dst, dstOK, src, srcOK
				}
				if !srcOK || src.ENI != r.InterfaceID {
					t.Fatalf("%q is not of the owner of %s", r.Line, local)
				}
				if p.Arrive.UnixMilli() <= r.End {
					t.Fatalf("%q arrives at %s", r.Line, p.Arrive)
				}
				if !dstOK {
					unowned++
					continue
				}
				before, _ := b.Owner(remote, r.Start-near)
				after, _ := b.Owner(remote, r.Start+near)
				if before != after {
					hard++
				}
				_ = dst
			}
			if mix == OneInterface && len(enis) != 1 || mix == RandomInterface && len(enis) < p.Lines*9/10 {
				t.Fatalf("mix %d has %d interfaces in a payload", mix, len(enis))
			}
		}
		if payloads != b.Payloads() || lines != 20_000 {
			t.Errorf("%d payloads, %d lines", payloads, lines)
		}
		if h, u := float64(hard)/20_000, float64(unowned)/20_000; h < 0.045 || h > 0.055 || u < 0.007 || u > 0.013 {
			t.Errorf("%.3f of the lines near a change of owner, %.3f without; want 0.05 and 0.01", h, u)
		}
	}
}

func TestBulkIsAFunctionOfTheIndex(t *testing.T) {
	b := newBulk(t, func(*BulkConfig) {})
	var want [][]byte
	for p := range b.All() {
		want = append(want, p.Data)
	}
	got := make([][]byte, b.Payloads())
	var wg sync.WaitGroup
	for first := range 3 {
		wg.Go(func() {
			w := b.NewWriter()
			for i := len(got) - 1 - first; i >= 0; i -= 3 {
				got[i] = w.Payload(i).Data
			}
		})
	}
	wg.Wait()
	for i := range want {
		if !bytes.Equal(want[i], got[i]) {
			t.Fatalf("payload %d differs between writers", i)
		}
	}
}

func TestBulkConfigFaults(t *testing.T) {
	for want, mend := range map[string]func(*BulkConfig){
		"lines":      func(c *BulkConfig) { c.Lines = 0 },
		"addresses":  func(c *BulkConfig) { c.Addresses = 1000 },
		"versions":   func(c *BulkConfig) { c.Versions = 1 },
		"near share": func(c *BulkConfig) { c.NearShare = 1.5 },
		"recent":     func(c *BulkConfig) { c.Recent = c.History },
		"gzip level": func(c *BulkConfig) { c.GzipLevel = 77 },
	} {
		cfg := DefaultBulkConfig(start, 1)
		mend(&cfg)
		if _, err := NewBulk(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q in it", err, want)
		}
	}
}

// BenchmarkBulk makes payloads of 500 lines on one core.
func BenchmarkBulk(b *testing.B) {
	for _, level := range []int{0, 1, 6} {
		for mix, name := range map[BulkMix]string{OneInterface: "one-interface", RandomInterface: "random-interface"} {
			b.Run(fmt.Sprintf("gzip=%d/%s", level, name), func(b *testing.B) {
				bulk := newBulk(b, func(c *BulkConfig) { c.Mix, c.GzipLevel, c.Lines, c.Addresses = mix, level, 1_000_000, 1<<20 })
				w := bulk.NewWriter()
				b.ReportAllocs()
				b.SetBytes(int64(len(w.Text(0))))
				i, size := 0, 0
				for b.Loop() {
					size += len(w.Payload(i % bulk.Payloads()).Data)
					i++
				}
				b.ReportMetric(float64(i)*500/b.Elapsed().Seconds(), "lines/s")
				b.ReportMetric(float64(size)/float64(i)/500, "B/line")
			})
		}
	}
}

// BenchmarkBulkTenures yields the owners of all addresses.
func BenchmarkBulkTenures(b *testing.B) {
	bulk := newBulk(b, func(c *BulkConfig) { c.Addresses = 1 << 16 })
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for h := range bulk.Tenures() {
			n++
			runtime.KeepAlive(h)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tenures/s")
}
