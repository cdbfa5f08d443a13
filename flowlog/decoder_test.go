package flowlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	lineOK       = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"
	lineNoData   = "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA"
	formatFive   = "version srcaddr dstaddr srcport dstport protocol start end type packets bytes account-id vpc-id subnet-id instance-id interface-id region az-id sublocation-type sublocation-id action tcp-flags pkt-srcaddr pkt-dstaddr pkt-src-aws-service pkt-dst-aws-service traffic-path flow-direction log-status"
	lineFive     = "5 10.0.0.71 52.95.128.179 34210 80 6 1616729292 1616729349 IPv4 7 471 123456789012 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-0c50d5961bcb2d47b eni-1235b8ca123456789 ap-southeast-2 apse2-az3 - - ACCEPT 3 10.0.0.71 52.95.128.179 - S3 8 egress OK"
	lineTGW      = "6 TransitGateway 123456789012 tgw-0123456789abcdef0 tgw-attach-0123456789abcdef0 123456789012 210987654321 vpc-0a vpc-0b subnet-0a subnet-0b eni-0a eni-0b use1-az1 use1-az2 tgw-attach-0fedcba987654321f 10.1.2.3 10.9.8.7 34210 443 6 12 3456 1616729292 1616729349 OK IPv4 0 1 2 3 24 us-east-1 ingress - -"
	lineIPv6     = "2 123456789010 eni-1235b8ca123456789 2001:db8:1234:a100:8d6e:3477:df66:f105 2001:db8:1234:a102:3304:8879:34cf:4071 34892 22 6 54 8855 1477913708 1477913820 ACCEPT OK"
	lineNegative = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 -20 4249 1418530010 1418530070 ACCEPT OK"
)

func format(t testing.TB, s string) *Format {
	t.Helper()
	f, err := ParseFormat(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

type goldenCase struct {
	ID, Format, Line string
	Expect           json.RawMessage
}

func golden(t testing.TB) []goldenCase {
	t.Helper()
	file, err := os.Open("testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var cases []goldenCase
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var c goldenCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil || len(cases) != 39 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	return cases
}

func decodeJSON(t testing.TB, text []byte) (m map[string]any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

func TestGoldenRecords(t *testing.T) {
	d, b := NewDecoder(), &Batch{}
	for _, c := range golden(t) {
		b.Reset()
		f := format(t, c.Format)
		reason := d.Append(b, f, []byte(c.Line), 0, 0)
		if string(c.Expect) == `"error"` {
			if reason == ReasonNone {
				t.Errorf("%s: accepted", c.ID)
			}
			continue
		}
		if reason != ReasonNone {
			t.Errorf("%s: %v", c.ID, Explain(f, []byte(c.Line)))
			continue
		}
		got := AppendJSON(nil, &b.Records[0])
		if diff := cmp.Diff(decodeJSON(t, c.Expect), decodeJSON(t, got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.ID, diff)
		}
	}
}

func TestRecordFields(t *testing.T) {
	d, b := NewDecoder(), &Batch{}
	if reason := d.Append(b, format(t, formatFive), []byte(lineFive), 3, 7); reason != ReasonNone {
		t.Fatal(reason)
	}
	r := b.Records[0]
	want := Record{
		Format: r.Format, Line: []byte(lineFive), Present: r.Present, batch: b,
		SrcAddr: netip.MustParseAddr("10.0.0.71"), DstAddr: netip.MustParseAddr("52.95.128.179"),
		PktSrcAddr: netip.MustParseAddr("10.0.0.71"), PktDstAddr: netip.MustParseAddr("52.95.128.179"),
		Start: 1616729292000, End: 1616729349000, Packets: 7, Bytes: 471, SrcPort: 34210, DstPort: 80, Protocol: 6,
		TCPFlags: 3, TrafficPath: 8, Action: Accept, Status: StatusOK, Direction: Egress,
		AccountID: "123456789012", InterfaceID: "eni-1235b8ca123456789", VPCID: "vpc-abcdefab012345678",
		SubnetID: "subnet-aaaaaaaa012345678", InstanceID: "i-0c50d5961bcb2d47b", Region: "ap-southeast-2", AZID: "apse2-az3",
		Origin: 3, Index: 7,
	}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(Record{}, Format{}, column{}),
		cmp.Comparer(func(a, b *Batch) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Fatal(diff)
	}
	if !r.Present.Has(FieldPktDstAWSService) || r.Present.Has(FieldPktSrcAWSService) || r.Present.Has(FieldECSTaskID) || r.Present.Has(FieldOther) {
		t.Errorf("present: %x", r.Present)
	}
	if got := string(r.Text(FieldPktDstAWSService)); got != "S3" {
		t.Errorf("pkt-dst-aws-service %q", got)
	}
	if r.Text(FieldSublocationID) != nil || r.Text(FieldECSTaskID) != nil || r.Text(FieldOther) != nil {
		t.Error("an absent field has text")
	}
	if v, ok := r.Int(FieldStart); !ok || v != 1616729292 {
		t.Errorf("start %d %v: want the line's own unit", v, ok)
	}
	if _, ok := r.Int(FieldType); ok {
		t.Error("a text field has an integer")
	}
}

// TestAbsentIsNotZero holds the difference between "-" and 0 for every field of the catalogue.
func TestAbsentIsNotZero(t *testing.T) {
	d, b := NewDecoder(), &Batch{}
	for _, info := range Fields() {
		b.Reset()
		f := format(t, info.Name+" some-new-field")
		if reason := d.Append(b, f, []byte("- -"), 0, 0); reason != ReasonNone {
			t.Errorf("%s: %s", info.Name, reason)
			continue
		}
		r := &b.Records[0]
		if r.Present != (FieldSet{}) || r.Text(info.Field) != nil || r.TextByName("some_new_field") != nil {
			t.Errorf("%s: present", info.Name)
		}
		name := strings.ReplaceAll(info.Name, "-", "_")
		if got, want := string(AppendJSON(nil, r)), `{"`+name+`":null,"some_new_field":null}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	b.Reset()
	if reason := d.Append(b, format(t, "srcport tcp-flags"), []byte("0 0"), 0, 0); reason != ReasonNone {
		t.Fatal(reason)
	}
	if r := &b.Records[0]; !r.Present.Has(FieldSrcPort) || !r.Present.Has(FieldTCPFlags) {
		t.Error("0 is taken as absent")
	}
}

func TestReject(t *testing.T) {
	d, b := NewDecoder(), &Batch{}
	f := func(layout, line string, want Reason, words string) {
		t.Helper()
		b.Reset()
		ft := DefaultFormat()
		if layout != "" {
			ft = format(t, layout)
		}
		got := d.Append(b, ft, []byte(line), 0, 0)
		if got != want || len(b.Records) != 0 || len(b.spans) != 0 || b.bytes.used != 0 {
			t.Errorf("%.80q: %q, want %q; %d records", line, got, want, len(b.Records))
		}
		err := Explain(ft, []byte(line))
		le, ok := errors.AsType[*LineError](err)
		if !ok || le.Reason != want || !strings.Contains(err.Error(), words) {
			t.Errorf("%.80q: explained as %v, want %q", line, err, words)
		}
	}
	f("", "", ReasonEmpty, "empty: want 14 fields")
	f("", "   \r\n", ReasonEmpty, "want 14 fields")
	f("", strings.Repeat("x", MaxLine+1), ReasonTooLong, "65536 bytes, want at most 65535")
	f("", "2 123", ReasonFieldCount, "2 fields, want 14 for the layout ${version} ${account-id}")
	f("", lineOK+" 9", ReasonFieldCount, "15 fields, want 14")
	f("", "x "+lineOK, ReasonFieldCount, "15 fields") // the count says more than the bad integer
	f("", strings.Replace(lineOK, "20641", "2x641", 1), ReasonBadInteger, `field 6, srcport: "2x641", want an integer from 0 to 65535`)
	f("", strings.Replace(lineOK, "20641", "65536", 1), ReasonIntegerRange, "0 to 65535")
	f("", strings.Replace(lineOK, " 22 6 ", " 22 256 ", 1), ReasonIntegerRange, "protocol")
	f("", lineNegative, ReasonIntegerRange, `packets: "-20"`)
	f("", strings.Replace(lineOK, " 20 ", " +20 ", 1), ReasonBadInteger, "packets")
	f("", strings.Replace(lineOK, " 20 ", " 1e3 ", 1), ReasonBadInteger, "packets")
	f("", strings.Replace(lineOK, " 20 ", " -- ", 1), ReasonBadInteger, "packets")
	f("", strings.Replace(lineOK, " 4249 ", " 9223372036854775808 ", 1), ReasonIntegerRange, "bytes")
	f("", strings.Replace(lineOK, " 4249 ", " 18446744073709551617 ", 1), ReasonIntegerRange, "bytes")
	f("", strings.Replace(lineOK, "2 1234", "2147483648 1234", 1), ReasonIntegerRange, "version")
	f("log-status protocol", "NODATA 2147483648", ReasonIntegerRange, "0 to 255")
	f("protocol srcport log-status", "256 x NODATA", ReasonBadInteger, "srcport")
	f("tcp-flags", "256", ReasonIntegerRange, "0 to 255")
	f("traffic_path", "300", ReasonIntegerRange, "0 to 255")
	f("packets-lost-blackhole", "99999999999999999999", ReasonIntegerRange, "packets-lost-blackhole")
	f("", strings.Replace(lineOK, "172.31.16.21", "172.31.16.256", 1), ReasonBadAddress, `dstaddr: "172.31.16.256", want an IPv4`)
	f("", strings.Replace(lineOK, "172.31.16.21", "172.31.016.21", 1), ReasonBadAddress, "dstaddr")
	f("", strings.Replace(lineOK, "172.31.16.21", "fe80::1%eth0", 1), ReasonBadAddress, "without a zone")
	f("", strings.Replace(lineOK, "1418530070", "1418530009", 1), ReasonBadTime, `field 12, end: "1418530009", want no time before start`)
	f("", strings.Replace(lineOK, "1418530010", "14185300100", 1), ReasonBadTime, "start")
	f("", strings.Replace(lineOK, "1418530070", "14185300700000", 1), ReasonBadTime, "milliseconds (13 digits)")
	f("", strings.Replace(lineOK, "1418530070", "now", 1), ReasonBadInteger, "end")
	f("", strings.Replace(lineOK, "ACCEPT", "accept", 1), ReasonBadAction, "ACCEPT or REJECT")
	f("", strings.Replace(lineOK, "OK", "Ok", 1), ReasonBadStatus, "OK, NODATA or SKIPDATA")
	f("flow-direction", "in", ReasonBadDirection, "ingress or egress")
	f("", strings.ReplaceAll(lineOK, " ", "\t"), ReasonFieldCount, "1 field, want 14")
}

func TestAccept(t *testing.T) {
	d, b := NewDecoder(), &Batch{}
	f := func(layout, line string, check func(r *Record) bool) {
		t.Helper()
		b.Reset()
		ft := DefaultFormat()
		if layout != "" {
			ft = format(t, layout)
		}
		if reason := d.Append(b, ft, []byte(line), 0, 0); reason != ReasonNone || Explain(ft, []byte(line)) != nil {
			t.Errorf("%q: %v", line, Explain(ft, []byte(line)))
			return
		}
		if !check(&b.Records[0]) {
			t.Errorf("%q: %+v", line, b.Records[0])
		}
	}
	f("", lineNoData, func(r *Record) bool {
		return r.Status == StatusNoData && !r.SrcAddr.IsValid() && !r.Present.Has(FieldPackets) && r.End == 1431280934000
	})
	// Counters on a SKIPDATA record are kept.
	f("", strings.Replace(lineOK, "OK", "SKIPDATA", 1), func(r *Record) bool { return r.Status == StatusSkipData && r.Packets == 20 })
	// A published file has a port number as protocol of a record without data (consumer/s3/testdata/flows.parquet).
	noData := "2 123456789010 eni-202010ab 198.51.100.7 192.0.2.156 80 100 8080 - - 1439387263 1439387264 - NODATA"
	f("", noData, func(r *Record) bool {
		return r.Status == StatusNoData && r.DstPort == 100 && r.Protocol == 0 && !r.Present.Has(FieldProtocol) &&
			bytes.Contains(AppendJSON(nil, r), []byte(`"protocol":8080,`))
	})
	f("", strings.Replace(lineOK, "123456789010", "unknown", 1), func(r *Record) bool { return r.AccountID == "unknown" })
	f("", strings.Replace(lineOK, "eni-1235b8ca123456789", "-", 1), func(r *Record) bool { return r.InterfaceID == "" && !r.Present.Has(FieldInterfaceID) })
	f("", "  "+strings.ReplaceAll(lineOK, " ", "   ")+"  \r\n", func(r *Record) bool { return r.DstPort == 22 && string(r.Text(FieldLogStatus)) == "OK" })
	f("", strings.Replace(lineOK, "1418530010 1418530070", "1418530010123 1418530070", 1), func(r *Record) bool {
		v, ok := r.Int(FieldStart)
		return r.Start == 1418530010123 && r.End == 1418530070000 && ok && v == 1418530010123
	})
	f("", strings.Replace(lineOK, "1418530070", "1418530010", 1), func(r *Record) bool { return r.Start == r.End })
	f("", strings.Replace(lineOK, "172.31.16.21", "::FFFF:10.1.2.3", 1), func(r *Record) bool {
		return r.DstAddr == netip.MustParseAddr("10.1.2.3") && string(r.Text(FieldDstAddr)) == "::FFFF:10.1.2.3"
	})
	f("", strings.Replace(lineOK, " 4249 ", " 9223372036854775807 ", 1), func(r *Record) bool { return r.Bytes == 1<<63-1 })
	f("", strings.Replace(lineOK, " 4249 ", " 00000000000000000004249 ", 1), func(r *Record) bool {
		return r.Bytes == 4249 && bytes.Contains(AppendJSON(nil, r), []byte(`"bytes":4249,`))
	})
	f("", lineIPv6, func(r *Record) bool {
		return r.SrcAddr == netip.MustParseAddr("2001:db8:1234:a100:8d6e:3477:df66:f105")
	})
	f(TransitGatewayFormat().String(), lineTGW, func(r *Record) bool {
		v, ok := r.Int(FieldPacketsLostTTLExpired)
		return r.Action == ActionNone && r.Direction == Ingress && ok && v == 3 && r.TCPFlags == 24 && string(r.Text(FieldTransitGatewaySrcENI)) == "eni-0a"
	})
	f("srcaddr shiny-new", "10.0.0.1 4.5", func(r *Record) bool {
		return string(r.TextByName("shiny_new")) == "4.5" && string(r.TextByName("shiny-new")) == "4.5" && r.Status == StatusNone &&
			string(r.TextByName("srcaddr")) == "10.0.0.1" && r.TextByName("nope") == nil
	})
	f("reject-reason interface-type instance-tag", "Accepted some_box a%20b", func(r *Record) bool { return string(r.Text(FieldInstanceTag)) == "a%20b" })
	f("instance-tag", strings.Repeat("y", MaxLine), func(r *Record) bool { return len(r.Text(FieldInstanceTag)) == MaxLine })
	f("instance-tag reject-reason", strings.Repeat(" ", MaxLine-3)+"a b", func(r *Record) bool { return string(r.Text(FieldRejectReason)) == "b" })
}

// TestGrowth appends far beyond the first chunk and the first records, and reads everything back.
func TestGrowth(t *testing.T) {
	d, b := NewDecoder(), &Batch{}
	for round := range 3 {
		b.Reset()
		for i := range 20000 {
			line := strings.Replace(lineOK, " 4249 ", fmt.Sprintf(" %d ", i+round), 1)
			if reason := d.Append(b, nil, []byte(line), 0, uint32(i)); reason != ReasonNone {
				t.Fatal(reason)
			}
		}
		for i := range b.Records {
			r := &b.Records[i]
			if want := strconv.Itoa(i + round); string(r.Text(FieldBytes)) != want || !bytes.Contains(r.Line, []byte(" "+want+" ")) || r.Index != uint32(i) {
				t.Fatalf("record %d: bytes %q, line %q", i, r.Text(FieldBytes), r.Line)
			}
		}
		if b.Size() < 20000*len(lineOK) {
			t.Errorf("size %d", b.Size())
		}
	}
}

func TestResetPoisons(t *testing.T) {
	d, b := NewDecoder(), &Batch{}
	if reason := d.Append(b, nil, []byte(lineOK), 0, 0); reason != ReasonNone {
		t.Fatal(reason)
	}
	kept := b.Records[0].Line
	b.Reset()
	if poisoned := string(kept) != lineOK; poisoned != poison {
		t.Errorf("poisoned %v, built with invariants %v", poisoned, poison)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	five := format(t, formatFive)
	d, b := NewDecoder(), &Batch{}
	bad := []byte(strings.Replace(lineOK, "20641", "x", 1))
	lines := [][]byte{[]byte(lineOK), []byte(lineNoData), []byte(lineIPv6), bytes.Replace([]byte(lineOK), []byte("6789 "), []byte("6780 "), 1)}
	var dst []byte
	run := func() {
		b.Reset()
		for i := range 500 {
			if reason := d.Append(b, nil, lines[i%len(lines)], 0, uint32(i)); reason != ReasonNone {
				t.Fatal(reason)
			}
			if reason := d.Append(b, five, []byte(lineFive), 0, uint32(i)); reason != ReasonNone {
				t.Fatal(reason)
			}
			if d.Append(b, nil, bad, 0, 0) != ReasonBadInteger {
				t.Fatal("bad line accepted")
			}
		}
		dst = AppendJSON(dst[:0], &b.Records[1])
	}
	run()
	if n := testing.AllocsPerRun(20, run); n != 0 {
		t.Errorf("%v allocations for 1,500 lines", n)
	}
}

// varied makes lines of one layout that differ in the length of every number, as real ones do: a benchmark on one line
// measures a branch predictor that knows the line by heart.
func varied(line string, n int) [][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	lines := make([][]byte, n)
	for i := range lines {
		tokens := strings.Fields(line)
		for k, token := range tokens {
			switch v, err := strconv.Atoi(token); {
			case strings.Count(token, ".") == 3:
				tokens[k] = fmt.Sprintf("10.%d.%d.%d", rnd.IntN(256), rnd.IntN(256), rnd.IntN(256))
			case err == nil && v >= 1e9 && v < 1e10: // times keep their order
			case err == nil && v > 8 && v < 1e9:
				tokens[k] = strconv.Itoa(rnd.IntN(min(v*10, 65536)))
			}
		}
		for k, token := range tokens {
			if token == "6" || token == "3" {
				tokens[k] = []string{"6", "17", "1", "18"}[rnd.IntN(4)]
			}
			if token == "ACCEPT" && rnd.IntN(4) == 0 {
				tokens[k] = "REJECT"
			}
		}
		lines[i] = []byte(strings.Join(tokens, " "))
	}
	return lines
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ name, format, line string }{
		{"v2", DefaultFormat().String(), lineOK},
		{"v2-nodata", DefaultFormat().String(), lineNoData},
		{"v2-ipv6", DefaultFormat().String(), lineIPv6},
		{"v5", formatFive, lineFive},
		{"tgw", TransitGatewayFormat().String(), lineTGW},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, d, batch, lines := format(b, c.format), NewDecoder(), &Batch{}, varied(c.line, 1000)
			b.SetBytes(int64(len(c.line)))
			b.ReportAllocs()
			i := uint32(0)
			start := cpuTime(b)
			for b.Loop() {
				if i++; i%1000 == 0 {
					batch.Reset()
				}
				if d.Append(batch, f, lines[i%1000], 0, i) != ReasonNone {
					b.Fatal(Explain(f, lines[i%1000]))
				}
			}
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is the processor time that this process got. On a shared machine the wall clock tells more about the neighbours.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkObvious is the slow decoder of the fuzz test, for the ratio.
func BenchmarkObvious(b *testing.B) {
	lines := varied(lineOK, 1000)
	texts := make([]string, len(lines))
	for i := range lines {
		texts[i] = string(lines[i])
	}
	b.ReportAllocs()
	start := cpuTime(b)
	i := 0
	for b.Loop() {
		i++
		if _, ok := obvious(DefaultFormat(), texts[i%1000]); !ok {
			b.Fatal("rejected")
		}
	}
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
}
