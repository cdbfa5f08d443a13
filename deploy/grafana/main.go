// Command grafana writes the dashboards: `make generate` after a change of the tables beside it. One source for four files keeps their layout, colours
// and links the same, and a panel is a few lines.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := "deploy/grafana/dashboards"
	if len(os.Args) == 2 {
		out = os.Args[1]
	}
	if err := write(out); err != nil {
		fmt.Fprintln(os.Stderr, "grafana:", err)
		os.Exit(1)
	}
}

// write writes each dashboard into a file of its own.
func write(dir string) error {
	for _, d := range []dashboard{health(), truth(), traffic(), capacity()} {
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(d.model()); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, d.uid+".json"), text.Bytes(), 0o644); err != nil { //nolint:gosec // documents
			return err
		}
	}
	return nil
}
