package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"dredge/internal/awsfake"
	"dredge/test/internal/trial"
)

const (
	topic       = "flows"
	checkpoints = "checkpoints"
	table       = "ledger"
	// drainTime is how long what is left may take after the last file: announcements that a killed gatherer held show again after three minutes.
	drainTime = 8 * time.Minute
	// commitTime is how long the broker takes to commit: long enough for a kill to find a mouthful of which some files are committed and
	// others are not.
	commitTime = 200 * time.Millisecond
	// transactionTimeout is when the broker aborts what a killed worker has open: long after a taker has had its chance, so that it is the
	// taker who fences.
	transactionTimeout = 2 * time.Minute
	// lookEvery is how often the experiment looks at what the processes have done.
	lookEvery = 200 * time.Millisecond
	// countTime is how long the reading back of all rows may take.
	countTime = 5 * time.Minute
)

// outcome is what a run found.
type outcome struct {
	files, lines       int
	kills, workerKills int
	late               int
	mouthfuls, retaken int
	lost, twice        int
	drained            time.Duration
}

// process is one dredge process; killed is closed when it has ended.
type process struct {
	command string
	cmd     *exec.Cmd
	log     string // its file
	ended   chan struct{}
}

// stage is what the processes work on.
type stage struct {
	*plan
	aws     *awsfake.Server
	cluster *kfake.Cluster
	late    lateCommit
	started int
	// rows is how many the broker had when rowsCame looked last, which was then.
	rows   int64
	looked time.Time
}

// start starts a process, which ends with ctx at the latest.
func (s *stage) start(ctx context.Context, command string) (*process, error) {
	s.started++
	url := s.aws.URL()
	p := &process{command: command, cmd: exec.CommandContext(ctx, s.binary, command), ended: make(chan struct{})}
	p.cmd.Env = trial.Environment("GOMAXPROCS=1",
		"DREDGE_HTTP_LISTEN=", "DREDGE_AWS_DYNAMODB_ENDPOINT="+url, "DREDGE_AWS_SQS_ENDPOINT="+url, "DREDGE_AWS_S3_ENDPOINT="+url,
		"DREDGE_S3_LEDGER_TABLE="+table, "DREDGE_S3_MOUTHFUL_QUEUE="+s.aws.SQS().CreateQueue("mouthfuls"),
		"DREDGE_S3_WORK_VISIBILITY=10s", "DREDGE_S3_WORK_RETRY_DELAY=1s",
		"DREDGE_S3_GATHER_MAX_AGE=2s", "DREDGE_S3_GATHER_MAX_FILES=20",
		"DREDGE_SINK_TYPE=kafka", "DREDGE_SINK_KAFKA_BROKERS=["+strings.Join(s.cluster.ListenAddrs(), ", ")+"]", "DREDGE_SINK_KAFKA_TOPIC="+topic,
		"DREDGE_SINK_KAFKA_MODE="+s.mode, "DREDGE_SINK_KAFKA_EXACTLY_ONCE_CHECKPOINTS_TOPIC="+checkpoints, "DREDGE_SINK_KAFKA_EXACTLY_ONCE_COMMIT_INTERVAL=100ms",
		"DREDGE_SINK_KAFKA_EXACTLY_ONCE_TRANSACTION_TIMEOUT="+transactionTimeout.String(),
	)
	if command == "gather" {
		p.cmd.Env = append(p.cmd.Env, "DREDGE_S3_GATHER_QUEUE="+s.aws.SQS().CreateQueue("files"))
	}
	log, err := os.Create(filepath.Join(s.logs, fmt.Sprintf("%s-%s-%s-%d.log", filepath.Base(s.binary), s.mode, command, s.started)))
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr, p.cmd.Stdout, p.log = log, log, log.Name()
	if err := errors.Join(p.cmd.Start(), log.Close()); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // a killed process says so
		close(p.ended)
	}()
	return p, nil
}

// kill ends a process as the kernel does when memory is short.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.ended
	return err
}

// run writes files, kills and restarts processes, waits until nothing is left, and counts.
func (p *plan) run(ctx context.Context) (o outcome, err error) {
	s := &stage{plan: p, aws: awsfake.New(awsfake.Config{})}
	if err := s.aws.Listen(ctx, "127.0.0.1:0"); err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, s.aws.Close()) }()
	s.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic), kfake.SeedTopics(32, checkpoints))
	if err != nil {
		return o, err
	}
	defer s.cluster.Close()
	defer s.late.letGo()
	s.cluster.ControlKey(int16(kmsg.EndTxn), func(r kmsg.Request) (kmsg.Response, error, bool) {
		s.cluster.KeepControl()
		var held <-chan struct{}
		if end, ok := r.(*kmsg.EndTxnRequest); ok {
			held = s.late.catch(end)
		}
		s.cluster.SleepControl(func() {
			<-time.After(commitTime)
			if held != nil {
				<-held
			}
		})
		return nil, nil, false
	})
	s.aws.S3().CreateBucket("flows", false)
	s.aws.SQS().CreateQueue("files")
	for range 2 { // each file is announced twice
		if err := s.aws.S3().Announce("flows", "files", "AWSLogs/", ".gz"); err != nil {
			return o, err
		}
	}
	life, end := context.WithCancel(ctx)
	var all []*process
	defer func() {
		end()
		for _, one := range all {
			<-one.ended
		}
	}()
	for i := range p.workers + p.gatherers {
		command := "run"
		if i >= p.workers {
			command = "gather"
		}
		one, err := s.start(life, command)
		if err != nil {
			return o, err
		}
		all = append(all, one)
	}
	if err := s.trouble(life, all, &o); err != nil {
		return o, err
	}
	last := time.Now()
	if err := s.drain(life, all, &o); err != nil {
		return o, err
	}
	o.drained = time.Since(last)
	s.late.letGo()
	if err := s.settle(ctx); err != nil {
		return o, err
	}
	return o, s.count(ctx, &o)
}

// trouble writes files and kills processes for as long as the plan says.
func (s *stage) trouble(ctx context.Context, all []*process, o *outcome) error {
	random := rand.New(rand.NewPCG(s.seed, 0))
	until := time.NewTimer(s.duration)
	defer until.Stop()
	files := time.NewTicker(time.Second / time.Duration(s.files))
	defer files.Stop()
	next := func() time.Duration { return time.Duration(random.ExpFloat64() * float64(s.every)) }
	kill := time.NewTimer(4 * s.every) // they come up first
	defer kill.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-until.C:
			return nil
		case <-files.C:
			if err := s.put(o); err != nil {
				return err
			}
		case <-look.C:
			if err := s.watchLate(all, s.replacer(ctx, all, o), o); err != nil {
				return err
			}
		case <-kill.C:
			i := random.IntN(len(all))
			if s.only != "" && all[i].command != s.only || all[i].command == "run" && !s.reading() {
				kill.Reset(10 * time.Millisecond)
				continue
			}
			victims := []int{i}
			if all[i].command == "run" && s.mode == atLeastOnce {
				if !s.rowsCame() {
					kill.Reset(time.Millisecond)
					continue
				}
				victims = running(all)
			}
			kill.Reset(next())
			if all[i].command == "run" && s.mode == exactlyOnce && s.late.arm() {
				continue // the worker is killed when a commit of its has come
			}
			for _, i := range victims {
				if all[i].command == "run" {
					o.workerKills++
				}
				if err := s.replacer(ctx, all, o)(i); err != nil {
					return err
				}
			}
		}
	}
}

// replacer kills a process and starts another one in its place.
func (s *stage) replacer(ctx context.Context, all []*process, o *outcome) func(i int) error {
	return func(i int) (err error) {
		if err := all[i].kill(); err != nil {
			return fmt.Errorf("kill %s: %w: it had ended by itself", all[i].command, err)
		}
		o.kills++
		all[i], err = s.start(ctx, all[i].command)
		return err
	}
}

// reading says whether a mouthful is in flight. While none is, a kill proves nothing.
func (s *stage) reading() bool {
	_, inFlight, _ := s.aws.SQS().Depth("mouthfuls")
	return inFlight > 0
}

// rowsCame says whether rows have come to the broker within the last moment. At least once, the ledger knows nothing of them yet: when
// their worker is killed now they are written again. All workers are, as the broker does not say whose they are.
func (s *stage) rowsCame() bool {
	rows, looked := s.rows, s.looked
	s.rows, s.looked = 0, time.Now()
	for _, p := range s.cluster.PartitionInfos(topic) {
		s.rows += p.HighWatermark
	}
	return s.rows > rows && s.looked.Sub(looked) < lookEvery/10
}

// running are the places of the workers in all.
func running(all []*process) (places []int) {
	for i, one := range all {
		if one.command == "run" {
			places = append(places, i)
		}
	}
	return places
}

// put writes one file. Each line of the run has a number of its own, in bytes.
func (s *stage) put(o *outcome) error {
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	fmt.Fprintln(z, "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status")
	now := time.Now().Unix()
	for range s.lines {
		o.lines++
		fmt.Fprintf(z, "2 123456789012 eni-1 10.0.0.1 10.0.0.2 40000 443 6 1 %d %d %d ACCEPT OK\n", o.lines, now-60, now)
	}
	if err := z.Close(); err != nil {
		return err
	}
	o.files++
	_, err := s.aws.S3().Put("flows", fmt.Sprintf("AWSLogs/123456789012/vpcflowlogs/us-east-1/%06d.log.gz", o.files), text.Bytes())
	return err
}

// drain waits until both queues are empty.
func (s *stage) drain(ctx context.Context, all []*process, o *outcome) error {
	deadline := time.NewTimer(drainTime)
	defer deadline.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := s.watchLate(all, s.replacer(ctx, all, o), o); err != nil {
			return err
		}
		left := 0
		for _, queue := range []string{"files", "mouthfuls"} {
			visible, inFlight, delayed := s.aws.SQS().Depth(queue)
			left += visible + inFlight + delayed
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("%d messages are left %s after the last file", left, drainTime)
		case <-tick.C:
		}
	}
}

// settle waits until no transaction is open, of which a reader of committed records would see nothing behind it. A build that fences
// nobody leaves that to the broker's time-out.
func (s *stage) settle(ctx context.Context) error {
	deadline := time.NewTimer(transactionTimeout + time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		open := 0
		for _, p := range s.cluster.PartitionInfos(topic) {
			if p.LastStableOffset < p.HighWatermark {
				open++
			}
		}
		if open == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("transactions are open in %d partitions %s after the last file was read", open, transactionTimeout+time.Minute)
		case <-tick.C:
		}
	}
}

// attribute is a value as DynamoDB writes it.
type attribute struct{ S, N string }

// count reads what is committed, and the ledger.
func (s *stage) count(ctx context.Context, o *outcome) error {
	seen := make([]int, o.lines+1)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer client.Close()
	want := map[int32]int64{}
	for _, p := range s.cluster.PartitionInfos(topic) {
		if p.LastStableOffset > 0 {
			want[p.Partition] = p.LastStableOffset - 1
		}
	}
	ctx, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	rows := 0
	for len(want) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read the rows back, %d so far, up to offsets %v of partitions: %w", rows, want, err)
		}
		for r := range fetches.RecordsAll() {
			if last, ok := want[r.Partition]; ok && r.Offset >= last {
				delete(want, r.Partition)
			}
			if r.Attrs.IsControl() {
				continue
			}
			rows++
			var row struct {
				Bytes int `json:"bytes"`
			}
			if err := json.Unmarshal(r.Value, &row); err != nil || row.Bytes < 1 || row.Bytes > o.lines {
				return fmt.Errorf("row %q is of no line: %w", r.Value, err)
			}
			seen[row.Bytes]++
		}
	}
	for _, n := range seen[1:] {
		switch {
		case n == 0:
			o.lost++
		case n > 1:
			o.twice++
		}
	}
	for _, it := range s.aws.DynamoDB().Items(table) {
		if !strings.HasPrefix(textOf(it, "id"), "mouthful:") || textOf(it, "state") != "done" {
			continue
		}
		o.mouthfuls++
		var tries attribute
		if err := json.Unmarshal(it["tries"], &tries); err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if tries.N != "1" {
			o.retaken++
		}
	}
	return nil
}
