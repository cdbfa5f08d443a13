//go:build integration

package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"dredge/consumer/s3/s3test"
	"dredge/internal/awsfake/contract"
)

// TestElasticMQ runs the contract of SQS over an implementation that is not ours. It refuses the receipt handle of an earlier receive.
func TestElasticMQ(t *testing.T) {
	t.Parallel()
	client := sqs.NewFromConfig(awsConfig(t, "DREDGE_TEST_ELASTICMQ"))
	contract.SQS(t, client, contract.Options{Prefix: prefix(), Wait: pause, Deviations: []contract.Deviation{contract.StaleReceiptRefused}})
}

func TestMotoS3(t *testing.T) {
	t.Parallel()
	contract.S3(t, motoS3(t), contract.Options{Prefix: prefix(), Wait: pause})
}

func motoS3(t *testing.T) *awss3.Client {
	return awss3.NewFromConfig(awsConfig(t, "DREDGE_TEST_MOTO"), func(o *awss3.Options) { o.UsePathStyle = true })
}

// TestS3 writes files into moto's S3, which announces them in moto's SQS, and lets `dredge gather` and `dredge run` make rows of
// them, with the ledger in DynamoDB Local: nothing here is our own fake. Then the same with the announcements, as moto wrote them, and
// the mouthfuls in ElasticMQ. moto writes a slash of a key as %2F, and its notifications have no sequencer; AWS does neither.
func TestS3(t *testing.T) {
	binary := build(t)
	for _, queues := range []string{"DREDGE_TEST_MOTO", "DREDGE_TEST_ELASTICMQ"} {
		t.Run(queues, func(t *testing.T) {
			const files, lines = 6, 50
			run, bucket := prefix(), prefix()+"flows"
			store, client := motoS3(t), sqs.NewFromConfig(awsConfig(t, queues))
			announced := motoQueue(t, store, bucket, run+"files")
			gathered := queueURL(t, client, run+"gather")
			for i := range files {
				text := []byte("version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n")
				for k := range lines {
					text = fmt.Appendf(text, "2 123456789012 eni-1 10.0.0.1 10.0.0.2 40000 443 6 1 %d 1700000000 1700000060 ACCEPT OK\n", lines*i+k)
				}
				key, data := fmt.Sprintf("AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/f %d+.log.gz", i), s3test.Gzip(text)
				if i%2 == 1 {
					var err error
					if data, err = s3test.Parquet(text); err != nil {
						t.Fatal(err)
					}
					key = fmt.Sprintf("AWSLogs/123456789012/vpcflowlogs/us-east-1/%d.log.parquet", i)
				}
				if _, err := store.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)}); err != nil {
					t.Fatal(err)
				}
			}
			// Each announcement goes on twice: one file must be read once. The test event of the bucket is among them.
			forward(t, announced, client, gathered, files+1)

			rows := filepath.Join(t.TempDir(), "rows.jsonl")
			env := []string{
				"DREDGE_HTTP_LISTEN=127.0.0.1:0", "DREDGE_AWS_SQS_ENDPOINT=" + setting(t, queues), "DREDGE_AWS_S3_ENDPOINT=" + setting(t, "DREDGE_TEST_MOTO"),
				"DREDGE_AWS_DYNAMODB_ENDPOINT=" + setting(t, "DREDGE_TEST_DYNAMODB"), "DREDGE_S3_LEDGER_TABLE=" + run + "ledger",
				"DREDGE_S3_MOUTHFUL_QUEUE=" + queueURL(t, client, run+"mouthfuls"), "DREDGE_S3_GATHER_MAX_AGE=1s",
				"DREDGE_SINK_TYPE=file", "DREDGE_SINK_FILE_PATH=" + rows,
			}
			announces := regexp.MustCompile(`"url":"(http://127\.0\.0\.1:\d+/[a-z]*)"`)
			gather, _ := start(t, announces, dredge(t, binary, append([]string{"DREDGE_S3_GATHER_QUEUE=" + gathered}, env...), "gather"))
			work, _ := start(t, announces, dredge(t, binary, env, "run"))
			await(t, "the rows of all files", time.Minute, func() bool {
				text, err := os.ReadFile(rows)
				return err == nil && bytes.Count(text, []byte{'\n'}) >= files*lines
			})
			await(t, "the end of all notifications", time.Minute, func() bool { return drained(t, client, gathered) })
			for _, p := range []*program{gather, work} {
				if err := p.interrupt(); err != nil {
					t.Errorf("ended with %v:\n%s", err, p.output())
				}
			}
			if n := distinctRows(t, rows); n != files*lines {
				t.Errorf("%d rows, want %d\n%s\n%s", n, files*lines, gather.output(), work.output())
			}
		})
	}
}

// motoQueue is a bucket in moto and the URL of the queue in moto that its files are announced in.
func motoQueue(t *testing.T, store *awss3.Client, bucket, queue string) (url string) {
	t.Helper()
	client := sqs.NewFromConfig(awsConfig(t, "DREDGE_TEST_MOTO"))
	url = queueURL(t, client, queue)
	arn, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	_, err = store.PutBucketNotificationConfiguration(t.Context(), &awss3.PutBucketNotificationConfigurationInput{
		Bucket: &bucket, NotificationConfiguration: &types.NotificationConfiguration{QueueConfigurations: []types.QueueConfiguration{{
			QueueArn: aws.String(arn.Attributes["QueueArn"]), Events: []types.Event{"s3:ObjectCreated:*"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func queueURL(t *testing.T, client *sqs.Client, name string) string {
	t.Helper()
	out, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return *out.QueueUrl
}

// forward sends n messages of moto's queue from on to another queue, twice.
func forward(t *testing.T, from string, client *sqs.Client, to string, n int) {
	t.Helper()
	moto := sqs.NewFromConfig(awsConfig(t, "DREDGE_TEST_MOTO"))
	await(t, "the announcements", time.Minute, func() bool {
		out, err := moto.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &from, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Messages {
			for range 2 {
				if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &to, MessageBody: m.Body}); err != nil {
					t.Fatal(err)
				}
			}
			n--
		}
		return n == 0
	})
}

// drained says whether a queue has no messages, visible or not.
func drained(t *testing.T, client *sqs.Client, url string) bool {
	t.Helper()
	names := []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible}
	out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: names})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attributes[string(names[0])] == "0" && out.Attributes[string(names[1])] == "0"
}
