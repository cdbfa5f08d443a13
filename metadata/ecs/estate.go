package ecs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/rs/zerolog"
)

// estate is one account in one region.
type estate struct {
	cfg     Config
	deps    Deps
	account string
	region  string
	src     string
	ecs     *ecs.Client
	ec2     *ec2.Client
	log     zerolog.Logger
	caller  *awscall.Caller
	metrics estateMetrics

	// mu guards all below and orders what is emitted.
	mu      sync.Mutex
	emit    event.Emit
	epoch   int64
	seq     int64
	tasks   map[string]*running
	subnets map[string]string // to VPCs
	hosts   map[string]host   // by container instance
	vouched int64
	whole   bool
	fault   string
	doubts  int
}

// running is a task that was told and not released.
type running struct {
	cluster  string
	version  int64
	from     int64
	lastSeen int64
	keys     []claimKey
	ep       *event.Endpoint
	wl       *event.Workload
}

func newEstate(cfg Config, deps Deps, account, region string, api *ecs.Client, inventory *ec2.Client, m *metrics) *estate {
	src := "ecs/" + account + "/" + region
	em := m.estate(account, region)
	return &estate{
		cfg: cfg, deps: deps, account: account, region: region, src: src, ecs: api, ec2: inventory,
		log: deps.Log.With().Str("source", src).Logger(), metrics: em,
		caller: &awscall.Caller{
			Service: "ecs", Limiter: awscall.NewLimiter(cfg.CallsPerSecond, deps.Now), Calls: em.calls, Throttled: em.throttled, Failed: em.failed,
		},
		tasks: map[string]*running{}, subnets: map[string]string{}, hosts: map[string]host{},
	}
}

func (e *estate) millis() int64 { return e.deps.Now().UnixMilli() }

const (
	// progressInterval is how often the watermark is told.
	progressInterval = 10 * time.Second
	// clockSlack is how far ECS's times may be off.
	clockSlack = 1000
	// describeMost is how many tasks one call describes.
	describeMost = 100
)

func (e *estate) run(ctx context.Context) error {
	tick := time.NewTicker(e.cfg.CrawlInterval)
	defer tick.Stop()
	for {
		err := e.list(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var failed *callError
		switch {
		case err == nil:
			e.metrics.complete.Inc()
			e.say("")
		case errors.As(err, &failed):
			e.metrics.broken.Inc()
			e.mu.Lock()
			e.whole = false
			e.mu.Unlock()
			e.say(awscall.StableText(err))
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// callError is a fault of AWS, not of the one who listens.
type callError struct{ err error }

func (e *callError) Error() string { return e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

func (e *estate) say(text string) {
	e.mu.Lock()
	was := e.fault
	e.fault = text
	e.mu.Unlock()
	switch text {
	case was:
	case "":
		e.log.Info().Msg("reading ECS works again")
	default:
		e.log.Error().Str("fault", text).Msg("reading ECS fails, trying again")
	}
}

func (e *estate) status() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fault == "" {
		return nil
	}
	return []string{e.src + ": " + e.fault}
}

// vouch repeats the watermark as long as listings are complete.
func (e *estate) vouch(ctx context.Context) error {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		e.mu.Lock()
		var err error
		if e.whole && e.vouched > 0 {
			err = e.tell([]event.Event{{Op: event.Progress, To: e.vouched}})
		}
		e.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// tell numbers events and hands them over. e.mu is held.
func (e *estate) tell(events []event.Event) error {
	now := e.millis()
	for i := range events {
		e.seq++
		ev := &events[i]
		ev.V, ev.Src, ev.Epoch, ev.Seq, ev.Obs = event.Version, e.src, e.epoch, e.seq, now
	}
	e.metrics.events.Add(float64(len(events)))
	e.metrics.tasks.Set(float64(len(e.tasks)))
	for some := range slices.Chunk(events, 1000) {
		if err := e.emit(some); err != nil {
			return err
		}
	}
	return nil
}

// list lists all running tasks, and looks those up that were running before and are not listed: an absent task is released only
// when ECS says that it stopped or knows it no more.
func (e *estate) list(ctx context.Context) error {
	begin := e.millis()
	clusters, err := e.clusters(ctx)
	if err != nil {
		return &callError{err}
	}
	arns := map[string][]string{} // by cluster
	listed := map[string]bool{}
	for _, c := range clusters {
		tasks, err := e.taskARNs(ctx, c)
		if err != nil {
			return &callError{err}
		}
		arns[c] = tasks
		for _, t := range tasks {
			listed[t] = true
		}
	}
	e.mu.Lock()
	missing, known := 0, len(e.tasks)
	for arn, t := range e.tasks {
		if !listed[arn] {
			missing++
			arns[t.cluster] = append(arns[t.cluster], arn)
		}
	}
	e.mu.Unlock()
	shown, lost := map[string]bool{}, []string{}
	for _, c := range slices.Sorted(maps.Keys(arns)) {
		found, failed, err := e.describe(ctx, c, arns[c])
		if err != nil {
			return &callError{err}
		}
		if err := e.take(ctx, found); err != nil {
			return err
		}
		for i := range found {
			shown[aws.ToString(found[i].TaskArn)] = true
		}
		lost = append(lost, failed...)
	}
	return e.complete(lost, shown, missing, known, begin)
}

// complete releases what ECS knows no more and moves the watermark. When nearly everything is suddenly unknown, that is believed
// only the third time.
func (e *estate) complete(lost []string, shown map[string]bool, missing, known int, begin int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event.Event
	if len(lost) > 10 && 2*len(lost) > known && e.doubts < 2 {
		e.doubts++
		e.metrics.doubts.Inc()
		e.log.Error().Int("missing", len(lost)).Int("known", known).Msg("a listing lacks so much that it is doubted")
	} else {
		e.doubts = 0
		for _, arn := range lost {
			if t := e.tasks[arn]; t != nil && !shown[arn] && begin >= t.lastSeen+e.cfg.Consistency.Milliseconds() {
				out = e.release(arn, t.lastSeen-e.cfg.Consistency.Milliseconds(), begin, out)
			}
		}
	}
	e.vouched, e.whole = max(e.vouched, begin-e.cfg.Consistency.Milliseconds()), true
	e.metrics.missing.Add(float64(missing))
	e.metrics.lastComplete.Set(float64(begin) / 1000)
	return e.tell(append(out, event.Event{Op: event.Progress, To: e.vouched}))
}

func (e *estate) clusters(ctx context.Context) ([]string, error) {
	var out []string
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "ListClusters", func(ctx context.Context) (*ecs.ListClustersOutput, error) {
			return e.ecs.ListClusters(ctx, &ecs.ListClustersInput{NextToken: token, MaxResults: aws.Int32(100)})
		})
		if err != nil {
			return nil, err
		}
		out = append(out, answer.ClusterArns...)
		return answer.NextToken, nil
	})
	return out, err
}

func (e *estate) taskARNs(ctx context.Context, cluster string) ([]string, error) {
	var out []string
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "ListTasks", func(ctx context.Context) (*ecs.ListTasksOutput, error) {
			return e.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: &cluster, NextToken: token, MaxResults: aws.Int32(100)})
		})
		if err != nil {
			return nil, err
		}
		out = append(out, answer.TaskArns...)
		return answer.NextToken, nil
	})
	return out, err
}

// describe returns tasks, and the ARNs that ECS does not know.
func (e *estate) describe(ctx context.Context, cluster string, arns []string) (found []types.Task, missing []string, err error) {
	slices.Sort(arns)
	for some := range slices.Chunk(slices.Compact(arns), describeMost) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeTasks", func(ctx context.Context) (*ecs.DescribeTasksOutput, error) {
			return e.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: some, Include: []types.TaskField{types.TaskFieldTags}})
		})
		if err != nil {
			return nil, nil, err
		}
		found = append(found, answer.Tasks...)
		for _, f := range answer.Failures {
			if aws.ToString(f.Reason) == "MISSING" {
				missing = append(missing, aws.ToString(f.Arn))
			}
		}
	}
	return found, missing, nil
}

// take tells what tasks claim or no longer claim.
func (e *estate) take(ctx context.Context, found []types.Task) error {
	if err := e.learn(ctx, found); err != nil {
		return &callError{err}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event.Event
	for i := range found {
		out = e.see(&found[i], out)
	}
	if len(out) == 0 {
		return nil
	}
	return e.tell(out)
}

// see takes in one task. e.mu is held.
func (e *estate) see(t *types.Task, out []event.Event) []event.Event {
	arn, now := aws.ToString(t.TaskArn), e.millis()
	was := e.tasks[arn]
	if was != nil && t.Version < was.version {
		return out // an answer from before
	}
	if ended(t) {
		if was == nil {
			return out
		}
		to := gone(t)
		if to == 0 {
			to = was.lastSeen
		}
		return e.release(arn, to-clockSlack, max(now, to), out)
	}
	keys, ep, wl, ok := e.claims(t)
	if !ok {
		return out
	}
	if was == nil {
		was = &running{cluster: aws.ToString(t.ClusterArn), ep: ep, wl: wl}
		e.tasks[arn] = was
		was.from = now
		if at := began(t); at != 0 && at+clockSlack <= now {
			was.from = at + clockSlack
		}
		if h, shared := e.hosts[aws.ToString(t.ContainerInstanceArn)]; shared && keys[0].port != 0 {
			yes := true
			out = append(out, event.Event{Op: event.Describe, Owner: "eni:" + h.eni, Shared: &yes, From: h.launched})
		}
	}
	was.version, was.lastSeen = t.Version, now
	for _, k := range keys {
		if slices.Contains(was.keys, k) {
			continue
		}
		was.keys = append(was.keys, k)
		out = append(out, event.Event{
			Op: event.Assign, Scope: k.scope, IP: k.ip, Port: k.port, Proto: k.proto, Owner: arn, EP: ep, WL: wl, Rver: t.Version,
			From: was.from, Acc: 2 * clockSlack,
		})
	}
	if !reflect.DeepEqual(was.ep, ep) || !reflect.DeepEqual(was.wl, wl) {
		was.ep, was.wl = ep, wl
		out = append(out, event.Event{Op: event.Describe, Owner: arn, EP: ep, WL: wl, Rver: t.Version, From: now})
	}
	return out
}

// release closes all claims of a task: certain until to, over by until. e.mu is held.
func (e *estate) release(arn string, to, until int64, out []event.Event) []event.Event {
	t := e.tasks[arn]
	delete(e.tasks, arn)
	to = max(to, t.from+1) // it has to come after the beginning, or it would close nothing
	for _, k := range t.keys {
		out = append(out, event.Event{
			Op: event.Release, Scope: k.scope, IP: k.ip, Port: k.port, Proto: k.proto, Owner: arn, To: to, Acc: min(max(0, until-to), event.MaxAcc),
		})
	}
	return out
}

// recall takes in what was told in an earlier life. e.mu is held.
func (e *estate) recall(ev *event.Event) {
	k := claimKey{ev.Scope, ev.IP, ev.Port, ev.Proto}
	t := e.tasks[ev.Owner]
	switch ev.Op {
	case event.Assign:
		if t == nil {
			t = &running{cluster: clusterARN(ev.Owner), version: ev.Rver, from: ev.Start(), lastSeen: ev.Obs, ep: ev.EP, wl: ev.WL}
			e.tasks[ev.Owner] = t
		}
		if !slices.Contains(t.keys, k) {
			t.keys = append(t.keys, k)
		}
	case event.Release:
		if t != nil {
			if t.keys = slices.DeleteFunc(t.keys, func(o claimKey) bool { return o == k }); len(t.keys) == 0 {
				delete(e.tasks, ev.Owner)
			}
		}
	case event.Progress:
		e.vouched = max(e.vouched, ev.To)
	default:
	}
}

// learn looks up the subnets and hosts that tasks name and nobody has looked up yet.
func (e *estate) learn(ctx context.Context, found []types.Task) error {
	subnets, hosts := map[string]bool{}, map[string]map[string]bool{}
	e.mu.Lock()
	for i := range found {
		t := &found[i]
		if ended(t) {
			continue
		}
		eni, subnet, _ := attachment(t)
		if _, known := e.subnets[subnet]; eni != "" && subnet != "" && !known {
			subnets[subnet] = true
		}
		host, cluster := aws.ToString(t.ContainerInstanceArn), aws.ToString(t.ClusterArn)
		if _, known := e.hosts[host]; eni == "" && host != "" && !known {
			if hosts[cluster] == nil {
				hosts[cluster] = map[string]bool{}
			}
			hosts[cluster][host] = true
		}
	}
	e.mu.Unlock()
	for some := range slices.Chunk(slices.Sorted(maps.Keys(subnets)), describeMost) {
		answer, err := awscall.Do(ctx, e.inventory(), "DescribeSubnets", func(ctx context.Context) (*ec2.DescribeSubnetsOutput, error) {
			return e.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{{Name: aws.String("subnet-id"), Values: some}}})
		})
		if err != nil {
			return err
		}
		e.mu.Lock()
		for _, s := range answer.Subnets {
			e.subnets[aws.ToString(s.SubnetId)] = aws.ToString(s.VpcId)
		}
		e.mu.Unlock()
	}
	for _, cluster := range slices.Sorted(maps.Keys(hosts)) {
		for some := range slices.Chunk(slices.Sorted(maps.Keys(hosts[cluster])), describeMost) {
			if err := e.learnHosts(ctx, cluster, some); err != nil {
				return err
			}
		}
	}
	return nil
}

// inventory is the caller for EC2: the same rate, other permissions.
func (e *estate) inventory() *awscall.Caller {
	c := *e.caller
	c.Service = "ec2"
	return &c
}

func (e *estate) learnHosts(ctx context.Context, cluster string, arns []string) error {
	answer, err := awscall.Do(ctx, e.caller, "DescribeContainerInstances", func(ctx context.Context) (*ecs.DescribeContainerInstancesOutput, error) {
		return e.ecs.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: arns})
	})
	if err != nil {
		return err
	}
	byInstance := map[string]string{}
	for _, c := range answer.ContainerInstances {
		if id := aws.ToString(c.Ec2InstanceId); id != "" {
			byInstance[id] = aws.ToString(c.ContainerInstanceArn)
		}
	}
	if len(byInstance) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(byInstance))
	return awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.inventory(), "DescribeInstances", func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) {
			return e.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{
				NextToken: token, Filters: []ec2types.Filter{{Name: aws.String("instance-id"), Values: ids}},
			})
		})
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, r := range answer.Reservations {
			for _, i := range r.Instances {
				e.hosts[byInstance[aws.ToString(i.InstanceId)]] = hostOf(i)
			}
		}
		return answer.NextToken, nil
	})
}

// hostOf takes the primary interface of an instance: bridge and host ports are bound there.
func hostOf(i ec2types.Instance) host {
	h := host{ip: aws.ToString(i.PrivateIpAddress), vpc: aws.ToString(i.VpcId), subnet: aws.ToString(i.SubnetId), instance: aws.ToString(i.InstanceId)}
	if i.LaunchTime != nil {
		h.launched = i.LaunchTime.UnixMilli()
	}
	for _, n := range i.NetworkInterfaces {
		if aws.ToString(n.PrivateIpAddress) == h.ip {
			h.eni = aws.ToString(n.NetworkInterfaceId)
		}
	}
	return h
}

// handle looks up the task of one event. The error is awscall.ErrAgain or emit's.
func (s *Source) handle(ctx context.Context, body string) error {
	s.metrics.messages.Inc()
	account, region, t, err := parseChange([]byte(body))
	if err != nil {
		s.metrics.messagesBad.Inc()
		s.deps.Log.Warn().Err(err).Str("queue", s.queue.URL).Msg("a message of the queue is no task state change and was removed")
		return nil
	}
	for _, e := range s.estates {
		if e.account != account || e.region != region {
			continue
		}
		err := e.change(ctx, t)
		if _, ok := errors.AsType[*callError](err); ok {
			return fmt.Errorf("%w: %w", awscall.ErrAgain, err)
		}
		return err
	}
	s.metrics.messagesOther.Inc()
	return nil
}

// changed is what an event says of a task.
type changed struct {
	ARN     string `json:"taskArn"`
	Cluster string `json:"clusterArn"`
	Version int64  `json:"version"`
}

// parseChange reads an ECS Task State Change as EventBridge writes it.
func parseChange(body []byte) (account, region string, t changed, err error) {
	if len(body) > awscall.MaxMessage {
		return "", "", t, fmt.Errorf("message of %d bytes; at most %d are read", len(body), awscall.MaxMessage)
	}
	var e struct {
		Type    string  `json:"detail-type"`
		Account string  `json:"account"`
		Region  string  `json:"region"`
		Detail  changed `json:"detail"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return "", "", t, fmt.Errorf("message is no event of EventBridge: %w", err)
	}
	if e.Type != "ECS Task State Change" || e.Detail.ARN == "" || e.Detail.Cluster == "" {
		return "", "", t, fmt.Errorf("detail-type %q is no ECS Task State Change with a task and a cluster", e.Type)
	}
	return e.Account, e.Region, e.Detail, nil
}

// change looks one task up. An answer that is older than the event is not the last word: the message stays in the queue.
func (e *estate) change(ctx context.Context, c changed) error {
	e.mu.Lock()
	was := e.tasks[c.ARN]
	stale := was != nil && was.version >= c.Version
	e.mu.Unlock()
	if stale {
		return nil
	}
	found, missing, err := e.describe(ctx, c.Cluster, []string{c.ARN})
	if err != nil {
		return &callError{err}
	}
	if len(missing) > 0 {
		return nil // the next listing looks twice
	}
	if err := e.take(ctx, found); err != nil {
		return err
	}
	if v := slices.MaxFunc(append(found, types.Task{}), func(a, b types.Task) int { return cmp.Compare(a.Version, b.Version) }).Version; v < c.Version {
		return &callError{fmt.Errorf("DescribeTasks answers version %d of a task whose event has %d", v, c.Version)}
	}
	return nil
}

// clusterARN is the cluster of a task, whose ARN holds it in the long form that all new tasks have.
func clusterARN(task string) string {
	before, after, ok := cutTask(task)
	if !ok {
		return "default"
	}
	return before + ":cluster/" + after
}
