package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// isHeader stands in for flowlog.IsHeader.
func isHeader(line []byte) bool { return bytes.HasPrefix(line, []byte("version ")) }

// pieces cuts text and checks what holds of every piece.
func pieces(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string, size, limit int, from int64,
) []Block {
	t.Helper()
	b := NewBlocks(iotest.OneByteReader(strings.NewReader(text)), size, limit, isHeader)
	if err := b.SkipTo(from); err != nil {
		t.Fatalf("skip(%d): %v", from, err)
	}
	var out []Block
	at := from
	for {
		p, err := b.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("next: %v", err)
		}
		p.Data = bytes.Clone(p.Data)
		own := p.Data[len(p.Data)-p.Text:]
		if want := text[at : at+int64(p.Text)]; string(own) != want || p.End != at+int64(p.Text) || p.Text == 0 {
			t.Fatalf("piece at %d is %q up to %d, want %q", at, own, p.End, want)
		}
		at = p.End
		out = append(out, p)
	}
	if at != int64(len(text)) {
		t.Fatalf("pieces end at %d of %d", at, len(text))
	}
	return out
}

func TestLinesAreNeverSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.OneOf(
			rapid.StringMatching(`[0-9][0-9 ]{0,20}`), rapid.Just(""), rapid.Just("version a b"), rapid.Just("version c"),
		), 0, 40).Draw(t, "lines")
		text := strings.Join(lines, "\n")
		if rapid.Bool().Draw(t, "ends") && text != "" {
			text += "\n"
		}
		size := rapid.IntRange(1, 40).Draw(t, "size")
		all := pieces(t, text, size, 64, 0)
		// Decoding piece by piece gives each line the header that it has in the whole.
		want, header := []string{}, ""
		for l := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(l, "version ") {
				header = l
			} else if l != "" {
				want = append(want, header+"|"+l)
			}
		}
		decode := func(ps []Block) []string {
			got := []string{}
			for _, p := range ps {
				header := ""
				for l := range strings.SplitSeq(string(p.Data), "\n") {
					if strings.HasPrefix(l, "version ") {
						header = l
					} else if l != "" {
						got = append(got, header+"|"+l)
					}
				}
			}
			return got
		}
		if got := decode(all); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("decoded %q, want %q", got, want)
		}
		// Going on from the end of any piece gives the rest.
		if len(all) > 0 {
			k := rapid.IntRange(0, len(all)-1).Draw(t, "go on after")
			rest := pieces(t, text, size, 64, all[k].End)
			if got, want := decode(rest), decode(all[k+1:]); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("going on from %d gives %q, want %q", all[k].End, got, want)
			}
		}
	})
}

func TestJSONIsCutBetweenValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Custom(func(t *rapid.T) string {
			s := rapid.StringMatching(`[a\\"{}\[\]\n,: ]{0,12}`).Draw(t, "s")
			v := map[string]any{"message": s, "deep": []any{map[string]any{"x": s}}}
			raw, err := json.Marshal(v)
			if rapid.Bool().Draw(t, "pretty") {
				raw, err = json.MarshalIndent(v, "", " ")
			}
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		})
		text := " " + strings.Join(rapid.SliceOfN(value, 1, 12).Draw(t, "values"), rapid.SampledFrom([]string{"", "\n", " \r\n"}).Draw(t, "glue"))
		for _, p := range pieces(t, text, rapid.IntRange(1, 200).Draw(t, "size"), 1000, 0) {
			d := json.NewDecoder(bytes.NewReader(p.Data))
			for {
				var v any
				if err := d.Decode(&v); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("piece %q is not whole: %v", p.Data, err)
				}
			}
		}
	})
}

func TestOversizedValuesAreCut(t *testing.T) {
	f := func(text string, size, limit int, want ...string) {
		t.Helper()
		var got []string
		for _, p := range pieces(t, text, size, limit, 0) {
			s := string(p.Data)
			if p.Cut {
				s += "…"
			}
			got = append(got, s)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q in %d/%d: %q, want %q", text, size, limit, got, want)
		}
	}
	f("", 4, 8)
	f("1\n2\n3\n", 4, 8, "1\n2\n", "3\n")
	f("123456789012\n3", 4, 8, "12345678…", "9012\n3")
	f(`{"a":"0123456789"}{"b":1}`, 4, 8, `{"a":"01…`, `23456789…`, `"}`, `{"b":1}`)
	f("{\"a\"\n{}\n{}{}\n", 4, 8, "{\"a\"\n{}\n…", "{}{}", "\n")
	f("version a\n1\n2\n3", 11, 20, "version a\n", "version a\n1\n2\n3")
}

func TestReadErrorKeepsWholeLines(t *testing.T) {
	cause := errors.New("disk gone")
	b := NewBlocks(io.MultiReader(strings.NewReader("1\n2\n3"), iotest.ErrReader(cause)), 100, 100, isHeader)
	p, err := b.Next()
	if err != nil || string(p.Data) != "1\n2\n" {
		t.Errorf("first piece = %q, %v", p.Data, err)
	}
	if _, err = b.Next(); !errors.Is(err, cause) {
		t.Errorf("then %v, want %v", err, cause)
	}
}

func TestSkipBeyondTheEnd(t *testing.T) {
	b := NewBlocks(strings.NewReader("1\n"), 10, 10, isHeader)
	if err := b.SkipTo(3); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("skip(3) of 2 bytes = %v", err)
	}
}

func FuzzBlocks(f *testing.F) {
	for _, s := range []string{"", "\n", "version a\n1 2\n", `{"a":"}"}[1]`, "{\"a\":\n1}\n{}", "[[[", "\ufeffversion b\r\n1\r\n", "1\n{\n"} {
		f.Add(s, 5)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, min(size, 64))
		pieces(t, text, size, 128, 0)
	})
}

func BenchmarkBlocks(b *testing.B) {
	line := "2 123456789012 eni-0a1b2c3d4e5f67890 10.0.1.5 10.0.2.7 44321 443 6 10 8400 1700000000 1700000060 ACCEPT OK\n"
	for name, text := range map[string]string{
		"lines": "version a\n" + strings.Repeat(line, 40_000),
		"json":  strings.Repeat(fmt.Sprintf(`{"message":%q}`, line), 30_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r := NewBlocks(strings.NewReader(text), 1<<20, 16<<20, isHeader)
				for {
					if _, err := r.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}
