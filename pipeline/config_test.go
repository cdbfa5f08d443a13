package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dredge/flowlog"
)

func TestDefaultConfigIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

// All faults are named at once, each with its key, its value and what to write.
func TestValidateNamesEveryFault(t *testing.T) {
	f := func(change func(*Config), words ...string) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		if err == nil {
			t.Error("accepted")
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error does not say %q:\n%v", w, err)
			}
		}
	}
	f(func(c *Config) { c.MemoryBudget = 32 * MiB }, "memory_budget: 32MiB leaves no room", "write at least 57MiB")
	f(func(c *Config) { c.Slice = KiB }, "slice: 1KiB is outside")
	f(func(c *Config) { c.MaxLine, c.Hold = 70000, -time.Second }, "max_line: 70000 is outside", "hold: -1s is outside")
	f(func(c *Config) { c.MaxInflated = MiB }, "max_inflated: 1MiB is less than slice; write at least 4MiB")
	f(func(c *Config) { c.Guard = time.Hour }, "guard: 1h0m0s is outside")
	f(func(c *Config) { c.Formats.Rules = []flowlog.Rule{{Format: "default"}} }, "formats.rules[0]: no pattern")

	least := DefaultConfig()
	least.MemoryBudget = 57 * MiB
	if err := least.Validate(); err != nil {
		t.Errorf("what the error asks for is refused: %v", err)
	}
}

func TestConfigRoundTrip(t *testing.T) {
	want := DefaultConfig()
	want.MemoryBudget = 768 * MiB
	data, err := yaml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "memory_budget: 768MiB") {
		t.Errorf("sizes are not for people:\n%s", data)
	}
	var got Config
	if err := yaml.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestByteSize(t *testing.T) {
	good := func(text string, want ByteSize) {
		t.Helper()
		var s ByteSize
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q = %d, %v, want %d", text, s, err, want)
		}
	}
	good("0", 0)
	good("1000", 1000)
	good("64KiB", 64*KiB)
	good(" 4 MiB ", 4*MiB)
	good("2GiB", 2*GiB)
	bad := func(text, word string) {
		t.Helper()
		var s ByteSize
		if err := s.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q = %d, %v, want an error with %q", text, s, err, word)
		}
	}
	bad("512MB", "like 512MiB")
	bad("-1", "is no size")
	bad("", "is no size")
	bad("99999999999GiB", "too large")
	for _, s := range []ByteSize{0, 1, 1000, KiB, 1536 * KiB, MiB, 3 * GiB} {
		good(s.String(), s)
	}
}

// What is read is written so that it reads the same again.
func FuzzByteSize(f *testing.F) {
	for _, s := range []string{"0", "512MiB", " 4 KiB", "1GiB", "-1", "8589934592GiB", "MiB", "1e3", "+5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again ByteSize
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if s < 0 {
			t.Fatalf("%q = %d", text, s)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Fatalf("%q = %d, written %q, read as %d, %v", text, s, s.String(), again, err)
		}
	})
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := New(Config{}, Deps{})
	for _, w := range []string{"make pipeline", "slice: 0", "a sink is needed", "an enricher is needed", "a metrics registry is needed"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error does not say %q: %v", w, err)
		}
	}
}
