package event_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func parser() event.Parser { return event.Parser{Now: func() time.Time { return now }} }

func decoder(r io.Reader) *event.Decoder {
	d := event.NewDecoder(r)
	d.Parser = parser()
	return d
}

func TestParse(t *testing.T) {
	f := func(line string, want event.Reason, words string) {
		t.Helper()
		var e event.Event
		err := parser().Parse([]byte(line), &e)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
			return
		}
		var refused *event.Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: error %v, want %s", line, err, want)
			return
		}
		if refused.Reason != want || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %s (%v), want %s with %q", line, refused.Reason, err, want, words)
		}
	}
	ok := func(line string) { t.Helper(); f(line, "", "") }

	ok(`{"v":1,"src":"ec2/123456789012/us-east-1","epoch":3,"seq":918,"op":"assign","obs":1767225600123,"from":1767225598000,"acc":2000,"scope":"vpc-0a1b","ip":"10.23.45.67","owner":"eni:eni-0a1b","ep":{"kind":"instance","instance":"i-0a1b","az":"use1-az2"},"wl":{"app":"playback","cluster":"playback-main","account":"123456789012","region":"us-east-1"}}`)
	ok(`{"op":"assign","scope":"vpc-1","ip":"10.0.0.1","owner":"a"}`)
	ok(`{"op":"assign","scope":"vpc-1","cidr":"10.0.0.0/16"}`)
	ok(`{"op":"assign","cidr":"192.168.0.0/16","ep":{"name":"office","kind":"site"},"a_field_of_tomorrow":[1]}`)
	ok(`{"op":"release","scope":"vpc-1","ip":"10.0.0.1","owner":"a","to":5}`)
	ok(`{"op":"observe","scope":"vpc-1","ip":"10.0.0.1","owner":"a","obs":5}`)
	ok(`{"op":"describe","owner":"a","from":7,"wl":{"app":"x"},"listen":[{"proto":6,"port":443}]}`)
	ok(`{"op":"progress","src":"s","to":1767225600000}`)
	ok(`{"op":"snap_begin","src":"s","scope":"vpc-1"}`)
	ok(`{"op":"coverage","scope":"vpc-1","prefix":"10.0.0.0/16","logged":true,"actions":"ALL"}`)
	ok(`{"op":"topology","scope":"vpc-1","cidr":"10.1.0.0/16","to_scope":"vpc-2","via":"peering","owner":"pcx-1"}`)
	ok(`{"op":"assign","scope":"vpc-1","ip":"10.0.0.1","owner":"a","from":1767225600000,"to":1800000000000}`)

	f(`{"op":"assign"`, event.BadJSON, "unexpected end")
	f(`[]`, event.BadJSON, "the line is a JSON array; write one event")
	f(`{"op":"assign","from":"yesterday"}`, event.BadJSON, "from: a JSON string is no time; write Unix milliseconds")
	f(`{"op":"assign","to":1767225600000.5}`, event.BadJSON, "to: a JSON number 1767225600000.5 is no time; write Unix milliseconds")
	f(`{"op":"assign","rver":"7"}`, event.BadJSON, "rver: a JSON string stands where an integer belongs")
	f(`{"op":"assign","primary":1}`, event.BadJSON, "primary: a JSON number stands where true or false belongs")
	f(`{"op":"assign","ep":"eni-1"}`, event.BadJSON, "ep: a JSON string stands where an object belongs")
	f(`{"op":"assign","listen":{}}`, event.BadJSON, "listen: a JSON object stands where a list belongs")
	f(`{"op":"assign","owner":7}`, event.BadJSON, "owner: a JSON number stands where a string belongs")
	f(`{"op":"progress","src":"s","to":12,"v":2}`, event.UnknownVersion, "version 2")
	f(`{"v":2,"op":"assign","ip":{"v4":"10.0.0.1"}}`, event.UnknownVersion, "version 2")
	f(`{"op":"teleport","ip":5}`, event.UnknownOp, `"teleport"`)
	f(`{"op":"teleport"}`, event.UnknownOp, `"teleport"`)
	f(`{}`, event.MissingField, "op: missing")
	f(`{"op":"release","scope":"vpc-1","ip":"10.0.0.1","to":5}`, event.MissingField, "owner: missing in release")
	f(`{"op":"release","scope":"vpc-1","ip":"10.0.0.1","owner":"a"}`, event.MissingField, "to: missing")
	f(`{"op":"assign","ip":"10.0.0.1","owner":"a"}`, event.MissingField, "scope: missing in assign; write the VPC id, or public")
	f(`{"op":"assign","scope":"vpc-1","ip":"10.0.0.1"}`, event.MissingField, "owner")
	f(`{"op":"assign","scope":"vpc-1","owner":"a"}`, event.MissingField, "ip")
	f(`{"op":"describe","wl":{"app":"x"}}`, event.MissingField, "owner")
	f(`{"op":"progress","to":5}`, event.MissingField, "src")
	f(`{"op":"coverage"}`, event.MissingField, "prefix")
	f(`{"op":"topology","scope":"a","cidr":"10.0.0.0/8","owner":"p"}`, event.MissingField, "to_scope")
	f(`{"op":"coverage","prefix":"10.0.0.0/8","actions":"DROP"}`, event.BadValue, `"DROP"`)
	f(`{"op":"assign","scope":"v","ip":"10.0.0.256","owner":"a"}`, event.BadAddress, `"10.0.0.256"`)
	f(`{"op":"assign","scope":"v","ip":"0.0.0.0","owner":"a"}`, event.BadAddress, "can have no owner")
	f(`{"op":"assign","scope":"v","ip":"fe80::1%eth0","owner":"a"}`, event.BadAddress, "can have no owner")
	f(`{"op":"assign","scope":"v","cidr":"10.0.0.1/16"}`, event.BadAddress, "write 10.0.0.0/16")
	f(`{"op":"assign","scope":"v","cidr":"10.0.0.0/33"}`, event.BadAddress, "is no CIDR")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","cidr":"10.0.0.0/8","owner":"a"}`, event.BadValue, "write one of them")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","from":-1}`, event.BadTime, "-1")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","from":1767225600000000}`, event.BadTime, "milliseconds")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","from":1767225600}`, event.BadTime, "1767225600 is a time in seconds; write Unix milliseconds, 1767225600000")
	f(`{"op":"progress","to":1767225600}`, event.BadTime, "in seconds")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","from":1767229200000}`, event.FutureTime, "2026-01-01T01:00:00Z")
	f(`{"op":"progress","src":"s","to":1767229200000}`, event.FutureTime, "future")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","from":9,"to":9}`, event.BadTime, "not after from 9")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","acc":-5}`, event.BadTime, "acc")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","acc":604800001}`, event.BadTime, "acc")
	f(`{"op":"assign","scope":"v","ip":"10.0.0.1","owner":"a","port":70000}`, event.BadValue, "port")
	f(`{"op":"describe","owner":"a","listen":[{"proto":300,"port":1}]}`, event.BadValue, "proto 300")
	f(`{"op":"describe","owner":"`+strings.Repeat("x", 2000)+`"}`, event.BadValue, "owner: text of 2000 bytes")
	f(`{"op":"describe","owner":"a","via":"`+strings.Repeat("x", event.MaxLine)+`"}`, event.TooLong, "at most 262144")
}

// A bad line costs nothing but itself, and its number is said.
func TestDecoderGoesOn(t *testing.T) {
	text := strings.Join([]string{
		"\xef\xbb\xbf" + `{"op":"describe","owner":"first"}`,
		``,
		`{"op":"release","scope":"v","ip":"10.0.0.1","to":4}`,
		`{"op":"teleport"}`,
		`{"op":"describe","owner":"` + strings.Repeat("y", 2*event.MaxLine) + `"}`,
		`  {"op":"describe","owner":"second"}  ` + "\r",
		`{"op":"describe","owner":"last, without a line end"}`,
	}, "\n")
	d := decoder(strings.NewReader(text))
	var owners, faults []string
	for {
		var e event.Event
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		var refused *event.Error
		switch {
		case errors.As(err, &refused):
			faults = append(faults, err.Error())
		case err != nil:
			t.Fatal(err)
		default:
			owners = append(owners, e.Owner)
		}
	}
	if diff := cmp.Diff([]string{"first", "second", "last, without a line end"}, owners); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"reading identity event: line 3: owner: missing in release; write whose tenure is meant: an address alone may already be another's",
		"reading identity event: line 5: line of 262145 bytes; at most 262144 are read",
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Error(diff)
	}
	stats := event.Stats{Lines: 6, Events: 3, Refused: map[event.Reason]int{event.MissingField: 1, event.UnknownOp: 1, event.TooLong: 1}}
	if diff := cmp.Diff(stats, d.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestDecoderReturnsReadErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	d := decoder(io.MultiReader(strings.NewReader(`{"op":"describe","owner":"a"}`+"\n"+`{"op":`), &failing{broken}))
	var e event.Event
	if err := d.Decode(&e); err != nil || e.Owner != "a" {
		t.Fatal(err, e)
	}
	if err := d.Decode(&e); !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestAppendReadsBack(t *testing.T) {
	yes := true
	in := event.Event{
		Src: "s", Op: event.Assign, From: 5, Scope: "vpc-1", IP: "10.0.0.1", Owner: "eni:eni-1", Primary: &yes, Shared: &yes,
		Listen: []event.Listen{{Proto: 6, Port: 80}}, EP: &event.Endpoint{Kind: "instance"},
		WL: &event.Workload{App: "x", Labels: map[string]string{"tier": "<1>"}},
	}
	b, err := event.Append([]byte("kept"), &in)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, []byte("kept{")) || bytes.Count(b, []byte("\n")) != 1 || in.V != 0 {
		t.Fatalf("%q", b)
	}
	var out event.Event
	if err := parser().Parse(bytes.TrimSpace(b[4:]), &out); err != nil {
		t.Fatal(err)
	}
	in.V = event.Version
	if diff := cmp.Diff(in, out); diff != "" {
		t.Error(diff)
	}
}

// What is accepted can be written and reads back as the same; nothing panics; every line is accounted for.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte(`{"op":"assign","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-1","from":1}` + "\n" + `{"op":"x"}`))
	f.Add([]byte(`{"op":"release","scope":"vpc-1","ip":"::1","owner":"a","to":3}` + "\r\n\r\n" + `{"op":"coverage","prefix":"0.0.0.0/0"}`))
	f.Add([]byte("\xff\x00{}\n[1]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d := decoder(bytes.NewReader(text))
		events, rejected := 0, 0
		for {
			var e event.Event
			err := d.Decode(&e)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				rejected++
				continue
			}
			events++
			line, err := event.Append(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			var back event.Event
			if err := d.Parser.Parse(bytes.TrimSuffix(line, []byte("\n")), &back); err != nil {
				// Bytes that are not UTF-8 grow when they are replaced, so texts at the limit may pass it.
				if refused := new(event.Error); errors.As(err, &refused) && (refused.Reason == event.TooLong || refused.Reason == event.BadValue) {
					continue
				}
				t.Fatalf("%s: %v", line, err)
			}
			e.V = event.Version
			if diff := cmp.Diff(e, back, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
		s := d.Stats()
		skipped := s.Refused[event.UnknownOp] + s.Refused[event.UnknownVersion]
		if s.Events != events || s.Lines != events+rejected+skipped {
			t.Fatalf("%d lines, %d events, %d rejected, %d skipped", s.Lines, events, rejected, skipped)
		}
	})
}
