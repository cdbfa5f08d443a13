package sink

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var letterTime = time.Date(2026, 3, 1, 12, 0, 0, 5_000_000, time.UTC)

func TestLetterLine(t *testing.T) {
	f := func(data string, limit int, want string) {
		t.Helper()
		l := Letter{
			Partition: "shard-1", At: "495:3", Index: 7, Reason: "bad_field", Detail: `field 4: "x" is no number`,
			Data: []byte(data), Size: len(data),
		}
		want = `{"time":"2026-03-01T12:00:00.005Z","partition":"shard-1","position":"495:3","index":7,"reason":"bad_field",` +
			`"detail":"field 4: \"x\" is no number",` + want + `}`
		if d := cmp.Diff(want, string(AppendLetter(nil, l, letterTime, limit))); d != "" {
			t.Errorf("letter (-want +got):\n%s", d)
		}
	}
	f("2 123 eni-1", 100, `"size":11,"text":"2 123 eni-1"`)
	f("2 123 eni-1", 5, `"size":11,"text":"2 123"`)
	f("a\x00\n\t\"\\", 100, `"size":6,"text":"a\u0000\n\u0009\"\\"`)
	f("\x1f\x8b\x08\xff", 100, `"size":4,"base64":"H4sI/w=="`)
	f("\x1f\x8b\x08\xff", 2, `"size":4,"base64":"H4s="`)
	// The cut never goes through a character, or text would turn into base64.
	f("grün", 3, `"size":5,"text":"gr"`)
	f("grün", 4, `"size":5,"text":"grü"`)
	f("", 10, `"size":0,"text":""`)
}

// What a line's envelope said of it comes back with the letter; a letter without an envelope has no word of one.
func TestLetterEnvelope(t *testing.T) {
	want := Letter{Partition: "shard-1", At: "495", LogGroup: "/vpc/\"flow\"", LogStream: "eni-1-all", Account: "123456789010", Reason: "no_format", Data: []byte("x"), Size: 1}
	got, _, err := ParseLetter(AppendLetter(nil, want, letterTime, 10))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("letter (-put +parsed):\n%s", d)
	}
}

func FuzzLetter(f *testing.F) {
	f.Add("shard-1", "495", 7, "detail", []byte("2 123 eni-1"), 5)
	f.Add("", "\xff", -1, "\"", []byte{0x1f, 0x8b, 0xff}, 64)
	f.Add("a", "b", 0, "c", []byte("gr\u00fcn\u2028"), 3)
	f.Fuzz(func(t *testing.T, partition, at string, index int, detail string, data []byte, limit int) {
		if limit < 0 {
			return
		}
		line := AppendLetter(nil, Letter{Partition: partition, Index: index, Detail: detail, Data: data, Size: len(data)}, letterTime, limit)
		if bytes.ContainsAny(line, "\n\r") || !utf8.Valid(line) {
			t.Fatalf("not one line of UTF-8: %q", line)
		}
		got, when, err := ParseLetter(line)
		if err != nil {
			t.Fatalf("ParseLetter(%s) = %v", line, err)
		}
		if !when.Equal(letterTime) || got.Index != index || got.Size != len(data) {
			t.Errorf("ParseLetter(%s) = %+v at %s", line, got, when)
		}
		if utf8.ValidString(partition) && got.Partition != partition || utf8.ValidString(detail) && got.Detail != detail {
			t.Errorf("ParseLetter(%s) = %+v, want partition %q and detail %q", line, got, partition, detail)
		}
		if n := len(got.Data); n > limit || n < min(len(data), limit)-utf8.UTFMax || !bytes.HasPrefix(data, got.Data) {
			t.Errorf("data %q came back as %q with a limit of %d", data, got.Data, limit)
		}
	})
}

func FuzzParseLetter(f *testing.F) {
	f.Add([]byte(`{"time":"2026-03-01T12:00:00.005Z","partition":"s","position":"1","index":0,"text":"x"}`))
	f.Add([]byte(`{"base64":"!"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		_, _, err := ParseLetter(line)
		if err != nil && !strings.HasPrefix(err.Error(), "reading a dead letter: ") {
			t.Errorf("error %q does not say what was read", err)
		}
	})
}

type failing struct{ Discard }

func (failing) Put(context.Context, Letter) error { return errors.New("full") }

func TestCount(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	d := Count(Discard{}, reg)
	for _, reason := range []string{"bad_field", "bad_gzip", "bad_field"} {
		if err := d.Put(t.Context(), Letter{Reason: reason, Size: 100}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP dredge_sink_dead_letter_bytes_total Bytes of inputs that could not become rows, before they were cut.
# TYPE dredge_sink_dead_letter_bytes_total counter
dredge_sink_dead_letter_bytes_total 300
# HELP dredge_sink_dead_letters_total Inputs that could not become rows, by reason.
# TYPE dredge_sink_dead_letters_total counter
dredge_sink_dead_letters_total{reason="bad_field"} 2
dredge_sink_dead_letters_total{reason="bad_gzip"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}

	reg = prometheus.NewPedanticRegistry()
	if err := Count(failing{}, reg).Put(t.Context(), Letter{Reason: "bad_field"}); err == nil {
		t.Error("Put = nil, want the dead letter's error")
	}
	if n := testutil.CollectAndCount(reg, "dredge_sink_dead_letters_total"); n != 0 {
		t.Error("a letter that was not taken was counted")
	}
}
