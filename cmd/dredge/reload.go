package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

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
		if changed, err := r.Reload(); err != nil {
			log.Error().Err(err).Msg("the new configuration was refused, the old one stays in force")
		} else {
			log.Info().Strs("changed", changed).Msg("configuration reloaded")
		}
		for _, f := range also {
			f()
		}
	}
}

// reloadRequest does what a SIGHUP does and answers what became of it.
func reloadRequest(r *config.Reloader, log zerolog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		changed, err := r.Reload()
		if err != nil {
			w.WriteHeader(http.StatusConflict)
			writeAnswer(w, map[string]string{"error": err.Error()})
			return
		}
		log.Info().Strs("changed", changed).Msg("configuration reloaded")
		writeAnswer(w, map[string][]string{"changed": append([]string{}, changed...)})
	})
}

func newReloadCmd() *cobra.Command {
	var a localRequest
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the dredge on this machine read its configuration again, and say what changed or why not",
		Long: `Ask the dredge that runs on this machine (POST /reload) to do what a SIGHUP makes it do, and print which settings changed. A file that
changes a setting which needs a restart is refused as a whole; the exit code is 1 then, and everything stays as it was.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := a.ask(cmd.Context(), http.MethodPost, "/reload")
			if err != nil {
				return fmt.Errorf("reload: %w", err)
			}
			fmt.Fprint(cmd.OutOrStdout(), string(body))
			return nil
		},
	}
	a.flags(cmd, 10*time.Second)
	return cmd
}
