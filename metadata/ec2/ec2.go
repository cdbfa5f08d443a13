// Package ec2 turns what EC2 knows of accounts into identity events: interfaces and their addresses, instances' tags, networks,
// peerings and transit gateway routes, and which networks' flow logs come in.
//
// The truth is in complete listings: only they move the watermark, and what one lacks is released only after a second look.
// Events from EventBridge and look-ups of interfaces that flows mention close the gap between listings and prove nothing by
// their absence.
package ec2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
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
	// EC2Endpoint, STSEndpoint and SQSEndpoint override URLs, for emulators and private endpoints.
	EC2Endpoint, STSEndpoint, SQSEndpoint string
	// Names names applications; nil leaves them unnamed.
	Names Namer
	Log   zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Source lists all configured accounts. It implements event.Source.
type Source struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	estates []*estate
	sts     map[string]*sts.Client // by estate, with its credentials
	asker   *asker
	feed    *feed
}

var _ event.Source = (*Source)(nil)

// New returns a Source. It asks nobody anything.
func New(cfg Config, deps Deps) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making EC2 source: %w", err)
	}
	if !cfg.Enabled() {
		return nil, errors.New("making EC2 source: accounts: is empty; write at least one account with its regions")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	deps.AWS = awscall.Prepare(deps.AWS)
	s := &Source{cfg: cfg, deps: deps, metrics: newMetrics(deps.Registerer), sts: map[string]*sts.Client{}}
	for _, a := range cfg.Accounts {
		for _, region := range a.Regions {
			base := a.In(region, deps.AWS, deps.STSEndpoint)
			api := ec2.NewFromConfig(base, func(o *ec2.Options) { o.BaseEndpoint = awscall.OrElse(deps.EC2Endpoint, o.BaseEndpoint) })
			e := newEstate(cfg, deps, a.ID, region, api, s.metrics)
			s.estates = append(s.estates, e)
			s.sts[e.src] = awscall.STS(base, deps.STSEndpoint)
		}
	}
	s.asker = newAsker(s)
	if cfg.QueueURL != "" {
		s.feed = newFeed(s, sqs.NewFromConfig(deps.AWS, func(o *sqs.Options) { o.BaseEndpoint = awscall.OrElse(deps.SQSEndpoint, o.BaseEndpoint) }))
	}
	return s, nil
}

// Names returns the sources of events: ec2/account/region.
func (s *Source) Names() []string {
	out := make([]string, 0, len(s.estates))
	for _, e := range s.estates {
		out = append(out, e.src)
	}
	return out
}

// Run lists, follows the queue and answers Ask until ctx ends. It returns nil then, and an error only when emit did.
func (s *Source) Run(ctx context.Context, emit event.Emit) error {
	group, working := errgroup.WithContext(ctx)
	for _, e := range s.estates {
		e.teller.Begin(emit)
		group.Go(func() error { return e.run(working) })
		group.Go(func() error { return awscall.Vouch(working, &e.mu, &e.teller) })
	}
	if s.cfg.LookUp {
		group.Go(func() error { return s.asker.run(working) })
	}
	if s.feed != nil {
		group.Go(func() error { return s.feed.run(working) })
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("telling identity from EC2: %w", err)
	}
	return nil
}

// Faults says what cannot be read at present.
func (s *Source) Faults() []string {
	var out []string
	for _, e := range s.estates {
		out = append(out, e.faults.List(e.src+": ")...)
	}
	if s.feed != nil {
		out = append(out, s.feed.queue.Faults()...)
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

// Ask asks EC2 in the background for an interface that a flow mentions and nobody knows. It never blocks, asks for the same one
// again only after a while, and passes over interfaces when too many wait.
func (s *Source) Ask(eni string) { s.asker.ask(eni) }

// Recall tells the source an event of its own from an earlier life, before Run: what has vanished meanwhile is then released,
// and new owners are told with the uncertainty of the time in which nobody looked. Events of other sources are passed over.
func (s *Source) Recall(ev *event.Event) {
	for _, e := range s.estates {
		if e.src != ev.Src {
			continue
		}
		e.mu.Lock()
		if ev.Op == event.Progress {
			// Listings vouch for the time up to their begin less the age that an answer may have.
			e.listed = max(e.listed, ev.To+e.cfg.Consistency.Milliseconds())
			e.teller.Recall(ev.To)
		} else {
			e.ledger.recall(ev)
		}
		e.mu.Unlock()
	}
}

// Check makes one cheap call for each account and region, and returns what works and what does not, line by line.
func (s *Source) Check(ctx context.Context) (fine []string, err error) {
	var errs []error
	for _, e := range s.estates {
		who, err := s.sts[e.src].GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: GetCallerIdentity: %w; check credentials, role_arn and the role's trust policy", e.src, err))
			continue
		}
		if got := aws.ToString(who.Account); got != e.account {
			errs = append(errs, fmt.Errorf("%s: the credentials are of account %q; write that id, or a role_arn of account %q", e.src, got, e.account))
			continue
		}
		if _, err := e.api.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{MaxResults: aws.Int32(5)}); err != nil {
			errs = append(errs, fmt.Errorf("%s: DescribeNetworkInterfaces: %w; grant the permissions that docs/sources.md lists", e.src, err))
			continue
		}
		if _, err := e.api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5)}); err != nil {
			errs = append(errs, fmt.Errorf("%s: DescribeInstances: %w; grant the permissions that docs/sources.md lists", e.src, err))
			continue
		}
		fine = append(fine, e.src)
	}
	if s.feed != nil {
		if err := s.feed.queue.Check(ctx); err != nil {
			errs = append(errs, err)
		} else {
			fine = append(fine, s.cfg.QueueURL)
		}
	}
	return fine, errors.Join(errs...)
}
