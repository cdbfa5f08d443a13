package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestDemoHolds runs the demonstration for a few seconds: the whole system, with a shard split on the way, judged by the truth.
func TestDemoHolds(t *testing.T) {
	var out, errOut bytes.Buffer
	err := runDemo(t.Context(), demoOptions{runFor: 6 * time.Second, addr: "127.0.0.1:0", seed: 7}, &out, &errOut)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), errOut.String())
	}
	for _, want := range []string{"shard split", "The books balance"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.String())
		}
	}
}
