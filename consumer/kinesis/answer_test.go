package kinesis

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
)

// sdkProtocol is what a client has without FastAnswers.
func sdkProtocol() smithyhttp.ClientProtocol {
	return careful{awsjson.New11(schemas.Kinesis_20131202)}
}

// careful makes errors of the SDK's panics: it has one for a time that is "NaN".
type careful struct{ smithyhttp.ClientProtocol }

func (c careful) DeserializeResponse(
	ctx context.Context, schema *smithy.OperationSchema, reg *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable,
) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.ClientProtocol.DeserializeResponse(ctx, schema, reg, resp, out)
}

func decodeAnswer(tb testing.TB, p smithyhttp.ClientProtocol, body string, size int64) (*kinesis.GetRecordsOutput, error) {
	tb.Helper()
	out := &kinesis.GetRecordsOutput{}
	resp := &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusOK, ContentLength: size, Body: io.NopCloser(strings.NewReader(body))}}
	err := p.DeserializeResponse(tb.Context(), smithy.NewOperationSchema(schemas.GetRecords, schemas.GetRecordsInput, schemas.GetRecordsOutput), kinesis.TypeRegistry, resp, out)
	return out, err
}

const usualAnswer = `{"MillisBehindLatest":1200,"NextShardIterator":"AAAAAA==","Records":[` +
	`{"ApproximateArrivalTimestamp":1767225600.123,"Data":"aGVsbG8=","EncryptionType":"NONE","PartitionKey":"k","SequenceNumber":"4959"},` +
	`{"SequenceNumber":"4960","ApproximateArrivalTimestamp":1.767225601E9,"Data":"","PartitionKey":"k"}]}`

// answers that are right, and those that are not: both decoders must agree, whichever of them did the work.
func answerSeeds() []string {
	return []string{
		usualAnswer,
		`{"MillisBehindLatest":0,"NextShardIterator":"x","Records":[]}`,
		` { "Records" : [ { "Data" : "YQ==" } ] , "NextShardIterator" : null } `,
		`{"ChildShards":[{"ShardId":"shardId-1","ParentShards":["shardId-0"]}],"Records":[{"Data":"YWI="}]}`,
		`{"Records":[{"Data":"YW\/i"}]}`, `{"Records":[{"Data":"YW\n=="}]}`, "{\"Records\":[{\"Data\":\"YW\nI=\"}]}", "{\"Records\":[{\"Data\":\"\n\n\n\n\"}]}",
		`{"Records":[{"Data":"YW"}]}`, `{"Records":[{"Data":"Y===="}]}`, `{"Records":[{"Data":"YQ=="},{"Data":null}]}`, `{"Records":[{"Data":"YQ==","Data":"Yg=="}]}`,
		`{"Records":[null]}`, `{"Records":null}`, `{"Records":[{}]}`, `{"Records":[{"PartitionKey":"\u00e9é"}]}`, `{"Records":[{"New":{"a":[1]}}]}`,
		`{"Records":[{"ApproximateArrivalTimestamp":-1.5}]}`, `{"Records":[{"ApproximateArrivalTimestamp":01}]}`, `{"Records":[{"ApproximateArrivalTimestamp":1.}]}`,
		`{"Records":[{"ApproximateArrivalTimestamp":1e400}]}`, `{"Records":[{"ApproximateArrivalTimestamp":"NaN"}]}`,
		`{"Records":[{"Data":"YQ=="}],"Records":[]}`, `{"MillisBehindLatest":9223372036854775808,"Records":[]}`, `{"MillisBehindLatest":-5,"Records":[]}`,
		`{"MillisBehindLatest":1.5,"Records":[]}`, `{"Records":[]}x`, `{"Records":[{"Data":"YQ=="}`, `{"Records":[{"Data":"YQ==`, `{"Records":[{"Data":"YQ=="},]}`, `[]`, ``, `{}`,
	}
}

func compareAnswers(t *testing.T, body string) {
	t.Helper()
	want, wantErr := decodeAnswer(t, sdkProtocol(), body, int64(len(body)))
	got, err := decodeAnswer(t, answers{sdkProtocol()}, body, int64(len(body)))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v, the SDK says %v", body, err, wantErr)
	}
	if err != nil {
		return
	}
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%q: %+v, the SDK says %+v", body, got, want)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range answerSeeds() {
		f.Add(s)
	}
	f.Fuzz(compareAnswers)
}

// The usual answer must go the fast way, or all of this is for nothing.
func TestAnswerTakesTheFastWay(t *testing.T) {
	for _, body := range []string{usualAnswer, `{"NextShardIterator":"x","Records":[],"MillisBehindLatest":3}`} {
		var a answer
		if !a.parse([]byte(body)) {
			t.Errorf("left to the SDK: %s", body)
		}
	}
	out, err := decodeAnswer(t, answers{nil}, usualAnswer, -1)
	if err != nil || len(out.Records) != 2 || string(out.Records[0].Data) != "hello" {
		t.Errorf("without an announced length: %+v, %v", out, err)
	}
}

func TestAnswerTooLarge(t *testing.T) {
	if _, err := readAnswer(io.LimitReader(zeroes{}, maxAnswer+10), -1); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return len(p), nil }

func TestDecodeInPlace(t *testing.T) {
	for n := range 300 {
		data := bytes.Repeat([]byte{0xfb, 0x01, 0xff, 0x7e, byte(n)}, n)[:n]
		got, err := decodeInPlace([]byte(base64.StdEncoding.EncodeToString(data)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes: %x, %v", n, got, err)
		}
	}
}

// BenchmarkAnswer decodes an answer of 200 records of 15 KB: ours and the SDK's.
func BenchmarkAnswer(b *testing.B) {
	var s strings.Builder
	s.WriteString(`{"MillisBehindLatest":1200,"NextShardIterator":"AAAAAA==","Records":[`)
	data := make([]byte, 15000)
	for i := range data {
		data[i] = byte(i * i)
	}
	for i := range 200 {
		if i > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s, `{"ApproximateArrivalTimestamp":1767225600.123,"Data":%q,"EncryptionType":"NONE","PartitionKey":"k","SequenceNumber":"49590338271490256608559692538361571095921575989136588898"}`,
			base64.StdEncoding.EncodeToString(data))
	}
	s.WriteString("]}")
	body := s.String()
	for name, p := range map[string]smithyhttp.ClientProtocol{"dredge": answers{sdkProtocol()}, "sdk": sdkProtocol()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if out, err := decodeAnswer(b, p, body, int64(len(body))); err != nil || len(out.Records) != 200 {
					b.Fatal(err)
				}
			}
		})
	}
}
