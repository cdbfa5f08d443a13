package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"dredge/flowlog"
)

func parquetOf[T any](t testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type flowRow struct {
	Version int32  `parquet:"version"`
	Account string `parquet:"account_id,optional"`
	Src     string `parquet:"srcaddr"`
	Bytes   int64  `parquet:"bytes,optional"`
	Start   int64  `parquet:"start"`
}

// flowParquet has n rows in groups of some.
func flowParquet(t testing.TB, n int, group int64) []byte {
	t.Helper()
	return flowParquetFrom(t, 0, n, group)
}

// flowParquetFrom has rows whose bytes are from, from + 1 and so on.
func flowParquetFrom(t testing.TB, from, n int, group int64) []byte {
	t.Helper()
	rows := make([]flowRow, n)
	for i := range rows {
		rows[i] = flowRow{Version: 2, Account: "123456789012", Src: "10.0.0.1", Bytes: int64(from + i), Start: 1_700_000_000}
	}
	return parquetOf(t, rows, parquet.MaxRowsPerRowGroup(group), parquet.Compression(&parquet.Gzip))
}

// readAll reads a Parquet file as the worker does.
func readAll(t testing.TB, data []byte) (lines []string, err error) {
	t.Helper()
	s := newStore()
	s.files["f"] = data
	w := &Worker{d: WorkerDeps{Store: s, IsHeader: flowlog.IsHeader}}
	in, _, err := w.openParquet(context.Background(), Object{Bucket: "b", Key: "f"}, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := in.Close(); cerr != nil {
			t.Error(cerr)
		}
	}()
	for {
		p, err := in.Next()
		if err != nil {
			if p.Data != nil {
				t.Error("data with an error")
			}
			if errors.Is(err, io.EOF) {
				return lines, nil
			}
			return lines, err
		}
		got := strings.Split(strings.TrimSuffix(string(p.Data), "\n"), "\n")
		if len(lines) > 0 {
			got = got[1:] // the header again
		}
		lines = append(lines, got...)
	}
}

// The file is from obsrvbl-oss/flowlogs-reader (Apache-2.0): its account ids are numbers, what is missing is the word None.
func TestParquetOfUnhelpfulTypes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "flows.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := readAll(t, data)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status",
		"2 123456789010 eni-102010ab 198.51.100.1 192.0.2.1 443 49152 6 10 840 1439387263 1439387264 ACCEPT OK",
		"2 123456789010 eni-202010ab - - - - - - - 1439387263 1439387264 - NODATA",
		"2 123456789010 eni-202010ab 198.51.100.7 192.0.2.156 80 100 8080 - - 1439387263 1439387264 - NODATA",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestParquetTypes(t *testing.T) {
	type odd struct {
		Version int8      `parquet:"version"`
		Account int64     `parquet:"account_id"`
		Iface   string    `parquet:"interface_id"`
		Src     *string   `parquet:"srcaddr,optional"`
		Bytes   float64   `parquet:"bytes"`
		Packets *float64  `parquet:"packets,optional"`
		Start   time.Time `parquet:"start,timestamp(millisecond)"`
		End     time.Time `parquet:"end,timestamp(nanosecond)"`
		Action  string    `parquet:"action,dict"`
		Many    []string  `parquet:"many,list"`
		Foreign string    `parquet:"Unnamed: 0"`
	}
	text := "10.0.0.1"
	start := time.Unix(1_700_000_000, 5e6)
	lines, err := readAll(t, parquetOf(t, []odd{
		{Version: 3, Account: 12, Iface: "eni 1\n", Src: &text, Bytes: 840, Start: start, End: start.Add(time.Minute), Action: "ACCEPT", Many: []string{"a", "b"}},
		{Version: 3, Account: 123456789012, Iface: "", Bytes: 0.5, Start: start, End: start, Action: "None"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"version account-id interface-id srcaddr bytes packets start end action",
		"3 000000000012 eni%201%0A 10.0.0.1 840 - 1700000000 1700000060 ACCEPT",
		"3 123456789012 - - 0.5 - 1700000000 1700000000 -",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// A large file is read in ranges, never whole.
func TestParquetIsReadInRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := make([]flowRow, 200_000)
		for i := range rows {
			rows[i] = flowRow{Version: 2, Account: "123456789012", Src: "10.0.0.1", Bytes: int64(i) * 7919, Start: 1_700_000_000 + int64(i)}
		}
		s, k := newStore(), newTaker()
		s.files["a.parquet"] = parquetOf(t, rows, parquet.MaxRowsPerRowGroup(100_000))
		r := newRig(t, nil)
		at, err := r.worker(nil, s, k).readFile(t.Context(), Object{Bucket: "flows", Key: "a.parquet", ETag: "e"}, 0)
		if err != nil || at != int64(len(rows)) {
			t.Fatalf("read up to %d: %v", at, err)
		}
		if len(k.rows) != len(rows) || k.twice() != 0 {
			t.Errorf("%d rows of %d, %d twice", len(k.rows), len(rows), k.twice())
		}
		if size := int64(len(s.files["a.parquet"])); s.largest*2 > size {
			t.Errorf("a range of %d bytes of %d", s.largest, size)
		}
	})
}

func FuzzParquet(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "flows.parquet"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(flowParquet(f, 10, 4))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := readAll(t, data)
		if err != nil {
			if _, named := errors.AsType[*FileError](err); !named {
				t.Errorf("a fault without a reason: %v", err)
			}
		}
		for _, l := range lines {
			if strings.Contains(l, "  ") || strings.HasPrefix(l, " ") {
				t.Errorf("an empty field: %q", l)
			}
		}
	})
}
