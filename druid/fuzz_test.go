package druid

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzAnswer reads what a server may say where Druid should be: to a question for a spec, for a report, and with an error.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"ingestionStatsAndErrors":{"payload":{"ingestionState":"COMPLETED","segmentsPublished":1,"rowStats":{"buildSegments":{"processed":3}}}}}`))
	f.Add(200, []byte(`{"ingestionStatsAndErrors":{"payload":{"rowStats":{"processed":3,"unparseable":1}}}}`))
	f.Add(400, []byte(`{"error":"druidException","errorCode":"invalidInput","errorMessage":"no"}`))
	f.Add(500, []byte("<html><body><h2>HTTP ERROR 500</h2></body></html>"))
	f.Add(404, []byte(""))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if e := refusal("GET /", status, body); len(e.Message) > 410 || utf8.Valid(body) && !utf8.ValidString(e.Message) {
			t.Fatalf("message %q", e.Message)
		}
		report, found, err := readReport("task", body)
		if err == nil && !found && report != (TaskReport{}) {
			t.Fatalf("no report, but %+v", report)
		}
		if d, err := Diff(body, body); err == nil && len(d) > 0 {
			t.Fatalf("a spec differs from itself: %+v", d)
		}
		if json.Valid(body) {
			if _, err := Diff([]byte(`{"spec":{"a":[1,{"b":2}]}}`), body); err != nil {
				t.Fatal(err)
			}
		}
	})
}
