package contract

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 runs the suite. It makes a bucket of its own and leaves it.
func S3(t *testing.T, client *s3.Client, o Options) {
	s := &s3Test{api: client, bucket: o.Prefix + "contract"}
	must(client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &s.bucket}))(t)
	for _, tt := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"ReadsWhatWasWritten", s.readsWhatWasWritten},
		{"Ranges", s.ranges},
		{"ConditionalReads", s.conditionalReads},
		{"ConditionalWrites", s.conditionalWrites},
		{"Lists", s.lists},
		{"NamesWhatIsMissing", s.namesWhatIsMissing},
	} {
		t.Run(tt.name, tt.run)
	}
}

type s3Test struct {
	api    *s3.Client
	bucket string
}

func (s *s3Test) put(t *testing.T, key, data string) (etag string) {
	t.Helper()
	return *must(s.api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: strings.NewReader(data)}))(t).ETag
}

func (s *s3Test) get(t *testing.T, in *s3.GetObjectInput) (string, *s3.GetObjectOutput) {
	t.Helper()
	in.Bucket = &s.bucket
	out := must(s.api.GetObject(t.Context(), in))(t)
	defer out.Body.Close()
	return string(must(io.ReadAll(out.Body))(t)), out
}

func (s *s3Test) readsWhatWasWritten(t *testing.T) {
	for _, key := range []string{"plain.log.gz", "year=2026/a b+c%3D/ü.log"} {
		etag := s.put(t, key, "hello "+key)
		data, out := s.get(t, &s3.GetObjectInput{Key: &key})
		if data != "hello "+key || *out.ETag != etag || out.LastModified == nil || *out.ContentLength != int64(len(data)) {
			t.Errorf("%q: %q, %+v", key, data, out)
		}
		head := must(s.api.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key}))(t)
		if *head.ETag != etag || *head.ContentLength != int64(len(data)) {
			t.Errorf("%q: head says %s, %d bytes", key, *head.ETag, *head.ContentLength)
		}
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s.put(t, "large", string(large))
	if data, _ := s.get(t, &s3.GetObjectInput{Key: aws.String("large")}); data != string(large) {
		t.Errorf("%d bytes come back of %d", len(data), len(large))
	}
}

func (s *s3Test) ranges(t *testing.T) {
	s.put(t, "range", "0123456789")
	for span, want := range map[string]string{"bytes=2-4": "234", "bytes=7-": "789", "bytes=-3": "789", "bytes=8-100": "89", "bytes=-100": "0123456789"} {
		data, out := s.get(t, &s3.GetObjectInput{Key: aws.String("range"), Range: aws.String(span)})
		if data != want || out.ContentRange == nil || !strings.HasSuffix(*out.ContentRange, "/10") {
			t.Errorf("%s: %q of %s", span, data, aws.ToString(out.ContentRange))
		}
	}
	_, err := s.api.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String("range"), Range: aws.String("bytes=10-")})
	wantCode(t, err, "InvalidRange")
}

func (s *s3Test) conditionalReads(t *testing.T) {
	old := s.put(t, "read", "old")
	s.put(t, "read", "new")
	_, err := s.api.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String("read"), IfMatch: &old})
	wantCode(t, err, "PreconditionFailed")
}

func (s *s3Test) conditionalWrites(t *testing.T) {
	create := func() error {
		_, err := s.api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.bucket, Key: aws.String("once"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
		return err
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, create(), "PreconditionFailed")
	etag := s.put(t, "once", "y")
	replace := func(etag string) error {
		_, err := s.api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.bucket, Key: aws.String("once"), Body: strings.NewReader("z"), IfMatch: &etag})
		return err
	}
	if err := replace(etag); err != nil {
		t.Fatal(err)
	}
	wantCode(t, replace(etag), "PreconditionFailed")
}

func (s *s3Test) lists(t *testing.T) {
	var want []string
	for i := range 25 {
		key := fmt.Sprintf("list/day=%d/f %02d.log", i%3, i)
		s.put(t, key, "x")
		want = append(want, key)
	}
	slices.Sort(want)
	var got []string
	pages := s3.NewListObjectsV2Paginator(s.api, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String("list/"), MaxKeys: aws.Int32(10)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		for _, o := range must(pages.NextPage(t.Context()))(t).Contents {
			if *o.Size != 1 || o.ETag == nil || o.LastModified == nil {
				t.Errorf("%+v", o)
			}
			got = append(got, *o.Key)
		}
	}
	if !slices.Equal(want, got) || n != 3 {
		t.Errorf("%d pages of %d keys, in order: %v", n, len(got), slices.IsSorted(got))
	}
	after := must(s.api.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String("list/"), StartAfter: &want[20]}))(t)
	if len(after.Contents) != 4 || *after.Contents[0].Key != want[21] {
		t.Errorf("%d keys after %q", len(after.Contents), want[20])
	}
	folders := must(s.api.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String("list/"), Delimiter: aws.String("/")}))(t)
	var names []string
	for _, p := range folders.CommonPrefixes {
		names = append(names, *p.Prefix)
	}
	if !slices.Equal(names, []string{"list/day=0/", "list/day=1/", "list/day=2/"}) || len(folders.Contents) != 0 {
		t.Errorf("folders: %v and %d keys", names, len(folders.Contents))
	}
}

func (s *s3Test) namesWhatIsMissing(t *testing.T) {
	_, err := s.api.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String("none")})
	wantCode(t, err, "NoSuchKey")
	_, err = s.api.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(s.bucket + "-none"), Key: aws.String("none")})
	wantCode(t, err, "NoSuchBucket")
	s.put(t, "gone", "x")
	must(s.api.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String("gone")}))(t)
	_, err = s.api.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String("gone")})
	wantCode(t, err, "NoSuchKey")
}
