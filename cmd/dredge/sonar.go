package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/internal/blob"
	"dredge/internal/httpd"
	"dredge/internal/page"
	"dredge/internal/telemetry"
	"dredge/metadata/sonar"
	"dredge/metadata/store"
)

func newSonarCmd() *cobra.Command {
	var path, listen string
	cmd := &cobra.Command{
		Use:   "sonar -c FILE",
		Short: "Run the service of identity: sources in, identity log out, and answers over HTTP",
		Long: `sonar runs the configured sources of identity and writes what they tell into the first identity log that is
not remote (identity.logs), from where workers read it. It answers at http.listen:

  GET /v1/ip/{addr}?at=&scope=         who had an address at a time, why that is believed, and the evidence
  GET /v1/ip/{addr}/history?scope=     everybody who had it, as far as history is kept
  GET /v1/workload/{app}?from=&to=     the addresses of an application
  GET /v1/diff?scope=&from=&to=        the addresses whose owners changed

Times are RFC 3339, or Unix seconds or milliseconds. Several may share a log: one runs the sources, the others
stand by and answer. One that finds its turn taken by another ends with exit code 1; start it again to stand by.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := func() (config.Config, error) {
				c, err := config.Load(path, os.Environ())
				if listen != "" {
					c.HTTP.Listen = listen
				}
				return c, err
			}
			c, err := load()
			if err != nil {
				return err
			}
			log := telemetry.NewLogger(c.Log, cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr()))
			var base aws.Config // only sources that ask AWS need one
			if c.Identity.EC2.Enabled() || c.Identity.ECS.Enabled() {
				clients, err := newAWSClients(cmd.Context(), c.AWS, checkTimeout)
				if err != nil {
					return err
				}
				base = clients.base
			}
			s, err := newSonar(c, base, log, telemetry.NewRegistry())
			if err != nil {
				return err
			}
			s.load = load
			addr, err := s.listen(cmd.Context())
			if err != nil {
				return err
			}
			if addr != nil {
				log.Info().Str("url", s.http.Scheme()+"://"+addr.String()+"/").Msg("page, questions and metrics")
			}
			return s.run(cmd.Context())
		},
	}
	addConfigFlag(cmd, &path)
	cmd.Flags().StringVar(&listen, "listen", "", "address of questions, metrics and the page, instead of http.listen")
	return cmd
}

// sonarService is the process that `dredge sonar` runs.
type sonarService struct {
	identity *store.Store
	bucket   *blob.Bucket
	sonar    *sonar.Service
	http     *httpd.Server
	reloads  reloads
	// load reads the configuration anew; the command sets it to what it began with.
	load func() (config.Config, error)
	log  zerolog.Logger
}

// newSonar builds everything and starts nothing.
func newSonar(c config.Config, base aws.Config, log zerolog.Logger, reg metricsRegistry) (*sonarService, error) {
	lc, err := c.Identity.SonarLog()
	if err != nil {
		return nil, err
	}
	s := &sonarService{log: log, load: func() (config.Config, error) { return c, nil }}
	if s.identity, err = store.New(c.Identity.Store, store.Dependencies{Registerer: reg}); err != nil {
		return nil, err
	}
	if s.bucket, err = blob.New(lc.URL); err != nil {
		return nil, fmt.Errorf("identity.logs: %w", err)
	}
	sources, err := newSources(c, base, log, reg)
	if err != nil {
		return nil, err
	}
	s.reloads = reloads{log: log}
	if s.reloads.config, err = config.NewReloader(c, config.ReloaderDeps{Load: func() (config.Config, error) { return s.load() }, Parts: sources.parts, Registry: reg}); err != nil {
		return nil, err
	}
	if len(sources.list) == 0 {
		log.Warn().Msg("no source of identity is configured: this one can only stand by and answer; set identity.ec2.accounts or identity.file.path")
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	s.sonar, err = sonar.New(lc, c.Identity.LogSettings, c.Identity.Store, c.Identity.StartTimeout, sonar.Deps{
		Store: s.identity, Bucket: s.bucket, Sources: sources.list, Name: fmt.Sprintf("%s/%d", host, os.Getpid()), Logger: log, Registerer: reg,
	})
	if err != nil {
		return nil, err
	}
	handlers := page.LookupHandlers()
	maps.Copy(handlers, sonar.NewAPI(s.sonar.Asker(), reg).Handlers())
	s.http, err = httpd.New(c.HTTP, httpd.Deps{
		Gatherer: reg, Registry: reg, Log: log, Handlers: handlers, Admin: map[string]http.Handler{"POST /reload": &s.reloads},
		Detail: func() map[string]string { return map[string]string{"configuration": s.reloads.standing()} },
		Checks: []httpd.Check{{Name: "identity", Ready: s.ready}},
	})
	return s, err
}

// ready says what is missing; what single sources cannot read is told beside it and makes nothing unready.
func (s *sonarService) ready() error {
	err := s.sonar.Ready()
	if err == nil {
		return nil
	}
	for _, f := range s.sonar.Faults() {
		err = fmt.Errorf("%w; %s", err, f)
	}
	return err
}

func (s *sonarService) listen(ctx context.Context) (net.Addr, error) { return s.http.Listen(ctx) }

// run works until ctx ends or another process has taken the turn.
func (s *sonarService) run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beside errgroup.Group
	beside.Go(func() error { return s.identity.Run(background) })
	beside.Go(func() error { return s.http.Run(background) })
	beside.Go(func() error { return s.reloads.onHangup(background) })
	err := s.sonar.Run(ctx)
	stop()
	return errors.Join(err, beside.Wait(), s.bucket.Close())
}
