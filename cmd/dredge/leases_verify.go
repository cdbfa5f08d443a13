package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"dredge/consumer/kinesis/leaseadmin"
)

// findingsExit is the exit code of a check that worked and found faults.
const findingsExit = 2

func newLeasesVerifyCmd(f *leaseFlags, connect connector) *cobra.Command {
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that every shard is read: coverage, orphans, stuck leases",
		Long: `Check that every shard of an application is read. The table is read twice, --watch apart, and compared with the shards of the
stream when one is named. Exit code 0: nothing found; 2: faults found, listed; 1: the check itself did not work.

  hole        hash keys that no unfinished lease covers          uncovered   a shard that no lease covers
  orphan      a lease whose shard the stream does not list       hash-range  a hash range that cannot be read
  silent      its owner did not renew it during the watch        untaken     nobody took it during the watch
  hand-off    a hand-off that lasted for the whole watch         malformed   rows that cannot be read`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			t, err := f.open(ctx, connect)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("watch") {
				watch = t.failover
			}
			s, err := t.watch(ctx, max(watch, 0))
			if err != nil {
				return err
			}
			// After the leases: a shard that appears in between is younger than what is checked.
			shards, err := t.shards(ctx)
			if err != nil {
				return err
			}
			findings := leaseadmin.Verify(s, shards)
			out := cmd.OutOrStdout()
			if f.json {
				if findings == nil {
					findings = []leaseadmin.Finding{}
				}
				if err := printJSON(out, map[string]any{
					"table": t.name, "watched_seconds": s.Watched.Seconds(), "leases": len(s.Leases), "streams": len(shards), "findings": findings,
				}); err != nil {
					return err
				}
			} else {
				for _, x := range findings {
					fmt.Fprintf(out, "%-10s  %s: %s\n", x.Kind, cmp.Or(x.Shard, x.Stream, "table "+t.name), x.Detail)
				}
				note := ""
				if len(t.streams) == 0 {
					note = "; without --stream, shards that have no lease were not looked for"
				}
				fmt.Fprintf(out, "%d leases watched for %s: %d faults%s\n", len(s.Leases), s.Watched, len(findings), note)
			}
			if len(findings) > 0 {
				return &exitError{code: findingsExit}
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&watch, "watch", 0, "time between the two readings; 0 reads once and finds nothing stuck (default the failover time)")
	return cmd
}
