package flowlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"unsafe"
)

// The same bytes give the same string, not only an equal one, however many others come in between; after a whole generation of others an
// equal one.
func TestInternerRemembers(t *testing.T) {
	var in Interner
	first := map[string]*byte{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		id := fmt.Sprint("id-", r.IntN(internEntries/2))
		s := in.String([]byte(id))
		if s != id {
			t.Fatalf("%q for %q", s, id)
		}
		if at := unsafe.StringData(s); first[id] == nil {
			first[id] = at
		} else if first[id] != at {
			t.Fatalf("%q lies at another place", id)
		}
	}
	for i := range internEntries - 1 - len(first) {
		in.String(strconv.AppendInt(nil, int64(i), 10))
	}
	again := 0
	for id, at := range first {
		if unsafe.StringData(in.String([]byte(id))) == at {
			again++
		}
	}
	if again != len(first) {
		t.Errorf("%d of %d strings are remembered", again, len(first))
	}
	for _, id := range []string{"", "x", "", "x"} {
		if s := in.String([]byte(id)); s != id {
			t.Errorf("%q reads %q", id, s)
		}
	}
}

// TestInternerIsBounded feeds it ids that never come back.
func TestInternerIsBounded(t *testing.T) {
	var in Interner
	for i := range 400_000 {
		id := strconv.AppendInt([]byte("eni-"), int64(i), 16)
		if s := in.String(id); s != string(id) {
			t.Fatal(s)
		}
		if in.Len() > 2*internEntries {
			t.Fatalf("%d strings after %d", in.Len(), i)
		}
	}
	long := bytes.Repeat([]byte("x"), internLength+1)
	before := in.Len()
	if in.String(long) != string(long) || in.Len() != before {
		t.Error("a long text was remembered")
	}
	var big Interner
	for i := range 200_000 {
		big.String(append(strconv.AppendInt(nil, int64(i), 10), long[:internLength-10]...))
		if big.bytes > internBytes {
			t.Fatal("bytes not bounded")
		}
	}
}

// BenchmarkInterner asks for the ids of 40,000 interfaces in a random order.
func BenchmarkInterner(b *testing.B) {
	var in Interner
	ids := make([][]byte, 1<<16)
	for i := range ids {
		ids[i] = fmt.Appendf(nil, "eni-%017x", rand.N(40_000)*0x9e3779b97f4a7c1)
		in.String(ids[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		in.String(ids[i&(len(ids)-1)])
	}
}
