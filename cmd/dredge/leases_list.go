package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"dredge/consumer/kinesis/leaseadmin"
)

func newLeasesListCmd(f *leaseFlags, connect connector) *cobra.Command {
	var (
		watch time.Duration
		noLag bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List leases: shard, owner, age of the counter, checkpoint, parents, lag",
		Long: `List the leases of an application.

AGE is how long ago the lease's counter changed, as far as it was watched: the table is read twice, --watch apart, so "<5s" is a
counter that changed in between and ">5s" one that did not. STATE is renewed (its owner lives), silent (its owner did not renew
it during the watch), free, hand-off, ended (the shard was read to its end), or owned when nothing was watched.
LAG is how far the checkpoint is behind the tip of the shard, as Kinesis tells it. It costs one GetRecords per shard, of
the five a second that a shard gives to all its readers together; --no-lag leaves it out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			t, err := f.open(ctx, connect)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("watch") {
				watch = t.failover / 2
			}
			if watch < 0 {
				return fmt.Errorf("--watch: %s is negative; 0 reads the table once", watch)
			}
			s, err := t.watch(ctx, watch)
			if err != nil {
				return err
			}
			list := newLeaseList(t.name, s)
			if !noLag {
				if err := list.addLag(ctx, t.streams, s); err != nil {
					return err
				}
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return list.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().DurationVar(&watch, "watch", 0, "time between the two readings; 0 reads once (default half of the failover time)")
	cmd.Flags().BoolVar(&noLag, "no-lag", false, "do not ask Kinesis for the lag")
	return cmd
}

// leaseList is the answer of `leases list --json`.
type leaseList struct {
	Table          string      `json:"table"`
	WatchedSeconds float64     `json:"watched_seconds"`
	Leases         []leaseLine `json:"leases"`
	// Malformed and Foreign count rows that are no readable leases.
	Malformed     int    `json:"malformed_rows"`
	Foreign       int    `json:"foreign_rows"`
	ClientVersion string `json:"client_version,omitempty"`
}

type leaseLine struct {
	Key       string           `json:"key"`
	Stream    string           `json:"stream,omitempty"`
	Shard     string           `json:"shard"`
	State     leaseadmin.State `json:"state"`
	Owner     string           `json:"owner"`
	NextOwner string           `json:"next_owner,omitempty"`
	Counter   int64            `json:"counter"`
	// CounterChanged is null when the table was read once.
	CounterChanged *bool    `json:"counter_changed"`
	Checkpoint     string   `json:"checkpoint"`
	Parents        []string `json:"parents,omitempty"`
	Children       []string `json:"children,omitempty"`
	HashStart      string   `json:"starting_hash_key,omitempty"`
	HashEnd        string   `json:"ending_hash_key,omitempty"`
	// LagSeconds is null when it is not known.
	LagSeconds *float64 `json:"lag_seconds"`
	LagError   string   `json:"lag_error,omitempty"`
	KBps       float64  `json:"throughput_kbps,omitempty"`
	age        string
}

func newLeaseList(table string, s leaseadmin.Survey) leaseList {
	out := leaseList{
		Table: table, WatchedSeconds: s.Watched.Seconds(), Leases: []leaseLine{},
		Malformed: s.Malformed, Foreign: s.Foreign, ClientVersion: s.ClientVersion,
	}
	for _, l := range s.Leases {
		line := leaseLine{
			Key: l.Key, Stream: leaseadmin.StreamOf(l.Lease), Shard: l.Shard(), State: l.State, Owner: l.ActualOwner(), Counter: l.Counter,
			Checkpoint: l.Checkpoint.String(), Parents: l.Parents, Children: l.Children, KBps: l.ThroughputKBps, age: "-",
		}
		if l.InHandOff() {
			line.NextOwner = l.Owner
		}
		if l.HashRange != nil {
			line.HashStart, line.HashEnd = l.HashRange.Start, l.HashRange.End
		}
		if s.Watched > 0 {
			line.CounterChanged = &l.Changed
			line.age = ">" + l.Age.String()
			if l.Changed {
				line.age = "<" + l.Age.String()
			}
		}
		out.Leases = append(out.Leases, line)
	}
	return out
}

// lagReads bounds the shards that are asked for their lag at the same time.
const lagReads = 8

// addLag asks Kinesis for the lag of every unfinished lease whose stream is known. A shard that cannot be asked has none.
func (list *leaseList) addLag(ctx context.Context, streams leaseStreams, s leaseadmin.Survey) error {
	var g errgroup.Group
	g.SetLimit(lagReads)
	for i, l := range s.Leases {
		stream, ok := streams[leaseadmin.StreamOf(l.Lease)]
		if !ok || l.State == leaseadmin.Ended {
			continue
		}
		line := &list.Leases[i]
		g.Go(func() error {
			lag, err := stream.Lag(ctx, l.Lease)
			if err != nil {
				line.LagError = err.Error()
				return nil //nolint:nilerr // a table beside a broken stream is what operators need to see
			}
			seconds := lag.Seconds()
			line.LagSeconds = &seconds
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return ctx.Err()
}

func (list *leaseList) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SHARD\tSTATE\tOWNER\tAGE\tCHECKPOINT\tPARENTS\tLAG")
	var faults []string
	for _, l := range list.Leases {
		owner := cmp.Or(l.Owner, "-")
		if l.NextOwner != "" {
			owner += " -> " + l.NextOwner
		}
		lag := "-"
		switch {
		case l.LagSeconds != nil:
			lag = time.Duration(*l.LagSeconds * float64(time.Second)).Round(100 * time.Millisecond).String()
		case l.LagError != "":
			lag = "?"
			faults = append(faults, l.LagError)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Key, l.State, owner, l.age, l.Checkpoint, cmp.Or(strings.Join(l.Parents, ","), "-"), lag)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s\n", list.summary())
	if len(faults) > 0 {
		fmt.Fprintf(out, "%d shards did not tell their lag; the first: %s\n", len(faults), faults[0])
	}
	return nil
}

func (list *leaseList) summary() string {
	owners := map[string]bool{}
	ended := 0
	for _, l := range list.Leases {
		switch {
		case l.State == leaseadmin.Ended:
			ended++
		case l.Owner != "":
			owners[l.Owner] = true
		}
	}
	text := fmt.Sprintf("table %s: %d leases, %d ended, %d owners", list.Table, len(list.Leases), ended, len(owners))
	if list.Foreign > 0 {
		text += fmt.Sprintf(", %d rows of other entities", list.Foreign)
	}
	if list.Malformed > 0 {
		text += fmt.Sprintf(", %d malformed rows", list.Malformed)
	}
	if list.ClientVersion != "" {
		text += ", Java's client version " + list.ClientVersion
	}
	return text
}
