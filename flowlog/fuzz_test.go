package flowlog

import (
	"bytes"
	"encoding/json"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// obvious is the slow decoder that Append is compared with: strings, strconv, netip, a map.
func obvious(f *Format, line string) (values map[Field]any, ok bool) {
	tokens := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
	if len(line) > MaxLine || len(tokens) != f.Len() || len(tokens) == 0 {
		return nil, false
	}
	values = map[Field]any{}
	idle := false
	if at := slices.Index(f.Fields(), FieldLogStatus); at >= 0 {
		idle = tokens[at] == "NODATA" || tokens[at] == "SKIPDATA"
	}
	for i, field := range f.Fields() {
		token := tokens[i]
		if token == "-" || field == FieldOther {
			continue
		}
		switch field {
		case FieldSrcAddr, FieldDstAddr, FieldPktSrcAddr, FieldPktDstAddr:
			a, err := netip.ParseAddr(token)
			if err != nil || a.Zone() != "" {
				return nil, false
			}
			values[field] = a.Unmap()
			continue
		case FieldAction:
			if token != "ACCEPT" && token != "REJECT" {
				return nil, false
			}
		case FieldLogStatus:
			if token != "OK" && token != "NODATA" && token != "SKIPDATA" {
				return nil, false
			}
		case FieldFlowDirection:
			if token != "ingress" && token != "egress" {
				return nil, false
			}
		}
		if field.Info().Type == String {
			values[field] = token
			continue
		}
		width := 63
		switch field {
		case FieldSrcPort, FieldDstPort:
			width = 16
		case FieldProtocol, FieldTCPFlags, FieldTrafficPath:
			width = 8
		case FieldVersion, FieldEncryptionStatus:
			width = 31
		}
		v, err := strconv.ParseUint(token, 10, width)
		if err != nil && idle && width <= 16 {
			if _, err := strconv.ParseUint(token, 10, 31); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, false
		}
		if field == FieldStart || field == FieldEnd {
			switch {
			case v < 1e10:
				v *= 1000
			case v < 1e12 || v >= 1e13:
				return nil, false
			}
		}
		values[field] = int64(v)
	}
	start, haveStart := values[FieldStart]
	end, haveEnd := values[FieldEnd]
	if haveStart && haveEnd && end.(int64) < start.(int64) {
		return nil, false
	}
	return values, true
}

// parsed reads the parsed fields of r back in the form of obvious.
func parsed(r *Record, f Field) any {
	switch f {
	case FieldSrcAddr:
		return r.SrcAddr
	case FieldDstAddr:
		return r.DstAddr
	case FieldPktSrcAddr:
		return r.PktSrcAddr
	case FieldPktDstAddr:
		return r.PktDstAddr
	case FieldSrcPort:
		return int64(r.SrcPort)
	case FieldDstPort:
		return int64(r.DstPort)
	case FieldProtocol:
		return int64(r.Protocol)
	case FieldTCPFlags:
		return int64(r.TCPFlags)
	case FieldTrafficPath:
		return int64(r.TrafficPath)
	case FieldPackets:
		return r.Packets
	case FieldBytes:
		return r.Bytes
	case FieldStart:
		return r.Start
	case FieldEnd:
		return r.End
	case FieldAction:
		return r.Action.String()
	case FieldLogStatus:
		return r.Status.String()
	case FieldFlowDirection:
		return r.Direction.String()
	case FieldAccountID:
		return r.AccountID
	case FieldInterfaceID:
		return r.InterfaceID
	case FieldVPCID:
		return r.VPCID
	case FieldSubnetID:
		return r.SubnetID
	case FieldInstanceID:
		return r.InstanceID
	case FieldRegion:
		return r.Region
	case FieldAZID:
		return r.AZID
	}
	if v, ok := r.Int(f); ok {
		return v
	}
	return string(r.Text(f))
}

func compare(t *testing.T, f *Format, line []byte) {
	t.Helper()
	d, b := NewDecoder(), &Batch{}
	// A neighbour before and after: neither a good nor a bad line may touch them.
	d.Append(b, nil, []byte(lineOK), 0, 0)
	reason := d.Append(b, f, line, 0, 1)
	d.Append(b, nil, []byte(lineNoData), 0, 2)

	text := trimEnd(line)
	want, ok := obvious(f, string(text))
	if ok != (reason == ReasonNone) {
		t.Fatalf("%q in %s: %q, the obvious decoder says %v", line, f, reason, ok)
	}
	if told, _, _ := diagnose(f, text); told != reason {
		t.Fatalf("%q in %s: %q, diagnosed as %q", line, f, reason, told)
	}
	if err := Explain(f, line); (err == nil) != ok {
		t.Fatalf("%q: explained as %v", line, err)
	}
	if last := &b.Records[len(b.Records)-1]; string(last.Line) != lineNoData || string(last.Text(FieldEnd)) != "1431280934" || string(b.Records[0].Line) != lineOK {
		t.Fatalf("%q changed its neighbours", line)
	}
	if !ok {
		if len(b.Records) != 2 {
			t.Fatalf("%q was rejected and appended", line)
		}
		return
	}
	r := &b.Records[1]
	for _, info := range Fields() {
		v, there := want[info.Field]
		if there != r.Present.Has(info.Field) {
			t.Fatalf("%q: %s present %v", line, info.Name, !there)
		}
		if !there {
			if v, ok := r.Int(info.Field); r.Text(info.Field) != nil && (!ok || uint64(v) <= info.Field.limit()) {
				t.Fatalf("%q: %s has text", line, info.Name)
			}
			continue
		}
		if got := parsed(r, info.Field); got != v {
			t.Fatalf("%q: %s is %v, want %v", line, info.Name, got, v)
		}
	}
	checkJSON(t, r)
}

// checkJSON reads the JSON form back with encoding/json.
func checkJSON(t *testing.T, r *Record) {
	t.Helper()
	text := AppendJSON(nil, r)
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&m); err != nil || len(m) != r.Format.Len() {
		t.Fatalf("%q gives %s: %d keys, %v", r.Line, text, len(m), err)
	}
	for i, name := range r.Format.Names() {
		got := m[strings.ReplaceAll(name, "-", "_")]
		token := r.TextByName(name)
		switch v := got.(type) {
		case nil:
			if token != nil {
				t.Fatalf("%s: %s is null, the line has %q", text, name, token)
			}
		case json.Number:
			a, _ := new(big.Int).SetString(string(v), 10)
			b, _ := new(big.Int).SetString(string(token), 10)
			if a == nil || b == nil || a.Cmp(b) != 0 || r.Format.Fields()[i].Info().Type == String {
				t.Fatalf("%s: %s is %s, the line has %q", text, name, v, token)
			}
		case string:
			// encoding/json also makes U+FFFD of every byte that is not UTF-8.
			if quoted, _ := json.Marshal(string(token)); v != unquote(t, quoted) {
				t.Fatalf("%s: %s is %q, the line has %q", text, name, v, token)
			}
		}
	}
}

func unquote(t *testing.T, quoted []byte) (s string) {
	t.Helper()
	if err := json.Unmarshal(quoted, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func FuzzDecode(f *testing.F) {
	for _, c := range golden(f) {
		f.Add(c.Format, []byte(c.Line))
	}
	f.Add(TransitGatewayFormat().String(), []byte(lineTGW))
	f.Add("srcaddr dstaddr", []byte("::ffff:1.2.3.4 1:2:3:4:5:6:1.2.3.4"))
	f.Add("srcaddr dstaddr", []byte("1::2:3%4 01.2.3.4"))
	f.Add("srcaddr dstaddr pkt-srcaddr start end", []byte(":: 1::2::3 1:2:3:4:5:6:7:: 1e9 -1\r\n"))
	f.Add("packets bytes new instance-tag", []byte("  9223372036854775808  00000000000000000001 \xff\" \\\x01 "))
	f.Add("protocol log-status srcport", []byte("8080 NODATA 65536"))
	f.Add("protocol log-status srcport", []byte("2147483648 SKIPDATA 80"))
	f.Add("type start packets-lost-blackhole encryption-status", []byte("IPv4 1418530010123 99999999999999999999 2147483648"))
	f.Fuzz(func(t *testing.T, layout string, line []byte) {
		ft, err := ParseFormat(layout)
		if err != nil {
			ft = DefaultFormat()
		}
		compare(t, ft, line)
	})
}

// FuzzAddress compares the address parser with netip.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "fe80::1%eth0", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::2::3", "12345::", "1:2", "1.2.3.4.5", "1.2.3", "256.1.1.1", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := netip.ParseAddr(s)
		ok := err == nil && want.Zone() == ""
		got, accepted := parseAddr([]byte(s))
		if accepted != ok || (ok && got != want.Unmap()) {
			t.Fatalf("%q: %v %v, netip says %v %v", s, got, accepted, want, err)
		}
		// The fast path reads an address inside a line; it may only refuse more.
		if q, fast := scanIPv4([]byte("x "+s+" and what follows it"), 2, 2+len(s)); fast && (!ok || netip.AddrFrom4(q) != want) {
			t.Fatalf("%q: read as %v", s, q)
		}
	})
}

func FuzzParseFormat(f *testing.F) {
	for _, s := range []string{
		DefaultFormat().String(), formatFive, "${version},${srcaddr}", "a_b a-b", "${version", "$version", "SrcAddr", "", "- -",
		"pkt_srcaddr\tpkt-dstaddr\r\n", "${ start } ${end}", "x${y}z", "é",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ft, err := ParseFormat(s)
		if err != nil {
			return
		}
		again, err := ParseFormat(ft.String())
		if err != nil || again.String() != ft.String() {
			t.Fatalf("%q gives %q, which gives %v, %v", s, ft, again, err)
		}
		if ft.Len() == 0 || ft.Len() != len(ft.Names()) || ft.Len() != len(ft.Fields()) {
			t.Fatalf("%q: %d fields", s, ft.Len())
		}
		IsHeader([]byte(s))
	})
}

// FuzzUsual holds the faster way for the default layout to the general one.
func FuzzUsual(f *testing.F) {
	for _, s := range []string{
		lineOK, lineNoData, lineIPv6, lineNegative,
		"2 1 e 1.2.3.4 255.255.255.255 0 65535 255 99999999 100000000 0000000001 9999999999 REJECT OK",
		"2 1 e 1.2.3.4 1.2.3.256 0 65536 6 1 1 1418530010 1418530009 ACCEPT OK",
		"2 1 e 1.2.3.4 1.2.3.4 00080 443 256 1 1 1418530010 1418530010123 ACCEPT OK",
		"2 - - 1.2.3.4 1.2.3.4 80 443 6 1 1 1418530010 1418530010 - SKIPDATA",
		"10  1 e\t 1.2.3.4 01.2.3.4 80 4 6 1 1 1418530010 141853001x ACCEPT OK \r\n",
		"2 1 e 1.2.3.4 1.2.3.4 80 443 6 1 1 1418530010 1418530010 A O",
		"2 1 e 1.2.3.4 1.2.3.4 80 443 6 1 x 1418530010 -418530010 ACCEPT OK",
		strings.Repeat(" ", 70) + lineOK + strings.Repeat(" ", 70),
	} {
		f.Add([]byte(s))
	}
	general := *DefaultFormat()
	general.usual = false
	f.Fuzz(func(t *testing.T, line []byte) {
		var a, b Batch
		ra, rb := NewDecoder().Append(&a, nil, line, 3, 4), NewDecoder().Append(&b, &general, line, 3, 4)
		if ra != rb || len(a.Records) != len(b.Records) {
			t.Fatalf("%q: %q and %q", line, ra, rb)
		}
		if len(a.Records) == 0 {
			return
		}
		x, y := a.Records[0], b.Records[0]
		for _, info := range Fields() {
			if string(x.Text(info.Field)) != string(y.Text(info.Field)) {
				t.Fatalf("%q: %s is %q and %q", line, info.Name, x.Text(info.Field), y.Text(info.Field))
			}
		}
		x.Format, x.batch, y.Format, y.batch = nil, nil, nil, nil
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("%q: %+v and %+v", line, x, y)
		}
	})
}

// The ordinary line must go the faster way.
func TestUsualLine(t *testing.T) {
	var spans [14]span
	var r Record
	split([]byte(lineOK), spans[:])
	if !DefaultFormat().usual || !NewDecoder().usual(&r, []byte(lineOK), &spans) {
		t.Error("not taken for a usual line")
	}
	if format(t, formatFive).usual || TransitGatewayFormat().usual {
		t.Error("another layout is taken for the default one")
	}
}
