package columns

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"pgregory.net/rapid"
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

// readFrom reads a file from a row on: the header line, and the lines of the rows.
func readFrom(t testing.TB, data []byte, from int64) (lines []string, err error) {
	t.Helper()
	f, err := Open(bytes.NewReader(data), int64(len(data)), from)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := f.Close(); cerr != nil {
			t.Error(cerr)
		}
	}()
	lines = append(lines, string(f.Header()))
	at := from
	for {
		p, err := f.Next()
		if err != nil {
			if p.Data != nil {
				t.Error("data with an error")
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return lines, err
		}
		got := strings.Split(strings.TrimSuffix(string(p.Data), "\n"), "\n")
		if at += int64(len(got) - 1); got[0] != lines[0] || at != p.End {
			t.Errorf("a piece of %d lines below %q ends at row %d, want %d", len(got)-1, got[0], p.End, at)
		}
		lines = append(lines, got[1:]...)
	}
}

// The file is from obsrvbl-oss/flowlogs-reader (Apache-2.0): its account ids are numbers, what is missing is the word None.
func TestParquetOfUnhelpfulTypes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "flows.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := readFrom(t, data, 0)
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
	lines, err := readFrom(t, parquetOf(t, []odd{
		{Version: 3, Account: 12, Iface: "eni 1\n", Src: &text, Bytes: 840, Start: start, End: start.Add(time.Minute), Action: "ACCEPT", Many: []string{"a", "b"}},
		{Version: 3, Account: 123456789012, Iface: "", Bytes: 0.5, Start: start, End: start, Action: "None"},
	}), 0)
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

type flowRow struct {
	Version int32   `parquet:"version"`
	Account *string `parquet:"account_id,optional,dict"`
	Src     string  `parquet:"srcaddr,dict"`
	Dst     *string `parquet:"dstaddr,optional"`
	Action  string  `parquet:"action,plain"`
	Bytes   *int64  `parquet:"bytes,optional"`
	Packets *int64  `parquet:"packets,optional,dict"`
	Start   int64   `parquet:"start,delta"`
}

// Whatever a file is cut into, however its columns are written and wherever reading begins: the rows are the same.
func TestRowsAreTheSameHoweverTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.SampledFrom([]string{"10.0.0.1", "eni-1", "a b", "", "-", "None", "ü"})
		number := rapid.SampledFrom([]int64{0, -1, 7, 1 << 40})
		rows := make([]flowRow, rapid.IntRange(0, 60).Draw(rt, "rows"))
		want := []string{"version account-id srcaddr dstaddr action bytes packets start"}
		cell := func(s *string) string {
			switch {
			case s == nil, *s == "", *s == "None":
				return "-"
			}
			return strings.ReplaceAll(*s, " ", "%20")
		}
		count := func(n *int64) string {
			if n == nil {
				return "-"
			}
			return strconv.FormatInt(*n, 10)
		}
		for i := range rows {
			rows[i] = flowRow{
				Version: 2, Account: rapid.Ptr(word, true).Draw(rt, "account"), Src: word.Draw(rt, "src"), Dst: rapid.Ptr(word, true).Draw(rt, "dst"),
				Action: word.Draw(rt, "action"), Bytes: rapid.Ptr(number, true).Draw(rt, "bytes"), Packets: rapid.Ptr(number, true).Draw(rt, "packets"), Start: int64(i),
			}
			r := &rows[i]
			want = append(want, strings.Join([]string{"2", cell(r.Account), cell(&r.Src), cell(r.Dst), cell(&r.Action), count(r.Bytes), count(r.Packets), strconv.Itoa(i)}, " "))
		}
		codec := rapid.SampledFrom([]compress.Codec{&parquet.Gzip, &parquet.Snappy, &parquet.Zstd, &parquet.Uncompressed}).Draw(rt, "codec")
		data := parquetOf(t, rows, parquet.MaxRowsPerRowGroup(rapid.Int64Range(1, 40).Draw(rt, "group")), parquet.PageBufferSize(rapid.IntRange(64, 4096).Draw(rt, "page")),
			parquet.DataPageVersion(rapid.IntRange(1, 2).Draw(rt, "version")), parquet.Compression(codec))
		from := rapid.IntRange(0, len(rows)).Draw(rt, "from")
		got, err := readFrom(t, data, int64(from))
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(append(want[:1:1], want[1+from:]...), got); diff != "" {
			rt.Fatalf("lines from row %d (-want +got):\n%s", from, diff)
		}
		in, err := Text(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			rt.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil || in.Close() != nil || string(text) != strings.Join(want, "\n")+"\n" {
			rt.Fatalf("text %q, %v", text, err)
		}
	})
}

func FuzzFile(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "flows.parquet"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(parquetOf(f, []flowRow{{Version: 2, Src: "10.0.0.1"}, {Version: 3}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := readFrom(t, data, 0)
		if err != nil && err.Error() == "" {
			t.Error("a fault without a word")
		}
		for _, l := range lines {
			if strings.Contains(l, "  ") || strings.HasPrefix(l, " ") {
				t.Errorf("an empty field: %q", l)
			}
		}
	})
}
