package ecs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/metadata/app"
	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	account = "123456789012"
	region  = "us-east-1"
	cluster = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
)

func arn(id string) string { return "arn:aws:ecs:us-east-1:123456789012:task/prod/" + id }

type rig struct {
	t      *testing.T
	aws    *awsfake.Server
	ecs    *awsfake.ECS
	source *Source
	reg    *prometheus.Registry

	mu     sync.Mutex
	events []event.Event
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, aws: awsfaketest.NewServer(t, awsfake.Config{}), reg: prometheus.NewRegistry()}
	r.ecs = r.aws.ECS("", "")
	cfg := DefaultConfig()
	cfg.Accounts = []awscall.Account{{ID: account, Regions: []string{region}}}
	if change != nil {
		change(&cfg)
	}
	names, err := app.New(app.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	r.source, err = New(cfg, Deps{AWS: awsfaketest.AWSConfig(r.aws), Names: names, Log: zerolog.Nop(), Registerer: r.reg})
	if err != nil {
		t.Fatal(err)
	}
	r.aws.EC2("", "").Update(func(w *awsfake.EC2World) {
		w.Subnets = []awsfake.Subnet{{ID: "subnet-0a", VPC: "vpc-0a", CIDR: "10.0.0.0/20", AZID: "use1-az4"}}
		w.Instances = []awsfake.Instance{{
			ID: "i-00000001", State: "running", VPC: "vpc-0a", Subnet: "subnet-0a", PrivateIP: "10.0.0.5", LaunchTime: time.Now().Add(-24 * time.Hour),
			Interfaces: []awsfake.InstanceInterface{{ID: "eni-00000001", PrivateIP: "10.0.0.5"}},
		}}
	})
	r.ecs.PutContainerInstance(awsfake.ContainerInstance{ARN: "arn:host/1", Cluster: cluster, Instance: "i-00000001"})
	return r
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := r.source.Run(ctx, r.emit); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(func() { cancel(); group.Wait() })
	synctest.Wait()
}

func (r *rig) emit(events []event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range events {
		if err := (event.Parser{}).Validate(&events[i]); err != nil {
			r.t.Errorf("%+v: %v", events[i], err)
		}
	}
	r.events = append(r.events, events...)
	return nil
}

func (r *rig) after(d time.Duration) []event.Event {
	<-time.After(d)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.events
	r.events = nil
	return out
}

func claimed(events []event.Event) []string {
	var out []string
	for _, e := range events {
		if e.Op == event.Assign || e.Op == event.Release {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s:%d/%d %s", e.Op, e.IP, e.Port, e.Proto, e.Owner[strings.LastIndexByte(e.Owner, '/')+1:])))
		}
	}
	slices.Sort(out)
	return out
}

func awsvpc(id, ip string, started time.Time) awsfake.Task {
	return awsfake.Task{
		ARN: arn(id), Cluster: cluster, Definition: "arn:aws:ecs:us-east-1:123456789012:task-definition/billing:7", Group: "service:billing-api",
		LaunchType: "FARGATE", LastStatus: "RUNNING", Started: started, Version: 3, ENI: "eni-0000" + id, PrivateIP: ip, Subnet: "subnet-0a",
	}
}

func TestTasksClaimWhatTheyUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		began := time.Now()
		r.ecs.PutTask(awsvpc("aaaa", "10.0.0.20", began.Add(-time.Hour)))
		r.ecs.PutTask(awsfake.Task{
			ARN: arn("bbbb"), Cluster: cluster, Definition: "arn:task-definition/cache:1", Group: "family:cache", LaunchType: "EC2", LastStatus: "RUNNING",
			Started: began.Add(-time.Hour), Version: 2, ContainerInstance: "arn:host/1", Tags: []awsfake.Tag{{Key: "app", Value: "sessions"}},
			Bindings: []awsfake.Binding{{HostPort: 32768, ContainerPort: 80, Protocol: "tcp"}, {HostPort: 32769, ContainerPort: 53, Protocol: "udp"}, {HostPort: 32768, ContainerPort: 80, Protocol: "tcp"}},
		})
		// A task without a network yet claims nothing.
		r.ecs.PutTask(awsfake.Task{ARN: arn("cccc"), Cluster: cluster, LastStatus: "PROVISIONING", Version: 1})
		r.start()
		events := r.after(time.Millisecond)
		want := []string{"assign 10.0.0.20:0/0 aaaa", "assign 10.0.0.5:32768/6 bbbb", "assign 10.0.0.5:32769/17 bbbb"}
		if diff := cmp.Diff(want, claimed(events)); diff != "" {
			t.Fatal(diff)
		}
		for _, e := range events {
			switch {
			case e.Op == event.Describe:
				if e.Owner != "eni:eni-00000001" || e.Shared == nil || !*e.Shared {
					t.Errorf("the host's interface: %+v", e)
				}
			case e.IP == "10.0.0.20":
				want := event.Event{
					V: 1, Src: "ecs/" + account + "/" + region, Epoch: began.UnixMilli(), Seq: e.Seq, Op: event.Assign, Obs: began.UnixMilli(),
					From: began.Add(-time.Hour).UnixMilli() + 1000, Acc: 2000, Scope: "vpc-0a", IP: "10.0.0.20", Owner: arn("aaaa"), Rver: 3,
					EP: &event.Endpoint{Kind: "ecs_task", ENI: "eni-0000aaaa", Name: "aaaa", Subnet: "subnet-0a"},
					WL: &event.Workload{App: "billing-api", AppSource: "ecs-service", Cluster: "prod", Account: account, VPC: "vpc-0a", Region: region},
				}
				if diff := cmp.Diff(want, e); diff != "" {
					t.Error(diff)
				}
			case e.IP == "10.0.0.5" && (e.WL.App != "sessions" || e.EP.ENI != "eni-00000001" || e.EP.Instance != "i-00000001"):
				t.Errorf("%+v %+v", e.EP, e.WL)
			case e.Op == event.Progress && e.To != began.Add(-30*time.Second).UnixMilli():
				t.Errorf("watermark %d", e.To)
			}
		}
		if err := r.source.Listed(); err != nil {
			t.Error(err)
		}

		// It stops: the listing lacks it, and its description says when its containers ended.
		stopped := awsvpc("aaaa", "10.0.0.20", began.Add(-time.Hour))
		stopped.LastStatus, stopped.Stopped, stopped.Version = "STOPPED", began.Add(40*time.Second), 6
		r.ecs.PutTask(stopped)
		events = r.after(time.Minute)
		if diff := cmp.Diff([]string{"release 10.0.0.20:0/0 aaaa"}, claimed(events)); diff != "" {
			t.Fatal(diff)
		}
		if e := events[slices.IndexFunc(events, func(e event.Event) bool { return e.Op == event.Release })]; e.To != began.Add(39*time.Second).UnixMilli() {
			t.Errorf("release %+v", e)
		}
		// One that ECS forgot altogether is released as of when it was last seen.
		r.ecs.RemoveTask(arn("bbbb"))
		if got := claimed(r.after(3 * time.Minute)); len(got) != 2 {
			t.Errorf("%v", got)
		}
	})
}

func taskEvent(t awsfake.Task) string {
	return fmt.Sprintf(`{"version":"0","source":"aws.ecs","detail-type":"ECS Task State Change","account":%q,"region":%q,"detail":{"taskArn":%q,"clusterArn":%q,"lastStatus":%q,"version":%d}}`,
		account, region, t.ARN, t.Cluster, t.LastStatus, t.Version)
}

// Events come out of order, twice, and before ECS's own answers know of them; they never move the watermark.
func TestTaskStateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.QueueURL = "http://awsfake.invalid/" + account + "/tasks"
			c.CrawlInterval = time.Hour
		})
		r.aws.SQS().CreateQueue("tasks")
		send := func(body string) {
			t.Helper()
			if err := r.aws.SQS().Send("tasks", body); err != nil {
				t.Fatal(err)
			}
		}
		r.start()
		began := time.Now()
		r.after(time.Minute)

		task := awsvpc("aaaa", "10.0.0.20", time.Now().Add(-5*time.Second))
		send(taskEvent(task)) // the answer does not know it yet
		if got := claimed(r.after(time.Second)); len(got) != 0 {
			t.Fatalf("%v", got)
		}
		task.Version = 2
		r.ecs.PutTask(task)
		task.Version = 3
		send(taskEvent(task)) // the answer is older than the event: what it says is told, and the event comes again
		if diff := cmp.Diff([]string{"assign 10.0.0.20:0/0 aaaa"}, claimed(r.after(time.Second))); diff != "" {
			t.Fatal(diff)
		}
		if _, inFlight, _ := r.aws.SQS().Depth("tasks"); inFlight != 1 {
			t.Errorf("%d messages in flight; the one whose answer was too old should be", inFlight)
		}
		r.ecs.PutTask(task)
		r.after(time.Minute)

		stopped := task
		stopped.LastStatus, stopped.Version, stopped.Stopped = "STOPPED", 5, time.Now()
		r.ecs.PutTask(stopped)
		send(taskEvent(stopped))
		send(taskEvent(task)) // late
		send(taskEvent(stopped))
		events := r.after(time.Second)
		if diff := cmp.Diff([]string{"release 10.0.0.20:0/0 aaaa"}, claimed(events)); diff != "" {
			t.Error(diff)
		}
		for _, e := range events {
			if e.Op == event.Progress && e.To > began.UnixMilli() {
				t.Errorf("an event moved the watermark to %d", e.To)
			}
		}
		send(`{"detail-type":"Something else"}`)
		send(`{`)
		r.after(time.Second)
		if visible, inFlight, _ := r.aws.SQS().Depth("tasks"); visible+inFlight != 0 {
			t.Errorf("%d messages left", visible+inFlight)
		}
	})
}

func TestAccessDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		denied := r.aws.Inject(awsfake.Fault{Op: "ListTasks", Kind: awsfake.Failure, Code: "AccessDeniedException", Status: 400})
		r.ecs.PutTask(awsvpc("aaaa", "10.0.0.20", time.Now()))
		r.start()
		events := r.after(30 * time.Second)
		if len(events) != 0 {
			t.Errorf("told %v", events)
		}
		if f := r.source.Faults(); len(f) != 1 || !strings.Contains(f[0], "grant ecs:ListTasks") {
			t.Errorf("faults %v", f)
		}
		denied.Remove()
		if got := claimed(r.after(time.Minute)); len(got) != 1 || len(r.source.Faults()) != 0 {
			t.Errorf("%v, faults %v", got, r.source.Faults())
		}
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		before := time.Now().Add(-time.Hour).UnixMilli()
		for _, id := range []string{"aaaa", "gone"} {
			r.source.Recall(&event.Event{Op: event.Assign, Src: "ecs/" + account + "/" + region, Scope: "vpc-0a", IP: "10.0.0.20", Owner: arn(id), From: before, Obs: before, Rver: 3})
		}
		r.ecs.PutTask(awsvpc("aaaa", "10.0.0.20", time.Now().Add(-2*time.Hour)))
		r.start()
		events := r.after(time.Second)
		if diff := cmp.Diff([]string{"release 10.0.0.20:0/0 gone"}, claimed(events)); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzParseChange(f *testing.F) {
	f.Add([]byte(taskEvent(awsvpc("aaaa", "10.0.0.1", time.Unix(0, 0)))))
	f.Add([]byte(`{"detail-type":"ECS Task State Change","detail":{"taskArn":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, _, c, err := parseChange(body); err == nil && (c.ARN == "" || c.Cluster == "") {
			t.Fatalf("%+v names no task", c)
		}
	})
}
