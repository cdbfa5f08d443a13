// Package ecs turns what ECS knows of tasks into identity events. A task with a network interface of its own (awsvpc, Fargate)
// claims that interface's address; one that shares its host's (bridge, host) claims the host's address port by port.
//
// Complete listings move the watermark. Task state changes from EventBridge come in between: each makes the source look its task
// up, because events come twice, in any order, or not at all.
package ecs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// Namer says what an endpoint's application is called. It fills in what wl lacks.
type Namer interface {
	Name(tags map[string]string, ep *event.Endpoint, wl *event.Workload)
}

// Deps are what a Source needs from outside.
type Deps struct {
	// AWS holds region, credentials and HTTP client; roles are assumed with it. Required.
	AWS aws.Config
	// ECSEndpoint, EC2Endpoint, STSEndpoint and SQSEndpoint override URLs, for emulators and private endpoints.
	ECSEndpoint, EC2Endpoint, STSEndpoint, SQSEndpoint string
	// Names names applications; nil leaves them unnamed.
	Names Namer
	Log   zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Source tells the tasks of all configured accounts. It implements event.Source.
type Source struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	estates []*estate
	queue   *awscall.Queue
}

var _ event.Source = (*Source)(nil)

// New returns a Source. It asks nobody anything.
func New(cfg Config, deps Deps) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making ECS source: %w", err)
	}
	if !cfg.Enabled() {
		return nil, errors.New("making ECS source: accounts: is empty; write at least one account with its regions")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	deps.AWS = awscall.Prepare(deps.AWS)
	s := &Source{cfg: cfg, deps: deps, metrics: newMetrics(deps.Registerer)}
	for _, a := range cfg.Accounts {
		for _, region := range a.Regions {
			base := a.In(region, deps.AWS, deps.STSEndpoint)
			s.estates = append(s.estates, newEstate(cfg, deps, a.ID, region,
				ecs.NewFromConfig(base, func(o *ecs.Options) { o.BaseEndpoint = awscall.OrElse(deps.ECSEndpoint, o.BaseEndpoint) }),
				ec2.NewFromConfig(base, func(o *ec2.Options) { o.BaseEndpoint = awscall.OrElse(deps.EC2Endpoint, o.BaseEndpoint) }),
				s.metrics))
		}
	}
	if cfg.QueueURL != "" {
		api := sqs.NewFromConfig(deps.AWS, func(o *sqs.Options) { o.BaseEndpoint = awscall.OrElse(deps.SQSEndpoint, o.BaseEndpoint) })
		s.queue = &awscall.Queue{API: api, URL: cfg.QueueURL, Log: deps.Log}
	}
	return s, nil
}

// Names returns the sources of events: ecs/account/region.
func (s *Source) Names() []string {
	out := make([]string, 0, len(s.estates))
	for _, e := range s.estates {
		out = append(out, e.src)
	}
	return out
}

// Run lists and follows the queue until ctx ends. It returns nil then, and an error only when emit did.
func (s *Source) Run(ctx context.Context, emit event.Emit) error {
	group, working := errgroup.WithContext(ctx)
	for _, e := range s.estates {
		e.teller.Begin(emit)
		group.Go(func() error { return e.run(working) })
		group.Go(func() error { return awscall.Vouch(working, &e.mu, &e.teller) })
	}
	if s.queue != nil {
		group.Go(func() error { return s.queue.Run(working, s.handle) })
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("telling identity from ECS: %w", err)
	}
	return nil
}

// Faults says what cannot be read at present.
func (s *Source) Faults() []string {
	var out []string
	for _, e := range s.estates {
		out = append(out, e.faults.List(e.src+": ")...)
	}
	if s.queue != nil {
		out = append(out, s.queue.Faults()...)
	}
	return out
}

// Listed says whether every account was listed completely once, or could not be, which Faults then names: one account that refuses
// holds nobody back. Any goroutine may ask.
func (s *Source) Listed() error {
	for _, e := range s.estates {
		e.mu.Lock()
		settled := e.teller.Whole() || e.faults.Has(listing)
		e.mu.Unlock()
		if !settled {
			return fmt.Errorf("%s was not listed yet", e.src)
		}
	}
	return nil
}

// Recall tells the source an event of its own from an earlier life, before Run: tasks that have gone meanwhile are then released.
// Events of other sources are passed over.
func (s *Source) Recall(ev *event.Event) {
	for _, e := range s.estates {
		if e.src == ev.Src {
			e.mu.Lock()
			e.recall(ev)
			e.mu.Unlock()
		}
	}
}

// Check makes one cheap call for each account and region, and returns what works and what does not.
func (s *Source) Check(ctx context.Context) (fine []string, err error) {
	var errs []error
	for _, e := range s.estates {
		if _, err := e.ecs.ListClusters(ctx, &ecs.ListClustersInput{MaxResults: aws.Int32(1)}); err != nil {
			errs = append(errs, fmt.Errorf("%s: ListClusters: %w; grant the permissions that docs/sources.md lists", e.src, err))
			continue
		}
		fine = append(fine, e.src)
	}
	if s.queue != nil {
		if err := s.queue.Check(ctx); err != nil {
			errs = append(errs, err)
		} else {
			fine = append(fine, s.queue.URL)
		}
	}
	return fine, errors.Join(errs...)
}
