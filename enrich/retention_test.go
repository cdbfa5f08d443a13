package enrich_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A flow older than the history that is kept says so and names nobody, although the store still knows who has the address now: that owner may be another one than then.
// One within it is named.
func TestAFlowOlderThanTheRetentionIsNotGuessed(t *testing.T) {
	old := assign("10.0.1.5", "eni:eni-a", "web") + assign("10.0.2.6", "eni:eni-b", "db")
	w := newWorld(t, events(strings.ReplaceAll(old, `"from":T+0`, `"from":1`), progress)) // since ever
	const now = 3600                                                                      // the world's clock, in seconds
	w.store.Trim(time.Unix(epoch+now, 0))                                                 // as it does by itself all the time
	line := func(at int64) string {
		return "2 111111111111 eni-a 10.0.1.5 10.0.2.6 40000 443 6 1 60 " + unix(at) + " " + unix(at+60) + " ACCEPT OK"
	}
	past := w.rows(t, v2, line(now-25*3600))[0] // the retention is 24 h
	for _, side := range []string{"src_", "dst_"} {
		if past[side+"app"] != "unknown" || past[side+"reason"] != "before-retention" || past[side+"status"] != "unattributed" ||
			strings.ContainsAny(fmt.Sprint(past[side+"candidates"]), "wb") { // the interface's own id may stand there, no application
			t.Errorf("25 h ago: %sapp %v, reason %v, candidates %v", side, past[side+"app"], past[side+"reason"], past[side+"candidates"])
		}
	}
	if present := w.rows(t, v2, line(now-600))[0]; present["src_app"] != "web" || present["dst_app"] != "db" {
		t.Errorf("ten minutes ago: %v > %v", present["src_app"], present["dst_app"])
	}
}

// unix is a time of the cases as lines have it.
func unix(at int64) string { return strconv.FormatInt(epoch+at, 10) }
