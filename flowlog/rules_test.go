package flowlog

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

func TestChooser(t *testing.T) {
	tgw := Rule{LogGroup: "/tgw/*", Format: "transit-gateway"}
	own := Rule{LogGroup: "/vpc/*", LogStream: "eni-*-all", Account: "1234????????", Format: "${version} ${srcaddr}"}
	c, err := NewChooser(Rules{Default: "default", Rules: []Rule{tgw, own}})
	if err != nil {
		t.Fatal(err)
	}
	f := func(group, stream, account, want string) {
		t.Helper()
		for range 2 { // the second answer is remembered
			if got, ok := c.Choose(group, stream, account); !ok || got.String() != want {
				t.Errorf("%s %s %s: %v, %v", group, stream, account, got, ok)
			}
		}
	}
	f("", "", "", DefaultFormat().String())
	f("/tgw/a", "x", "", TransitGatewayFormat().String())
	f("/vpc/a", "eni-0a-all", "123456789012", "${version} ${srcaddr}")
	f("/vpc/a", "eni-0a-accept", "123456789012", DefaultFormat().String())
	f("/vpc/a", "eni-0a-all", "223456789012", DefaultFormat().String())

	c, err = NewChooser(Rules{Rules: []Rule{tgw}})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Choose("/vpc/a", "", ""); ok || got != nil {
		t.Errorf("without a default: %v", got)
	}
	if _, ok := c.Choose("/vpc/a", "", ""); ok {
		t.Error("the remembered answer differs")
	}
	for i := range maxChosen + 10 {
		c.Choose(fmt.Sprint("/tgw/", i), "", "")
	}
	if len(c.chosen) > maxChosen {
		t.Error("the memory of choices is not bounded")
	}
	if n := testing.AllocsPerRun(100, func() { c.Choose("/tgw/1", "", ""); c.Choose("/tgw/2", "", "") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestChooserHeader(t *testing.T) {
	c, err := NewChooser(DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Header([]byte("version srcaddr"))
	b, err2 := c.Header([]byte("version srcaddr"))
	if err != nil || err2 != nil || a != b || a.Len() != 2 {
		t.Errorf("%v %v, %v %v", a, b, err, err2)
	}
	if _, err := c.Header([]byte("version version")); err == nil {
		t.Error("a header with a double name was accepted")
	}
	for i := range 3 * maxHeaders {
		if _, err := c.Header([]byte(fmt.Sprint("version f", i))); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.headers) > maxHeaders {
		t.Error("the memory of headers is not bounded")
	}
}

func TestRulesValidate(t *testing.T) {
	err := Rules{Default: "${", Rules: []Rule{{LogGroup: "x"}, {Format: "default"}, {Account: "1", Format: "start start"}}}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, words := range []string{"default: parse log format", "rules[0].format: parse log format: empty", "rules[1]: no pattern", `rules[2].format: parse log format: field "start" stands twice`} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%v\nlacks %q", err, words)
		}
	}
	if err := DefaultRules().Validate(); err != nil {
		t.Error(err)
	}
}

// FuzzGlob compares glob with path.Match, which knows the same two signs once slashes and its own others are gone.
func FuzzGlob(f *testing.F) {
	for _, c := range [][2]string{{"*", "x"}, {"a*b?c", "axxbyc"}, {"?", ""}, {"**a", "ba"}, {"a*a*a", "aaaa"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if pattern == "" || strings.ContainsAny(pattern+s, `/[]\`) || strings.ToValidUTF8(pattern+s, "") != pattern+s || len(pattern+s) != len([]rune(pattern+s)) {
			return
		}
		want, err := path.Match(pattern, s)
		if err != nil {
			return
		}
		if got := glob(pattern, s); got != want {
			t.Fatalf("glob(%q, %q) = %v", pattern, s, got)
		}
	})
}

func TestAdvice(t *testing.T) {
	best := format(t, Recommended())
	if got := Advice(best); len(got) != 0 {
		t.Errorf("the recommended layout lacks %v", got)
	}
	if got := Advice(TransitGatewayFormat()); len(got) != 0 {
		t.Errorf("the transit gateway layout lacks %v", got)
	}
	got := map[Field]bool{}
	for _, m := range Advice(DefaultFormat()) {
		got[m.Field] = m.Cost != ""
	}
	if !got[FieldFlowDirection] || !got[FieldVPCID] || !got[FieldPktSrcAddr] || got[FieldSrcAddr] {
		t.Errorf("the default layout lacks %v", got)
	}
}
