package lease

import (
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dredge/stream"
)

func TestCheckpointOrder(t *testing.T) {
	// In ascending order.
	order := []Checkpoint{
		{},
		{AtTimestamp, 0},
		{TrimHorizon, 0},
		{Latest, 0},
		{"0", 0},
		{"9", 0},
		{"10", 0},
		{"10", 1},
		{"10", 1 << 40},
		{"49590338271490256608559692538361571095921575989136588898", 0},
		{"149590338271490256608559692538361571095921575989136588898", 0},
		{ShardEnd, 0},
	}
	for i, a := range order {
		for j, b := range order {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := a.Compare(b); got != want {
				t.Errorf("%q.Compare(%q) = %d, want %d", a, b, got, want)
			}
			if got := Later(a, b); got != order[max(i, j)] {
				t.Errorf("Later(%q, %q) = %q", a, b, got)
			}
		}
	}
}

func TestCompareSequencesIsByValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`0{0,3}[0-9]{1,60}`)
		a := digits.Draw(t, "a")
		b := rapid.OneOf(digits, rapid.Just(a), rapid.Just("0"+a)).Draw(t, "b")
		x, _ := new(big.Int).SetString(a, 10)
		y, _ := new(big.Int).SetString(b, 10)
		if got, want := CompareSequences(a, b), x.Cmp(y); got != want {
			t.Fatalf("CompareSequences(%s, %s) = %d, want %d", a, b, got, want)
		}
	})
}

func TestParsePosition(t *testing.T) {
	f := func(p stream.Position, want Checkpoint, wantErr string) {
		t.Helper()
		got, err := ParsePosition(p)
		if wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("ParsePosition(%q) = %v, %v; want an error with %q", p, got, err, wantErr)
			}
			return
		}
		if err != nil || got != want {
			t.Errorf("ParsePosition(%q) = %v, %v; want %v", p, got, err, want)
		}
	}
	f("495", Checkpoint{"495", 0}, "")
	f("495:0", Checkpoint{"495", 0}, "")
	f("495:7", Checkpoint{"495", 7}, "")
	f("SHARD_END", Checkpoint{ShardEnd, 0}, "")
	f("TRIM_HORIZON", Checkpoint{TrimHorizon, 0}, "")
	f("", Checkpoint{}, "want a sequence number")
	f("49x", Checkpoint{}, "want a decimal sequence number")
	f("-4", Checkpoint{}, "want a decimal sequence number")
	f("4:", Checkpoint{}, `sub-sequence number ""`)
	f("4:-1", Checkpoint{}, `sub-sequence number "-1"`)
	f("4:9223372036854775808", Checkpoint{}, "below 2^63")
	f(stream.Position(strings.Repeat("1", 129)), Checkpoint{}, "longer than 128 digits")
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"", "1", "1:2", "SHARD_END", "LATEST:0", "1:", ":1", "1:2:3", "٣"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParsePosition(stream.Position(s))
		if err != nil {
			return
		}
		again, err := ParsePosition(c.Position())
		if err != nil || again != c {
			t.Errorf("%q: %v does not survive its own text form: %v, %v", s, c, again, err)
		}
		if c.Compare(c) != 0 { //nolint:gocritic // that it equals itself is the property
			t.Errorf("%q is not equal to itself", s)
		}
		kinds := []bool{c.IsSequence(), c.IsShardEnd(), slices.Contains([]string{TrimHorizon, Latest, AtTimestamp}, c.Sequence)}
		if n := len(slices.DeleteFunc(kinds, func(b bool) bool { return !b })); n != 1 {
			t.Errorf("%q is of %d kinds", s, n)
		}
	})
}
