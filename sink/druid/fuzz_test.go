package druid

import (
	"encoding/json"
	"testing"
)

// FuzzParseState reads the state of a lease row as anybody may have written it. What is taken for ours is within bounds, and comes back when it is written.
func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"dredge":1,"batch":"b","loads":[{"table":"raw","datasource":"flows_raw","first":1,"attempt":2,"rows":3,"from":1,"to":2,"object":"o"}]}`))
	f.Add([]byte(`{"dredge":1,"batch":"b","loads":[{"table":"none"}]}`))
	f.Add([]byte(`{"somebody":"else"}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, ok := parseState(data)
		if !ok {
			return
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, ok := parseState(text)
		if !ok || again.Batch != r.Batch || len(again.Loads) != len(r.Loads) {
			t.Fatalf("%s became %+v, %t", data, again, ok)
		}
		for i, l := range r.Loads {
			if l.table >= tables || l.Rows < 1 || l.Attempt < l.First || again.Loads[i].table != l.table {
				t.Fatalf("load %+v", l)
			}
		}
	})
}
