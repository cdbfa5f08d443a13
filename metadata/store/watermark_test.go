package store

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dredge/metadata"
)

// Whatever sources tell and fall silent: what is complete everywhere is complete in every scope, and a source that told
// everything, with no other, is seen to have done so.
func TestCompleteEverywhere(t *testing.T) {
	const idle = 10 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		w := newWatermarks(func(metadata.Scope, int64) {})
		now := time.Unix(1_700_000_000, 0)
		source := rapid.Map(rapid.IntRange(0, 3), func(n int) string { return fmt.Sprint("src-", n) })
		scope := rapid.Map(rapid.IntRange(0, 4), func(n int) metadata.Scope { return metadata.Scope(n) })
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				w.hear(source.Draw(t, "source"), scope.Draw(t, "scope"), now)
			case 1:
				w.tell(source.Draw(t, "source"), scope.Draw(t, "scope"), rapid.Int64Range(1, 9).Draw(t, "upTo"), now)
			case 2:
				w.expect(source.Draw(t, "source"), now)
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second)
			}
			at := rapid.Int64Range(1, 9).Draw(t, "at")
			everywhere, all := w.completeEverywhere(at, now, idle), true
			for sc := range metadata.Scope(5) {
				if ok, _ := w.complete([]metadata.Scope{sc}, at, now, idle); !ok {
					all = false
				}
			}
			if everywhere && !all {
				t.Fatalf("complete everywhere up to %d, but not in every scope", at)
			}
			if all && !everywhere && len(w.sources) == 1 && len(w.sources["src-0"].progressOrNone()) == 0 {
				t.Fatalf("one source told everything up to %d, and it was not seen", at)
			}
		}
	})
}

func (src *source) progressOrNone() map[metadata.Scope]int64 {
	if src == nil {
		return map[metadata.Scope]int64{metadata.NoScope: 0}
	}
	return src.progress
}
