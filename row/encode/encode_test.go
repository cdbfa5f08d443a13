package encode_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"dredge/row"
	"dredge/row/encode"
)

func allSets() row.Config {
	c := row.DefaultConfig()
	for _, s := range row.Sets() {
		c.ColumnSets = append(c.ColumnSets, s.Name)
	}
	return c
}

func newJSON(t testing.TB, c row.Config) *encode.JSON {
	t.Helper()
	j, err := encode.NewJSON(c.Columns(row.Raw))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// slow encodes row i of b with encoding/json, one column after the other.
func slow(t testing.TB, columns []row.Column, b *row.Batch, i int) []byte {
	t.Helper()
	m := map[string]any{}
	for k := range columns {
		if v, ok := columns[k].Value(b, &b.Rows[i]); ok {
			m[columns[k].Name] = v
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func decode(t testing.TB, text []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if dec.More() {
		t.Fatalf("more than one value in %s", text)
	}
	return m
}

func TestSameAsEncodingJSON(t *testing.T) {
	mix := mixBatch(100)
	for name, c := range map[string]row.Config{"core": row.DefaultConfig(), "all": allSets(), "end": {Time: row.AtEnd}} {
		t.Run(name, func(t *testing.T) {
			j := newJSON(t, c)
			for i := range mix.Rows {
				got := j.Append(nil, mix, i)
				if diff := cmp.Diff(decode(t, slow(t, j.Columns(), mix, i)), decode(t, got)); diff != "" {
					t.Fatalf("row %d (-encoding/json +encode):\n%s\n%s", i, diff, got)
				}
			}
		})
	}
}

// TestAnyRow draws rows whose every text holds any bytes and whose every field may be absent.
func TestAnyRow(t *testing.T) {
	c := allSets()
	j := newJSON(t, c)
	columns := j.Columns()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		draw := func(name string) string { return text.Draw(rt, name) }
		side := func() row.Side {
			s := row.Side{
				App: draw("app"), Grade: draw("grade"), Reason: draw("reason"), Instance: draw("instance"), ENI: draw("eni"), Name: draw("name"),
				Candidates: rapid.SliceOfN(text, 0, 3).Draw(rt, "candidates"), Port: rapid.Uint16().Draw(rt, "port"), Named: rapid.Bool().Draw(rt, "named"),
			}
			if raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "addr"); raw[0]%3 != 0 {
				s.Addr = netip.AddrFrom16([16]byte(raw)).WithZone(draw("zone"))
			}
			if rapid.Bool().Draw(rt, "known") {
				s.Identity = &row.Identity{
					App: draw("app"), Kind: draw("kind") + "k", Cluster: draw("cluster"), Account: draw("account"), Region: draw("region"), AZ: draw("az"),
					VPC: draw("vpc"), Subnet: draw("subnet"), Network: draw("network"), Site: draw("site"), Team: draw("team"), AppSource: draw("source"),
				}
				if rapid.Bool().Draw(rt, "same") {
					s.Identity.App += "a"
					s.App = s.Identity.App
				}
			}
			return s
		}
		b := &row.Batch{Partition: draw("partition")}
		if rapid.Bool().Draw(rt, "origin") {
			b.Origins = []row.Origin{{Position: draw("position"), LogGroup: draw("group"), Arrived: time.UnixMilli(rapid.Int64Range(1, 1<<41).Draw(rt, "arrived"))}}
		}
		*b.Add() = row.Row{
			Start: rapid.Int64().Draw(rt, "start"), End: rapid.Int64().Draw(rt, "end"), Bytes: rapid.Int64().Draw(rt, "bytes"), Packets: rapid.Int64().Draw(rt, "packets"),
			Src: side(), Dst: side(), InterfaceID: draw("eni"), AccountID: draw("account"), ViaKind: draw("via"), ViaID: draw("via"), RejectReason: draw("reject"),
			Tags:    &row.Tags{Instance: draw("tag"), ASG2: draw("tag")},
			Missing: row.Missing(rapid.Byte().Draw(rt, "missing")), Protocol: rapid.Byte().Draw(rt, "protocol"), HasTCPFlags: rapid.Bool().Draw(rt, "flags"),
			Action: row.Action(rapid.Byte().Draw(rt, "action")), Path: row.Path(rapid.Byte().Draw(rt, "path")), Counted: rapid.Bool().Draw(rt, "counted"),
		}
		got := decode(t, j.Append(nil, b, 0))
		if diff := cmp.Diff(decode(t, slow(t, columns, b, 0)), got); diff != "" {
			rt.Fatalf("(-encoding/json +encode):\n%s", diff)
		}
	})
}

// TestO8RowsValidateAgainstTheSchema holds the encoder to the published schema, and the schema to refusing what is no row.
func TestO8RowsValidateAgainstTheSchema(t *testing.T) {
	for name, c := range map[string]row.Config{"core": row.DefaultConfig(), "all": allSets(), "end": {Time: row.AtEnd, ColumnSets: []row.Set{row.Lineage}}} {
		for kind, schema := range map[string]*row.Schema{"its own": row.JSONSchema("flows_raw", c.Columns(row.Raw)), "public": row.JSONSchema("flows_raw", row.Of(row.Raw))} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				text, err := json.Marshal(schema)
				if err != nil {
					t.Fatal(err)
				}
				doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				compiler := jsonschema.NewCompiler()
				if err := compiler.AddResource("row.json", doc); err != nil {
					t.Fatal(err)
				}
				compiled, err := compiler.Compile("row.json")
				if err != nil {
					t.Fatal(err)
				}
				validate := func(text []byte) error {
					v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
					if err != nil {
						t.Fatalf("%v in %s", err, text)
					}
					return compiled.Validate(v)
				}
				j, b := newJSON(t, c), mixBatch(200)
				var sample []byte
				for i := range b.Rows {
					sample = j.Append(nil, b, i)
					if err := validate(sample); err != nil {
						t.Fatalf("row %s: %v", sample, err)
					}
				}
				for what, bad := range map[string][]byte{
					"a number as text":  bytes.Replace(sample, []byte(`"flows":1`), []byte(`"flows":"1"`), 1),
					"an unknown action": bytes.Replace(sample, []byte(`REJECT`), []byte(`MAYBE`), 1),
					"a column too many": bytes.Replace(sample, []byte(`{`), []byte(`{"more":1,`), 1),
					"no application":    bytes.Replace(sample, []byte(`"src_app"`), []byte(`"src_application"`), 1),
				} {
					if bytes.Equal(bad, sample) {
						t.Fatalf("%s: nothing was changed in %s", what, sample)
					}
					if validate(bad) == nil {
						t.Errorf("%s: the schema lets %s pass", what, bad)
					}
				}
			})
		}
	}
}

// TestRowSize holds the price of everything after the join: the mean core row of the benchmark mix.
func TestRowSize(t *testing.T) {
	const most = 700
	b := mixBatch(1000)
	mean := func(c row.Config) int {
		var dst []byte
		j := newJSON(t, c)
		for i := range b.Rows {
			dst = j.Append(dst, b, i)
		}
		return len(dst) / len(b.Rows)
	}
	core := mean(row.DefaultConfig())
	t.Logf("mean row: core %d bytes, with lineage %d, with all sets %d", core,
		mean(row.Config{Time: row.AtStart, ColumnSets: []row.Set{row.Lineage}}), mean(allSets()))
	if core > most {
		t.Errorf("the mean core row has %d bytes, more than %d: %s", core, most, newJSON(t, row.DefaultConfig()).Append(nil, b, 0))
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	j, b := newJSON(t, allSets()), mixBatch(100)
	dst := make([]byte, 0, 1<<20)
	each := func() {
		dst = dst[:0]
		for i := range b.Rows {
			dst = j.Append(dst, b, i)
		}
	}
	each() // renders the identities
	if n := testing.AllocsPerRun(100, each); n != 0 {
		t.Errorf("%v allocations in 100 rows", n)
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	j, b := newJSON(t, row.DefaultConfig()), mixBatch(1)
	got := j.Append([]byte("before"), b, 0)
	if want := append([]byte("before"), j.Append(nil, b, 0)...); !bytes.Equal(want, got) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestOneIdentityTwoLayouts shares identities between encoders with different columns, concurrently.
func TestOneIdentityTwoLayouts(t *testing.T) {
	b := mixBatch(200)
	core, all := newJSON(t, row.DefaultConfig()), newJSON(t, allSets())
	done := make(chan []byte, 2)
	for _, j := range []*encode.JSON{core, all} {
		go func() {
			var dst []byte
			for i := range b.Rows {
				dst = append(j.Append(dst, b, i), '\n')
			}
			done <- dst
		}()
	}
	<-done
	<-done
	for i := range b.Rows {
		for _, j := range []*encode.JSON{core, all} {
			if diff := cmp.Diff(decode(t, slow(t, j.Columns(), b, i)), decode(t, j.Append(nil, b, i))); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

func TestNewJSONRefusesNothing(t *testing.T) {
	if _, err := encode.NewJSON(nil); err == nil {
		t.Error("an encoder without columns")
	}
	if _, err := encode.NewJSON([]row.Column{{Name: "x"}}); err == nil {
		t.Error("a column without an accessor")
	}
}

func FuzzStrings(f *testing.F) {
	for _, s := range []string{"", "plain", "with \"quotes\" and \\", "\x00\x1f\x7f\x80\xff", "h\u00e9llo \u2028 \U0001f600", "\xed\xa0\x80", "12345678\"1234567"} {
		f.Add(s)
	}
	j := newJSON(f, row.DefaultConfig())
	f.Fuzz(func(t *testing.T, s string) {
		b := &row.Batch{}
		b.Add().InterfaceID = s
		b.Rows[0].Src.App = s
		if diff := cmp.Diff(decode(t, slow(t, j.Columns(), b, 0)), decode(t, j.Append(nil, b, 0))); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkJSON(bench *testing.B) {
	for name, c := range map[string]row.Config{"core": row.DefaultConfig(), "all": allSets()} {
		bench.Run(name, func(bench *testing.B) {
			j, b := newJSON(bench, c), mixBatch(1000)
			dst := make([]byte, 0, 4<<20)
			each := func() {
				dst = dst[:0]
				for i := range b.Rows {
					dst = j.Append(dst, b, i)
				}
			}
			each()
			bench.SetBytes(int64(len(dst) / len(b.Rows)))
			bench.ReportAllocs()
			i := 0
			for bench.Loop() {
				if i == len(b.Rows) {
					i, dst = 0, dst[:0]
				}
				dst = j.Append(dst, b, i)
				i++
			}
		})
	}
}
