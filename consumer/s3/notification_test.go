package s3

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// The cases are those of the S3 user guide; derived_* are made from them, with the names of Hive-style flow logs.
func TestNotificationCases(t *testing.T) {
	dir := filepath.Join("testdata", "notifications")
	raw, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]any
	if err := json.Unmarshal(raw, &expected); err != nil {
		t.Fatal(err)
	}
	for name, want := range expected {
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			n := ParseNotification(body)
			if len(n.Faults) > 0 {
				t.Fatalf("faults: %v", n.Faults)
			}
			var got []any
			for _, o := range n.Objects {
				got = append(got, []any{o.Bucket, o.Key})
				if o.Size == 0 || o.ETag == "" || o.Time.IsZero() {
					t.Errorf("no size, etag or time: %+v", o)
				}
			}
			if words, none := want.(string); none {
				if len(got) != 0 || len(n.Skipped) != 1 {
					t.Errorf("%s: objects %v, skipped %v", words, got, n.Skipped)
				}
				return
			}
			if diff := cmp.Diff(want, any(got)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

func s3Event(bucket, key string, more string) string {
	return fmt.Sprintf(`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventTime":"2026-01-02T03:04:05.000Z",`+
		`"s3":{"bucket":{"name":%q},"object":{"key":%q%s}}}]}`, bucket, key, more)
}

func TestNotificationsThatAreNotUnderstood(t *testing.T) {
	good := `{"eventVersion":"2.9","eventSource":"aws:s3","eventName":"ObjectCreated:CompleteMultipartUpload","s3":{"bucket":{"name":"b"},"object":{"key":"a+b%2Bc","size":1}}}`
	wrapped := func(n int, body string) string {
		for range n {
			doc, err := json.Marshal(map[string]string{"Type": "Notification", "Message": body})
			if err != nil {
				t.Fatal(err)
			}
			body = string(doc)
		}
		return body
	}
	for name, c := range map[string]struct {
		body    string
		objects []string
		reasons []string
	}{
		"empty":              {"", nil, []string{faultJSON}},
		"no JSON":            {"hello", nil, []string{faultJSON}},
		"a list":             {"[]", nil, []string{faultJSON}},
		"nothing known":      {`{"a":1}`, nil, []string{faultShape}},
		"one of two is bad":  {`{"Records":[7,` + good + `]}`, []string{"a b+c"}, []string{faultShape}},
		"wrong encoding":     {s3Event("b", "a%zz", `,"size":1`), nil, []string{faultKey}},
		"no key":             {s3Event("b", "", `,"size":1`), nil, []string{faultKey}},
		"no bucket":          {s3Event("", "a", `,"size":1`), nil, []string{faultKey}},
		"key too long":       {s3Event("b", strings.Repeat("k", 1025), `,"size":1`), nil, []string{faultKey}},
		"no size":            {s3Event("b", "a", ``), nil, []string{faultSize}},
		"negative size":      {s3Event("b", "a", `,"size":-1`), nil, []string{faultSize}},
		"size no number":     {s3Event("b", "a", `,"size":"x"`), nil, []string{faultShape}},
		"etag too long":      {s3Event("b", "a", `,"size":1,"eTag":"`+strings.Repeat("e", 200)+`"`), nil, []string{faultIdentity}},
		"another version":    {strings.Replace(s3Event("b", "a", `,"size":1`), `"2.1"`, `"3.0"`, 1), nil, []string{faultVersion}},
		"another service":    {strings.Replace(s3Event("b", "a", `,"size":1`), `aws:s3`, `aws:ses`, 1), nil, nil},
		"removal":            {strings.Replace(s3Event("b", "a", `,"size":1`), `ObjectCreated:Put`, `ObjectRemoved:Delete`, 1), nil, nil},
		"key of no UTF-8":    {s3Event("b", "a%ff", `,"size":1`), nil, []string{faultKey}},
		"key as in a form":   {s3Event("b", "AWSLogs/aws-account-id%3D1/a%2Bb+%C3%BC+100%25.log.gz", `,"size":1`), []string{"AWSLogs/aws-account-id=1/a+b ü 100%.log.gz"}, nil},
		"EventBridge's key":  {`{"detail-type":"Object Created","source":"aws.s3","detail":{"bucket":{"name":"b"},"object":{"key":"a+b%20100%","size":1}}}`, []string{"a+b%20100%"}, nil},
		"SNS waits":          {`{"Type":"SubscriptionConfirmation","TopicArn":"arn:t","Token":"x","Message":"You have chosen to subscribe"}`, nil, nil},
		"SNS has ended":      {`{"Type":"UnsubscribeConfirmation","TopicArn":"arn:t","Token":"x","Message":"You have chosen to deactivate"}`, nil, nil},
		"no records":         {`{"Records":[]}`, nil, nil},
		"SNS in SNS":         {wrapped(3, `{"Records":[`+good+`]}`), []string{"a b+c"}, nil},
		"SNS without an end": {wrapped(5, `{"Records":[`+good+`]}`), nil, []string{faultShape}},
		"too long":           {`{"a":"` + strings.Repeat("x", maxNotification) + `"}`, nil, []string{faultTooLarge}},
		"too many records":   {`{"Records":[` + strings.Repeat("1,", maxObjects) + `1]}`, nil, []string{faultTooLarge}},
	} {
		t.Run(name, func(t *testing.T) {
			n := ParseNotification([]byte(c.body))
			var objects, reasons []string
			for _, o := range n.Objects {
				objects = append(objects, o.Key)
			}
			for _, f := range n.Faults {
				reasons = append(reasons, f.Reason)
			}
			if diff := cmp.Diff([][]string{c.objects, c.reasons}, [][]string{objects, reasons}); diff != "" {
				t.Errorf("objects and reasons (-want +got):\n%s", diff)
			}
		})
	}
}

func TestObjectsKeepApartWhatDiffers(t *testing.T) {
	base := Object{Bucket: "b", Key: "k", ETag: "e", Size: 1}
	again := base
	again.Size = 2
	if base.ID() != again.ID() {
		t.Error("a file announced twice has two ids")
	}
	seen := map[string]bool{base.ID(): true}
	for _, o := range []Object{
		{Bucket: "b", Key: "k", ETag: "f"},
		{Bucket: "b", Key: "k", ETag: "e", Version: "v"},
		{Bucket: "b", Key: "k2", ETag: "e"},
		{Bucket: "b2", Key: "k", ETag: "e"},
	} {
		if seen[o.ID()] {
			t.Errorf("%+v has the id of another", o)
		}
		seen[o.ID()] = true
	}
	long := Object{Bucket: "b", Key: strings.Repeat("k", 1024), Version: strings.Repeat("v", 1024)}
	if n := len(long.ledgerKey()); n > 2048 {
		t.Errorf("a key of %d bytes in the ledger", n)
	}
}

func TestForeignObjects(t *testing.T) {
	c := DefaultConfig().Gather
	for key, want := range map[string]string{
		"AWSLogs/123456789012/vpcflowlogs/eu-west-1/2026/01/02/x.log.gz":                           "",
		"a/AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=x/y.log.parquet": "",
		"exported/part-0001.zst": "",
		"AWSLogs/123456789012/CloudTrail/eu-west-1/2026/01/02/x.json.gz": skipOther,
		"AWSLogs/123456789012/vpcflowlogs/":                              skipEmpty,
		"AWSLogs/123456789012/vpcflowlogs/eu-west-1/2026/01/02/x.csv":    skipSuffix,
	} {
		if got := c.foreign(Object{Bucket: "b", Key: key, Size: 1}); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	c.Prefixes = []string{"exported/"}
	if got := c.foreign(Object{Key: "AWSLogs/1/vpcflowlogs/a.gz", Size: 1}); got != skipPrefix {
		t.Errorf("outside of the prefixes: %q", got)
	}
	if got := c.foreign(Object{Key: "exported/a.gz"}); got != skipEmpty {
		t.Errorf("no bytes: %q", got)
	}
}

func FuzzNotification(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "notifications", "*.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n := ParseNotification(body)
		if len(n.Objects)+len(n.Skipped)+len(n.Faults) == 0 && !strings.Contains(strings.ToLower(string(body)), "records") {
			t.Error("the message says nothing, not even that it was not understood")
		}
		for _, o := range n.Objects {
			if o.Bucket == "" || o.Key == "" || len(o.Key) > maxKey || o.Size < 0 || len(o.ledgerKey()) > 2048 {
				t.Errorf("accepted %+v", o)
			}
		}
		m := newFaultNames()
		for _, e := range n.Faults {
			if !m[e.Reason] {
				t.Errorf("reason %q is not declared", e.Reason)
			}
		}
	})
}

func newFaultNames() map[string]bool {
	out := map[string]bool{}
	for r := range newGatherMetrics(prometheus.NewRegistry()).faults {
		out[r] = true
	}
	return out
}
