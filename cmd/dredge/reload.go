package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/metadata/app"
)

// reloadable are the settings of the service that can change while it runs.
func (s *service) reloadable() []config.Part {
	told := s.cfg.Identity.Networks
	return []config.Part{
		{Key: "pipeline.hold", Prepare: func(next config.Config) (func(), error) {
			return func() { s.core.pipeline.SetHold(next.Pipeline.Hold) }, nil
		}},
		namesPart(s.aws.names),
		{Key: "identity.networks", Prepare: func(next config.Config) (func(), error) {
			return func() {
				if err := told.Update(next.Identity.Networks, time.Now(), s.core.identity); err != nil {
					s.log.Error().Err(err).Msg("a declared network was not taken in")
				}
				told = next.Identity.Networks
			}, nil
		}},
	}
}

// namesPart reloads the rules of application names. Sources apply them to what they list from then on.
func namesPart(names *app.Namer) config.Part {
	return config.Part{Key: "identity.names", Prepare: func(next config.Config) (func(), error) {
		fresh, err := app.New(next.Identity.Names)
		if err != nil {
			return nil, err
		}
		return func() { names.Take(fresh) }, nil
	}}
}

// networksPart reloads the networks of a process that tells them through a source.
func networksPart(source *networksSource) config.Part {
	return config.Part{Key: "identity.networks", Prepare: func(next config.Config) (func(), error) {
		return func() { source.replace(next.Identity.Networks) }, nil
	}}
}

// reloadOnHangup reloads the configuration whenever the process gets a SIGHUP, until ctx ends, and then calls each of also.
func reloadOnHangup(ctx context.Context, r *config.Reloader, log zerolog.Logger, also ...func()) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
		}
		changed, err := r.Reload()
		if err != nil {
			log.Error().Err(err).Msg("the new configuration was refused, the old one stays in force")
		} else {
			log.Info().Strs("changed", changed).Msg("configuration reloaded")
		}
		for _, f := range also {
			f()
		}
	}
}
