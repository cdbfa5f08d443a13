package event

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The page for people who bring their own source names every field and every operation.
func TestThePageNamesEveryField(t *testing.T) {
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Event](), reflect.TypeFor[Endpoint](), reflect.TypeFor[Workload](), reflect.TypeFor[Listen]()} {
		for field := range typ.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !strings.Contains(string(page), name) {
				t.Errorf("docs/events.md does not name %s.%s", typ.Name(), name)
			}
		}
	}
	for _, op := range []Op{Assign, Release, Observe, Describe, Progress, SnapBegin, SnapEnd, Coverage, Topology} {
		if !strings.Contains(string(page), "`"+string(op)+"`") {
			t.Errorf("docs/events.md does not name the operation %s", op)
		}
	}
}
