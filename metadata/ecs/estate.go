package ecs

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
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
	teller  awscall.Teller
	tasks   map[string]*running
	subnets map[string]string // to VPCs
	hosts   map[string]host   // by container instance
	doubts  int

	faults awscall.Faults
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
		teller: awscall.Teller{Src: src, Now: deps.Now, Events: em.events},
		tasks:  map[string]*running{}, subnets: map[string]string{}, hosts: map[string]host{},
	}
}

func (e *estate) millis() int64 { return e.deps.Now().UnixMilli() }

const (
	// clockSlack is how far ECS's times may be off.
	clockSlack = 1000
	// listing is what fails when one does.
	listing = "listing"
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
			e.faults.Note(e.log, listing, nil)
		case errors.As(err, &failed):
			e.metrics.broken.Inc()
			e.mu.Lock()
			e.teller.Fail()
			e.mu.Unlock()
			e.faults.Note(e.log, listing, err)
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

// tell hands events over. e.mu is held.
func (e *estate) tell(events []event.Event) error {
	e.metrics.tasks.Set(float64(len(e.tasks)))
	return e.teller.Tell(events)
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
		e.teller.Recall(ev.To)
	default:
	}
}
