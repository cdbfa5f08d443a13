package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

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
