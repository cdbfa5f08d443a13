package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/enrich/rules"
	"dredge/metadata/app"
	"dredge/row"
)

// reloadable are the settings of the service that can change while it runs.
func (s *service) reloadable() []config.Part {
	told := s.cfg.Identity.Networks
	var renamed []func()
	if s.kube != nil {
		renamed = append(renamed, s.kube.Renamed)
	}
	parts := []config.Part{
		{Key: "pipeline.hold", Prepare: func(next config.Config) (func(), error) {
			return func() { s.core.pipeline.SetHold(next.Pipeline.Hold) }, nil
		}},
		s.core.rulesPart(),
		namesPart(s.names, renamed...),
		{Key: "identity.networks", Prepare: func(next config.Config) (func(), error) {
			return func() {
				if err := told.Update(next.Identity.Networks, time.Now(), s.core.identity); err != nil {
					s.log.Error().Err(err).Msg("a declared network was not taken in")
				}
				told = next.Identity.Networks
			}, nil
		}},
	}
	if segments := s.core.segments; segments != nil {
		parts = append(parts, config.Part{Key: "segmentation", Files: true, Prepare: func(next config.Config) (func(), error) {
			return segments.Prepare(next.Segmentation)
		}})
	}
	return parts
}

// rulesPart reloads the user's rules, for batches that begin from then on. The join fills columns of the sets that were asked for at the
// start only, so a rule that asks for another one is refused.
func (c *core) rulesPart() config.Part {
	return config.Part{Key: "rules", Prepare: func(next config.Config) (func(), error) {
		fresh, err := rules.New(next.Rules, nil)
		if err != nil {
			return nil, err
		}
		for _, set := range fresh.Sets() {
			if set != row.Core && !slices.Contains(c.sets, set) {
				return nil, fmt.Errorf("a rule asks for a column of the set %q, which this process does not fill; write rows.column_sets: [%s] and restart", set, set)
			}
		}
		return func() {
			c.pipeline.ExpectRules(fresh.Names())
			c.rules.Take(fresh)
		}, nil
	}}
}

// namesPart reloads the rules of application names and calls each of renamed. Sources apply them to what they list from then on.
func namesPart(names *app.Namer, renamed ...func()) config.Part {
	return config.Part{Key: "identity.names", Prepare: func(next config.Config) (func(), error) {
		fresh, err := app.New(next.Identity.Names)
		if err != nil {
			return nil, err
		}
		return func() {
			names.Take(fresh)
			for _, f := range renamed {
				f()
			}
		}, nil
	}}
}

// networksPart reloads the networks of a process that tells them through a source.
func networksPart(source *networksSource) config.Part {
	return config.Part{Key: "identity.networks", Prepare: func(next config.Config) (func(), error) {
		return func() { source.replace(next.Identity.Networks) }, nil
	}}
}

// reloads puts a changed configuration in force when somebody asks for it, by signal or over HTTP.
type reloads struct {
	config *config.Reloader
	// beside is told of every request, whatever becomes of it: parts that follow files of their own.
	beside []func()
	log    zerolog.Logger
}

func (r *reloads) reload() ([]string, error) {
	changed, err := r.config.Reload()
	for _, f := range r.beside {
		f()
	}
	if err == nil {
		r.log.Info().Strs("changed", changed).Msg("configuration reloaded")
	}
	return changed, err
}

// onHangup reloads whenever the process gets a SIGHUP, until ctx ends.
func (r *reloads) onHangup(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
		}
		if _, err := r.reload(); err != nil {
			r.log.Error().Err(err).Msg("the new configuration was refused, the old one stays in force")
		}
	}
}

// ServeHTTP does what a SIGHUP does and answers what became of it.
func (r *reloads) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	changed, err := r.reload()
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		writeAnswer(w, map[string]string{"error": err.Error()})
		return
	}
	writeAnswer(w, map[string][]string{"changed": append([]string{}, changed...)})
}

// standing says in one line which configuration is in force. It stands where nobody has to log in, so it tells nothing of what was refused.
func (r *reloads) standing() string {
	since, refused := r.config.Standing()
	text := "as read at " + since.UTC().Format(time.RFC3339)
	if refused != nil {
		text += "; the one of " + refused.At.UTC().Format(time.RFC3339) + " was refused: the page and the log say why"
	}
	return text
}

// problems says that the configuration as it was last read is not the one in force.
func (r *reloads) problems() []string {
	_, refused := r.config.Standing()
	if refused == nil {
		return nil
	}
	return []string{fmt.Sprintf("the configuration that was read at %s was refused, the one before is in force: %s", refused.At.UTC().Format(time.TimeOnly), strings.ReplaceAll(refused.Err.Error(), "\n", "; "))}
}

// writeYAML writes the configuration in force, and as comments before it why a later one is not.
func (r *reloads) writeYAML(w io.Writer) error {
	since, refused := r.config.Standing()
	var head strings.Builder
	fmt.Fprintf(&head, "# read at %s\n", since.UTC().Format(time.RFC3339))
	if refused != nil {
		fmt.Fprintf(&head, "# refused at %s:\n", refused.At.UTC().Format(time.RFC3339))
		for line := range strings.SplitSeq(refused.Err.Error(), "\n") {
			head.WriteString("#   " + line + "\n")
		}
	}
	if _, err := io.WriteString(w, head.String()); err != nil {
		return err
	}
	return r.config.Current().WriteYAML(w)
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
