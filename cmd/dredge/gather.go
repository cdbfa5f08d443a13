package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/consumer/s3"
	"dredge/internal/httpd"
	"dredge/internal/telemetry"
)

func newGatherCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "gather -c FILE",
		Short: "Group the files that S3 announces into mouthfuls, for workers to read",
		Long: `gather takes the announcements of new files from s3.gather.queue, groups the files by bytes or age, notes them in
the ledger s3.ledger_table, and puts one message for each mouthful into s3.mouthful_queue, from where dredge run reads
them. Announcements are deleted when their mouthful is in the ledger and in its queue, so however long workers are away,
few messages are in flight. Any number of them may run; dredge run gathers by itself when s3.gather.queue is set.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			return runGather(cmd.Context(), c, cmd)
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

func runGather(ctx context.Context, c config.Config, cmd *cobra.Command) error {
	log := telemetry.NewLogger(c.Log, cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr()))
	reg := telemetry.NewRegistry()
	if c.S3.Gather.Queue == "" {
		return errors.New("s3.gather.queue: is empty; write the URL of the queue that S3 announces new files in, and s3.mouthful_queue and s3.ledger_table")
	}
	clients, err := newAWSClients(ctx, c.AWS, checkTimeout)
	if err != nil {
		return err
	}
	queues, _, ledger := s3Clients(c.AWS, clients.base)
	g, err := s3.NewGatherer(c.S3, s3.GathererDeps{SQS: queues, Ledger: ledger, Log: log, Metrics: reg})
	if err != nil {
		return err
	}
	web, err := httpd.New(c.HTTP, httpd.Deps{Gatherer: reg, Registry: reg, Log: log})
	if err != nil {
		return err
	}
	addr, err := web.Listen(ctx)
	if err != nil {
		return err
	}
	if addr != nil {
		log.Info().Str("url", web.Scheme()+"://"+addr.String()+"/metrics").Msg("metrics")
	}
	log.Info().Str("source", c.S3.Gather.Queue).Str("mouthfuls", c.S3.MouthfulQueue).Msg("gathering")
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beside errgroup.Group
	beside.Go(func() error { return web.Run(background) })
	err = g.Run(ctx)
	stop()
	return errors.Join(err, beside.Wait())
}
