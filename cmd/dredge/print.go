package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dredge/metadata/sonar"
)

// printTable writes rows in columns; the first row is the heading.
func printTable(out io.Writer, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// printJSON writes v for people and programs: indented, and with < > & as they are.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// timeSpan is a pair of flags for a span of time.
type timeSpan struct{ from, to string }

func (s *timeSpan) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.from, "from", "1h", "begin: RFC 3339, Unix seconds or milliseconds, or how long ago (90m, 24h)")
	cmd.Flags().StringVar(&s.to, "to", "0s", "end, in the same forms")
}

// interval returns the span as seen at now.
func (s *timeSpan) interval(now time.Time) (from, to time.Time, err error) {
	if from, err = parseWhen("from", s.from, now); err != nil {
		return from, to, err
	}
	if to, err = parseWhen("to", s.to, now); err != nil {
		return from, to, err
	}
	if !from.Before(to) {
		return from, to, fmt.Errorf("--from %s is not before --to %s", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return from, to, nil
}

func parseWhen(flag, text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	ms, err := sonar.ParseTime(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--%s: %w; or how long ago: 90m, 24h", flag, err)
	}
	return time.UnixMilli(ms).UTC(), nil
}
