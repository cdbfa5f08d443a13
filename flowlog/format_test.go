package flowlog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCatalogue(t *testing.T) {
	versions := map[int]int{}
	for i, info := range Fields() {
		if int(info.Field) != i+1 || info.Name == "" || info.Doc == "" || info.Field.String() != info.Name {
			t.Errorf("entry %d is %+v", i, info)
		}
		for _, name := range []string{info.Name, strings.ReplaceAll(info.Name, "-", "_")} {
			if f, ok := LookupField(name); !ok || f != info.Field {
				t.Errorf("LookupField(%q) = %v, %v", name, f, ok)
			}
			if f, ok := lookupBytes([]byte(name)); !ok || f != info.Field {
				t.Errorf("lookupBytes(%q) = %v, %v", name, f, ok)
			}
		}
		versions[info.Version]++
	}
	// AWS's own counts: 14, 21, 25, 29, 39, 40, 41, 42 and 54 fields up to each version; 18 are a transit gateway's alone.
	want := map[int]int{2: 14, 3: 7, 4: 4, 5: 4, 6: 18, 7: 10, 8: 1, 9: 1, 10: 1, 11: 12}
	if diff := cmp.Diff(want, versions); diff != "" {
		t.Error(diff)
	}
	if f, ok := LookupField("nope"); ok || f != FieldOther || FieldOther.String() != "other" || Field(200).String() != "other" {
		t.Error("an unknown name was found")
	}
	if DefaultFormat().Len() != 14 || TransitGatewayFormat().Len() != 36 {
		t.Error("a default layout has another number of fields than AWS's")
	}
}

func TestParseFormat(t *testing.T) {
	f := func(s string, names ...string) {
		t.Helper()
		got, err := ParseFormat(s)
		if err != nil {
			t.Error(err)
			return
		}
		if diff := cmp.Diff(names, got.Names()); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
	f("${version} ${account-id}", "version", "account-id")
	f("${version}${account-id}", "version", "account-id")
	f("version account_id pkt_srcaddr", "version", "account-id", "pkt-srcaddr")
	f(" version,  ${ start },end\r\n", "version", "start", "end")
	f("srcaddr brand_new other-new", "srcaddr", "brand_new", "other-new")

	f("default", DefaultFormat().Names()...)
	f(" transit-gateway ", TransitGatewayFormat().Names()...)

	bad := func(s, words string) {
		t.Helper()
		if got, err := ParseFormat(s); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q gives %v, %v; want %q", s, got, err, words)
		}
	}
	bad("", "empty")
	bad(" , ", "name at least one field")
	bad("${version", "no closing brace")
	bad("$version", "dollar sign")
	bad("${}", "empty field name")
	bad("version start version", `"version" stands twice, as number 1 and 3`)
	bad("account-id ${account_id}", "twice")
	bad("new_field new-field", "twice")
	bad("srcAddr", `AWS writes it "srcaddr"`)
	bad("src/addr", "not allowed")
	bad("- -", "no letter")
	bad(strings.Repeat("x", 200), "longer than 128")
	bad(strings.Repeat("x ", 40000), "more than 65536")
	many := make([]string, 300)
	for i := range many {
		many[i] = "f" + strings.Repeat("x", i%100) + strings.Repeat("y", i/100)
	}
	bad(strings.Join(many, " "), "more than 256 fields")
}

func TestFormatMethods(t *testing.T) {
	f := format(t, "version brand_new srcaddr")
	if f.String() != "${version} ${brand_new} ${srcaddr}" || f.Len() != 3 || !f.Has(FieldSrcAddr) || f.Has(FieldDstAddr) || f.Has(FieldOther) {
		t.Errorf("%s", f)
	}
	if diff := cmp.Diff([]string{"brand_new"}, f.Unknown()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Field{FieldVersion, FieldOther, FieldSrcAddr}, f.Fields()); diff != "" {
		t.Error(diff)
	}
	var none *Format
	if none.Len() != 0 || none.String() != "" || none.Has(FieldSrcAddr) || none.Names() != nil {
		t.Error("a nil layout has fields")
	}
}

func TestIsHeader(t *testing.T) {
	f := func(line string, want bool) {
		t.Helper()
		if got := IsHeader([]byte(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
	f(strings.Join(DefaultFormat().Names(), " "), true)
	f(strings.ReplaceAll(formatFive, "-", "_")+"\r\n", true)
	f("version account-id field-of-version-12", true)
	f("version shiny newer newest", false) // most names unknown
	f("region type", false)                // no usual name
	f("version", false)
	f("", false)
	f(lineOK, false)
	f(lineNoData, false)
	f("eni-0 vpc-0", false)
	f("- -", false)
	for _, c := range golden(t) {
		f(c.Line, false)
		f(c.Format, true)
	}
}
