package scenario

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"time"
)

// compress is gzip as CloudWatch Logs does it.
func (r *rig) compress(text []byte) []byte {
	r.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		r.Fatal(err)
	}
	if err := w.Close(); err != nil {
		r.Fatal(err)
	}
	return b.Bytes()
}

// message is a CloudWatch subscription message with these lines.
func (r *rig) message(group string, lines ...string) []byte {
	r.Helper()
	type event struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	}
	events := make([]event, len(lines))
	for i, line := range lines {
		events[i] = event{fmt.Sprintf("%056d", i), time.Now().UnixMilli(), line}
	}
	text, err := json.Marshal(map[string]any{
		"messageType": "DATA_MESSAGE", "owner": "123456789010", "logGroup": group, "logStream": "eni-1235b8ca123456789-all",
		"subscriptionFilters": []string{"to-kinesis"}, "logEvents": events,
	})
	if err != nil {
		r.Fatal(err)
	}
	return r.compress(text)
}

// line is a version 2 line of the last minute; n makes it one of its kind.
func line(n int) string { return lineBetween(n, "10.0.0.1", "10.0.0.2") }

func lineBetween(n int, src, dst string) string {
	end := time.Now().Unix() - 10
	return fmt.Sprintf("2 123456789010 eni-1235b8ca123456789 %s %s %d 443 6 20 %d %d %d ACCEPT OK", src, dst, 1024+n%60000, n, end-50, end)
}

func lines(from, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = line(from + i)
	}
	return list
}
