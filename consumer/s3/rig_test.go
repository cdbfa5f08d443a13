package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an AWS with the two queues, in the test's bubble.
type rig struct {
	t   *testing.T
	aws *awsfake.Server
	cfg Config
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, aws: awsfaketest.NewServer(t, awsfake.Config{}), cfg: DefaultConfig()}
	r.cfg.Gather.Queue = r.aws.SQS().CreateQueue("announced")
	r.cfg.MouthfulQueue = r.aws.SQS().CreateQueue("mouthfuls")
	r.cfg.LedgerTable = "ledger"
	if change != nil {
		change(&r.cfg)
	}
	return r
}

// announce tells of a file.
func (r *rig) announce(key string, size int64) {
	r.t.Helper()
	if err := r.aws.SQS().Send("announced", s3Event("flows", url.QueryEscape(key), fmt.Sprintf(`,"size":%d,"eTag":"e"`, size))); err != nil {
		r.t.Fatal(err)
	}
}

// killer ends a process at one of its requests: before or after the server has carried it out. From then on every request of the
// process fails, so nothing that it still tries has any effect.
type killer struct {
	next http.RoundTripper
	at   int // the request that is the last one; 0 is none
	// onBroker makes the first request to the broker the last one.
	onBroker bool
	after    bool // that one is carried out
	die      context.CancelFunc

	mu   sync.Mutex
	seen int
	dead bool
}

var errKilled = errors.New("killed on order")

func (k *killer) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	if k.dead {
		k.mu.Unlock()
		return nil, errKilled
	}
	now := false
	// Waiting for messages is no step.
	if target := r.Header.Get("X-Amz-Target"); k.at > 0 && target != "AmazonSQS.ReceiveMessage" && target != "DynamoDB_20120810.Query" {
		k.seen++
		now = k.seen == k.at
	}
	k.dead = now
	k.mu.Unlock()
	if !now {
		return k.next.RoundTrip(r)
	}
	if k.after {
		if resp, err := k.next.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
	}
	k.die()
	return nil, errKilled
}

// strike counts a request to the broker, and says whether it is the last one.
func (k *killer) strike() (now bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return false, errKilled
	}
	k.seen++
	k.dead = k.onBroker || k.at > 0 && k.seen == k.at
	return k.dead, nil
}

// end is a death at no request.
func (k *killer) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead = true
}

func (k *killer) struck() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}

// live runs a process until it is killed, or for two minutes. Its errors are those of the kill.
func (k *killer) live(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, die := context.WithCancel(t.Context())
	defer die()
	k.die = die
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = run(ctx)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		die()
		<-ended
	}
}

// killEverywhere has trial kill a process at its first request, then at its second one and so on, before and after that is carried out, until
// the process makes no more of them; there must be at least some.
func killEverywhere(t *testing.T, least int, trial func(t *testing.T, k *killer)) {
	t.Helper()
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			k := &killer{at: at, after: after}
			synctest.Test(t, func(t *testing.T) { trial(t, k) })
			if t.Failed() {
				t.Fatalf("killed at request %d, carried out: %v", at, after)
			}
			if !k.struck() {
				if at < least {
					t.Errorf("there were only %d requests to be killed at", at-1)
				}
				break
			}
		}
	}
}

func (r *rig) config(k *killer) aws.Config {
	c := awsfaketest.AWSConfig(r.aws)
	if k != nil {
		k.next = r.aws.Transport()
		c.HTTPClient = &http.Client{Transport: k}
		c.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	}
	return c
}

func (r *rig) gatherer(k *killer) *Gatherer {
	r.t.Helper()
	c := r.config(k)
	g, err := NewGatherer(r.cfg, GathererDeps{SQS: sqs.NewFromConfig(c), Ledger: dynamodb.NewFromConfig(c), Log: zerolog.Nop(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// start runs work until stop is called, which waits for its end.
func start(t *testing.T, work func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var (
		wg  sync.WaitGroup
		err error
	)
	wg.Go(func() { err = work(ctx) })
	return func() {
		t.Helper()
		cancel()
		wg.Wait()
		if err != nil {
			t.Error(err)
		}
	}
}

// mouthfuls returns those in the ledger that will be, or were, read.
func (r *rig) mouthfuls() []Mouthful {
	r.t.Helper()
	var out []Mouthful
	for _, it := range r.items() {
		id, ok := strings.CutPrefix(textOf(it, attrID), mouthfulPrefix)
		if !ok {
			continue
		}
		m, err := parseMouthful(id, it)
		if err != nil {
			r.t.Fatal(err)
		}
		if m.State != StateForming && m.State != StateAbandoned {
			out = append(out, m)
		}
	}
	return out
}

func (r *rig) items() []map[string]types.AttributeValue {
	r.t.Helper()
	api := dynamodb.NewFromConfig(r.config(nil))
	var (
		out   []map[string]types.AttributeValue
		start map[string]types.AttributeValue
	)
	for {
		page, err := api.Scan(r.t.Context(), &dynamodb.ScanInput{TableName: &r.cfg.LedgerTable, ExclusiveStartKey: start})
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, page.Items...)
		if start = page.LastEvaluatedKey; len(start) == 0 {
			return out
		}
	}
}

// wait lets virtual time pass until ok.
func (r *rig) wait(most time.Duration, what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(most); !ok(); {
		if time.Now().After(end) {
			r.t.Fatalf("%s: not after %s", what, most)
		}
		<-time.After(time.Second)
	}
}

// drained says that nothing is left in a queue.
func (r *rig) drained(queue string) func() bool {
	return func() bool {
		visible, inFlight, delayed := r.aws.SQS().Depth(queue)
		return visible+inFlight+delayed == 0
	}
}

func (r *rig) throttleLedger() {
	for _, op := range []string{"PutItem", "UpdateItem"} {
		r.aws.Inject(awsfake.Fault{Op: op, Kind: awsfake.Throttle, Table: r.cfg.LedgerTable})
	}
}

// messages takes all there is out of the mouthful queue and returns the ids.
func (r *rig) messages() map[string]bool {
	r.t.Helper()
	api := sqs.NewFromConfig(r.config(nil))
	out := map[string]bool{}
	for {
		got, err := api.ReceiveMessage(r.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &r.cfg.MouthfulQueue, MaxNumberOfMessages: 10})
		if err != nil {
			r.t.Fatal(err)
		}
		if len(got.Messages) == 0 {
			return out
		}
		for _, m := range got.Messages {
			var body mouthfulMessage
			if err := json.Unmarshal([]byte(*m.Body), &body); err != nil {
				r.t.Fatal(err)
			}
			out[body.Mouthful] = true
		}
	}
}
