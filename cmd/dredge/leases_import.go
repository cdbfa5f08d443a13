package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/leaseadmin"
)

func newLeasesImportCmd(f *leaseFlags, connect connector) *cobra.Command {
	var (
		v     leaseadmin.VMwareImport
		apply bool
	)
	cmd := &cobra.Command{
		Use:   "import-vmware TABLE",
		Short: "Carry the checkpoints of vmware-go-kcl over into a KCL lease table",
		Long: `Read the lease table of a vmware-go-kcl or vmware-go-kcl-v2 application and make leases with the same checkpoints in the table
of --table or -c, which needs another name. Without --apply nothing is written: the plan is printed.

The two fleets cannot run at the same time. A table is refused while a worker's lease in it has not run out, or when anything in
it changes within the failover time. Leases that exist already are left as they are, so the import may be repeated. A shard that
was never checkpointed starts at --without-checkpoint, but at TRIM_HORIZON when it has parents or was being read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if p := v.WithoutCheckpoint; p != lease.TrimHorizon && p != lease.Latest {
				return fmt.Errorf("--without-checkpoint: %q is unknown; write %s or %s", p, lease.TrimHorizon, lease.Latest)
			}
			ctx := cmd.Context()
			t, err := f.open(ctx, connect)
			if err != nil {
				return err
			}
			if t.name == args[0] {
				return fmt.Errorf("table %q: the new table needs another name, because the two have different keys; write --table NAME", t.name)
			}
			stream, ok := t.streams[""]
			if !ok {
				return errors.New("which stream? write --stream NAME: the shards' parents and hash ranges come from it")
			}
			rows, err := leaseadmin.ReadVMware(ctx, t.clients.leases, args[0], t.failover)
			if err != nil {
				return err
			}
			shards, err := stream.Shards(ctx)
			if err != nil {
				return err
			}
			listing, err := t.table.List(ctx)
			if err != nil && !errors.Is(err, lease.ErrNoTable) {
				return err
			}
			for _, l := range listing.Leases {
				if l.ActualOwner() != "" && !l.Checkpoint.IsShardEnd() {
					return fmt.Errorf("table %q: %w: %q owns %s; stop its workers first", t.name, leaseadmin.ErrInUse, l.ActualOwner(), l.Key)
				}
			}
			steps, err := v.Plan(rows, shards, listing.Leases)
			if err != nil {
				return err
			}
			var created []string
			if apply {
				if created, err = leaseadmin.Apply(ctx, t.table, steps); err != nil {
					return fmt.Errorf("%d leases were created, then: %w; run it again", len(created), err)
				}
			}
			return printImport(cmd, f.json, t.name, steps, created, apply)
		},
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "write; without it the plan is printed")
	cmd.Flags().BoolVar(&v.Aggregated, "aggregated", false, "the stream holds KPL records: a checkpoint means the whole record, not its first user record")
	cmd.Flags().StringVar(&v.WithoutCheckpoint, "without-checkpoint", lease.TrimHorizon, "start of a shard without parents that was never checkpointed nor owned: TRIM_HORIZON or LATEST")
	return cmd
}

type importLine struct {
	Shard      string `json:"shard"`
	Checkpoint string `json:"checkpoint,omitempty"`
	Why        string `json:"why"`
}

func printImport(cmd *cobra.Command, asJSON bool, table string, steps []leaseadmin.Step, created []string, apply bool) error {
	out := cmd.OutOrStdout()
	lines, planned := []importLine{}, 0
	for _, s := range steps {
		l := importLine{Shard: s.Shard, Why: s.Why}
		if s.Lease.Key != "" {
			l.Checkpoint = s.Lease.Checkpoint.String()
			planned++
		}
		lines = append(lines, l)
	}
	if asJSON {
		return printJSON(out, map[string]any{"table": table, "applied": apply, "created": len(created), "steps": lines})
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SHARD\tCHECKPOINT\tWHY")
	for _, l := range lines {
		checkpoint := l.Checkpoint
		if checkpoint == "" {
			checkpoint = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", l.Shard, checkpoint, l.Why)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !apply {
		fmt.Fprintf(out, "\ndry run: %d leases would be created in %s; add --apply to write them\n", planned, table)
		return nil
	}
	fmt.Fprintf(out, "\n%d leases created in %s; check them with: dredge leases verify --watch 0\n", len(created), table)
	return nil
}
