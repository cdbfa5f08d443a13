package kinesis

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	smithytime "github.com/aws/smithy-go/time"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxAnswer is the largest GetRecords answer that is read: 10 MB of data in base64 are 14 MB.
const maxAnswer = 64 << 20

// FastAnswers makes a client decode the answers of GetRecords in place: the data of all records stays in the memory that the
// answer was read into, which the SDK's own decoder copies three times. What it does not expect (children of a closed shard,
// escapes, unknown members) and all other operations it leaves to the SDK. Pass it to kinesis.NewFromConfig.
func FastAnswers(o *kinesis.Options) { o.Protocol = answers{o.Protocol} }

// answers is the client's protocol but for the answers of GetRecords.
type answers struct{ smithyhttp.ClientProtocol }

// DeserializeResponse implements smithyhttp.ClientProtocol.
func (p answers) DeserializeResponse(
	ctx context.Context, schema *smithy.OperationSchema, reg *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	get, ok := out.(*kinesis.GetRecordsOutput)
	if !ok || resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return p.ClientProtocol.DeserializeResponse(ctx, schema, reg, resp, out)
	}
	body, err := readAnswer(resp.Body, resp.ContentLength)
	if err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	var a answer
	if a.parse(body) {
		if err := a.fill(get); err != nil {
			return &smithy.DeserializationError{Err: err}
		}
		return nil
	}
	again := *resp.Response
	again.Body = io.NopCloser(bytes.NewReader(body))
	return p.ClientProtocol.DeserializeResponse(ctx, schema, reg, &smithyhttp.Response{Response: &again}, out)
}

// readAnswer reads everything into memory of its own; size is what the server announced, -1 for nothing.
func readAnswer(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	if size > 0 && size <= maxAnswer {
		b.Grow(int(size) + bytes.MinRead) // or the buffer grows once more to see the end
	}
	n, err := b.ReadFrom(io.LimitReader(r, maxAnswer+1))
	if err == nil && n > maxAnswer {
		err = fmt.Errorf("answer of GetRecords is larger than %d bytes", maxAnswer)
	}
	return b.Bytes(), err
}

// answer is a GetRecords answer taken apart: slices of its text.
type answer struct {
	rest    []byte
	records []answerRecord
	next    []byte // nil when absent
	behind  int64  // -1 when absent
}

type answerRecord struct {
	data, sequence, key, encryption []byte // without quotes; nil when absent
	arrived                         float64
	seen                            uint8
}

// parse takes body apart and changes nothing. False leaves the answer to the SDK, right or wrong as it may be.
func (a *answer) parse(body []byte) bool {
	a.rest, a.behind = body, -1
	if !a.take('{') {
		return false
	}
	records := false
	for first := true; ; first = false {
		if first && a.take('}') {
			break
		}
		name, ok := a.text()
		if !ok || !a.take(':') {
			return false
		}
		switch string(name) {
		case "Records":
			ok = !records && a.list()
			records = true
		case "NextShardIterator":
			if ok = a.next == nil; ok {
				a.next, ok = a.text()
			}
		case "MillisBehindLatest":
			if ok = a.behind < 0; ok {
				a.behind, ok = a.integer()
			}
		default:
			ok = false
		}
		if !ok {
			return false
		}
		if a.take('}') {
			break
		}
		if !a.take(',') {
			return false
		}
	}
	a.space()
	return len(a.rest) == 0 && records
}

func (a *answer) list() bool {
	if !a.take('[') {
		return false
	}
	if a.take(']') {
		return true
	}
	for {
		a.records = append(a.records, answerRecord{})
		if !a.record(&a.records[len(a.records)-1]) {
			return false
		}
		if a.take(']') {
			return true
		}
		if !a.take(',') {
			return false
		}
	}
}

// The members of a record.
const (
	seenData uint8 = 1 << iota
	seenSequence
	seenKey
	seenEncryption
	seenArrived
)

func (a *answer) record(r *answerRecord) bool {
	if !a.take('{') {
		return false
	}
	for {
		name, ok := a.text()
		if !ok || !a.take(':') {
			return false
		}
		var member uint8
		switch string(name) {
		case "Data":
			member = seenData
			r.data, ok = a.quoted()
		case "SequenceNumber":
			member = seenSequence
			r.sequence, ok = a.text()
		case "PartitionKey":
			member = seenKey
			r.key, ok = a.text()
		case "EncryptionType":
			member = seenEncryption
			r.encryption, ok = a.text()
		case "ApproximateArrivalTimestamp":
			member = seenArrived
			r.arrived, ok = a.float()
		}
		if !ok || member == 0 || r.seen&member != 0 {
			return false
		}
		r.seen |= member
		if a.take('}') {
			return true
		}
		if !a.take(',') {
			return false
		}
	}
}

func (a *answer) space() {
	for len(a.rest) > 0 && (a.rest[0] == ' ' || a.rest[0] == '\n' || a.rest[0] == '\r' || a.rest[0] == '\t') {
		a.rest = a.rest[1:]
	}
}

// take passes c, with white space before it, if it comes next.
func (a *answer) take(c byte) bool {
	a.space()
	if len(a.rest) == 0 || a.rest[0] != c {
		return false
	}
	a.rest = a.rest[1:]
	return true
}

// quoted passes a string and returns what stands between its quotes; not ok when it has an escape. It does not look at the
// other bytes.
func (a *answer) quoted() ([]byte, bool) {
	if !a.take('"') {
		return nil, false
	}
	n := bytes.IndexByte(a.rest, '"')
	if n < 0 || bytes.IndexByte(a.rest[:n], '\\') >= 0 {
		return nil, false
	}
	s := a.rest[:n:n]
	a.rest = a.rest[n+1:]
	return s, true
}

// text is quoted for strings that are not base64: not ok with bytes other than printable ASCII.
func (a *answer) text() ([]byte, bool) {
	s, ok := a.quoted()
	for _, c := range s {
		if c < ' ' || c > '~' {
			return nil, false
		}
	}
	return s, ok
}

// numeral passes a number that begins with a digit other than a leading zero.
func (a *answer) numeral() []byte {
	a.space()
	n := 0
	for n < len(a.rest) && (a.rest[n]-'0' <= 9 || n > 0 && (a.rest[n] == '.' || a.rest[n]|0x20 == 'e' || a.rest[n] == '+' || a.rest[n] == '-')) {
		n++
	}
	s := a.rest[:n]
	a.rest = a.rest[n:]
	if n > 1 && s[0] == '0' && s[1]-'0' <= 9 {
		return nil
	}
	return s
}

func (a *answer) integer() (int64, bool) {
	v, err := strconv.ParseInt(string(a.numeral()), 10, 64)
	return v, err == nil
}

func (a *answer) float() (float64, bool) {
	s := a.numeral()
	if len(s) == 0 || s[len(s)-1]-'0' > 9 { // "1." is no number in JSON
		return 0, false
	}
	v, err := strconv.ParseFloat(string(s), 64)
	return v, err == nil && !math.IsInf(v, 0) && !bytes.Contains(s, []byte(".e")) && !bytes.Contains(s, []byte(".E"))
}

// fill makes out of a. The data is decoded where it stands, so the text is spent.
func (a *answer) fill(out *kinesis.GetRecordsOutput) error {
	out.Records = make([]types.Record, len(a.records))
	strs := make([]string, 2*len(a.records))
	for i := range a.records {
		r, o := &a.records[i], &out.Records[i]
		if r.seen&seenSequence != 0 {
			strs[2*i] = string(r.sequence)
			o.SequenceNumber = &strs[2*i]
		}
		if r.seen&seenKey != 0 {
			strs[2*i+1] = string(r.key)
			o.PartitionKey = &strs[2*i+1]
		}
		if r.seen&seenArrived != 0 {
			t := smithytime.ParseEpochSeconds(r.arrived)
			o.ApproximateArrivalTimestamp = &t
		}
		o.EncryptionType = types.EncryptionType(r.encryption)
		if r.seen&seenData != 0 {
			var err error
			if o.Data, err = decodeInPlace(r.data); err != nil {
				return fmt.Errorf("record %d of GetRecords: data: %w", i, err)
			}
		}
	}
	if a.next != nil {
		next := string(a.next)
		out.NextShardIterator = &next
	}
	if a.behind >= 0 {
		behind := a.behind // a pointer into a would keep all of it
		out.MillisBehindLatest = &behind
	}
	return nil
}

var errLineBreak = errors.New("line break in base64")

// decodeInPlace decodes base64 where it stands: what it writes never overtakes what it reads.
func decodeInPlace(text []byte) ([]byte, error) {
	want := len(text)/4*3 - (len(text) - len(bytes.TrimRight(text, "=")))
	n, err := base64.StdEncoding.Decode(text, text)
	if err == nil && (n != want || len(text)%4 != 0) {
		err = errLineBreak // Decode passes over them, JSON must not have them
	}
	return text[:n:n], err
}
