package enrich_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestJ6ServerByListeningPort: with an inventory of listening ports the end that listened at the flow's time is the server, whatever the numbers look like; without
// one the ports decide where they can, and the method in client_by says how it is known, or that it is not.
func TestJ6ServerByListeningPort(t *testing.T) {
	describe := func(owner string, at, port int) string {
		return fmt.Sprintf(`{"v":1,"src":"f","op":"describe","from":T+%d,"owner":%q,"listen":[{"proto":6,"port":%d}]}`+"\n", at, owner, port)
	}
	known := []string{assign("10.0.1.5", "eni:eni-a", "web"), assign("10.0.2.6", "eni:eni-b", "grpc"), progress}
	inventory := append([]string{describe("eni:eni-b", 1200, 50051)}, known...)
	const format = pkt + " vpc-id tcp-flags"
	line := func(at, srcPort, dstPort int, flags string) string {
		return fmt.Sprintf("eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 %d %d 6 1 60 T+%d T+%d ACCEPT egress OK vpc-1 %s\n", srcPort, dstPort, at, at+60, flags)
	}
	answer := func(at, srcPort, dstPort int) string { // the other way
		return fmt.Sprintf("eni-b 10.0.2.6 10.0.1.5 10.0.2.6 10.0.1.5 %d %d 6 1 60 T+%d T+%d ACCEPT egress OK vpc-1 -\n", srcPort, dstPort, at, at+60)
	}
	for _, c := range []struct {
		name   string
		events []string
		line   string
		want   string
	}{
		{"both ports high, listening then", inventory, line(1800, 45000, 50051, "-"), "src by listen"},
		{"and its answer", inventory, answer(1800, 50051, 45000), "dst by listen"},
		{"the numbers point the other way", inventory, line(1800, 8080, 50051, "-"), "src by listen"},
		{"not listening yet", inventory, line(600, 45000, 50051, "-"), "unknown by none"},
		{"not listening yet, the numbers decide, and say so", inventory, line(600, 8080, 50051, "-"), "dst by port"},
		{"without an inventory: both ports high", known, line(1800, 45000, 50051, "-"), "unknown by none"},
		{"without an inventory: one port is a service's", known, line(1800, 45000, 443, "-"), "src by port"},
		{"without an inventory: its answer", known, answer(1800, 443, 45000), "dst by port"},
		{"without an inventory: both ports low", known, line(1800, 443, 444, "-"), "unknown by none"},
		{"the handshake in the record goes before everything", inventory, line(1800, 45000, 50051, "18"), "dst by tcp-flags"},
		{"a SYN alone, with FIN and RST or not", inventory, line(600, 50051, 443, "7"), "src by tcp-flags"},
	} {
		w := newWorld(t, events(c.events...))
		rows := w.rows(t, format, times(strings.TrimSpace(c.line), 1))
		if got := fmt.Sprintf("%v by %v", rows[0]["client"], rows[0]["client_by"]); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// Protocols without ports have no client, and say so.
	w := newWorld(t, events(inventory...))
	got := w.rows(t, format, times("eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 0 0 1 1 60 T+1800 T+1860 ACCEPT egress OK vpc-1 -", 1))[0]
	if diff := cmp.Diff([]any{"unknown", "none"}, []any{got["client"], got["client_by"]}); diff != "" {
		t.Error(diff)
	}
}
