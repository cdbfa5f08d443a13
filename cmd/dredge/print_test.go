package main

import (
	"testing"
	"time"
)

func TestTimeSpan(t *testing.T) {
	now := time.Date(2026, 1, 31, 15, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		from, to string
		want     [2]string
		fails    bool
	}{
		{from: "90m", to: "0s", want: [2]string{"2026-01-31T13:30:00Z", "2026-01-31T15:00:00Z"}},
		{from: "2026-01-30T00:00:00Z", to: "24h", want: [2]string{"2026-01-30T00:00:00Z", "2026-01-30T15:00:00Z"}},
		{from: "1769731200", to: "1769731260000", want: [2]string{"2026-01-30T00:00:00Z", "2026-01-30T00:01:00Z"}},
		{from: "yesterday", to: "0s", fails: true},
		{from: "0s", to: "1h", fails: true},
	} {
		from, to, err := (&timeSpan{from: c.from, to: c.to}).interval(now)
		if (err != nil) != c.fails {
			t.Errorf("--from %s --to %s: error %v, want one: %t", c.from, c.to, err, c.fails)
		}
		if got := [2]string{from.Format(time.RFC3339), to.Format(time.RFC3339)}; err == nil && got != c.want {
			t.Errorf("--from %s --to %s is %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
