package awsfake

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// maxBody bounds a request. The largest that AWS takes is a PutRecords of 10 MiB, a third more in base64.
const maxBody = 32 << 20

// format is how the client writes its requests and wants its answers.
type format int

const (
	formatJSON format = iota
	// formatCBOR is application/x-amz-cbor-1.1 as the Java SDK speaks it to Kinesis; timestamps are tagged milliseconds.
	formatCBOR
	// formatRPC is Smithy's RPC v2 CBOR; timestamps are tagged seconds.
	formatRPC
	// formatQuery is the form-encoded protocol of older services, answered in XML.
	formatQuery
	// formatREST is S3's: methods and paths, answered in XML and headers.
	formatREST
)

// service is one X-Amz-Target prefix.
type service struct {
	name        string
	errorPrefix string
	operations  map[string]operation
}

// operation answers one request: with an object to encode, with a stream, or with an error (an *apiError, or else a fault
// of the fake itself).
type operation func(c *call) (any, error)

// eventStream is an answer that is written bit by bit. Its error is errAbort or nil.
type eventStream interface {
	serve(ctx context.Context, c *call, w http.ResponseWriter) error
}

// call is one request on its way through an operation.
type call struct {
	ctx         context.Context //nolint:containedctx // lives as long as the request
	service     service
	operation   string
	format      format
	contentType string
	body        []byte
	now         time.Time
	form        url.Values // of the query protocol
	account     string     // whose credentials signed the request
	region      string
	resource    string
	shard       string
	key         string        // of S3
	request     *http.Request // of S3; its body was read
	truncated   bool          // break an event stream in the middle of its first event
	partial     bool          // leave every second entry of a batch undone
}

// decode reads the request's parameters into the struct that in points to. Field names are the parameters' names.
func (c *call) decode(in any) error {
	var err error
	switch {
	case len(c.body) == 0:
		return nil
	case c.format == formatJSON:
		err = json.Unmarshal(c.body, in)
	default:
		err = cborDecoder.Unmarshal(c.body, in)
	}
	if err != nil {
		if fault, ok := errors.AsType[*apiError](err); ok {
			return fault
		}
		return failure("SerializationException", "reading the parameters of %s: %v", c.operation, err)
	}
	return nil
}

var cborDecoder = func() cbor.DecMode { //nolint:gochecknoglobals // read-only
	mode, err := cbor.DecOptions{MaxNestedLevels: 200, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20}.DecMode()
	if err != nil {
		panic("BUG: cbor options: " + err.Error())
	}
	return mode
}()

// apiError is an error as AWS sends it.
type apiError struct {
	Code    string
	Message string
	Status  int
	Extra   object // further members of the error document
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// failure is a client's fault: HTTP 400.
func failure(code, message string, args ...any) *apiError {
	if len(args) > 0 {
		message = fmt.Sprintf(message, args...)
	}
	return &apiError{Code: code, Message: message, Status: http.StatusBadRequest}
}

// answerBuffers holds the buffers that answers are encoded in; a GetRecords answer may have 14 MB.
type answerBuffers struct{ pool sync.Pool }

func (p *answerBuffers) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 4096)
	return &b
}

func (p *answerBuffers) put(b *[]byte) { p.pool.Put(b) }

// errAbort says that the connection is to be broken instead of answered.
var errAbort = errors.New("connection broken on order")

// ServeHTTP answers one AWS request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.serve(w, r); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// serve answers r, or returns errAbort when the client is to see a broken connection.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	id, ok := s.admit()
	if !ok {
		return errAbort
	}
	defer s.release()
	w.Header().Set("X-Amzn-Requestid", fmt.Sprintf("%08x-0000-4000-8000-%012x", id>>32, id))

	body, err := readBody(r)
	if err != nil {
		return s.replyError(w, &call{contentType: "application/x-amz-json-1.1"}, err)
	}
	c, fault := s.route(r, body)
	if fault != nil {
		return s.replyError(w, c, fault)
	}
	s.count(c.operation)
	c.ctx, c.now = r.Context(), s.now()
	c.account, c.region = signer(r)
	c.account, c.region = cmp.Or(c.account, s.cfg.Account), cmp.Or(c.region, s.cfg.Region)
	if c.format != formatREST {
		c.resource, c.shard = target(c)
	}
	request := Request{At: c.now, Service: c.service.name, Account: c.account, Operation: c.operation, Resource: c.resource, Shard: c.shard}
	if s.cfg.Policy != nil && !s.cfg.Policy(request) {
		return s.replyError(w, c, denied(c))
	}
	order := s.faults.next(c)
	result, err := s.run(c, order)
	if s.cfg.Observe != nil {
		request.Error = errorCode(err)
		s.cfg.Observe(request)
	}
	switch {
	case errors.Is(err, errAbort), order != nil && order.Kind == LostReply:
		return errAbort
	case err != nil:
		return s.replyError(w, c, err)
	}
	if es, ok := result.(eventStream); ok {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		return es.serve(ctx, c, w)
	}
	if a, ok := result.(*s3Answer); ok {
		return replyS3(w, c, a)
	}
	buf := s.answers.get()
	defer s.answers.put(buf)
	*buf = c.encode(*buf, result)
	if c.truncated {
		w.Header().Set("Content-Type", c.contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(*buf)))
		_, _ = w.Write((*buf)[:len(*buf)/2])
		return errAbort
	}
	return reply(w, c, http.StatusOK, *buf)
}

// denied is how the service tells that a policy does not allow the operation.
func denied(c *call) *apiError {
	e := &apiError{Code: "AccessDeniedException", Message: fmt.Sprintf("User is not authorized to perform: %s:%s", c.service.name, c.operation), Status: http.StatusBadRequest}
	switch c.service.name {
	case "ec2":
		e.Code, e.Status = "UnauthorizedOperation", http.StatusForbidden
	case "s3", "sts", "sqs":
		e.Code, e.Status = "AccessDenied", http.StatusForbidden
	}
	return e
}

// run carries out the operation, unless the fault on order, if any, comes before.
func (s *Server) run(c *call, order *Fault) (any, error) {
	if order != nil {
		if order.Delay > 0 {
			if s.wait(c.ctx, order.Delay) != nil {
				return nil, errAbort
			}
			c.now = s.now()
		}
		if order.Kind == Reset {
			return nil, errAbort
		}
		if fault := order.failure(c); fault != nil {
			return nil, fault
		}
		c.partial, c.truncated = order.Kind == Partial, order.Kind == TruncatedReply
	}
	if c.format == formatQuery {
		return s.answerQuery(c)
	}
	op, known := c.service.operations[c.operation]
	if !known {
		return nil, failure("UnknownOperationException", "awsfake does not implement "+c.operation)
	}
	return op(c)
}

// errorCode is the AWS error code of err; empty for none.
func errorCode(err error) string {
	if err == nil || errors.Is(err, errAbort) {
		return ""
	}
	return asFault(err).Code
}

// asFault is err as AWS would send it.
func asFault(err error) *apiError {
	if fault, ok := errors.AsType[*apiError](err); ok {
		return fault
	}
	return &apiError{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
}

func reply(w http.ResponseWriter, c *call, status int, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", c.contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if c.format == formatRPC {
		h.Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return errAbort // the client has gone
	}
	return nil
}

func (s *Server) replyError(w http.ResponseWriter, c *call, err error) error {
	fault := asFault(err)
	switch c.format {
	case formatQuery:
		return replyQueryError(w, c, fault)
	case formatREST:
		return replyS3Error(w, c, fault)
	default:
	}
	doc := object{{"__type", c.service.errorPrefix + fault.Code}, {"message", fault.Message}}
	return reply(w, c, fault.Status, c.encode(nil, append(doc, fault.Extra...)))
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" && !isS3(r) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, failure("SerializationException", "reading a compressed request: %v", err)
		}
		from = z
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 && r.ContentLength <= maxBody {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(from, maxBody+1)); err != nil {
		return nil, failure("SerializationException", "reading the request: %v", err)
	}
	if buf.Len() > maxBody {
		return nil, &apiError{Code: "RequestEntityTooLarge", Message: fmt.Sprintf("the request is larger than %d bytes", maxBody), Status: http.StatusRequestEntityTooLarge}
	}
	return buf.Bytes(), nil
}

// route finds the service, the operation and the format of a request.
func (s *Server) route(r *http.Request, body []byte) (*call, *apiError) {
	c := &call{body: body, contentType: "application/x-amz-json-1.1"}
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	var prefix string
	switch {
	case isS3(r):
		c.service = s.services[s3Target]
		return c, c.routeS3(r)
	case r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
		// POST /service/{service}/operation/{operation}
		parts := strings.Split(r.URL.Path, "/")
		if len(parts) < 4 {
			return c, failure("UnknownOperationException", "the path %q names no operation", r.URL.Path)
		}
		prefix, c.operation = parts[len(parts)-3], parts[len(parts)-1]
		c.format, c.contentType = formatRPC, "application/cbor"
	case contentType == "application/x-www-form-urlencoded":
		return c, c.parseForm()
	default:
		prefix, c.operation, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		switch contentType {
		case "application/x-amz-cbor-1.1", "application/cbor":
			c.format, c.contentType = formatCBOR, contentType
		case "":
		default:
			c.contentType = contentType
		}
	}
	svc, ok := s.services[prefix]
	if !ok {
		return c, failure("UnknownOperationException", "awsfake does not serve the target %q", r.Header.Get("X-Amz-Target"))
	}
	c.service = svc
	return c, nil
}

// target finds what a request is about without knowing its operation, for fault filters and observers.
func target(c *call) (resource, shard string) {
	var in struct {
		StreamName, StreamARN, ConsumerARN, TableName, ShardId, ShardIterator, ShardToSplit, ShardToMerge string //nolint:revive // AWS's names
	}
	if c.format == formatQuery || c.service.name == "kinesis" && (c.operation == "PutRecords" || c.operation == "PutRecord") && len(c.body) > 1<<16 {
		return "", "" // a large body is not parsed twice
	}
	if c.decode(&in) != nil {
		return "", ""
	}
	resource, shard = in.StreamName, in.ShardId
	for _, name := range []string{in.TableName, streamOfARN(in.StreamARN), streamOfARN(in.ConsumerARN)} {
		if resource == "" {
			resource = name
		}
	}
	if it, err := parseIterator(in.ShardIterator); err == nil {
		resource, shard = it.stream, it.shard
	}
	for _, id := range []string{in.ShardToSplit, in.ShardToMerge} {
		if shard == "" {
			shard = id
		}
	}
	return resource, shard
}

// accept takes a request and does nothing.
func accept(*call) (any, error) { return object{}, nil }
