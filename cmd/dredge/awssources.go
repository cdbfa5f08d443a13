package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/enrich"
	"dredge/metadata"
	"dredge/metadata/app"
	"dredge/metadata/ec2"
	"dredge/metadata/ecs"
	"dredge/metadata/event"
	"dredge/metadata/store"
)

// awsSource is a source that lists an estate of AWS.
type awsSource interface {
	event.Source
	// Listed says which account was not listed yet.
	Listed() error
	// Check makes a cheap call to everything that is configured, and says what works.
	Check(ctx context.Context) (fine []string, err error)
}

// awsSources are the configured sources of AWS's knowledge.
type awsSources struct {
	list []awsSource
	// ask looks an interface up in the background; nil when nobody can.
	ask func(eni string)
}

// endpointNamer says what an endpoint's application is called.
type endpointNamer interface {
	Name(tags map[string]string, ep *event.Endpoint, wl *event.Workload)
}

// newNames makes the rules of application names, which all sources share.
func newNames(c config.Config) (*app.Namer, error) {
	names, err := app.New(c.Identity.Names)
	if err != nil {
		return nil, fmt.Errorf("identity.names: %w", err)
	}
	return names, nil
}

// newAWSSources makes what identity.ec2 and identity.ecs configure. They ask nobody anything before they run.
func newAWSSources(c config.Config, base aws.Config, names endpointNamer, log zerolog.Logger, reg prometheus.Registerer) (awsSources, error) {
	var out awsSources
	if c.Identity.EC2.Enabled() {
		src, err := ec2.New(c.Identity.EC2, ec2.Deps{
			AWS: base, EC2Endpoint: c.AWS.EC2Endpoint, STSEndpoint: c.AWS.STSEndpoint, SQSEndpoint: c.AWS.SQSEndpoint, Names: names, Log: log, Registerer: reg,
		})
		if err != nil {
			return out, fmt.Errorf("identity.ec2: %w", err)
		}
		out.list = append(out.list, src)
		if c.Identity.EC2.LookUp {
			out.ask = src.Ask
		}
	}
	if c.Identity.ECS.Enabled() {
		src, err := ecs.New(c.Identity.ECS, ecs.Deps{
			AWS: base, ECSEndpoint: c.AWS.ECSEndpoint, EC2Endpoint: c.AWS.EC2Endpoint, STSEndpoint: c.AWS.STSEndpoint, SQSEndpoint: c.AWS.SQSEndpoint,
			Names: names, Log: log, Registerer: reg,
		})
		if err != nil {
			return out, fmt.Errorf("identity.ecs: %w", err)
		}
		out.list = append(out.list, src)
	}
	return out, nil
}

// listed says whether every source has listed what it can.
func (s awsSources) listed() error {
	for _, src := range s.list {
		if err := src.Listed(); err != nil {
			return err
		}
	}
	return nil
}

// faults says what the sources cannot read at present.
func (s awsSources) faults() []string {
	var out []string
	for _, src := range s.list {
		out = append(out, src.Faults()...)
	}
	return out
}

// applyTo is the Emit that fills a store of this process. What the store refuses it counts.
func applyTo(s *store.Store) event.Emit {
	return func(events []event.Event) error {
		for i := range events {
			_ = s.Apply(&events[i]) // refused events are counted by the store
		}
		return nil
	}
}

// asking looks interfaces up that traffic shows and no source has described.
type asking struct {
	enrich.Heartbeats
	known *store.Store
	ask   func(eni string)
}

// Observe implements enrich.Heartbeats.
func (a asking) Observe(s enrich.Sighting) {
	a.Heartbeats.Observe(s)
	if n, ok := a.known.LookupInterface(s.ENI, metadata.Window{Start: s.Start, End: s.End}); !ok || n.Kind == "" {
		a.ask(s.ENI)
	}
}

// Sighted makes the sightings of an interface that a source has described cheap, when nothing is new about them.
func (a asking) Sighted(id metadata.EndpointID, scope metadata.Scope, src, dst netip.Addr, w metadata.Window) bool {
	return a.known.Sighted(id, scope, src, dst, w) && a.known.Endpoint(id).Kind != ""
}

// askFor is beats, with look-ups when ask can make them.
func askFor(beats enrich.Heartbeats, known *store.Store, ask func(eni string)) enrich.Heartbeats {
	if ask == nil {
		return beats
	}
	return asking{beats, known, ask}
}
