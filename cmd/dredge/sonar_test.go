package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/internal/awsfake"
	"dredge/internal/telemetry"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
)

// TestMain lets tests start this program as a process of its own, to kill it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_PROGRAM") != "" {
		os.Exit(execute())
	}
	os.Exit(m.Run())
}

const sharedFormat = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status} ${vpc-id} ${flow-direction} ${pkt-srcaddr} ${pkt-dstaddr}"

// fleet is a log in a directory, an identity file for its sonar, and a fake AWS for its workers.
type fleet struct {
	dir, events, log string
	base             config.Config
	aws              *awsfake.Server
	at               time.Time // of the flows
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	c, srv := testConfig(t)
	dir := t.TempDir()
	f := &fleet{dir: dir, events: filepath.Join(dir, "events.jsonl"), log: "file://" + filepath.Join(dir, "log"), aws: srv, at: time.Now().Add(-2 * time.Minute).Truncate(time.Second)}
	c.Identity.File.Path = ""
	c.Identity.File.PollInterval = config.Default().Identity.File.PollInterval
	c.Identity.Logs = []idlog.Config{{URL: f.log}}
	c.Identity.LogSettings.LeaseDuration = 2 * time.Second // a killed leader is waited for
	c.HTTP.Listen = ""
	c.Pipeline.Formats.Default = sharedFormat
	f.base = c
	f.tell(t,
		event.Event{Op: event.Assign, From: 1, Scope: "vpc-1", CIDR: "10.0.0.0/16", Owner: "vpc:vpc-1"},
		event.Event{Op: event.Describe, From: 1, Owner: "eni:eni-a", WL: &event.Workload{App: "alpha"}, EP: &event.Endpoint{Kind: "instance"}},
		event.Event{Op: event.Assign, From: 1, Scope: "vpc-1", IP: "10.0.0.2", Owner: "eni:eni-b", WL: &event.Workload{App: "beta"}, EP: &event.Endpoint{Kind: "instance"}},
	)
	return f
}

// tell appends events to the sonar's file, and progress up to now.
func (f *fleet) tell(t *testing.T, events ...event.Event) {
	t.Helper()
	var b []byte
	events = append(events, event.Event{Op: event.Progress, To: time.Now().UnixMilli()})
	for i := range events {
		events[i].Src, events[i].Obs = "inventory", time.Now().UnixMilli()
		var err error
		if b, err = event.Append(b, &events[i]); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.OpenFile(f.events, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.Write(b); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) sonarConfig() config.Config {
	c := f.base
	c.Identity.File.Path = f.events
	return c
}

// sonar runs a sonar in this process until stop is called.
func (f *fleet) sonar(t *testing.T) (stop func()) {
	t.Helper()
	s, err := newSonar(f.sonarConfig(), aws.Config{}, zerolog.Nop(), telemetry.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return beside(t, s.run)
}

// worker runs worker number n, with a stream of its own.
func (f *fleet) worker(t *testing.T, n int) (svc *service, stop func()) {
	t.Helper()
	c := f.workerConfig(t, n)
	svc = testService(t, c)
	return svc, beside(t, svc.run)
}

func (f *fleet) workerConfig(t *testing.T, n int) config.Config {
	t.Helper()
	c := f.base
	c.Kinesis.Application, c.Kinesis.StreamName = fmt.Sprintf("app%d", n), fmt.Sprintf("flows%d", n)
	c.Sink.File.Path = filepath.Join(f.dir, fmt.Sprintf("rows%d.jsonl", n))
	if err := f.aws.Kinesis().CreateStream(c.Kinesis.StreamName, 1); err != nil && !strings.Contains(err.Error(), "xists") && !strings.Contains(err.Error(), "InUse") {
		t.Fatal(err)
	}
	return c
}

// process starts this program with a configuration and returns what kills it.
func (f *fleet) process(t *testing.T, c config.Config, command string) (kill func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), command+".yaml")
	var b bytes.Buffer
	if err := c.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], command, "-c", path)
	cmd.Env = append(os.Environ(), "RUN_AS_PROGRAM=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill = func() {
		if killed {
			return
		}
		killed = true
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", command, out.String())
		}
	}
	t.Cleanup(kill)
	return kill
}

// await waits until ok holds, for a time that only a machine standing still exceeds, and returns how long it took.
func await(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > 90*time.Second {
			t.Fatalf("waited %s: %s", time.Since(began), what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// holds says whether the worker takes ip for eni's at that time.
func holds(svc *service, eni, ip string, at time.Time) bool {
	own, _ := svc.core.identity.InterfaceHas(eni, netip.MustParseAddr(ip), metadata.Window{Start: at.UnixMilli(), End: at.UnixMilli()})
	return own
}

// flow puts one line of eni's into the stream of worker n.
func (f *fleet) flow(t *testing.T, n int, eni, src, dst, direction string) {
	t.Helper()
	line := fmt.Sprintf("7 123456789012 %s %s %s 40000 443 6 3 300 %d %d ACCEPT OK vpc-1 %s %s %s\n", eni, src, dst, f.at.Unix(), f.at.Unix()+60, direction, src, dst)
	if _, _, err := f.aws.Kinesis().Put(fmt.Sprintf("flows%d", n), "k", []byte(line)); err != nil {
		t.Fatal(err)
	}
}

// rows returns the rows that worker n wrote.
func (f *fleet) rows(t *testing.T, n int) (out []map[string]any) {
	t.Helper()
	file, err := os.Open(filepath.Join(f.dir, fmt.Sprintf("rows%d.jsonl", n)))
	if err != nil {
		return nil
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var row map[string]any
		if json.Unmarshal(lines.Bytes(), &row) == nil {
			out = append(out, row)
		}
	}
	return out
}

func move(ip, from, to string) []event.Event {
	now := time.Now().UnixMilli()
	return []event.Event{
		{Op: event.Release, To: now, Scope: "vpc-1", IP: ip, Owner: "eni:" + from},
		{Op: event.Assign, From: now, Scope: "vpc-1", IP: ip, Owner: "eni:" + to},
	}
}

// Two workers and one sonar over a directory: a change told to the sonar's source is in both workers' answers. The time it took is
// printed; with the default settings it is about a second and a half at most, on a machine that does not stand still.
func TestChangeReachesEveryWorker(t *testing.T) {
	f := newFleet(t)
	f.sonar(t)
	one, _ := f.worker(t, 1)
	two, _ := f.worker(t, 2)
	await(t, "workers are ready", func() bool { return one.identityReady() == nil && two.identityReady() == nil })
	for i := range 3 {
		ip, eni := fmt.Sprintf("10.0.1.%d", i+1), fmt.Sprintf("eni-new%d", i)
		f.tell(t, move(ip, "eni-b", eni)...)
		took := await(t, "the change is in both workers", func() bool { return holds(one, eni, ip, time.Now()) && holds(two, eni, ip, time.Now()) })
		t.Logf("change %d was in both workers after %s", i+1, took.Round(time.Millisecond))
	}
}

// No lease is taken before the log was read, and a heartbeat that worker 1 saw names a flow that worker 2 reads.
func TestHeartbeatOfOneWorkerNamesAFlowOfAnother(t *testing.T) {
	f := newFleet(t)
	one, _ := f.worker(t, 1)
	two, _ := f.worker(t, 2)
	await(t, "the empty log is looked at", func() bool {
		err := one.identityReady()
		return err != nil && strings.Contains(err.Error(), "no dredge sonar has written it yet")
	})
	if n := f.aws.Count("ListShards") + f.aws.Count("UpdateItem"); n != 0 {
		t.Errorf("%d calls for leases before identity was loaded", n)
	}
	f.sonar(t)
	await(t, "workers are ready", func() bool { return one.identityReady() == nil && two.identityReady() == nil })

	f.flow(t, 1, "eni-a", "10.0.0.1", "10.0.0.2", "egress")
	vpc, w := two.core.identity.InternScope("vpc-1"), metadata.Window{Start: f.at.UnixMilli(), End: f.at.Add(time.Minute).UnixMilli()}
	await(t, "worker 2 knows what worker 1 saw", func() bool {
		return two.core.identity.Lookup(vpc, netip.MustParseAddr("10.0.0.1"), w).Grade == metadata.Confirmed
	})
	f.flow(t, 2, "eni-b", "10.0.0.1", "10.0.0.2", "ingress")
	await(t, "worker 2 writes its row", func() bool { return len(f.rows(t, 2)) > 0 })
	row := f.rows(t, 2)[0]
	if row["src_app"] != "alpha" || row["dst_app"] != "beta" {
		t.Errorf("worker 2 wrote src_app %v dst_app %v, want alpha and beta: %v", row["src_app"], row["dst_app"], row)
	}
}

// Killing any of the three loses nothing: what was told and what was seen before is known to whoever starts after that.
func TestKillingAnyOfThemLosesNothing(t *testing.T) {
	f := newFleet(t)
	killSonar := f.process(t, f.sonarConfig(), "sonar")
	two, stopTwo := f.worker(t, 2)
	killOne := f.process(t, f.workerConfig(t, 1), "run")
	await(t, "worker 2 is ready", func() bool { return two.identityReady() == nil })

	f.tell(t, move("10.0.1.1", "eni-b", "eni-c")...)
	await(t, "the change is in worker 2", func() bool { return holds(two, "eni-c", "10.0.1.1", time.Now()) })
	f.flow(t, 1, "eni-a", "10.0.0.1", "10.0.0.2", "egress")
	await(t, "worker 2 knows what worker 1 saw", func() bool { return holds(two, "eni-a", "10.0.0.1", f.at) })

	killSonar()
	killOne()
	f.tell(t, move("10.0.1.1", "eni-c", "eni-d")...) // while nobody looks
	stopTwo()
	three, _ := f.worker(t, 3)
	await(t, "a new worker loads the log without a sonar", func() bool { return three.identityReady() == nil })
	if !holds(three, "eni-c", "10.0.1.1", time.Now()) || !holds(three, "eni-a", "10.0.0.1", f.at) {
		t.Error("the new worker lacks what was told or seen before the kill")
	}
	killSonar = f.process(t, f.sonarConfig(), "sonar")
	await(t, "the new sonar tells what happened meanwhile", func() bool {
		return holds(three, "eni-d", "10.0.1.1", time.Now()) && !holds(three, "eni-c", "10.0.1.1", time.Now())
	})
	killSonar()
}
