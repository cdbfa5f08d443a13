package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"dredge/flowlog"
)

const (
	lineA = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"
	lineB = "2 123456789010 eni-1235b8ca123456789 172.31.9.69 172.31.9.12 49761 3389 6 20 4249 1418530010 1418530070 REJECT OK"
)

func zip(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// message is a CloudWatch subscription message in the order of keys that AWS uses.
func message(t testing.TB, stream string, lines ...string) []byte {
	t.Helper()
	type event struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	}
	m := struct {
		MessageType         string   `json:"messageType"`
		Owner               string   `json:"owner"`
		LogGroup            string   `json:"logGroup"`
		LogStream           string   `json:"logStream"`
		SubscriptionFilters []string `json:"subscriptionFilters"`
		LogEvents           []event  `json:"logEvents"`
	}{"DATA_MESSAGE", "123456789010", "/vpc/flow", stream, []string{"Destination"}, []event{}}
	for i, line := range lines {
		m.LogEvents = append(m.LogEvents, event{fmt.Sprintf("%056d", i), 1418530010000 + int64(i), line})
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const control = `{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1510109208016,"message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}]}`

// got is one line with all that is said of it.
type got struct {
	Line, Header, Group, Stream, Owner, Account, Region, ID string
	Time, Number                                            int64
	Kind                                                    Kind
	Size                                                    int
	TooLong                                                 bool
}

func collect(t testing.TB, r *Reader) (all []got) {
	t.Helper()
	for r.Next() {
		m := r.Meta()
		all = append(all, got{
			string(r.Line()), string(r.Header()), m.LogGroup, m.LogStream, m.Owner, m.Account, m.Region,
			string(r.EventID()), r.EventTime(), r.Number(), r.Kind(), r.Size(), r.TooLong(),
		})
		if len(all) > 1<<20 {
			t.Fatal("does not end")
		}
	}
	if r.Next() {
		t.Fatal("Next is true after the end")
	}
	return all
}

func texts(all []got) (lines []string) {
	for _, g := range all {
		lines = append(lines, g.Line)
	}
	return lines
}

// read unfolds payload in each of the ways a Reader can be fed and wants the same answers.
func read(t testing.TB, r *Reader, payload []byte) ([]got, error) {
	t.Helper()
	r.Reset(payload)
	all, err := collect(t, r), r.Err()
	for _, src := range []io.Reader{bytes.NewReader(payload), iotest.OneByteReader(bytes.NewReader(payload)), iotest.DataErrReader(bytes.NewReader(payload))} {
		r.ResetReader(src)
		again := collect(t, r)
		if diff := cmp.Diff(all, again); diff != "" {
			t.Fatalf("read as a stream: %s", diff)
		}
		if label(err) != label(r.Err()) {
			t.Fatalf("read as a stream: %v, want %v", r.Err(), err)
		}
	}
	return all, err
}

func label(err error) string {
	if fe, ok := errors.AsType[*FaultError](err); ok {
		return fe.Fault.String()
	}
	return ""
}

func TestLayouts(t *testing.T) {
	r := NewReader(0, 0)
	two := message(t, "eni-1-all", lineA, lineB)
	one := message(t, "eni-2-all", lineA)
	f := func(name string, payload []byte, want ...string) {
		t.Helper()
		all, err := read(t, r, payload)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, texts(all)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	f("empty", nil)
	f("white space", []byte(" \n\r\n"))
	f("CloudWatch", zip(t, two), lineA, lineB)
	f("CloudWatch, not compressed", two, lineA, lineB)
	f("no events", zip(t, message(t, "x")))
	f("multi-member gzip", append(zip(t, two), zip(t, one)...), lineA, lineB, lineA)
	f("gzip in gzip", zip(t, append(zip(t, two), zip(t, one)...)), lineA, lineB, lineA)
	f("glued envelopes", bytes.Join([][]byte{two, []byte(control), one, one}, nil), lineA, lineB, lineA, lineA)
	f("envelopes on lines", bytes.Join([][]byte{two, one}, []byte("\r\n")), lineA, lineB, lineA)
	f("base64", []byte(base64.StdEncoding.EncodeToString(zip(t, two))), lineA, lineB)
	f("base64 with line ends", []byte(strings.ReplaceAll(base64.StdEncoding.EncodeToString(zip(t, two)), "/", "/\r\n")+"\n"), lineA, lineB)
	f("control message", []byte(control))
	f("raw line", []byte(lineA), lineA)
	f("raw lines, no final line end", []byte(lineA+"\n"+lineB), lineA, lineB)
	f("raw lines, CRLF, blank lines", []byte("\r\n"+lineA+"\r\n\r\n"+lineB+"\r\n"), lineA, lineB)
	f("raw lines, gzip", zip(t, []byte(lineA+"\n"+lineB+"\n")), lineA, lineB)
	f("BOM", []byte("\xef\xbb\xbf"+lineA), lineA)
	f("JSON lines", []byte(`{"message":"`+lineA+`"}`+"\n"+`{"message":"`+lineB+`\n","x":{"y":[1,2]}}`+"\n"), lineA, lineB)
	f("JSON and raw lines", []byte(`{"message":"`+lineA+`"}`+"\n"+lineB+"\n"+`{"message":"`+lineB+`"}`), lineA, lineB, lineB)
	f("Firehose HTTP", []byte(`{"requestId":"a","timestamp":1,"records":[{"data":"`+base64.StdEncoding.EncodeToString(zip(t, two))+`"},{"data":"`+
		base64.StdEncoding.EncodeToString([]byte(lineB+"\n"))+`"},{}]}`), lineA, lineB, lineB)
	f("Firehose HTTP in gzip", zip(t, []byte(`{"records":[{"data":"`+base64.StdEncoding.EncodeToString([]byte(lineB))+`"}]}`)), lineB)
	f("an odd order of keys", []byte(`{"logEvents":[{"message":"a","id":"1"}],"logStream":"s","x":[{}],"messageType":"DATA_MESSAGE","owner":"o","logGroup":"g"}`), "a")
	f("escapes", []byte(`{"messageType":"DATA_MESSAGE","logEvents":[{"message":"\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\ude00\ud83d!\ude00"}]}`), "\"\\/\b\f\n\r\té€😀�!�")
	f("event without a message", []byte(`{"messageType":"DATA_MESSAGE","logEvents":[{},{"message":null},{"message":"a"}]}`), "", "", "a")
	f("null events", []byte(`{"messageType":"DATA_MESSAGE","logEvents":null}`))
	f("control after its events", []byte(`{"logEvents":[{"message":"CWL CONTROL MESSAGE"}],"messageType":"CONTROL_MESSAGE"}`+lineA), lineA)
}

func TestEnvelopeMeta(t *testing.T) {
	r := NewReader(0, 0)
	all, err := read(t, r, bytes.Join([][]byte{message(t, "eni-1", "a"), []byte(control), message(t, "eni-2", "b", "c"), []byte("raw")}, nil))
	want := []got{
		{Line: "a", Group: "/vpc/flow", Stream: "eni-1", Owner: "123456789010", ID: fmt.Sprintf("%056d", 0), Time: 1418530010000, Number: 1, Size: 1},
		{Line: "b", Group: "/vpc/flow", Stream: "eni-2", Owner: "123456789010", ID: fmt.Sprintf("%056d", 0), Time: 1418530010000, Number: 2, Size: 1},
		{Line: "c", Group: "/vpc/flow", Stream: "eni-2", Owner: "123456789010", ID: fmt.Sprintf("%056d", 1), Time: 1418530010001, Number: 3, Size: 1},
		{Line: "raw", Number: 1, Size: 3},
	}
	if diff := cmp.Diff(want, all); diff != "" || err != nil || r.Controls() != 1 {
		t.Errorf("%v, %d controls: %s", err, r.Controls(), diff)
	}

	all, err = read(t, r, []byte(`{"logEvents":[
		{"id":"7","extractedFields":{"srcaddr":"-","@aws.region":"eu-west-1","@aws.account":"1111"},"timestamp":5,"message":"a"},
		{"message":"b","policyLevel":{"a":[1,{"b":"}]"}]}}],
		"policyLevel":"ACCOUNT_LEVEL_POLICY","owner":"2222","logGroup":"g","messageType":"DATA_MESSAGE","logStream":"s"}`))
	want = []got{
		{Line: "a", Group: "g", Stream: "s", Owner: "2222", Account: "1111", Region: "eu-west-1", ID: "7", Time: 5, Number: 1, Size: 1},
		{Line: "b", Group: "g", Stream: "s", Owner: "2222", Number: 2, Size: 1},
	}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
}

func TestHeaderHoldsForOnePayload(t *testing.T) {
	r := NewReader(0, 0)
	all, err := read(t, r, []byte("first\nversion account_id\n2 1\n{\"message\":\"m\"}\nsrcaddr dstaddr\r\n1.1.1.1 2.2.2.2"))
	want := []got{
		{Line: "first", Number: 1, Size: 5},
		{Line: "2 1", Header: "version account_id", Number: 3, Size: 3},
		{Line: "m", Number: 4, Size: 1},
		{Line: "1.1.1.1 2.2.2.2", Header: "srcaddr dstaddr", Number: 6, Size: 15},
	}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	if all, _ = read(t, r, []byte("2 1")); all[0].Header != "" {
		t.Error("the header outlived its payload")
	}
}

func TestJSONRecords(t *testing.T) {
	r := NewReader(0, 0)
	camel := `{"version":2,"accountId":"123456789010","interfaceId":"eni-1","srcAddr":"10.0.0.1","dstAddr":"10.0.0.2","srcPort":20641,"dstPort":22,"protocol":6,"packets":20,"bytes":4249,"start":1418530010,"end":1418530070,"action":"ACCEPT","logStatus":"OK"}`
	header := strings.Join(flowlog.DefaultFormat().Names(), " ")
	line := "2 123456789010 eni-1 10.0.0.1 10.0.0.2 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"
	f := func(name, payload, header, line string) {
		t.Helper()
		all, err := read(t, r, []byte(payload))
		if err != nil || len(all) != 1 || all[0].Kind != KindRecord || all[0].Header != header || all[0].Line != line {
			t.Errorf("%s: %v, %+v", name, err, all)
			return
		}
		ft, err := flowlog.ParseFormat(all[0].Header)
		if err != nil {
			t.Fatal(err)
		}
		if err := flowlog.Explain(ft, []byte(all[0].Line)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("parseVPC, top level", camel, header, line)
	quoted, err := json.Marshal(camel)
	if err != nil {
		t.Fatal(err)
	}
	f("parseVPC, message is JSON text", `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":[{"message":`+string(quoted)+`}]}`, header, line)
	f("parseVPC, message is an object", `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":[{"id":"1","message":`+camel+`}]}`, header, line)
	f("Firehose, message is JSON text", `{"message":`+string(quoted)+`}`, header, line)
	f("Athena", `{"srcaddr":"10.0.0.1","pkt_dstaddr":null,"instance_tag":"a b","log_status":"","year":"2024","nested":{"a":1}}`, "srcaddr pkt-dstaddr instance-tag log-status year", "10.0.0.1 - a%20b - 2024")
	f("fields of a later version", `{"srcaddr":"10.0.0.1","next_hop_colour":"deep blue","dstaddr":"10.0.0.2","newTag-2":null,"next-hop_colour":"twice","count":3,"ok":true,"a.b":1,"@timestamp":5,"9a":1,"list":["x"]}`,
		"srcaddr next_hop_colour dstaddr newTag-2 count ok", "10.0.0.1 deep%20blue 10.0.0.2 - 3 true")
	f("a long text beside a record", `{"srcaddr":"10.0.0.1","trace":"`+strings.Repeat("x y ", 50_000)+`","dstaddr":"10.0.0.2"}`, "srcaddr dstaddr", "10.0.0.1 10.0.0.2")
	many := strings.Builder{}
	for i := range 300 {
		fmt.Fprintf(&many, `"k%d":1,`, i)
	}
	if all, err := read(t, r, []byte(`{`+many.String()+`"srcaddr":"10.0.0.1","dstaddr":"10.0.0.2"}`)); err != nil || len(all) != 1 || strings.Count(all[0].Header, " ") != maxOthers+1 {
		t.Errorf("many keys: %v, %+v", err, all)
	}
	f("doubles of Java", `{"srcaddr":"10.0.0.1","start":1.41853001E9,"end":1.41853007e+09,"bytes":1e3,"packets":9.2E1,"srcport":0E0,"dstport":4.4300E2}`,
		"srcaddr start end bytes packets srcport dstport", "10.0.0.1 1418530010 1418530070 1000 92 0 443")
	f("numbers of a table of mixed types", `{"account_id":12345678901,"srcaddr":"10.0.0.1","srcport":443.0,"dstport":8080.00,"bytes":0.0,"packets":null}`,
		"account-id srcaddr srcport dstport bytes packets", "012345678901 10.0.0.1 443 8080 0 -")
	f("Athena, old", `{"account":"1","sourceaddress":"10.0.0.1","numbytes":5,"starttime":1418530010}`, "account-id srcaddr bytes start", "1 10.0.0.1 5 1418530010")
}

// A number that is no integer, or none that fits, stays as it is written, for the decoder to reject.
func TestWholeNumber(t *testing.T) {
	for text, want := range map[string]string{
		"1.5": "1.5", "1.55E1": "1.55E1", "15E-1": "15E-1", "1E19": "1E19", "1E18": "1000000000000000000", "-1.0": "-1.0", "1.": "1.", "1e": "1e", "1e+": "1e+",
		"e5": "e5", ".5e1": ".5e1", "1e999": "1e999", "1.0": "1", "1.5e1": "15", "true": "true", "false": "false", "null": "null", "12": "12", "1e1e1": "1e1e1",
	} {
		if got := string(wholeNumber([]byte(text))); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestBadLinesAmongGood holds that one bad JSON line costs nothing but itself.
func TestBadLinesAmongGood(t *testing.T) {
	r := NewReader(0, 0)
	all, err := read(t, r, []byte("{\"message\":\"a\"}\n{\"message\":\"b\n{\"x\":1}\n{\"y\" 2} junk\n{}\n{\"message\":\"c\"}\n"))
	want := []got{
		{Line: "a", Number: 1, Size: 1},
		{Line: `{"message":"b`, Number: 2, Size: 13, Kind: KindMalformed},
		{Line: `{"x":1}`, Number: 3, Size: 7, Kind: KindMalformed},
		{Line: `{"y" 2} junk`, Number: 4, Size: 12, Kind: KindMalformed},
		{Line: `{}`, Number: 5, Size: 2, Kind: KindMalformed},
		{Line: "c", Number: 6, Size: 1},
	}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
}

func TestFaults(t *testing.T) {
	r := NewReader(1<<20, 0)
	f := func(name string, payload []byte, want Fault, lines ...string) {
		t.Helper()
		all, err := read(t, r, payload)
		fe, ok := errors.AsType[*FaultError](err)
		if !ok || fe.Fault != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if diff := cmp.Diff(lines, texts(all)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	noise := make([]byte, 3000) // incompressible, so that cutting a member cuts text
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte('a' + rnd.IntN(26))
	}
	two := message(t, "eni-1", lineA, lineB, string(noise))
	packed := zip(t, two)
	good := zip(t, message(t, "eni-2", lineA))
	f("gzip header only", packed[:5], FaultTruncatedGzip)
	f("cut gzip", append(bytes.Clone(good), packed[:len(packed)-40]...), FaultTruncatedGzip, lineA, lineA, lineB)
	f("cut trailer", packed[:len(packed)-4], FaultTruncatedGzip, lineA, lineB, string(noise))
	f("junk behind gzip", append(bytes.Clone(good), "this is no gzip member"...), FaultBadGzip, lineA)
	wrong := bytes.Clone(good)
	wrong[len(wrong)-8] ^= 1
	f("wrong checksum", wrong, FaultBadGzip, lineA)
	f("bad deflate", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), FaultBadGzip)
	f("not deflate", []byte("\x1f\x8b\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff"), FaultBadGzip)
	f("three layers", zip(t, zip(t, good)), FaultNestedGzip)
	f("bad base64", []byte("H4sI!!!!"), FaultBadBase64)
	f("cut base64", []byte(base64.StdEncoding.EncodeToString(good)[:101]), FaultTruncatedGzip)
	f("KPL", []byte("\xf3\x89\x9a\xc2\x0a\x01"), FaultKPLAggregated)
	f("unknown type", append(message(t, "x", lineA), `{"messageType":"NEWS_MESSAGE","logEvents":[{"message":"b"}]}`...), FaultUnknownMessageType, lineA)
	f("no type", []byte(`{"logGroup":"g","logEvents":[{"message":"b"}]}`), FaultUnknownMessageType)
	f("cut JSON", two[:len(two)-3100], FaultBadJSON, lineA, lineB)
	f("bad JSON in an envelope", []byte(`{"messageType":"DATA_MESSAGE","owner":"","logGroup":"","logStream":"","logEvents":[{"message":"a"},{"message":"b"}x`+"\n"+string(two)), FaultBadJSON, "a", "b", lineA, lineB, string(noise))
	f("control character", []byte("{\"messageType\":\"DATA_MESSAGE\",\"owner\":\"\",\"logGroup\":\"\",\"logStream\":\"\",\"logEvents\":[{\"message\":\"a\"},{\"message\":\"b\n\"}]}"), FaultBadJSON, "a")
	f("cut object", []byte(`{"message":"a"`), FaultBadJSON)
	f("deep", []byte(`{"messageType":"DATA_MESSAGE","x":`+strings.Repeat("[", 1000)), FaultBadJSON)
	f("cut raw line in gzip", zip(t, []byte(lineA+"\n"+string(noise)))[:1500], FaultTruncatedGzip, lineA)
	f("bad base64 in Firehose", []byte(`{"records":[{"data":"YQ=="},{"data":"?"}]}`), FaultBadBase64, "a")
	f("bad record in Firehose", []byte(`{"records":[{"data":"`+base64.StdEncoding.EncodeToString(good[:len(good)-4])+`"},{"data":"YQ=="}]}`), FaultTruncatedGzip, lineA, "a")

	for _, fault := range Faults() {
		if fault.String() == "" {
			t.Errorf("fault %d has no label", fault)
		}
	}
	r.ResetReader(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(errors.New("disk on fire"))))
	if all := texts(collect(t, r)); len(all) != 1 || !strings.Contains(fmt.Sprint(r.Err()), "disk on fire") {
		t.Errorf("%q, %v", all, r.Err())
	}
}

// TestFaultyEnvelopeCostsNoNeighbour puts one faulty envelope between two good ones.
func TestFaultyEnvelopeCostsNoNeighbour(t *testing.T) {
	r := NewReader(1<<20, 0)
	before, after := string(message(t, "eni-1", lineA)), string(message(t, "eni-2", lineB))
	f := func(name, faulty string, want Fault, more int, lines ...string) {
		t.Helper()
		for _, glue := range []string{"", "\n"} {
			all, err := read(t, r, []byte(before+glue+faulty+glue+after))
			if fe, ok := errors.AsType[*FaultError](err); !ok || fe.Fault != want || fe.More != more {
				t.Errorf("%s: %v, want %s and %d more", name, err, want, more)
			}
			if diff := cmp.Diff(append(append([]string{lineA}, lines...), lineB), texts(all)); diff != "" {
				t.Errorf("%s, glued with %q: %s", name, glue, diff)
			}
			if last := all[len(all)-1]; last.Stream != "eni-2" {
				t.Errorf("%s: the last line is of %q", name, last.Stream)
			}
		}
	}
	const rest = `"owner":"o","logGroup":"g","logStream":"s","logEvents":[{"id":"1","message":"b"}]}`
	f("unknown type", `{"messageType":"NEWS_MESSAGE",`+rest, FaultUnknownMessageType, 0)
	f("type is null", `{"messageType":null,`+rest, FaultUnknownMessageType, 0)
	f("unknown type at the end", strings.TrimSuffix("{"+rest, "}")+`,"messageType":"NEWS_MESSAGE"}`, FaultUnknownMessageType, 0)
	f("no type", "{"+rest, FaultUnknownMessageType, 0)
	f("two of unknown type", strings.Repeat(`{"messageType":"NEWS_MESSAGE",`+rest, 2), FaultUnknownMessageType, 1)
	f("bad JSON", `{"messageType":"DATA_MESSAGE",`+strings.Replace(rest, `}]`, `},{"message":"c" 1}]`, 1), FaultBadJSON, 0, "b")
	f("bad JSON before the type", `{"messageType":"DATA_MESSAGE","logEvents":[{"message":"b"}],"owner" 1}`, FaultBadJSON, 0)
	f("cut in a message", `{"messageType":"DATA_MESSAGE",`+rest[:strings.LastIndex(rest, `b"`)+1], FaultBadJSON, 0)
	f("bad record of Firehose", `{"records":[{"data":"YQ=="},{"data":"?"},{"data":"Yg=="}]}`, FaultBadBase64, 0, "a", "b")
	f("bad JSON of Firehose", `{"records":[{"data":"YQ=="},{"data" 1},{"data":"Yg=="}]}`, FaultBadJSON, 0, "a")
}

// TestNoEvent has values among the events that are none: each is one rejected line.
func TestNoEvent(t *testing.T) {
	all, err := read(t, NewReader(0, 0), []byte(`{"messageType":"DATA_MESSAGE","owner":"","logGroup":"g","logStream":"","logEvents":[{"message":"a"},null,"x",[1],{"message":"b"}]}`))
	want := []got{
		{Line: "a", Group: "g", Number: 1, Size: 1},
		{Line: "null", Group: "g", Number: 2, Size: 4, Kind: KindMalformed},
		{Line: `"x"`, Group: "g", Number: 3, Size: 3, Kind: KindMalformed},
		{Line: "[1]", Group: "g", Number: 4, Size: 3, Kind: KindMalformed},
		{Line: "b", Group: "g", Number: 5, Size: 1},
	}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
}

// TestBOMBehindAnotherFile has the byte order mark of a file that was appended to another: its header must hold.
func TestBOMBehindAnotherFile(t *testing.T) {
	all, err := read(t, NewReader(0, 0), []byte("version srcaddr\n1 a\n\ufeffversion dstaddr\r\n1 b\n\ufeff{\"message\":\"c\"}\n"))
	want := []got{
		{Line: "1 a", Header: "version srcaddr", Number: 2, Size: 3},
		{Line: "1 b", Header: "version dstaddr", Number: 4, Size: 3},
		{Line: "c", Number: 5, Size: 1},
	}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
}

// TestBomb inflates a payload far beyond the limit: the lines up to the limit come, and memory stays bounded.
func TestBomb(t *testing.T) {
	var text bytes.Buffer
	for text.Len() < 4<<20 {
		text.WriteString(lineA + "\n")
	}
	bomb := zip(t, text.Bytes())
	r := NewReader(1<<20, 0)
	for _, payload := range [][]byte{bomb, zip(t, bomb)} {
		r.Reset(payload)
		n := 0
		for r.Next() {
			if string(r.Line()) != lineA {
				t.Fatalf("line %d: %q", n, r.Line())
			}
			n++
		}
		if fe, ok := errors.AsType[*FaultError](r.Err()); !ok || fe.Fault != FaultBomb || r.Inflated() != 1<<20 {
			t.Errorf("%v after %d bytes", r.Err(), r.Inflated())
		}
		if most := (1 << 20) / (len(lineA) + 1); n > most || n < most*9/10 {
			t.Errorf("%d lines, want up to %d", n, most)
		}
		if len(r.window.own) > 2*windowSize {
			t.Errorf("a window of %d bytes", len(r.window.own))
		}
	}
}

func TestLongLines(t *testing.T) {
	r := NewReader(0, 100)
	long := strings.Repeat("0123456789", 100_000)
	check := func(name string, payload []byte, want ...int) {
		t.Helper()
		all, err := read(t, r, payload)
		if err != nil || len(all) != len(want) {
			t.Fatalf("%s: %v, %d lines", name, err, len(all))
		}
		for i, g := range all {
			if g.Size != want[i] || g.TooLong != (want[i] > 100) || len(g.Line) != min(want[i], 100) || !strings.HasPrefix(long, g.Line) {
				t.Errorf("%s: line %d: %.120q, size %d, want %d", name, i, g.Line, g.Size, want[i])
			}
		}
	}
	for _, n := range []int{99, 100, 101, 1000, windowSize - 1, windowSize, windowSize + 1, 300_000, 1_000_000} {
		line := long[:n]
		check("raw", []byte("01\n"+line+"\n01"), 2, n, 2)
		check("raw, CRLF", []byte("01\r\n"+line+"\n01\r\n"), 2, n, 2)
		check("raw in gzip", zip(t, []byte("01\n"+line+"\n01\n"+line)), 2, n, 2, n)
		check("CloudWatch", zip(t, message(t, "x", "01", line, "012")), 2, n, 3)
		check("JSON line", zip(t, []byte(`{"message":"`+line+"\"}\n01")), n, 2)
	}
}

// TestUnorderedEnvelopeIsBounded puts more events before their description than the reader looks ahead.
func TestUnorderedEnvelopeIsBounded(t *testing.T) {
	event := `{"id":"1","timestamp":1,"message":"` + lineA + `"},`
	envelope := func(size int) []byte {
		events := strings.Repeat(event, size/len(event))
		return []byte(`{"logEvents":[` + strings.TrimSuffix(events, ",") + `],"messageType":"DATA_MESSAGE","owner":"o","logGroup":"g","logStream":"s"}`)
	}
	r := NewReader(0, 0)
	r.Reset(zip(t, envelope(lookAhead/2)))
	n := 0
	for r.Next() {
		if r.Meta().LogGroup != "g" || string(r.Line()) != lineA {
			t.Fatalf("%q of %+v", r.Line(), r.Meta())
		}
		n++
	}
	if r.Err() != nil || n != lookAhead/2/len(event) {
		t.Errorf("%d lines, %v", n, r.Err())
	}
	r.Reset(zip(t, envelope(2*lookAhead)))
	if r.Next() {
		t.Error("a line without its description")
	}
	if fe, ok := errors.AsType[*FaultError](r.Err()); !ok || fe.Fault != FaultUnorderedEnvelope {
		t.Error(r.Err())
	}
	if len(r.window.own) > 2*lookAhead {
		t.Errorf("a window of %d bytes", len(r.window.own))
	}
	r.Reset(nil)
	if cap(r.window.own) > 2*windowSize {
		t.Error("the large window was kept")
	}
}

// TestExample reads the message that AWS documents. Its events are no flow logs, so they come as lines to be rejected.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("testdata/cwl_data_message_example.json")
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(0, 0)
	all, err := read(t, r, zip(t, text))
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %+v", err, all)
	}
	want := got{
		Line: `{"eventVersion":"1.03","userIdentity":{"type":"Root"}`, Group: "CloudTrail/logs", Stream: "111111111111_CloudTrail/logs_us-east-1",
		Owner: "111111111111", ID: "31953106606966983378809025079804211143289615424298221568", Time: 1432826855000, Number: 1, Size: 53,
	}
	if diff := cmp.Diff(want, all[0]); diff != "" {
		t.Error(diff)
	}
}

func events(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("2 123456789010 eni-1235b8ca123456789 10.%d.%d.%d 172.31.16.%d %d %d 6 %d %d 1418530010 1418530070 ACCEPT OK",
			i*7%256, i*13%256, i*31%256, i*3%256, 1024+i*7919%64000, []int{443, 80, 22, 5432, 8080}[i%5], 1+i%97, 40+i*i%99999)
	}
	return lines
}

func TestReaderDoesNotAllocate(t *testing.T) {
	lines := events(2000)
	text := message(t, "eni-1", lines...)
	system := bytes.ReplaceAll(text, []byte(`,"message"`), []byte(`,"extractedFields":{"@aws.account":"1","@aws.region":"r"},"message"`))
	r := NewReader(0, 0)
	for name, payload := range map[string][]byte{
		"CloudWatch":             zip(t, text),
		"CloudWatch twice":       append(zip(t, text), zip(t, text)...),
		"system fields":          zip(t, system),
		"gzip in gzip":           zip(t, zip(t, text)),
		"escapes":                bytes.ReplaceAll(text, []byte("ACCEPT"), []byte(`AC\u0043EPT`)),
		"lines":                  []byte(strings.Join(lines, "\n")),
		"JSON lines":             []byte(`{"message":"` + strings.Join(lines, "\"}\n{\"message\":\"") + `"}`),
		"other order":            zip(t, bytes.Replace(text, []byte(`"owner":"123456789010",`), nil, 1)),
		"records":                []byte(strings.Repeat(`{"srcAddr":"10.0.0.1","logStatus":"OK","bytes":5}`, 500)),
		"records as JSON texts":  []byte(strings.Repeat(`{"message":"{\"srcAddr\":\"10.0.0.1\",\"logStatus\":\"OK\",\"bytes\":5}"}`, 500)),
		"Firehose HTTP":          []byte(`{"records":[{"data":"` + base64.StdEncoding.EncodeToString(zip(t, text)) + `"}]}`),
		"header, malformed JSON": []byte("version srcaddr\n2 1.1.1.1\n{]\n{\"x\":1}\n"),
	} {
		n := 0
		run := func() {
			r.Reset(payload)
			for r.Next() {
				n += len(r.Line())
			}
		}
		run()
		want := 0.0
		if name == "other order" {
			want = 8 // the larger window is given back after the payload
		}
		if allocs := testing.AllocsPerRun(5, run); allocs > want || n == 0 || r.Err() != nil {
			t.Errorf("%s: %v allocations, %v", name, allocs, r.Err())
		}
	}
}

// TestManyBrokenEnvelopes: however many envelopes are broken, with line ends between them or without, what is behind them lands.
func TestManyBrokenEnvelopes(t *testing.T) {
	const broken = 50_000
	for _, one := range []string{`{"messageType":1`, "\n{\"messageType\":1"} {
		r := NewReader(0, 0)
		r.Reset([]byte(strings.Repeat(one, broken) + "\n2 123456789012 eni-1\n{\"message\":\"last\"}\n"))
		var last string
		for r.Next() {
			last = string(r.Line())
		}
		if last != "last" {
			t.Errorf("%q: the last line is %q, %v", one, last, r.Err())
		}
		if f, ok := errors.AsType[*FaultError](r.Err()); !ok || f.More < broken/2 {
			t.Errorf("%q: %v", one, r.Err())
		}
	}
}
