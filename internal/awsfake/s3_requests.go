package awsfake

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/md5" //nolint:gosec // the header Content-MD5
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// s3Answer is an answer of S3, which speaks in headers.
type s3Answer struct {
	status int
	header http.Header
	body   []byte
}

// s3Time is how the time of an object is written in a header.
const s3Time = "Mon, 02 Jan 2006 15:04:05 GMT"

// s3Target is the place of S3 among the services, which are else found by the X-Amz-Target of their requests.
const s3Target = "S3"

// isS3 says whether a request is signed for S3, or asks in its manner.
func isS3(r *http.Request) bool {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ := strings.Cut(after, ",")
	return strings.HasSuffix(scope, "/s3/aws4_request")
}

// routeS3 finds the operation of a request to S3 by its method and what it names.
func (c *call) routeS3(r *http.Request) *apiError {
	c.format, c.contentType, c.request = formatREST, "application/xml", r
	path := strings.TrimPrefix(r.URL.Path, "/")
	host, _, _ := strings.Cut(cmp.Or(r.Host, r.URL.Host), ":") // a client in this process sends no Host
	if name, ok := strings.CutSuffix(host, ".awsfake.invalid"); ok {
		c.resource, c.key = name, path
	} else {
		c.resource, c.key, _ = strings.Cut(path, "/")
	}
	_, uploads := r.URL.Query()["uploads"]
	switch {
	case uploads || r.URL.Query().Has("uploadId"):
		c.operation = "MultipartUpload" // not built
	case c.key == "" && r.Method == http.MethodPut:
		c.operation = "CreateBucket"
	case c.key == "" && r.Method == http.MethodHead:
		c.operation = "HeadBucket"
	case c.key == "" && r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		c.operation = "ListObjectsV2"
	case c.key == "" && r.Method == http.MethodDelete:
		c.operation = "DeleteBucket"
	case c.key == "":
		return &apiError{Code: "NotImplemented", Message: "awsfake does not implement " + r.Method + " " + r.URL.String(), Status: http.StatusNotImplemented}
	default:
		c.operation = map[string]string{
			http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodPut: "PutObject", http.MethodDelete: "DeleteObject",
		}[r.Method]
	}
	return nil
}

func (s *S3) operations() map[string]operation {
	return map[string]operation{
		"CreateBucket": s.createBucket, "HeadBucket": s.headBucket, "ListObjectsV2": s.listObjects,
		"GetObject": s.getObject, "HeadObject": s.getObject, "PutObject": s.putObject, "DeleteObject": s.deleteObject,
	}
}

func (s *S3) createBucket(c *call) (any, error) {
	s.mu.Lock()
	exists := s.buckets[c.resource] != nil
	s.mu.Unlock()
	if exists {
		return nil, &apiError{Code: "BucketAlreadyOwnedByYou", Message: "Your previous request to create the named bucket succeeded and you already own it.", Status: http.StatusConflict}
	}
	s.CreateBucket(c.resource, false)
	return &s3Answer{status: http.StatusOK, header: http.Header{"Location": {"/" + c.resource}}}, nil
}

func (s *S3) headBucket(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, fault := s.find(c.resource); fault != nil {
		return nil, fault
	}
	return &s3Answer{status: http.StatusOK}, nil
}

// archived are the classes whose objects must be restored before they can be read.
func archived(class string) bool { return class == "GLACIER" || class == "DEEP_ARCHIVE" }

// getObject answers GetObject and HeadObject.
func (s *S3) getObject(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, fault := s.find(c.resource)
	if fault != nil {
		return nil, fault
	}
	v, fault := b.get(c.key, c.request.URL.Query().Get("versionId"))
	if fault != nil {
		return nil, fault
	}
	if match := c.request.Header.Get("If-Match"); match != "" && match != "*" && strings.Trim(match, `"`) != v.etag {
		return nil, preconditionFailed("If-Match")
	}
	if match := c.request.Header.Get("If-None-Match"); match != "" && (match == "*" || strings.Trim(match, `"`) == v.etag) {
		return nil, &apiError{Code: "NotModified", Message: "Not Modified", Status: http.StatusNotModified}
	}
	a := &s3Answer{status: http.StatusOK, body: v.data, header: http.Header{
		"Etag": {`"` + v.etag + `"`}, "Last-Modified": {v.modified.Format(s3Time)}, "Accept-Ranges": {"bytes"}, "Content-Type": {"binary/octet-stream"},
	}}
	if v.id != "" {
		a.header.Set("X-Amz-Version-Id", v.id)
	}
	if v.class != "" {
		a.header.Set("X-Amz-Storage-Class", v.class)
	}
	if c.operation == "HeadObject" {
		return a, nil
	}
	if archived(v.class) {
		return nil, &apiError{Code: "InvalidObjectState", Message: "The operation is not valid for the object's storage class", Status: http.StatusForbidden}
	}
	if span := c.request.Header.Get("Range"); span != "" {
		from, to, ok := parseRange(span, len(v.data))
		if !ok {
			return nil, &apiError{Code: "InvalidRange", Message: "The requested range is not satisfiable", Status: http.StatusRequestedRangeNotSatisfiable}
		}
		a.status, a.body = http.StatusPartialContent, v.data[from:to]
		a.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(v.data)))
	}
	return a, nil
}

func preconditionFailed(condition string) *apiError {
	return &apiError{
		Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold (" + condition + ")", Status: http.StatusPreconditionFailed,
	}
}

// parseRange reads the one range that S3 takes: from-to, from- or -length.
func parseRange(span string, size int) (from, to int, ok bool) {
	first, last, found := strings.Cut(strings.TrimPrefix(span, "bytes="), "-")
	if !found {
		return 0, 0, false
	}
	if first == "" {
		n, err := strconv.Atoi(last)
		return max(0, size-n), size, err == nil && n > 0 && size > 0
	}
	from, err := strconv.Atoi(first)
	if err != nil || from < 0 || from >= size {
		return 0, 0, false
	}
	to = size
	if last != "" {
		n, err := strconv.Atoi(last)
		if err != nil || n < from {
			return 0, 0, false
		}
		to = min(size, n+1)
	}
	return from, to, true
}

func (s *S3) putObject(c *call) (any, error) {
	data := c.body
	if strings.Contains(c.request.Header.Get("Content-Encoding"), "aws-chunked") {
		var err error
		if data, err = unchunk(data); err != nil {
			return nil, failure("IncompleteBody", "reading a chunked body: %v", err)
		}
	}
	if sum := c.request.Header.Get("Content-Md5"); sum != "" && sum != base64MD5(data) {
		return nil, failure("BadDigest", "The Content-MD5 you specified did not match what we received.")
	}
	v, fault := s.put(c.resource, c.key, slices.Clone(data), func(present *version) *apiError {
		if c.request.Header.Get("If-None-Match") == "*" && present != nil {
			return preconditionFailed("If-None-Match")
		}
		if match := c.request.Header.Get("If-Match"); match != "" {
			if present == nil {
				return &apiError{Code: "NoSuchKey", Message: "The specified key does not exist.", Status: http.StatusNotFound}
			}
			if strings.Trim(match, `"`) != present.etag {
				return preconditionFailed("If-Match")
			}
		}
		return nil
	})
	if fault != nil {
		return nil, fault
	}
	a := &s3Answer{status: http.StatusOK, header: http.Header{"Etag": {`"` + v.etag + `"`}}}
	if v.id != "" {
		a.header.Set("X-Amz-Version-Id", v.id)
	}
	return a, nil
}

func base64MD5(data []byte) string {
	sum := md5.Sum(data) //nolint:gosec // what the header has
	return base64.StdEncoding.EncodeToString(sum[:])
}

// unchunk takes a body of aws-chunked apart: chunks with a size in hexadecimal, the last one empty, then checksums.
func unchunk(body []byte) ([]byte, error) {
	in := bufio.NewReader(bytes.NewReader(body))
	var out []byte
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		if int(n) > len(body) {
			return nil, io.ErrUnexpectedEOF
		}
		at := len(out)
		out = append(out, make([]byte, n)...)
		if _, err := io.ReadFull(in, out[at:]); err != nil {
			return nil, err
		}
		if _, err := in.Discard(2); err != nil {
			return nil, err
		}
	}
}

func (s *S3) deleteObject(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, fault := s.find(c.resource)
	if fault != nil {
		return nil, fault
	}
	s.lastID++
	b.remove(c.key, fmt.Sprintf("v%015x", s.lastID))
	return &s3Answer{status: http.StatusNoContent}, nil
}

// s3List is the answer of ListObjectsV2.
type s3List struct {
	XMLName               xml.Name     `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string       `xml:"Name"`
	Prefix                string       `xml:"Prefix"`
	Delimiter             string       `xml:"Delimiter,omitempty"`
	StartAfter            string       `xml:"StartAfter,omitempty"`
	KeyCount              int          `xml:"KeyCount"`
	MaxKeys               int          `xml:"MaxKeys"`
	EncodingType          string       `xml:"EncodingType,omitempty"`
	IsTruncated           bool         `xml:"IsTruncated"`
	NextContinuationToken string       `xml:"NextContinuationToken,omitempty"`
	Contents              []s3Entry    `xml:"Contents"`
	CommonPrefixes        []s3CommonTo `xml:"CommonPrefixes"`
}

type s3Entry struct {
	Key          string `xml:"Key"`
	LastModified string `xml:"LastModified"`
	ETag         string `xml:"ETag"`
	Size         int    `xml:"Size"`
	StorageClass string `xml:"StorageClass"`
}

type s3CommonTo struct {
	Prefix string `xml:"Prefix"`
}

// s3Page is the most entries of one listing.
const s3Page = 1000

func (s *S3) listObjects(c *call) (any, error) {
	q := c.request.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	b, fault := s.find(c.resource)
	if fault != nil {
		return nil, fault
	}
	out := s3List{
		Name: b.name, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), StartAfter: q.Get("start-after"), MaxKeys: s3Page, EncodingType: q.Get("encoding-type"),
	}
	if text := q.Get("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, failure("InvalidArgument", "Argument max-keys must be an integer between 0 and 2147483647")
		}
		out.MaxKeys = min(n, s3Page)
	}
	after := out.StartAfter
	if token := q.Get("continuation-token"); token != "" {
		raw, err := base64.StdEncoding.DecodeString(token)
		if err != nil {
			return nil, failure("InvalidArgument", "The continuation token provided is incorrect")
		}
		after = string(raw)
	}
	name := func(key string) string { return key }
	if out.EncodingType == "url" {
		name = url.QueryEscape
	}
	keys := b.list()
	from, _ := slices.BinarySearch(keys, max(after, out.Prefix))
	last := ""
	for _, key := range keys[from:] {
		if !strings.HasPrefix(key, out.Prefix) {
			break
		}
		if after != "" && (key <= after || out.Delimiter != "" && strings.HasSuffix(after, out.Delimiter) && strings.HasPrefix(key, after)) {
			continue
		}
		common := ""
		if out.Delimiter != "" {
			if i := strings.Index(key[len(out.Prefix):], out.Delimiter); i >= 0 {
				common = key[:len(out.Prefix)+i+len(out.Delimiter)]
			}
		}
		if common != "" && common == last {
			continue
		}
		if out.KeyCount == out.MaxKeys {
			out.IsTruncated, out.NextContinuationToken = true, base64.StdEncoding.EncodeToString([]byte(last))
			break
		}
		out.KeyCount++
		if common != "" {
			last = common
			out.CommonPrefixes = append(out.CommonPrefixes, s3CommonTo{Prefix: name(common)})
			continue
		}
		last = key
		v, fault := b.get(key, "")
		if fault != nil {
			return nil, fault
		}
		class := v.class
		if class == "" {
			class = "STANDARD"
		}
		out.Contents = append(out.Contents, s3Entry{
			Key: name(key), LastModified: v.modified.Format("2006-01-02T15:04:05.000Z"), ETag: `"` + v.etag + `"`, Size: len(v.data), StorageClass: class,
		})
	}
	body, err := xml.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &s3Answer{status: http.StatusOK, header: http.Header{"Content-Type": {"application/xml"}}, body: append([]byte(xml.Header), body...)}, nil
}

// replyS3 writes an answer of S3.
func replyS3(w http.ResponseWriter, c *call, a *s3Answer) error {
	h := w.Header()
	maps.Copy(h, a.header)
	if a.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	h.Set("X-Amz-Request-Id", h.Get("X-Amzn-Requestid"))
	h.Set("Date", c.now.UTC().Format(s3Time))
	w.WriteHeader(a.status)
	if c.request.Method == http.MethodHead {
		return nil
	}
	body := a.body
	if c.truncated {
		body = body[:len(body)/2]
	}
	if _, err := w.Write(body); err != nil || c.truncated {
		return errAbort
	}
	return nil
}

func replyS3Error(w http.ResponseWriter, c *call, fault *apiError) error {
	doc, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
		Key     string `xml:",omitempty"`
	}{Code: fault.Code, Message: fault.Message, Key: c.key})
	if err != nil {
		return errAbort
	}
	a := &s3Answer{status: fault.Status, header: http.Header{"Content-Type": {"application/xml"}}, body: doc}
	if fault.Status == http.StatusNotModified {
		a.body = nil
	}
	if c.now.IsZero() {
		c.now = time.Unix(0, 0)
	}
	return replyS3(w, c, a)
}
