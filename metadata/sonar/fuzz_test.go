package sonar

import "testing"

// FuzzParseTime reads times as people and programs write them. What is understood is in bounds and is read again from its own text.
func FuzzParseTime(f *testing.F) {
	for _, text := range []string{"1767366245", "1767366245678", "2026-01-02T15:04:05Z", "2026-01-02 15:04:05", "2026-01-02T15:04:05.5+02:00", "-18446744073709551", "now", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ms, err := ParseTime(text)
		if err != nil {
			return
		}
		if ms <= 0 || ms > latest || text[0] == '-' {
			t.Fatalf("%q is %d", text, ms)
		}
		again, err := ParseTime(Time(ms).String())
		if err != nil || again != ms {
			t.Fatalf("%q is %d, and its text %q is %d: %v", text, ms, Time(ms), again, err)
		}
	})
}
