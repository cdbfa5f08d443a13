package questions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"dredge/metadata/event"
)

// Files are a World as `dredge replay` reads it.
type Files struct {
	// Identity holds the events, Ranges what Amazon publishes, Logs a flow log with a header line for each log group.
	Identity, Ranges string
	Logs             []string
}

// Write writes w into dir.
func (w *World) Write(dir string) (Files, error) {
	f := Files{Identity: filepath.Join(dir, "events.jsonl"), Ranges: filepath.Join(dir, "ip-ranges.json")}
	var text []byte
	for i := range w.Events {
		var err error
		if text, err = event.Append(text, &w.Events[i]); err != nil {
			return f, err
		}
		text = append(text, '\n')
	}
	if err := os.WriteFile(f.Identity, text, 0o600); err != nil {
		return f, err
	}
	type prefix struct {
		IP      string `json:"ip_prefix,omitempty"`
		IP6     string `json:"ipv6_prefix,omitempty"`
		Region  string `json:"region"`
		Service string `json:"service"`
	}
	ranges := struct {
		Token string   `json:"syncToken"`
		V4    []prefix `json:"prefixes"`
		V6    []prefix `json:"ipv6_prefixes"`
	}{Token: strconv.FormatInt(w.Start.Unix(), 10)}
	for ip, service := range w.published() {
		block := netip.PrefixFrom(ip, ip.BitLen()).String()
		if ip.Is4() {
			ranges.V4 = append(ranges.V4, prefix{IP: block, Region: "GLOBAL", Service: service})
		} else {
			ranges.V6 = append(ranges.V6, prefix{IP6: block, Region: "GLOBAL", Service: service})
		}
	}
	data, err := json.Marshal(ranges)
	if err != nil {
		return f, err
	}
	if err := os.WriteFile(f.Ranges, data, 0o600); err != nil {
		return f, err
	}
	for i := range w.Logs {
		l := &w.Logs[i]
		path := filepath.Join(dir, fmt.Sprintf("flows-%d.log", i))
		lines := [][]byte{[]byte(l.Layout.String())}
		for k := range l.Streams {
			lines = append(lines, l.Streams[k].Lines...)
		}
		if err := os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600); err != nil {
			return f, err
		}
		f.Logs = append(f.Logs, path)
	}
	return f, nil
}
