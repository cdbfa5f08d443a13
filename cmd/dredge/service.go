package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/enrich"
	"dredge/internal/httpd"
	"dredge/internal/page"
	"dredge/internal/tail"
	"dredge/metadata/app"
	"dredge/metadata/file"
	"dredge/metadata/geo"
	"dredge/metadata/kube"
	"dredge/metadata/sonar"
	"dredge/metadata/store"
	"dredge/pipeline"
)

// service is the whole process that `dredge run` and `dredge demo` run: identity sources, the Kinesis worker, the pipeline,
// the sink and the HTTP server.
type service struct {
	cfg  config.Config
	log  zerolog.Logger
	core *core
	// worker is nil when no stream is configured, mouthfuls when nothing is read from S3.
	worker    *kinesis.Worker
	mouthfuls *mouthfuls
	// source is nil when no identity file is configured.
	source *file.Source
	// kube is nil when no Kubernetes cluster is configured.
	kube *kube.Source
	// public is nil when nothing of public addresses is configured.
	public *geo.Geo
	aws    awsSources
	// names are the rules of application names, which all sources share.
	names *app.Namer
	logs  *identityLogs
	// degraded is 1 when rows are named although identity was not loaded in time.
	degraded prometheus.Gauge
	http     *httpd.Server
	outputs  *outputs
	drain    *drainer
	usage    *usageMeter
	tail     *tail.Tail
	pace     paceMeter
	needed   scaleMemory
	// usageS3 and neededS3 are of the work that S3 gives.
	usageS3  *usageMeter
	neededS3 scaleMemory
	reloads  reloads
	// load reads the configuration anew; run sets it to what it began with.
	load func() (config.Config, error)
}

// newService builds everything in order of dependency. It dials nothing and starts nothing, so `dredge check` builds it too.
func newService(c config.Config, clients awsClients, log zerolog.Logger, reg metricsRegistry) (*service, error) {
	s := &service{cfg: c, log: log, drain: newDrainer(), usage: newUsageMeter(), usageS3: newUsageMeter(), load: func() (config.Config, error) { return c, nil }}
	identity, err := store.New(c.Identity.Store, store.Dependencies{Registerer: reg})
	if err != nil {
		return nil, err
	}
	if c.Identity.File.Path != "" {
		s.source, err = file.New(c.Identity.File, file.Dependencies{Target: identity, Logger: log, Registerer: reg})
		if err != nil {
			return nil, fmt.Errorf("identity.file: %w", err)
		}
	}
	if err := c.Identity.Networks.Tell(identity); err != nil {
		return nil, fmt.Errorf("identity.networks: %w", err)
	}
	if s.names, err = newNames(c); err != nil {
		return nil, err
	}
	if len(c.Identity.Kube.Clusters) > 0 {
		if s.kube, err = kube.New(c.Identity.Kube, kube.Dependencies{Target: identity, Names: s.names, Logger: log, Registerer: reg}); err != nil {
			return nil, fmt.Errorf("identity.kube: %w", err)
		}
		for _, src := range s.kube.Sources() {
			identity.Expect(src)
		}
	}
	var public enrich.PublicNames
	if c.Identity.Geo.Enabled() {
		if s.public, err = geo.New(c.Identity.Geo, geo.Dependencies{Logger: log, Registerer: reg}); err != nil {
			return nil, fmt.Errorf("identity.geo: %w", err)
		}
		public = s.public
	}
	if s.aws, err = newAWSSources(c, clients.base, s.names, log, reg); err != nil {
		return nil, err
	}
	if s.logs, err = newIdentityLogs(c.Identity, identity, log, reg); err != nil {
		return nil, err
	}
	s.degraded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dredge_identity_degraded", Help: "1 when the worker started before identity was loaded, until it is.",
	})
	reg.MustRegister(s.degraded)
	if s.tail, err = tail.New(); err != nil {
		return nil, err
	}
	leasesOf := &workerLeases{}
	if s.outputs, err = newOutputs(c, os.Stdout, leasesOf, log, reg); err != nil {
		return nil, err
	}
	s.core, err = newCore(c, coreDeps{
		sink: s.outputs.sink, deadLetter: s.outputs.deadLetter, identity: identity, public: public, gate: true, ask: s.aws.ask, logs: s.logs, tap: s.tail.Tap, log: log, reg: reg,
	})
	if err != nil {
		return nil, errors.Join(err, s.outputs.close())
	}
	if s.mouthfuls, err = newMouthfuls(c, clients.base, s.core.pipeline, s.outputs.slots, log, reg); err != nil {
		return nil, errors.Join(err, s.outputs.close())
	}
	if readsKinesis(c) {
		if s.worker, err = newKinesisWorker(c, clients, s.core.pipeline, log, reg); err != nil {
			return nil, errors.Join(err, s.outputs.close())
		}
	}
	leasesOf.worker = s.worker
	status := &statusPage{
		started: time.Now(), source: sourceNames(c), sink: s.outputs.describe,
		pipeline: s.core.pipeline, worker: s.worker, identity: identity, survey: survey{identity: identity},
		problemsBeside: func() []string { return slices.Concat(s.reloads.problems(), s.aws.faults(), s.logs.problems()) },
	}
	s.reloads = reloads{log: log}
	if s.public != nil {
		s.reloads.beside = append(s.reloads.beside, s.public.Reload)
	}
	if s.reloads.config, err = config.NewReloader(c, config.ReloaderDeps{Load: func() (config.Config, error) { return s.load() }, Parts: s.reloadable(), Registry: reg}); err != nil {
		return nil, errors.Join(err, s.outputs.close())
	}
	handlers := page.Handlers(page.Views{
		Status: status.status, Talks: status.talks, Unknowns: status.unknowns, Coverage: status.coverage,
		Settings: s.reloads.writeYAML,
	})
	maps.Copy(handlers, sonar.NewAPI(&sonar.Asker{Store: identity}, reg).Handlers())
	handlers["GET /scale"], handlers["GET /api/tail"] = http.HandlerFunc(s.serveScale), s.tail
	s.http, err = httpd.New(c.HTTP, httpd.Deps{
		Gatherer: reg, Registry: reg, Log: log, Handlers: handlers, Admin: map[string]http.Handler{
			"POST /drain": s.drain, "POST /reload": &s.reloads, "POST /shards/{shard}/restart": restarter(s.worker),
		},
		Detail: func() map[string]string {
			return map[string]string{"sink": s.outputs.describe, "configuration": s.reloads.standing()}
		},
		Checks: []httpd.Check{{Name: "identity", Ready: s.identityReady}, {Name: "leases", Ready: s.consumersReady}},
	})
	if err != nil {
		return nil, errors.Join(err, s.outputs.close())
	}
	return s, nil
}

func newKinesisWorker(c config.Config, clients awsClients, p *pipeline.Pipeline, log zerolog.Logger, reg prometheus.Registerer) (*kinesis.Worker, error) {
	leases, err := lease.NewDynamoDB(c.Kinesis.Table(), clients.leases,
		lease.WithApplication(c.Kinesis.Application), lease.WithTableOptions(c.Kinesis.TableOptions))
	if err != nil {
		return nil, err
	}
	return kinesis.New(c.Kinesis, kinesis.Deps{
		Kinesis: clients.kinesis, StreamAPI: clients.stream, Leases: leases, Fleet: leases, Processor: processor(p), Budget: p.Budget(), Log: log, Metrics: reg,
	})
}

// listen binds the HTTP address; nil means that the server is off.
func (s *service) listen(ctx context.Context) (net.Addr, error) { return s.http.Listen(ctx) }

// run works until ctx ends or a drain is asked for, then drains: the worker first, which needs everything else alive; HTTP last, so
// that the final figures can still be scraped. After a drain that was asked for it stays until ctx ends. It returns when nothing that it started runs.
func (s *service) run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beside errgroup.Group
	beside.Go(func() error { return s.core.identity.Run(background) })
	if s.source != nil {
		beside.Go(func() error { return s.source.Run(background) })
	}
	if s.kube != nil {
		beside.Go(func() error { return s.kube.Run(background) })
	}
	if s.public != nil {
		beside.Go(func() error { return s.public.Run(background) })
	}
	if segments := s.core.segments; segments != nil {
		beside.Go(func() error { return segments.Run(background) })
	}
	beside.Go(func() error { return s.reloads.onHangup(background) })
	for _, src := range s.aws.list {
		for _, name := range src.Names() {
			s.core.identity.Expect(name)
		}
		beside.Go(func() error { return src.Run(background, applyTo(s.core.identity)) })
	}
	beside.Go(func() error { return s.logs.run(background) })
	beside.Go(func() error { return s.watchIdentity(background) })
	beside.Go(func() error { return s.http.Run(background) })

	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	s.drain.begin(stopWork)
	s.prepareOutputs(work)
	err := s.awaitIdentity(work)
	if err == nil {
		// Garbage may not double what the byte budget allows.
		memory := memoryLimit{budget: s.cfg.Pipeline.MemoryLimit(), held: s.core.pipeline.Held}
		if limit := memory.begin(); limit > 0 {
			s.log.Info().Int64("bytes", limit).Msg("memory limit set; it follows identity")
		}
		beside.Go(func() error { return memory.run(background) })
		err = s.consume(work)
	}
	s.tail.Close() // who looks on would hold the server's end up
	close(s.drain.drained)
	if err == nil && s.drain.wasAsked() {
		s.log.Info().Msg("drained on request, waiting to be stopped")
		<-ctx.Done()
	}
	stop()
	return errors.Join(err, beside.Wait(), s.outputs.close(), s.logs.close())
}

// prepareOutputs makes a topic that is missing and may be made, and says what is wrong with the outputs. It stops nothing: a broker
// that is away now may be there when the first row is.
func (s *service) prepareOutputs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := s.outputs.check(ctx); err != nil && ctx.Err() == nil {
		s.log.Error().Err(err).Msg("the sink is not as it should be; `dredge check` tells more")
	}
}

// awaitIdentity holds the first lease back until identity was loaded or the time for that is over: readiness alone does not
// stop a Kinesis consumer.
func (s *service) awaitIdentity(ctx context.Context) error {
	if s.source == nil && s.kube == nil && len(s.aws.list) == 0 && len(s.cfg.Identity.Logs) == 0 {
		s.log.Warn().Msg("no identity source is configured: every private end will be unknown; set identity.ec2.accounts, identity.file.path or identity.logs")
		return nil
	}
	deadline := time.NewTimer(s.cfg.Identity.StartTimeout)
	defer deadline.Stop()
	others := time.Now().Add(remoteWait)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.identityReady()
		if err == nil && (s.logs.ready(true) == nil || time.Now().After(others)) {
			s.degraded.Set(0)
			s.core.identity.HugePages() // while nothing reads yet
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-deadline.C:
			s.log.Error().Err(err).Dur("waited", s.cfg.Identity.StartTimeout).Msg("identity is not complete, starting degraded")
			s.degraded.Set(1)
			return nil
		case <-tick.C:
		}
	}
}

// watchIdentity clears the degraded mark when identity is there at last.
func (s *service) watchIdentity(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if s.identityReady() == nil {
				s.degraded.Set(0)
			}
		}
	}
}

func (s *service) identityReady() error {
	if s.source != nil && !s.source.Loaded() {
		return fmt.Errorf("%s was not read to its end yet", s.cfg.Identity.File.Path)
	}
	if s.kube != nil {
		if ok, missing := s.kube.Loaded(); !ok {
			return fmt.Errorf("cluster %s was not listed yet", missing)
		}
	}
	return errors.Join(s.aws.listed(), s.logs.ready(false))
}

func (s *service) leasesReady() error {
	w := s.worker.Status()
	switch {
	case w.Draining:
		return errors.New("draining")
	case w.GaveUp:
		return errors.New("the sink makes no progress here while other workers' does")
	case w.TableReadAt.IsZero():
		return errors.New("the lease table was not read yet")
	case w.Owned == 0 && w.Target > 0:
		return fmt.Errorf("owns no lease of %d to be had", w.Unfinished)
	case !w.Balanced:
		return fmt.Errorf("not balanced yet: owns %d leases of a share of %d, %d have no owner", w.Owned, w.Target, ownerless(w))
	}
	return nil
}

// ownerless counts the unfinished leases that nobody has.
func ownerless(w kinesis.Status) (n int) {
	for _, sh := range w.Shards {
		if !sh.Finished && sh.Owner == "" {
			n++
		}
	}
	return n
}

// close gives back what newService opened, when run is never called.
func (s *service) close() error { return errors.Join(s.outputs.close(), s.logs.close()) }

// metricsRegistry is what the parts register with and /metrics gathers from.
type metricsRegistry interface {
	prometheus.Registerer
	prometheus.Gatherer
}
