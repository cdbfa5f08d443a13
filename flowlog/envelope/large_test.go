package envelope

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dredge/flowlog"
)

// TestLargePayload reads some eighty windows full and compares every line, so that each place where a window can end is
// met: inside a key, an id, a number, a message, an escape.
func TestLargePayload(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	var want []string
	text.WriteString(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":[`)
	for text.Len() < 10<<20 {
		line := fmt.Sprintf("2 123456789010 eni-1235b8ca123456789 10.0.%d.%d 172.31.16.21 %d 443 6 20 %d 1418530010 1418530070 ACCEPT OK",
			rnd.IntN(256), rnd.IntN(256), rnd.IntN(65536), rnd.IntN(1e6))
		if len(want) > 0 {
			text.WriteByte(',')
		}
		written := line
		if rnd.IntN(4) == 0 {
			written = strings.ReplaceAll(line, " 172", `\u0020172`)
		}
		fmt.Fprintf(&text, `{"id":"%056d","timestamp":1418530070000,"message":"%s"}`, len(want), written)
		want = append(want, line)
	}
	text.WriteString("]}")

	r, d, b := NewReader(0, 0), flowlog.NewDecoder(), &flowlog.Batch{}
	for name, payload := range map[string][]byte{"gzip": zip(t, []byte(text.String())), "text": []byte(text.String())} {
		n := 0
		b.Reset()
		r.Reset(payload)
		for r.Next() {
			if n == len(want) || string(r.Line()) != want[n] || string(r.EventID()) != fmt.Sprintf("%056d", n) {
				t.Fatalf("%s: line %d is %q of %s", name, n, r.Line(), r.EventID())
			}
			if reason := d.Append(b, nil, r.Line(), 0, uint32(n)); reason != flowlog.ReasonNone {
				t.Fatalf("%s: line %d: %v", name, n, flowlog.Explain(nil, r.Line()))
			}
			n++
		}
		if n != len(want) || len(b.Records) != n || r.Err() != nil {
			t.Errorf("%s: %d lines, %d records, want %d; %v", name, n, len(b.Records), len(want), r.Err())
		}
		if len(r.window.own) > windowSize {
			t.Errorf("%s: a window of %d bytes", name, len(r.window.own))
		}
		for i := range b.Records {
			if string(b.Records[i].Line) != want[i] {
				t.Fatalf("%s: record %d holds %q", name, i, b.Records[i].Line)
			}
		}
	}
}
