package awsfake_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/internal/awsfake/contract"
)

func s3Client(s *awsfake.Server) *s3.Client {
	return s3.NewFromConfig(awsfaketest.AWSConfig(s), func(o *s3.Options) { o.UsePathStyle = s.URL() != "" })
}

func TestS3Contract(t *testing.T) {
	for name, server := range map[string]func(testing.TB, awsfake.Config) *awsfake.Server{
		"in process": awsfaketest.NewServer, "http": awsfaketest.NewListeningServer,
	} {
		t.Run(name, func(t *testing.T) {
			contract.S3(t, s3Client(server(t, awsfake.Config{})), contract.Options{})
		})
	}
}

func TestSQSContract(t *testing.T) {
	for name, server := range map[string]func(testing.TB, awsfake.Config) *awsfake.Server{
		"in process": awsfaketest.NewServer, "http": awsfaketest.NewListeningServer,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			contract.SQS(t, sqs.NewFromConfig(awsfaketest.AWSConfig(server(t, awsfake.Config{Clock: c.Now}))), contract.Options{Wait: c.Advance})
		})
	}
}

// A new object is announced as S3 does it, after a test message, and only where its key fits.
func TestS3Announces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := awsfaketest.NewServer(t, awsfake.Config{})
		url := s.SQS().CreateQueue("files")
		s.S3().CreateBucket("flows", true)
		if err := s.S3().Announce("flows", "files", "AWSLogs/", ".gz"); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"AWSLogs/aws-region=x/a b.gz", "AWSLogs/b.txt", "other/c.gz"} {
			if _, err := s.S3().Put("flows", key, []byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		out, err := sqs.NewFromConfig(awsfaketest.AWSConfig(s)).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		var bodies []string
		for _, m := range out.Messages {
			bodies = append(bodies, *m.Body)
		}
		want := []string{
			`{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2000-01-01T00:00:00Z","Bucket":"flows","RequestId":"AWSFAKE","HostId":"awsfake"}`,
			`{"Records":[{"awsRegion":"us-east-1","eventName":"ObjectCreated:Put","eventSource":"aws:s3","eventTime":"2000-01-01T00:00:00.000Z","eventVersion":"2.1",` +
				`"s3":{"bucket":{"arn":"arn:aws:s3:::flows","name":"flows"},"configurationId":"awsfake",` +
				`"object":{"key":"AWSLogs/aws-region%3Dx/a+b.gz","size":5,"eTag":"5d41402abc4b2a76b9719d911017c592","versionId":"v000000000000001","sequencer":"000000000000000001"},` +
				`"s3SchemaVersion":"1.0"}}]}`,
		}
		if diff := cmp.Diff(want, bodies); diff != "" {
			t.Errorf("announced (-want +got):\n%s", diff)
		}
	})
}

// What S3 refuses, and how, as far as a reader of files meets it.
func TestS3Refusals(t *testing.T) {
	s := awsfaketest.NewServer(t, awsfake.Config{})
	s.S3().CreateBucket("flows", true)
	api := s3Client(s)
	put := func(key string) {
		t.Helper()
		if _, err := s.S3().Put("flows", key, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	get := func(key, version string) error {
		in := &s3.GetObjectInput{Bucket: aws.String("flows"), Key: &key}
		if version != "" {
			in.VersionId = &version
		}
		out, err := api.GetObject(t.Context(), in)
		if err != nil {
			return err
		}
		defer out.Body.Close()
		_, err = io.ReadAll(out.Body)
		return err
	}
	for _, key := range []string{"archived", "denied", "kms", "cut", "deleted", "busy"} {
		put(key)
	}
	if err := s.S3().SetClass("flows", "archived", "DEEP_ARCHIVE"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, get("archived", ""), "InvalidObjectState")
	s.Inject(awsfake.Fault{Op: "GetObject", Key: "denied", Kind: awsfake.Failure, Code: "AccessDenied", Message: "Access Denied", Status: http.StatusForbidden})
	wantCode(t, get("denied", ""), "AccessDenied")
	s.Inject(awsfake.Fault{Op: "GetObject", Key: "kms", Kind: awsfake.Failure, Code: "KMS.DisabledException", Message: "arn:aws:kms:… is disabled.", Status: http.StatusBadRequest})
	wantCode(t, get("kms", ""), "KMS.DisabledException")
	s.Inject(awsfake.Fault{Op: "GetObject", Key: "busy", Kind: awsfake.Throttle, Times: 1})
	if err := get("busy", ""); err != nil {
		t.Errorf("a request to slow down is not tried again: %v", err)
	}
	s.Inject(awsfake.Fault{Op: "GetObject", Key: "cut", Kind: awsfake.TruncatedReply})
	if err := get("cut", ""); err == nil {
		t.Error("an answer that breaks off is taken for whole")
	}
	out, err := api.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("flows"), Key: aws.String("deleted")})
	if err != nil || out == nil {
		t.Fatal(err)
	}
	wantCode(t, get("deleted", ""), "NoSuchKey")
	if err := get("deleted", "v000000000000005"); err != nil {
		t.Errorf("the version below the delete marker: %v", err)
	}
	wantCode(t, get("deleted", "v000000000000007"), "MethodNotAllowed")
	wantCode(t, get("denied", "v00"), "AccessDenied")
	wantCode(t, get("archived", "v00"), "NoSuchVersion")
}
