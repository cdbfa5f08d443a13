package awsfake

import (
	"crypto/md5" //nolint:gosec // an ETag is one, and nobody takes it for more
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// S3 holds buckets: objects with ETags, versions and storage classes, conditional writes, ranges, paged listings, and announcements of
// new objects in queues of the same server.
type S3 struct {
	server *Server

	mu      sync.Mutex
	buckets map[string]*bucket
	lastID  uint64 // numbers versions and announcements
}

// bucket is one bucket. keys are sorted, for listings.
type bucket struct {
	name      string
	versioned bool
	objects   map[string][]*version // by key, oldest first; without versions there is one
	keys      []string
	sorted    bool
	announce  []announcement
}

// version is one content of a key.
type version struct {
	id       string // empty in a bucket without versions
	data     []byte
	etag     string // without quotes
	modified time.Time
	class    string // empty is STANDARD
	deleted  bool   // a delete marker
}

// announcement says which new objects are announced where.
type announcement struct{ queue, prefix, suffix string }

func newS3(s *Server) *S3 { return &S3{server: s, buckets: map[string]*bucket{}} }

// CreateBucket makes a bucket, if there is none of that name. With versions, every write is kept under an id of its own.
func (s *S3) CreateBucket(name string, versions bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] == nil {
		s.buckets[name] = &bucket{name: name, versioned: versions, objects: map[string][]*version{}}
	}
}

// Announce makes the bucket tell queue of each new object whose key begins with prefix and ends with suffix. As with AWS, a test message
// comes first.
func (s *S3) Announce(bucketName, queue, prefix, suffix string) error {
	s.mu.Lock()
	b, fault := s.find(bucketName)
	if fault == nil {
		b.announce = append(b.announce, announcement{queue: queue, prefix: prefix, suffix: suffix})
	}
	s.mu.Unlock()
	if fault != nil {
		return fault
	}
	return s.server.sqs.Send(queue, fmt.Sprintf(`{"Service":"Amazon S3","Event":"s3:TestEvent","Time":%q,"Bucket":%q,"RequestId":"AWSFAKE","HostId":"awsfake"}`,
		s.server.now().UTC().Format(time.RFC3339), bucketName))
}

// Put writes an object and returns its ETag, without quotes. data belongs to the bucket from then on.
func (s *S3) Put(bucketName, key string, data []byte) (etag string, err error) {
	v, fault := s.put(bucketName, key, data, nil)
	if fault != nil {
		return "", fault
	}
	return v.etag, nil
}

// SetClass moves an object into a storage class, such as GLACIER: what lies in an archive can't be read.
func (s *S3) SetClass(bucketName, key, class string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, fault := s.find(bucketName)
	if fault != nil {
		return fault
	}
	v, fault := b.get(key, "")
	if fault != nil {
		return fault
	}
	v.class = class
	return nil
}

// Keys returns the keys of a bucket in order.
func (s *S3) Keys(bucketName string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return nil
	}
	return slices.Clone(b.list())
}

// Object returns the present content of a key; it must not be changed.
func (s *S3) Object(bucketName, key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return nil, false
	}
	v, fault := b.get(key, "")
	if fault != nil {
		return nil, false
	}
	return v.data, true
}

func (s *S3) find(name string) (*bucket, *apiError) {
	if b := s.buckets[name]; b != nil {
		return b, nil
	}
	return nil, &apiError{Code: "NoSuchBucket", Message: "The specified bucket does not exist", Status: http.StatusNotFound}
}

// get returns a version of key, the latest when id is empty.
func (b *bucket) get(key, id string) (*version, *apiError) {
	all := b.objects[key]
	if id == "" {
		if len(all) == 0 || all[len(all)-1].deleted {
			return nil, &apiError{Code: "NoSuchKey", Message: "The specified key does not exist.", Status: http.StatusNotFound}
		}
		return all[len(all)-1], nil
	}
	for _, v := range all {
		if v.id == id && v.deleted {
			return nil, &apiError{Code: "MethodNotAllowed", Message: "The specified method is not allowed against this resource.", Status: http.StatusMethodNotAllowed}
		}
		if v.id == id {
			return v, nil
		}
	}
	return nil, &apiError{Code: "NoSuchVersion", Message: "The specified version does not exist.", Status: http.StatusNotFound}
}

// list returns the keys that have an object, in order.
func (b *bucket) list() []string {
	if !b.sorted {
		slices.Sort(b.keys)
		b.sorted = true
	}
	return b.keys
}

// put writes key if allowed, which is asked with the present version, nil for none.
func (s *S3) put(bucketName, key string, data []byte, allowed func(present *version) *apiError) (*version, *apiError) {
	sum := md5.Sum(data) //nolint:gosec // as above
	v := &version{data: data, etag: hex.EncodeToString(sum[:]), modified: s.server.now().UTC().Truncate(time.Second)}
	s.mu.Lock()
	b, fault := s.find(bucketName)
	if fault != nil {
		s.mu.Unlock()
		return nil, fault
	}
	present, _ := b.get(key, "")
	if allowed != nil {
		if fault := allowed(present); fault != nil {
			s.mu.Unlock()
			return nil, fault
		}
	}
	if present == nil {
		b.keys, b.sorted = append(b.keys, key), false
	}
	s.lastID++
	number := s.lastID
	if b.versioned {
		v.id = fmt.Sprintf("v%015x", number)
		b.objects[key] = append(b.objects[key], v)
	} else {
		b.objects[key] = []*version{v}
	}
	told := b.announce
	s.mu.Unlock()
	for _, a := range told {
		if strings.HasPrefix(key, a.prefix) && strings.HasSuffix(key, a.suffix) {
			// A queue that is gone costs the announcement and nothing else.
			_ = s.server.sqs.Send(a.queue, s.event(bucketName, key, v, number))
		}
	}
	return v, nil
}

// remove deletes key, or puts a delete marker over it.
func (b *bucket) remove(key, marker string) {
	if present, _ := b.get(key, ""); present != nil {
		b.list()
		if i, ok := slices.BinarySearch(b.keys, key); ok {
			b.keys = slices.Delete(b.keys, i, i+1)
		}
	}
	if b.versioned {
		b.objects[key] = append(b.objects[key], &version{id: marker, deleted: true})
		return
	}
	delete(b.objects, key)
}

// event is the announcement of a new object as S3 sends it to a queue.
func (s *S3) event(bucketName, key string, v *version, number uint64) string {
	type object struct {
		Key       string `json:"key"`
		Size      int    `json:"size"`
		ETag      string `json:"eTag"`
		VersionID string `json:"versionId,omitempty"`
		Sequencer string `json:"sequencer"`
	}
	doc, err := json.Marshal(map[string]any{"Records": []any{map[string]any{
		"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": s.server.cfg.Region, "eventTime": v.modified.Format("2006-01-02T15:04:05.000Z"),
		"eventName": "ObjectCreated:Put",
		"s3": map[string]any{
			"s3SchemaVersion": "1.0", "configurationId": "awsfake",
			"bucket": map[string]any{"name": bucketName, "arn": "arn:aws:s3:::" + bucketName},
			// A form's encoding, but for the slashes.
			"object": object{
				Key: strings.ReplaceAll(url.QueryEscape(key), "%2F", "/"), Size: len(v.data), ETag: v.etag, VersionID: v.id,
				Sequencer: fmt.Sprintf("%018X", number),
			},
		},
	}}})
	if err != nil {
		panic("BUG: announcement: " + err.Error())
	}
	return string(doc)
}
