package kpl

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the format's checksum
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func split(t *testing.T, data []byte) []UserRecord {
	t.Helper()
	if !IsAggregated(data) {
		t.Fatalf("%x is no aggregate", data)
	}
	got, err := new(Splitter).Split(data)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func seal(body string) []byte {
	sum := md5.Sum([]byte(body)) //nolint:gosec // the format's checksum
	return []byte(magic + body + string(sum[:]))
}

// The bytes are written out by hand from the format's description: two keys, one explicit hash key, two records of which the second
// has a tag, which nobody reads.
func TestSplitBytesWrittenByHand(t *testing.T) {
	data := seal("\x0a\x01a" + "\x0a\x02bb" + "\x12\x0212" +
		"\x1a\x07\x08\x00\x1a\x03one" +
		"\x1a\x10\x08\x01\x10\x00\x1a\x03two\x22\x05\x0a\x03tag")
	want := []UserRecord{
		{PartitionKey: []byte("a"), Data: []byte("one")},
		{PartitionKey: []byte("bb"), ExplicitHashKey: []byte("12"), Data: []byte("two")},
	}
	if diff := cmp.Diff(want, split(t, data)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SliceOfN(rapid.Byte(), 1, 5)
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) UserRecord {
			r := UserRecord{PartitionKey: word.Draw(t, "key"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data")}
			if rapid.Bool().Draw(t, "explicit") {
				r.ExplicitHashKey = []byte(rapid.StringMatching(`[1-9][0-9]{0,5}`).Draw(t, "hash key"))
			}
			return r
		}), 1, 20).Draw(t, "records")
		got, err := new(Splitter).Split(Append(nil, records...))
		if err != nil {
			t.Fatal(err)
		}
		same := cmp.Comparer(bytes.Equal)
		if diff := cmp.Diff(records, got, same); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestNotAggregated(t *testing.T) {
	for _, data := range []string{"", "plain", magic, magic + strings.Repeat("x", md5.Size), "\xF3\x89\x9A\xC3" + strings.Repeat("x", 40)} {
		if IsAggregated([]byte(data)) {
			t.Errorf("%q is taken for an aggregate", data)
		}
	}
}

func TestBroken(t *testing.T) {
	good := Append(nil, UserRecord{PartitionKey: []byte("k"), Data: []byte("data")})
	flipped := bytes.Clone(good)
	flipped[8] ^= 1
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"a bit flipped":             {flipped, ErrChecksum},
		"cut off":                   {good[:len(good)-1], ErrChecksum},
		"key beyond the table":      {seal("\x0a\x01a\x1a\x05\x08\x01\x1a\x01x"), ErrMalformed},
		"hash key beyond":           {seal("\x0a\x01a\x1a\x07\x08\x00\x10\x00\x1a\x01x"), ErrMalformed},
		"greatest hash key index":   {seal("\x0a\x01a\x1a\x10\x08\x00\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a\x01x"), ErrMalformed},
		"record without key":        {seal("\x0a\x01a\x1a\x03\x1a\x01x"), ErrMalformed},
		"record without data":       {seal("\x0a\x01a\x1a\x02\x08\x00"), ErrMalformed},
		"length beyond the end":     {seal("\x0a\x7fa"), ErrMalformed},
		"tag cut off":               {seal("\x0a\x01a\xff"), ErrMalformed},
		"keys as numbers":           {seal("\x08\x01"), ErrMalformed},
		"group":                     {seal("\x23"), ErrMalformed},
		"field 0":                   {seal("\x02\x00"), ErrMalformed},
		"more records than we take": {seal("\x0a\x00" + strings.Repeat("\x1a\x04\x08\x00\x1a\x00", MaxUserRecords+1)), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := new(Splitter).Split(tt.data)
			if !errors.Is(err, tt.want) || got != nil {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestHashKey(t *testing.T) {
	sum := md5.Sum([]byte("some key")) //nolint:gosec // Kinesis's hash
	byMD5, err := UserRecord{PartitionKey: []byte("some key")}.HashKey()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sum); fmt.Sprintf("%016x%016x", byMD5.Hi, byMD5.Lo) != want {
		t.Errorf("hash key %x, want %s", byMD5, want)
	}
	if k, err := (UserRecord{PartitionKey: []byte("some key"), ExplicitHashKey: []byte("18446744073709551617")}).HashKey(); err != nil || k != (HashKey{1, 1}) {
		t.Errorf("explicit hash key = %v, %v", k, err)
	}
	const greatest = "340282366920938463463374607431768211455"
	if k, err := ParseHashKey(greatest); err != nil || k != (HashKey{^uint64(0), ^uint64(0)}) {
		t.Errorf("2^128-1 = %v, %v", k, err)
	}
	for _, bad := range []string{"", "-1", "1x", "340282366920938463463374607431768211456", "999999999999999999999999999999999999999", greatest + "0"} {
		if k, err := ParseHashKey(bad); err == nil {
			t.Errorf("%q = %v", bad, k)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := HashKey{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
		n := new(big.Int).SetUint64(want.Hi)
		n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(want.Lo))
		if got, err := ParseHashKey(n.String()); err != nil || got != want {
			t.Fatalf("%s = %v, %v", n, got, err)
		}
	})
	r := Range{HashKey{0, 5}, HashKey{1, 0}}
	for k, want := range map[HashKey]bool{{0, 4}: false, {0, 5}: true, {0, ^uint64(0)}: true, {1, 0}: true, {1, 1}: false} {
		if r.Contains(k) != want {
			t.Errorf("%v in %v = %v", k, r, !want)
		}
	}
}

func TestSplitAllocatesNothing(t *testing.T) {
	records := make([]UserRecord, 100)
	for i := range records {
		records[i] = UserRecord{PartitionKey: fmt.Append(nil, "key", i%7), Data: fmt.Append(nil, "data", i)}
	}
	data := Append(nil, records...)
	var s Splitter
	n := testing.AllocsPerRun(100, func() {
		if got, err := s.Split(data); err != nil || len(got) != len(records) {
			t.Fatalf("%d records, %v", len(got), err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per aggregate", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	records := make([]UserRecord, 100)
	for i := range records {
		records[i] = UserRecord{PartitionKey: fmt.Append(nil, "key", i%7), Data: bytes.Repeat([]byte("x"), 500)}
	}
	data := Append(nil, records...)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var s Splitter
	for b.Loop() {
		if _, err := s.Split(data); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzSplit gives bodies with a right checksum: whatever is read of one is read again after it was written.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("\x0a\x01a\x1a\x07\x08\x00\x1a\x03one"))
	f.Add([]byte("\x0a\x01a\x12\x0212\x1a\x10\x08\x00\x10\x00\x1a\x03two\x22\x05\x0a\x03tag"))
	f.Add([]byte("\x0a\x7fa"))
	f.Add([]byte("\x21\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		data := seal(string(body))
		if !IsAggregated(data) {
			return
		}
		got, err := new(Splitter).Split(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again := Append(nil, got...)
		second, err := new(Splitter).Split(again)
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b UserRecord) bool {
			return bytes.Equal(a.PartitionKey, b.PartitionKey) && bytes.Equal(a.ExplicitHashKey, b.ExplicitHashKey) && bytes.Equal(a.Data, b.Data)
		}
		if len(got) != len(second) {
			t.Fatalf("%d records, then %d", len(got), len(second))
		}
		for i := range got {
			if !same(got[i], second[i]) {
				t.Fatalf("record %d: %q, then %q", i, got[i], second[i])
			}
		}
	})
}
