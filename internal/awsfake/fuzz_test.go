package awsfake

import (
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

// sample is an item with something of each kind.
func sample() item {
	return item{
		"k": {kind: kindS, text: "key"}, "n": {kind: kindN, text: "12.5"}, "b": {kind: kindB, text: "\x00"},
		"flag": {kind: kindBOOL, flag: true}, "nil": {kind: kindNULL}, "ss": {kind: kindSS, set: []string{"a", "b"}},
		"ns": {kind: kindNS, set: []string{"1", "2"}}, "l": {kind: kindL, list: []attribute{{kind: kindN, text: "1"}, {kind: kindM, fields: item{"x": {kind: kindS, text: "y"}}}}},
		"m": {kind: kindM, fields: item{"in": {kind: kindL, list: []attribute{{kind: kindS, text: "deep"}}}}},
	}
}

// samplePlaceholders define a few names and values for expressions under test.
func samplePlaceholders() *placeholders {
	return &placeholders{
		names: map[string]string{"#a": "k", "#m": "m", "#in": "in"},
		values: item{
			":n": {kind: kindN, text: "1"}, ":s": {kind: kindS, text: "key"}, ":ss": {kind: kindSS, set: []string{"a"}},
			":l": {kind: kindL, list: []attribute{{kind: kindN, text: "3"}}}, ":m": {kind: kindM, fields: item{}},
		},
		usedNames: map[string]bool{}, usedValues: map[string]bool{},
	}
}

func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"attribute_exists(#a) AND n = :n", "NOT (k <> :s OR size(ss) >= :n)", "begins_with(k, :s) or contains(ss, :s)", "n BETWEEN :n AND :n",
		"k IN (:s, :n, l[0])", "#m.#in[0] = l[1].x", "((((n = :n))))", "attribute_type(nil, :s)", "a.b[99999999999999999999] = :n", "#", ":", "<>=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		it := sample()
		c, paths, err := parseCondition(s, "ConditionExpression", samplePlaceholders())
		if err != nil {
			return
		}
		if held := c.holds(it); held == (not{c}).holds(it) {
			t.Errorf("%q: both it and its contrary hold = %t", s, held)
		}
		for _, p := range paths {
			it.get(p)
		}
		if !sameItem(it, sample()) {
			t.Errorf("%q changed the item", s)
		}
	})
}

func FuzzUpdate(f *testing.F) {
	for _, seed := range []string{
		"SET n = n + :n, l = list_append(l, :l) REMOVE b, l[0] ADD ns :n DELETE ss :ss", "SET m.in[0] = if_not_exists(x, :s)", "REMOVE m.in[0], l[1].x",
		"ADD new :n", "SET l[7] = :m, m.new = n - :n", "DELETE ss :ss", "SET a = b", "set",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		it := sample()
		u, err := parseUpdate(s, samplePlaceholders())
		if err != nil {
			return
		}
		after, err := u.apply(it)
		if !sameItem(it, sample()) {
			t.Fatalf("%q changed the item it was applied to", s)
		}
		if err == nil {
			roundTrip(t, after)
		}
	})
}

// roundTrip holds that an item survives both encodings.
func roundTrip(t *testing.T, it item) {
	t.Helper()
	var fromJSON, fromCBOR map[string]wireAttribute
	if err := json.Unmarshal(it.appendJSON(nil), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := cbor.Unmarshal(it.appendCBOR(nil, formatRPC), &fromCBOR); err != nil {
		t.Fatal(err)
	}
	for _, wire := range []map[string]wireAttribute{fromJSON, fromCBOR} {
		back, err := newItem(wire)
		if err != nil || !sameItem(back, it) {
			t.Fatalf("%v came back as %v, %v", it, back, err)
		}
	}
}

func sameItem(a, b item) bool {
	return attribute{kind: kindM, fields: a}.equal(attribute{kind: kindM, fields: b})
}

func FuzzProjection(f *testing.F) {
	for _, seed := range []string{"k, n", "#m.#in[0], l[1].x", "l[0], l[1]", "m, m.in", "a..b", "a["} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		paths, err := parseProjection(s, samplePlaceholders())
		if err != nil {
			return
		}
		for name := range shown(paths).of(sample()) {
			if !slices.ContainsFunc(paths, func(p path) bool { return p[0].name == name }) {
				t.Errorf("%q shows %q", s, name)
			}
		}
	})
}

func FuzzDecimal(f *testing.F) {
	for _, seed := range []string{"0", "-0.0", "1e125", "9.99e-130", "00012.3400", "1E+5", ".", "+", "1e", "1e999999", "--1", "12345678901234567890123456789012345678"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDecimal(s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q was read as %s but is no number", s, d)
		}
		got, ok := new(big.Rat).SetString(d.String())
		if !ok || got.Cmp(want) != 0 {
			t.Errorf("%q became %s", s, d)
		}
		if again := mustDecimal(d.String()); again != d {
			t.Errorf("%q: %+v, then %+v", s, d, again)
		}
	})
}

func FuzzRequest(f *testing.F) {
	s := New(Config{})
	if err := s.Kinesis().CreateStream("s", 1); err != nil {
		f.Fatal(err)
	}
	ops := []string{}
	for prefix, svc := range s.services {
		for op := range svc.operations {
			ops = append(ops, prefix+"."+op)
		}
	}
	slices.Sort(ops)
	f.Add(uint8(0), false, []byte(`{"StreamName":"s","Records":[{"Data":"AA==","PartitionKey":"k"}]}`))
	f.Add(uint8(5), false, []byte(`{"TableName":"ttt","KeySchema":[{"AttributeName":"k","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"}],"BillingMode":"PAY_PER_REQUEST"}`))
	f.Add(uint8(9), true, []byte("\xbfjStreamNameas\xff"))
	f.Fuzz(func(t *testing.T, op uint8, binary bool, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(string(body)))
		r.Header.Set("X-Amz-Target", ops[int(op)%len(ops)])
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		valid := json.Valid
		if binary {
			r.Header.Set("Content-Type", "application/x-amz-cbor-1.1")
			valid = func(b []byte) bool { return cbor.Wellformed(b) == nil }
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if !valid(w.Body.Bytes()) {
			t.Errorf("%s %q: malformed answer %q", ops[int(op)%len(ops)], body, w.Body)
		}
		if w.Code >= http.StatusInternalServerError {
			t.Errorf("%s %q: %d %s", ops[int(op)%len(ops)], body, w.Code, w.Body)
		}
	})
}

func TestDecimalArithmetic(t *testing.T) {
	number := rapid.Custom(func(t *rapid.T) decimal {
		n := rapid.Int64().Draw(t, "digits")
		d, err := parseDecimal(big.NewInt(n).String() + "e" + big.NewInt(int64(rapid.IntRange(-8, 8).Draw(t, "exponent"))).String())
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
	rat := func(d decimal) *big.Rat {
		r, _ := new(big.Rat).SetString(d.String())
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if got, want := a.compare(b), rat(a).Cmp(rat(b)); got*want < 0 || (got == 0) != (want == 0) {
			t.Errorf("compare(%s, %s) = %d; want %d", a, b, got, want)
		}
		sum, err := a.add(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := new(big.Rat).Add(rat(a), rat(b)); rat(sum).Cmp(want) != 0 {
			t.Errorf("%s + %s = %s", a, b, sum)
		}
	})
}

func TestSequenceNumbers(t *testing.T) {
	drawn := rapid.Custom(func(t *rapid.T) sequence {
		return newSequence(rapid.Uint64Max(1<<36-1).Draw(t, "created"), rapid.Uint64().Draw(t, "counter"),
			rapid.Uint64Max(1<<36-1).Draw(t, "arrived"), rapid.Uint32().Draw(t, "shard"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawn.Draw(t, "a"), drawn.Draw(t, "b")
		n, ok := new(big.Int).SetString(a.String(), 10)
		m, _ := new(big.Int).SetString(b.String(), 10)
		if !ok || len(a.String()) != 56 || n.BitLen() != 186 {
			t.Fatalf("%s has %d bits", a, n.BitLen())
		}
		if shard := new(big.Int).Rsh(n, 4).Uint64() & (1<<32 - 1); shard != uint64(a.shard()) {
			t.Errorf("%s: shard %d; want %d", a, shard, a.shard())
		}
		if back, ok := parseSequence(a.String()); !ok || back != a {
			t.Errorf("%s came back as %s", a, back)
		}
		if got, want := a.compare(b), n.Cmp(m); got != want {
			t.Errorf("compare = %d; want %d", got, want)
		}
	})
	for _, bad := range []string{"", "x", "-1", "12", strings.Repeat("9", 57), "1234567890123456789012345678901234567890123456789012345"} {
		if _, ok := parseSequence(bad); ok {
			t.Errorf("%q was taken for a sequence number", bad)
		}
	}
}
