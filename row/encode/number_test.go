package encode

import (
	"math"
	"net/netip"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendUint(t *testing.T) {
	same := func(n uint64) {
		t.Helper()
		if got, want := string(appendUint([]byte("x"), n)), "x"+strconv.FormatUint(n, 10); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for p := uint64(1); p < math.MaxUint64/10; p *= 10 {
		same(p - 1)
		same(p)
		same(p + 1)
	}
	for n := range uint64(20_000) {
		same(n)
		same(n * 9973 % eight)
	}
	rapid.Check(t, func(rt *rapid.T) {
		same(rapid.Uint64().Draw(rt, "n"))
		same(rapid.Uint64Range(0, sixteen).Draw(rt, "n"))
		i := rapid.Int64().Draw(rt, "i")
		if got, want := string(appendInt(nil, i)), strconv.FormatInt(i, 10); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestAppendAddr(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{4, 16}).Draw(rt, "size")
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(rt, "address"))
		if got := string(appendAddr([]byte("x"), a)); got != "x"+a.String() {
			t.Errorf("got %s, want %s", got, a)
		}
	})
}
