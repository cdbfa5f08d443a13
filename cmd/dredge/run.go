package main

import (
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/internal/telemetry"
)

func newRunCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the service: Kinesis shards and files in S3 in, named flows out",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := func() (config.Config, error) { return loadService(path) }
			c, err := load()
			if err != nil {
				return err
			}
			log := telemetry.NewLogger(c.Log, cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr()))
			ctx := cmd.Context()
			clients, err := newAWSClients(ctx, c.AWS, c.Kinesis.FailoverTime/3)
			if err != nil {
				return err
			}
			svc, err := newService(c, clients, log, telemetry.NewRegistry())
			if err != nil {
				return err
			}
			svc.load = load
			addr, err := svc.listen(ctx)
			if err != nil {
				return err
			}
			if addr != nil {
				log.Info().Str("url", svc.http.Scheme()+"://"+addr.String()+"/").Msg("page and metrics")
			}
			log.Info().Str("source", sourceNames(c)).Str("sink", svc.outputs.describe).Msg("starting")
			logAdvice(log, c.Pipeline.Formats)
			return svc.run(ctx)
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}
