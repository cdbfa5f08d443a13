package awsfake_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// indefinite builds a map of indefinite length, which is what the CBOR generator of the Java SDK writes.
func indefinite(t *testing.T, pairs ...any) []byte {
	t.Helper()
	b := []byte{0xbf}
	for _, v := range pairs {
		e, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, e...)
	}
	return append(b, 0xff)
}

func postCBOR(t *testing.T, s *awsfake.Server, op string, body []byte) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://aws/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
	req.Header.Set("Content-Type", "application/x-amz-cbor-1.1")
	resp, err := s.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/x-amz-cbor-1.1" {
		t.Errorf("%s: content type %q", op, got)
	}
	var answer map[string]any
	if err := cbor.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%s: %x: %v", op, raw, err)
	}
	return resp.StatusCode, answer
}

// TestJavaCBOR walks through polling as the Java SDK does it: maps of indefinite length, byte strings, timestamps as tagged
// milliseconds in both directions, errors in CBOR.
func TestJavaCBOR(t *testing.T) {
	clock := newClock()
	s := awsfaketest.NewServer(t, awsfake.Config{Clock: clock.Now})
	if err := s.Kinesis().CreateStream("flows", 1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(1500 * time.Millisecond)
	put := indefinite(t, "StreamName", "flows", "PartitionKey", "k", "Data", []byte{0, 255})
	if status, answer := postCBOR(t, s, "PutRecord", put); status != 200 || answer["ShardId"] != shard0 {
		t.Fatalf("PutRecord: %d %v", status, answer)
	}
	ms := clock.Now().UnixMilli()
	body := indefinite(t, "StreamName", "flows", "ShardId", shard0, "ShardIteratorType", "AT_TIMESTAMP", "Timestamp", cbor.Tag{Number: 1, Content: ms})
	_, answer := postCBOR(t, s, "GetShardIterator", body)
	_, answer = postCBOR(t, s, "GetRecords", indefinite(t, "ShardIterator", answer["ShardIterator"], "Limit", 10000))
	records, _ := answer["Records"].([]any)
	if len(records) != 1 {
		t.Fatalf("GetRecords: %v", answer)
	}
	r, _ := records[0].(map[any]any)
	if data, _ := r["Data"].([]byte); !bytes.Equal(data, []byte{0, 255}) || r["PartitionKey"] != "k" {
		t.Errorf("record = %v", r)
	}
	// The decoder takes the tagged number for seconds; the Java SDK takes it for milliseconds.
	if got, _ := r["ApproximateArrivalTimestamp"].(time.Time); got.Unix() != ms {
		t.Errorf("arrival = %d; want %d", got.Unix(), ms)
	}
	if answer["MillisBehindLatest"] != uint64(0) || answer["NextShardIterator"] == nil {
		t.Errorf("answer = %v", answer)
	}
	status, answer := postCBOR(t, s, "ListShards", indefinite(t, "StreamName", "absent"))
	if status != 400 || answer["__type"] != "ResourceNotFoundException" || answer["message"] == nil {
		t.Errorf("error: %d %v", status, answer)
	}
}
