package s3

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"dredge/consumer/s3/s3test"
	"dredge/internal/awsfake"
)

// files is the SDK's client of the rig's S3.
func (r *rig) files() *awss3.Client { return awss3.NewFromConfig(r.config(nil)) }

// From the writing of a file to its rows, through the SDK alone: S3 announces, the gatherer groups, the worker reads. What can't be
// read is named as S3 names it, and costs its neighbours nothing.
func TestFromBucketToRows(t *testing.T) {
	for _, versions := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Work.MaxTries = 2 })
			s3 := r.aws.S3()
			s3.CreateBucket("flows", versions)
			if err := s3.Announce("flows", "announced", "logs/AWSLogs/", ""); err != nil {
				t.Fatal(err)
			}
			put := func(name string, data []byte) string {
				t.Helper()
				key := "logs/AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/day=01/" + name
				if _, err := s3.Put("flows", key, data); err != nil {
					t.Fatal(err)
				}
				return key
			}
			var want []string
			for i := range 8 {
				name := fmt.Sprintf("f %d+%%.log.gz", i)
				text, lines := logFile(fmt.Sprint("f", i), 500)
				put(name, s3test.Gzip(text))
				want = append(want, lines...)
			}
			data := flowParquet(t, 3000, 1000)
			put("f.log.parquet", data)
			lines, err := readAll(t, data)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, lines[1:]...)

			text, _ := logFile("bad", 10)
			archived := put("archived.log", text)
			if err := s3.SetClass("flows", archived, "GLACIER"); err != nil {
				t.Fatal(err)
			}
			for name, f := range map[string]awsfake.Fault{
				"denied.log":   {Code: "AccessDenied", Message: "Access Denied", Status: http.StatusForbidden},
				"kms.log":      {Code: "KMS.DisabledException", Message: "the key is disabled", Status: http.StatusBadRequest},
				"kms-deny.log": {Code: "AccessDenied", Message: "User: x is not authorized to perform: kms:Decrypt", Status: http.StatusForbidden},
			} {
				f.Op, f.Kind, f.Key = "GetObject", awsfake.Failure, put(name, text)
				r.aws.Inject(f)
			}
			gone := put("gone.log", text)
			if !versions {
				// With versions the one that was announced is still there, and read.
				old := put("replaced.log", text)
				if _, err := s3.Put("flows", old, []byte("version account-id srcaddr\n2 new 0")); err != nil {
					t.Fatal(err)
				}
				want = append(want, "2 new 0")
				if _, err := r.files().DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: aws.String("flows"), Key: &gone}); err != nil {
					t.Fatal(err)
				}
			} else {
				_, bad := logFile("bad", 10)
				want = append(want, bad...)
			}
			k := newTaker()
			stops := []func(){start(t, r.gatherer(nil).Run), start(t, r.worker(nil, r.files(), k).Run)}
			r.wait(time.Hour, "all announcements taken", r.drained("announced"))
			r.wait(time.Hour, "all mouthfuls read", r.drained("mouthfuls"))
			for _, stop := range stops {
				stop()
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, k.delivered()); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			var reasons []string
			for _, reason := range r.reasons() {
				reasons = append(reasons, reason)
			}
			slices.Sort(reasons)
			named := []string{fileArchived, fileDenied, fileKMS, fileKMS}
			if !versions {
				named = append(named, fileMissing, fileReplaced)
			}
			if diff := cmp.Diff(named, reasons); diff != "" {
				t.Errorf("reasons in the ledger (-want +got):\n%s", diff)
			}
		})
	}
}
