package inflate

import (
	"bytes"
	"compress/flate"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

func pack(t testing.TB, level int, parts ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, p := range parts {
		z, err := stdgzip.NewWriterLevel(&out, level)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// library is what Gzip must agree with.
func library(src []byte, most int) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, int64(most)+1))
	if err == nil && len(out) > most {
		return out, ErrTooLarge
	}
	return out, err
}

// texts are contents that take all the ways through the code: nothing, stored blocks, short and long distances, long codes.
func texts() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 100_000) // symbols of very different frequency have long codes
	for i := range skewed {
		v := 0
		for v < 200 && rnd.IntN(3) == 0 {
			v++
		}
		if rnd.IntN(5000) == 0 {
			v = rnd.IntN(256)
		}
		skewed[i] = byte(v)
	}
	var runs []byte
	for n := range 150 {
		runs = append(runs, bytes.Repeat(random[n:n+1+n%19], 1+n)...)
	}
	return map[string][]byte{
		"empty": {}, "byte": {7}, "short": []byte("hello, hello, hello"), "random": random, "skewed": skewed, "runs": runs,
		"zeros": make([]byte, 300_000), "lines": lines(1000), "far": append(append(bytes.Clone(random[:40_000]), random[:9000]...), random[7000:]...),
	}
}

func lines(n int) []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	var b strings.Builder
	b.WriteString(`{"messageType":"DATA_MESSAGE","logEvents":[`)
	for i := range n {
		fmt.Fprintf(&b, `{"id":"%056d","timestamp":1700000000000,"message":"2 123456789012 eni-%017x 10.0.%d.%d 10.1.%d.%d %d %d 6 %d %d 1700000000 1700000060 ACCEPT OK"},`,
			i, rnd.Uint64()>>4%1e6, rnd.IntN(256), rnd.IntN(256), rnd.IntN(256), rnd.IntN(256), rnd.IntN(65536), 443, rnd.IntN(1000), rnd.IntN(1e6))
	}
	return []byte(b.String())
}

func TestGzip(t *testing.T) {
	var d Decoder
	var buf []byte
	for name, text := range texts() {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, 6, flate.BestCompression} {
			packed := pack(t, level, text)
			for _, dst := range [][]byte{nil, buf, make([]byte, 100)} {
				got, err := d.Gzip(dst, packed, len(text))
				if err != nil || !bytes.Equal(got, text) {
					t.Fatalf("%s, level %d: %v, %d bytes of %d", name, level, err, len(got), len(text))
				}
				buf = got
			}
		}
		two, err := d.Gzip(nil, pack(t, 6, text, text), 2*len(text))
		if err != nil || !bytes.Equal(two, append(bytes.Clone(text), text...)) {
			t.Errorf("%s: two members: %v, %d bytes of %d", name, err, len(two), 2*len(text))
		}
	}
}

func TestTooLarge(t *testing.T) {
	var d Decoder
	for name, text := range texts() {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 6} {
			if len(text) == 0 {
				continue
			}
			packed := pack(t, level, text)
			for _, most := range []int{0, len(text) / 2, len(text) - 1} {
				if out, err := d.Gzip(nil, packed, most); !errors.Is(err, ErrTooLarge) || len(out) > most+slack {
					t.Errorf("%s, level %d, %d of %d bytes allowed: %v, %d bytes held", name, level, most, len(text), err, len(out))
				}
			}
		}
	}
}

// Every truncation and many flipped bits of a small and a large gzip: an error, or what the library makes of it.
func TestDamaged(t *testing.T) {
	var d Decoder
	for _, text := range [][]byte{[]byte("hello, hello, hello"), lines(20)} {
		packed := pack(t, 6, text)
		for n := range packed {
			if _, err := d.Gzip(nil, packed[:n], 1<<20); err == nil {
				t.Errorf("%d of %d bytes are accepted", n, len(packed))
			}
		}
		for bit := range 8 * len(packed) {
			bad := bytes.Clone(packed)
			bad[bit/8] ^= 1 << (bit % 8)
			agree(t, &d, bad, 1<<20)
		}
	}
}

func agree(t *testing.T, d *Decoder, src []byte, most int) {
	t.Helper()
	got, err := d.Gzip(nil, src, most)
	if err != nil {
		return
	}
	want, wantErr := library(src, most)
	if wantErr != nil || !bytes.Equal(got, want) {
		t.Errorf("accepted %d bytes as %d bytes; the library says %d bytes and %v", len(src), len(got), len(want), wantErr)
	}
}

func TestHeaders(t *testing.T) {
	var d Decoder
	var out bytes.Buffer
	z := stdgzip.NewWriter(&out)
	z.Name, z.Comment, z.Extra = "name", "comment", []byte("extra")
	if _, err := z.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := d.Gzip(nil, out.Bytes(), 10)
	if err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	if n := Size(out.Bytes()); n != 4 {
		t.Errorf("size %d", n)
	}
	for n := range out.Len() {
		if _, err := d.Gzip(nil, out.Bytes()[:n], 10); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes of %d: %v", n, out.Len(), err)
		}
	}
}

// FuzzGzip has what is accepted compared with the library, and what the library makes of valid input.
func FuzzGzip(f *testing.F) {
	for _, text := range texts() {
		if len(text) < 50_000 {
			f.Add(pack(f, 6, text))
			f.Add(pack(f, flate.HuffmanOnly, text, text))
		}
	}
	f.Add(pack(f, flate.NoCompression, []byte("stored")))
	f.Add(pack(f, 6, lines(50)))
	f.Fuzz(func(t *testing.T, src []byte) {
		const most = 1 << 20
		var d Decoder
		agree(t, &d, src, most)
		agree(t, &d, src, 1000)
		// As the content of a member, src is always valid.
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, 6} {
			if len(src) > most {
				break
			}
			got, err := d.Gzip(nil, pack(t, level, src), len(src))
			if err != nil || !bytes.Equal(got, src) {
				t.Fatalf("level %d: %v, %d bytes of %d", level, err, len(got), len(src))
			}
		}
	})
}

func TestGzipDoesNotAllocate(t *testing.T) {
	var d Decoder
	packed := pack(t, 6, lines(500))
	buf, err := d.Gzip(nil, packed, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if buf, err = d.Gzip(buf, packed, 1<<20); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkGzip is an envelope of 500 lines, beside the library's reader.
func BenchmarkGzip(b *testing.B) {
	text := lines(500)
	packed := pack(b, 6, text)
	b.Run("here", func(b *testing.B) {
		var d Decoder
		var buf []byte
		var err error
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if buf, err = d.Gzip(buf, packed, 1<<20); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		var z gzip.Reader
		var in bytes.Reader
		buf := make([]byte, 128<<10)
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			in.Reset(packed)
			if err := z.Reset(&in); err != nil {
				b.Fatal(err)
			}
			for {
				if _, err := z.Read(buf); err != nil {
					break
				}
			}
		}
	})
}
