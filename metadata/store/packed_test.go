package store

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever is told of an address comes out of the arenas as it went in.
func TestPacked(t *testing.T) {
	if !slices.IsSorted(accSteps[:]) || accSteps[len(accSteps)-1] != 7*24*3600*1000 {
		t.Fatal("the steps are not sorted, or do not reach the largest uncertainty that events may have")
	}
	r := rand.New(rand.NewPCG(3, 1))
	at := func() int64 {
		switch r.IntN(4) {
		case 0:
			return 0
		case 1:
			return timeMask - 1
		default:
			return r.Int64N(timeMask)
		}
	}
	acc := func() uint32 { return accSteps[r.IntN(len(accSteps))] }
	for range 20_000 {
		v := interval{from: at(), to: at(), owner: r.Uint32N(1 << (ownerHigh + ownerLow)), accFrom: acc(), accTo: acc(), flags: r.Uint32N(32)}
		if r.IntN(3) == 0 {
			v.to = forever
		}
		if got := (tenures{packInterval(&v)}).at(0); got != v {
			t.Fatalf("%+v became %+v", v, got)
		}
		e := evidence{from: v.from, to: at(), owner: v.owner, acc: v.accFrom, kind: kind(r.IntN(4)), flags: []uint8{0, claim, primary, claim | primary}[r.IntN(4)]}
		p := packEvidence(&e)
		if diff := cmp.Diff(e, p.evidence(), cmp.AllowUnexported(evidence{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

// An uncertainty is never kept smaller than it was told.
func TestRoundAcc(t *testing.T) {
	for _, exact := range []int64{0, 1000, 2000, 30_000, 60_000, 300_000, 3_600_000} {
		if got := roundAcc(exact); int64(got) != exact {
			t.Errorf("%d ms is kept as %d", exact, got)
		}
	}
	for acc := int64(1); acc < 7*24*3600*1000; acc += 1 + acc/7 {
		if got := int64(roundAcc(acc)); got < acc || float64(got) > math.Max(float64(acc)*2.6, 1) {
			t.Errorf("%d ms is kept as %d", acc, got)
		}
	}
}

// Owners whose names differ in what the index compares last keep their own handles.
func TestIndexTellsNamesApart(t *testing.T) {
	x := newIndex()
	names := []string{
		"eni:x", "x", "x\x00\x00\x00\x00", "eni:x\x00", "eni:", "eni:eni-0123456789abcdef0", "eni-0123456789abcdef0",
		"eni:eni-0123456789abcdef0123456789", "eni-0123456789abcdef0123456789", "eni:eni-0123456789abcdef0123456788",
	}
	for i, name := range names {
		if h := x.intern(name, nil); h != uint32(i+1) {
			t.Errorf("%q has handle %d, want %d", name, h, i+1)
		}
	}
	for i, name := range names {
		if h := x.get("", name); h != uint32(i+1) || x.name(h) != name {
			t.Errorf("%q is found as %d %q", name, h, x.name(h))
		}
	}
	if h := x.get(eniPrefix, "eni-0123456789abcdef0"); x.name(h) != "eni:eni-0123456789abcdef0" {
		t.Errorf("a bare interface id is found as %q", x.name(h))
	}
}
