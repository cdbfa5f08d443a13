package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/leaseadmin"
	"dredge/stream"
)

func newLeasesReleaseCmd(f *leaseFlags, connect connector) *cobra.Command {
	var worker string
	cmd := &cobra.Command{
		Use:   "release [SHARD]...",
		Short: "Take leases from their owners, so that any worker may take them",
		Long: `Take the leases of the named shards, or with --worker all leases of one worker, from their owners. An owner that still lives
learns of it at its next renewal and checkpoints nothing more; what it had in flight is read again by the next owner. During
a hand-off the lease goes to the next owner at once. Nothing is deleted and no checkpoint is moved.`,
		RunE: func(cmd *cobra.Command, shards []string) error {
			if (worker == "") == (len(shards) == 0) {
				return errors.New("which leases? write shards, or --worker ID, not both")
			}
			ctx := cmd.Context()
			t, err := f.open(ctx, connect)
			if err != nil {
				return err
			}
			listing, err := t.list(ctx)
			if err != nil {
				return err
			}
			chosen := leaseadmin.OwnedBy(listing.Leases, worker)
			if worker == "" {
				if chosen, err = findAll(listing.Leases, shards); err != nil {
					return err
				}
			} else if len(chosen) == 0 {
				return fmt.Errorf("--worker %q: owns no lease in table %s; `dredge leases list` shows who does", worker, t.name)
			}
			released, err := leaseadmin.Release(ctx, t.table, chosen)
			if f.json {
				list := []releasedLine{}
				for _, r := range released {
					list = append(list, releasedLine(r))
				}
				return errors.Join(printJSON(cmd.OutOrStdout(), map[string]any{"table": t.name, "released": list}), err)
			}
			for _, r := range released {
				now := "free"
				if r.Now != "" {
					now = "owned by " + r.Now
				}
				fmt.Fprintf(cmd.OutOrStdout(), "released %s from %s; it is %s\n", r.Key, r.From, now)
			}
			if len(released) == 0 && err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "nobody owned it; nothing was changed")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&worker, "worker", "", "release all leases of this worker")
	return cmd
}

type releasedLine struct {
	Key  string `json:"key"`
	From string `json:"from"`
	Now  string `json:"now"`
}

func findAll(leases []lease.Lease, shards []string) ([]lease.Lease, error) {
	out := make([]lease.Lease, 0, len(shards))
	var errs []error
	for _, s := range shards {
		l, err := leaseadmin.Find(leases, s)
		out, errs = append(out, l), append(errs, err)
	}
	return out, errors.Join(errs...)
}

func newLeasesCheckpointCmd(f *leaseFlags, connect connector) *cobra.Command {
	cmd := &cobra.Command{Use: "checkpoint", Short: "Change checkpoints by hand"}
	cmd.AddCommand(newCheckpointSetCmd(f, connect), newCheckpointAdoptCmd(f, connect))
	return cmd
}

func newCheckpointSetCmd(f *leaseFlags, connect connector) *cobra.Command {
	var move leaseadmin.Move
	cmd := &cobra.Command{
		Use:   "set SHARD POSITION",
		Short: "Move the checkpoint of one shard, and free its lease",
		Long: `Move the checkpoint of one shard to POSITION: a sequence number, sequence:sub-sequence for aggregated records, TRIM_HORIZON,
LATEST or SHARD_END. Everything up to and including it counts as done. The lease is free afterwards.

A lease with an owner is watched for the failover time first; while it is renewed nothing is changed. A move forward needs
--allow-skip, because what lies between is never read; a move back needs --allow-repeat, because it is read twice. The write is
conditional on the row that was looked at. With a stream, a sequence number of another shard is refused.

A sink in mode exactly-once keeps positions of its own, and workers start at the later of the two. With -c FILE, whose sink it is, that
position is moved too, first, in a transaction that fences whoever still produces for the shard. Without -c a shard can't be moved
back behind it.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if move.To, err = lease.ParsePosition(stream.Position(args[1])); err != nil {
				return err
			}
			ctx := cmd.Context()
			t, err := f.open(ctx, connect)
			if err != nil {
				return err
			}
			l, err := t.find(ctx, args[0])
			if err != nil {
				return err
			}
			if s, ok := t.streams[leaseadmin.StreamOf(l)]; ok {
				if move.Shards, err = s.Shards(ctx); err != nil {
					return err
				}
			}
			kept, err := t.keptPositions()
			if err != nil {
				return err
			}
			var committed stream.Position
			if kept != nil {
				defer func() { err = errors.Join(err, kept.close()) }()
				if committed, err = kept.prepare(ctx, l, &move); err != nil {
					return err
				}
			}
			move.Watch = t.failover
			before, after, err := leaseadmin.SetCheckpoint(ctx, t.table, l.Key, move)
			if err != nil {
				return err
			}
			if f.json {
				line := map[string]string{
					"key": l.Key, "from": before.Checkpoint.String(), "to": after.Checkpoint.String(), "owner_before": before.ActualOwner(),
				}
				if kept != nil {
					line["sink_from"], line["sink_to"] = string(committed), string(placeOf(after.Checkpoint))
				}
				return printJSON(cmd.OutOrStdout(), line)
			}
			if kept != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: from %s to %s in %s\n", l.Key, orNothing(committed), orNothing(placeOf(after.Checkpoint)), kept.where)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: from %s to %s; the lease is free (it was owned by %s)\n",
				l.Key, before.Checkpoint, after.Checkpoint, cmp.Or(before.ActualOwner(), "nobody"))
			return nil
		},
	}
	cmd.Flags().BoolVar(&move.AllowSkip, "allow-skip", false, "allow a move forward: records in between are never read")
	cmd.Flags().BoolVar(&move.AllowRepeat, "allow-repeat", false, "allow a move back: records in between are read again")
	return cmd
}
