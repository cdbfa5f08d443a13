package text

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func TestDecompressed(t *testing.T) {
	pack := func(w io.WriteCloser, b *bytes.Buffer, data []byte) []byte {
		t.Helper()
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	gz := func(data []byte) []byte {
		var b bytes.Buffer
		return pack(gzip.NewWriter(&b), &b, data)
	}
	zst := func(data []byte) []byte {
		t.Helper()
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		return pack(w, &b, data)
	}
	f := func(name string, data []byte, want string, fault error) {
		t.Helper()
		in, err := Decompressed(bytes.NewReader(data))
		if !errors.Is(err, fault) {
			t.Errorf("%s: %v, want %v", name, err, fault)
		}
		if err != nil {
			return
		}
		got, err := io.ReadAll(in)
		if err := errors.Join(err, in.Close()); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	text := strings.Repeat("2 123456789010 eni-1 10.0.0.1 10.0.0.2\n", 10_000)
	plain := []byte(text)
	f("nothing", nil, "", nil)
	f("plain", plain, text, nil)
	f("gzip", gz(plain), text, nil)
	f("zstd", zst(plain), text, nil)
	f("members of gzip in gzip", gz(append(gz(plain[:3900]), gz(plain[3900:])...)), text, nil)
	f("gzip in zstd", zst(gz(plain)), text, nil)
	f("zstd in gzip", gz(zst(plain)), text, nil)
	f("a third layer is left", gz(gz(gz(plain))), string(gz(plain)), nil)
	f("Parquet", []byte("PAR1"), "", ErrParquet)
	f("Parquet in gzip", gz([]byte("PAR1")), "", ErrParquet)
	if in, err := Decompressed(bytes.NewReader(zst(plain)[:20])); err != nil {
		t.Errorf("cut zstd: %v before its text is read", err)
	} else if _, err = io.ReadAll(in); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut zstd: %v", err)
	}
	f("cut header", gz(plain)[:5], "", io.ErrUnexpectedEOF)
}
