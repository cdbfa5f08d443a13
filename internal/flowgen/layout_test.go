package flowgen

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseLayout(t *testing.T) {
	for text, version := range map[string]int{
		V2: 2, V5: 5, V8: 8, V11: 11, "${version} ${tcp_flags}": 3, "traffic-path": 5, "az-id": 4, "ecs-task-id": 7,
		"resource-id": 9, "encryption-status": 10,
	} {
		l, err := ParseLayout(text)
		if err != nil || l.version != version {
			t.Errorf("%q: version %v, %v; want %d", text, l, err, version)
		}
	}
	for n, text := range map[int]string{14: V2, 29: V5, 40: V8, 54: V11} {
		if got := len(strings.Fields(text)); got != n {
			t.Errorf("layout of %d fields; want %d", got, n)
		}
	}
	for _, text := range []string{"", "  ", "version,start"} {
		if _, err := ParseLayout(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func FuzzParseLayout(f *testing.F) {
	for _, seed := range []string{V2, V11, "${version}", "$version", "pkt_srcaddr", "version  start\t-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLayout(text)
		if err != nil {
			return
		}
		again, err := ParseLayout(l.String())
		if err != nil || !slices.Equal(again.fields, l.fields) {
			t.Errorf("%q reads as %q, and that as %v, %v", text, l, again, err)
		}
	})
}

func TestLayoutsRenderWithoutAllocation(t *testing.T) {
	s := newSim(t, bare())
	f := s.vpcByName["eks"].nat[0].iface
	l := line{at: f, next: f, src: f.primary, dst: s.s3[0], pktSrc: f.primary, pktDst: s.s3[0], packets: 1, bytes: 40, start: 1, end: 2}
	dst := make([]byte, 0, 4096)
	layout := s.vpcByName["eks"].layout
	if n := testing.AllocsPerRun(100, func() { dst = layout.appendLine(dst[:0], &l) }); n != 0 {
		t.Errorf("%v allocations per line", n)
	}
}

// BenchmarkLayout renders lines of every layout.
func BenchmarkLayout(b *testing.B) {
	s := newSim(b, bare())
	f := s.vpcByName["prod"].nat[0].iface
	l := line{
		at: f, next: f, src: f.primary, dst: s.s3[0], pktSrc: f.primary, pktDst: s.s3[0], packets: 12, bytes: 3456,
		start: 1772366400, end: 1772366459, srcPort: 44444, dstPort: 443, proto: protoTCP, egress: true, path: 8,
	}
	for _, text := range []string{V2, V5, V8, V11} {
		layout, err := ParseLayout(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("v", layout.version), func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = layout.appendLine(dst[:0], &l)
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}
