package sonar_test

import (
	"net/http"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"dredge/metadata/sonar"
)

// A worker's store alone gives the same judgement, tenures and networks; what needs evidence is not served.
func TestAnswersWithoutAFold(t *testing.T) {
	full := story(t)
	h := serve(&sonar.Asker{Store: full.Store, Now: full.Now}, nil)
	var got, want sonar.Answers
	for _, path := range []string{"/v1/ip/10.0.0.1", "/v1/ip/10.0.0.1?at=2026-01-02T09:00:00Z&scope=vpc-1", "/v1/ip/10.0.9.9", "/v1/ip/8.8.8.8"} {
		got, want = sonar.Answers{}, sonar.Answers{}
		if status, body := get(t, h, path, &got); status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		get(t, serve(full, nil), path, &want)
		for i := range want.Answers {
			want.Answers[i].Evidence = nil
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-with evidence +without): %s", path, diff)
		}
	}
	var history sonar.History
	if status, body := get(t, h, "/v1/ip/10.0.0.1/history", &history); status != http.StatusOK {
		t.Fatalf("history: %d %s", status, body)
	}
	var owners []string
	for _, x := range history.Tenures {
		owners = append(owners, x.Owner+" "+x.Kind)
	}
	if diff := gocmp.Diff([]string{"eni:eni-a told", "eni:eni-b told", "eni:eni-b seen"}, owners); diff != "" {
		t.Error(diff)
	}
	if status, _ := get(t, h, "/v1/workload/playback", nil); status != http.StatusNotFound {
		t.Errorf("a question that needs evidence is answered %d", status)
	}
}
