package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/flowlog"
)

// FuzzReader feeds anything: no panic, an end, no line above the cap, and the same answer from a slice and from a stream.
func FuzzReader(f *testing.F) {
	two := message(f, "eni-1", lineA, lineB)
	for _, s := range [][]byte{
		nil, two, zip(f, two), append(zip(f, two), zip(f, two)...), zip(f, zip(f, two)), []byte(control),
		[]byte(base64.StdEncoding.EncodeToString(zip(f, two))), []byte(lineA + "\r\n" + lineB), zip(f, two)[:60],
		[]byte("version srcaddr\n2 1.1.1.1\n{\"message\":\"b\n{\"x\":1}\n{"), append([]byte("junk"), two...),
		[]byte(`{"records":[{"data":"` + base64.StdEncoding.EncodeToString(zip(f, two)) + `"},{"data":"YQ=="},{}]}`),
		[]byte(`{"logEvents":[{"message":{"srcAddr":"1.1.1.1","logStatus":null}}],"messageType":"DATA_MESSAGE"}`),
		[]byte(`{"message":"{\"srcaddr\":\"1.1.1.1\",\"bytes\":5}"} {"message":"\ud83d\u00"}` + "\n\xf3\x89\x9a\xc2"),
		[]byte(`{"messageType":"DATA_MESSAGE","logEvents":[{"extractedFields":{"@aws.account":"1","x":[[{}]]},"message":"a"},` + strings.Repeat("[", 70)),
	} {
		f.Add(s)
	}
	f.Add([]byte(`{"srcaddr":"1.1.1.1","new_field":"a b","dstaddr":"::1","new-field":2,"bytes":1.5E3,"start":14e8,"end":1e99,"x":[1],"@y":3}`))
	r := NewReader(1<<20, 200)
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		all, _ := read(t, r, payload)
		if !bytes.Equal(before, payload) {
			t.Fatal("the payload was changed")
		}
		for _, g := range all {
			if len(g.Line) > 200 || g.Size < len(g.Line) || (g.TooLong != (g.Size > 200)) {
				t.Fatalf("%+v", g)
			}
			if g.Kind == KindRecord {
				ft, err := flowlog.ParseFormat(g.Header)
				if err != nil {
					t.Fatalf("header %q: %v", g.Header, err)
				}
				if le, ok := flowlog.Explain(ft, []byte(g.Line)).(*flowlog.LineError); ok && le.Reason == flowlog.ReasonFieldCount && !g.TooLong { //nolint:errorlint // Explain wraps nothing
					t.Fatalf("%q under %q: %v", g.Line, g.Header, le)
				}
			}
		}
	})
}

// viaJSON unfolds glued envelopes with encoding/json, as the reader should.
func viaJSON(text []byte) (all []got, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	for n := int64(0); d.More(); {
		var m struct {
			MessageType, Owner, LogGroup, LogStream string
			LogEvents                               []struct {
				ID              string
				Timestamp       int64
				Message         string
				ExtractedFields map[string]any
			}
		}
		if err := d.Decode(&m); err != nil {
			return nil, false
		}
		if m.MessageType == "CONTROL_MESSAGE" {
			continue
		}
		for _, e := range m.LogEvents {
			n++
			line := strings.TrimRight(e.Message, "\r\n")
			account, _ := e.ExtractedFields["@aws.account"].(string)
			region, _ := e.ExtractedFields["@aws.region"].(string)
			all = append(all, got{
				Line: line, Group: m.LogGroup, Stream: m.LogStream, Owner: m.Owner, Account: account, Region: region,
				ID: e.ID, Time: e.Timestamp, Number: n, Size: len(line),
			})
		}
	}
	return all, true
}

// FuzzAgainstEncodingJSON puts random strings into an envelope in every order of keys and compares the readings.
func FuzzAgainstEncodingJSON(f *testing.F) {
	f.Add("a", "b", "g", "s", int64(5), uint8(0))
	f.Add("2 123 \" \\ / \u00e9 \U0001F600 \u2028", "\x00\x01\t\r\n", "é", "<&>", int64(1418530010000), uint8(7))
	f.Add("", "\n", "", "", int64(0), uint8(23))
	f.Fuzz(func(t *testing.T, a, b, group, stream string, at int64, order uint8) {
		quote := func(v any) string {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		if at < 0 || at > 1e17 || len(a+b+group+stream) > 500 || strings.HasPrefix(strings.TrimSpace(a), "{") || strings.HasPrefix(strings.TrimSpace(b), "{") {
			return
		}
		event := func(text string) string {
			parts := []string{
				`"id":` + quote(stream+text), `"timestamp":` + quote(at), `"message":` + quote(text),
				`"extractedFields": {"x":` + quote(a) + `,"@aws.account":` + quote(group) + `}`,
			}
			k := int(order) % len(parts)
			return "{" + strings.Join(append(parts[k:], parts[:k]...), " , ") + "}"
		}
		parts := []string{
			`"messageType":"DATA_MESSAGE"`, `"owner": ` + quote(stream), `"logGroup":` + quote(group), `"logStream" :` + quote(stream),
			`"policyLevel":` + quote(map[string]any{a: []any{b, at, nil, true, map[string]string{}}}), `"logEvents":[` + event(a) + "," + event(b) + `]`,
		}
		k := int(order) % len(parts)
		text := []byte("{" + strings.Join(append(parts[k:], parts[:k]...), ",\n") + "}")
		text = append(text, control...)
		text = append(text, text...)
		want, ok := viaJSON(text)
		if !ok {
			t.Fatalf("encoding/json does not read %s", text)
		}
		r := NewReader(0, 0)
		all, err := read(t, r, text)
		if diff := cmp.Diff(want, all); diff != "" || err != nil || r.Controls() != 2 {
			t.Fatalf("%s: %v, %d controls\n%s", text, err, r.Controls(), diff)
		}
	})
}
