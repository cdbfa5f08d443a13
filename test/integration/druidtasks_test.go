//go:build integration

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/google/go-cmp/cmp"

	"dredge/druid"
	"dredge/internal/page"
)

// TestO5 sends rows to a real Druid as tasks, without Kafka. For a while the way to Druid answers 500 and 429, hangs, and drops the
// connection after it was accepted; tasks are killed in Druid; dredge itself is killed with SIGKILL. Afterwards every row that another
// application makes of the same stream stands in the raw table once, and the rolled-up table is made of as many rows.
//
// The minute of 500s and time-outs to which the row of that name is held is in sink/druid, in virtual time.
func TestO5(t *testing.T) {
	dir, application := t.TempDir(), prefix()+"tasks"
	events := filepath.Join(dir, "events.jsonl")
	endpoint := setting(t, "DREDGE_TEST_KINESIS")
	api := kinesis.NewFromConfig(awsConfig(t, "DREDGE_TEST_KINESIS"))
	if _, err := api.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &application, ShardCount: aws.Int32(4)}); err != nil {
		t.Fatal(err)
	}
	if err := kinesis.NewStreamExistsWaiter(api).Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: &application}, time.Minute); err != nil {
		t.Fatal(err)
	}
	addresses := strings.Fields(setting(t, "DREDGE_TEST_DRUID"))
	client, err := druid.NewClient(druid.Config{Overlord: addresses[0], Broker: addresses[1], Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	way := newRoughWay(t, addresses[0], client)

	binary := build(t)
	generate, _ := start(t, regexp.MustCompile(`^(rules):`), dredge(t, binary, nil,
		"generate", "--stream", application, "--endpoint", endpoint, "--identity-out", events, "--backlog", "1m", "--for", "30s"))
	settings := func(name string, more ...string) []string {
		return append([]string{
			"DREDGE_HTTP_LISTEN=127.0.0.1:0",
			"DREDGE_AWS_KINESIS_ENDPOINT=" + endpoint,
			"DREDGE_AWS_DYNAMODB_ENDPOINT=" + setting(t, "DREDGE_TEST_DYNAMODB"),
			"DREDGE_KINESIS_APPLICATION=" + name,
			"DREDGE_KINESIS_STREAM_NAME=" + application,
			"DREDGE_IDENTITY_FILE_PATH=" + events,
			"DREDGE_KINESIS_FAILOVER_TIME=10s",
		}, more...)
	}
	served := regexp.MustCompile(`"url":"(http://127\.0\.0\.1:\d+/)"`)
	rows := filepath.Join(dir, "rows.jsonl")
	reference, referenceURL := start(t, served, dredge(t, binary, settings(application+"-reference", "DREDGE_SINK_TYPE=file", "DREDGE_SINK_FILE_PATH="+rows),
		"run", "-c", "../../deploy/compose/dredge.yaml"))
	tasks := settings(application,
		"DREDGE_SINK_TYPE=druid", "DREDGE_SINK_DRUID_OBJECTS=file://"+filepath.Join(dir, "objects"), "DREDGE_SINK_DRUID_MINUTE=true",
		"DREDGE_SINK_DRUID_BATCH_INTERVAL=4s", "DREDGE_SINK_DRUID_POLL_INTERVAL=500ms", "DREDGE_SINK_DRUID_TASK_TIME=10s",
		"DREDGE_DRUID_OVERLORD="+way.url, "DREDGE_DRUID_BROKER="+addresses[1], "DREDGE_DRUID_TIMEOUT=3s",
		"DREDGE_DRUID_DATASOURCES_RAW="+application, "DREDGE_DRUID_DATASOURCES_MINUTE="+application+"_1m")
	first, _ := start(t, served, dredge(t, binary, tasks, "run", "-c", "../../deploy/compose/dredge.yaml"))
	defer func() {
		if t.Failed() {
			t.Logf("%d tasks accepted, %d killed; faults %v\n%s", way.accepted.Load(), way.killed.Load(), way.counts(), first.output())
		}
	}()
	await(t, "killed tasks, faults of every kind and rows in spite of them", 2*time.Minute, func() bool {
		return way.killed.Load() >= 2 && way.kinds() == int(faultKinds) && way.accepted.Load() >= 6
	})
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.done
	second, secondURL := start(t, served, dredge(t, binary, tasks, "run", "-c", "../../deploy/compose/dredge.yaml"))
	<-generate.done
	if generate.err != nil {
		t.Fatalf("generate ended with %v:\n%s", generate.err, generate.output())
	}
	way.smooth.Store(true)
	idle := func(url string) bool {
		var s page.Status
		if err := json.Unmarshal([]byte(get(t, url+"api/status")), &s); err != nil {
			t.Fatal(err)
		}
		return s.Books.Delivered > 0 && s.Books.InFlight == 0
	}
	await(t, "the reference's rows", time.Minute, func() bool { return idle(referenceURL) })
	if err := reference.interrupt(); err != nil {
		t.Errorf("the reference ended with %v:\n%s", err, reference.output())
	}
	want := rowIDs(t, rows)
	var have []string
	await(t, "as many rows in Druid", 4*time.Minute, func() bool {
		r, err := client.Query(t.Context(), `SELECT row_id FROM "`+application+`"`)
		if err != nil && !druid.NoTable(err) {
			t.Fatal(err)
		}
		have = have[:0]
		for _, values := range r.Rows {
			have = append(have, str(values[0]))
		}
		return len(have) >= len(want) && idle(secondURL)
	})
	if err := second.interrupt(); err != nil {
		t.Errorf("run ended with %v:\n%s", err, second.output())
	}
	slices.Sort(have)
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("row ids in Druid (-the reference's +there):\n%.2000s\n%s", d, second.output())
	}
	await(t, "the rolled-up rows", time.Minute, func() bool {
		r, err := client.Query(t.Context(), `SELECT SUM(rows_in) FROM "`+application+`_1m"`)
		return err == nil && len(r.Rows) == 1 && r.Rows[0][0] == float64(len(want))
	})
	t.Logf("%d rows; %d tasks accepted, %d killed; faults %v", len(want), way.accepted.Load(), way.killed.Load(), way.counts())
}

// rowIDs are the row ids in a file of rows, in order.
func rowIDs(t *testing.T, path string) (ids []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var row struct {
			ID string `json:"row_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, row.ID)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

// The faults of a roughWay.
const (
	faultInternal = iota
	faultBusy
	faultHang
	faultDrop
	faultKinds
)

// roughWay is a proxy to the overlord on which every fourth request meets a fault, until it is smooth, and on which every fourth task for
// raw rows is killed after it was accepted.
type roughWay struct {
	url              string
	smooth           atomic.Bool
	accepted, killed atomic.Int64

	mu     sync.Mutex
	n      int
	raw    int
	faults map[int]int
}

func newRoughWay(t *testing.T, overlord string, client *druid.Client) *roughWay {
	t.Helper()
	target, err := url.Parse(overlord)
	if err != nil {
		t.Fatal(err)
	}
	w := &roughWay{faults: map[int]int{}}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		fault := w.next()
		switch fault {
		case faultInternal:
			http.Error(rw, "HTTP ERROR 500", http.StatusInternalServerError)
			return
		case faultBusy:
			http.Error(rw, "", http.StatusTooManyRequests)
			return
		case faultHang:
			<-r.Context().Done()
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/task") && answer.Code == http.StatusOK {
			w.accept(client, body)
		}
		if fault == faultDrop {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(rw.Header(), answer.Header())
		rw.WriteHeader(answer.Code)
		_, _ = answer.Body.WriteTo(rw) // the client may have gone
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// next is the fault of the next request, -1 for none.
func (w *roughWay) next() int {
	if w.smooth.Load() {
		return -1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	if w.n%4 != 0 {
		return -1
	}
	fault := w.n / 4 % faultKinds
	w.faults[fault]++
	return fault
}

// accept counts a task that Druid has taken, and kills every fourth one.
func (w *roughWay) accept(client *druid.Client, body []byte) {
	w.accepted.Add(1)
	var spec struct{ ID string }
	if json.Unmarshal(body, &spec) != nil || !strings.Contains(spec.ID, "-raw-a") || w.smooth.Load() {
		return
	}
	w.mu.Lock()
	w.raw++
	kill := w.raw%4 == 1
	w.mu.Unlock()
	if kill && client.KillTask(context.Background(), spec.ID) == nil {
		w.killed.Add(1)
	}
}

func (w *roughWay) kinds() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.faults)
}

func (w *roughWay) counts() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("500 %d, 429 %d, hung %d, dropped after %d", w.faults[faultInternal], w.faults[faultBusy], w.faults[faultHang], w.faults[faultDrop])
}
