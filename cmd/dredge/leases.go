package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/leaseadmin"
)

// leaseFlags say which table and stream, for fleets that have no dredge config; they win over the config file.
type leaseFlags struct {
	config, table, stream, region, profile, endpoint string
	failover                                         time.Duration
	json                                             bool
}

// connector makes AWS clients; tests put clients of a fake in its place.
type connector func(ctx context.Context, c config.AWSConfig, leaseTimeout time.Duration) (awsClients, error)

// leaseCall bounds one call of an operator's command to the lease table.
const leaseCall = 20 * time.Second

func newLeasesCmd(connect connector) *cobra.Command {
	f := &leaseFlags{}
	cmd := &cobra.Command{
		Use:   "leases",
		Short: "Look at a KCL lease table and mend it",
		Long: `Look at the lease table of a Kinesis Client Library application and mend it, whichever workers share it: dredge's or
Amazon's Java ones.

The table and the stream come from the config file of dredge run (-c), or from --table, --stream and --region where there is
none. The table holds no time, so whether an owner lives is found out by watching its counter: a live one renews its leases
every third of the failover time.`,
	}
	p := cmd.PersistentFlags()
	p.StringVarP(&f.config, "config", "c", os.Getenv("DREDGE_CONFIG"), "config file of dredge run; the flags below win over it")
	p.StringVar(&f.table, "table", "", "DynamoDB table with the leases; by KCL's custom the application's name")
	p.StringVar(&f.stream, "stream", "", "name or ARN of the Kinesis stream, for what only the stream can tell: lag, shards without a lease")
	p.StringVar(&f.region, "region", "", "AWS region")
	p.StringVar(&f.profile, "profile", "", "profile of the shared AWS config file")
	p.StringVar(&f.endpoint, "endpoint", "", "URL of DynamoDB and Kinesis, for emulators")
	p.DurationVar(&f.failover, "failover", 0, "failover time of the application's workers (default: that of the config, else 10s, KCL's default)")
	p.BoolVar(&f.json, "json", false, "print JSON, for other programs")
	cmd.AddCommand(
		newLeasesListCmd(f, connect),
		newLeasesReleaseCmd(f, connect),
		newLeasesCheckpointCmd(f, connect),
		newLeasesVerifyCmd(f, connect),
		newLeasesImportCmd(f, connect),
	)
	return cmd
}

// leaseTool is a connection to one application's table and streams.
type leaseTool struct {
	table    *lease.DynamoDB
	name     string
	clients  awsClients
	streams  leaseStreams
	failover time.Duration
	config   config.Config
}

// open reads config and flags and makes the clients.
func (f *leaseFlags) open(ctx context.Context, connect connector) (*leaseTool, error) {
	c := config.Default()
	if f.config != "" {
		var err error
		if c, err = config.Load(f.config, os.Environ()); err != nil {
			return nil, err
		}
	}
	c.AWS.Region = cmp.Or(f.region, c.AWS.Region)
	c.AWS.Profile = cmp.Or(f.profile, c.AWS.Profile)
	if f.endpoint != "" {
		c.AWS.KinesisEndpoint, c.AWS.DynamoDBEndpoint = f.endpoint, f.endpoint
	}
	if err := c.AWS.Validate(); err != nil {
		return nil, err
	}
	if f.failover < 0 {
		return nil, fmt.Errorf("--failover: %s is negative; write what the workers have, 10s is KCL's default", f.failover)
	}
	t := &leaseTool{config: c, name: cmp.Or(f.table, c.Kinesis.Table()), failover: cmp.Or(f.failover, c.Kinesis.FailoverTime)}
	if t.name == "" {
		return nil, errors.New("which lease table? write --table NAME, or -c FILE with kinesis.application")
	}
	var err error
	if t.clients, err = connect(ctx, c.AWS, leaseCall); err != nil {
		return nil, err
	}
	if t.table, err = lease.NewDynamoDB(t.name, t.clients.leases); err != nil {
		return nil, err
	}
	t.streams, err = newLeaseStreams(ctx, c, f.stream, t.clients)
	return t, err
}

// shards lists the shards of every stream that is configured, by the stream's name in lease keys.
func (t *leaseTool) shards(ctx context.Context) (map[string][]types.Shard, error) {
	out := map[string][]types.Shard{}
	for name, s := range t.streams {
		list, err := s.Shards(ctx)
		if err != nil {
			return nil, err
		}
		out[name] = list
	}
	return out, nil
}

// find returns the lease of a shard as it is now.
func (t *leaseTool) find(ctx context.Context, shard string) (lease.Lease, error) {
	listing, err := t.list(ctx)
	if err != nil {
		return lease.Lease{}, err
	}
	return leaseadmin.Find(listing.Leases, shard)
}

func (t *leaseTool) list(ctx context.Context) (lease.Listing, error) {
	listing, err := t.table.List(ctx)
	return listing, t.explain(err)
}

func (t *leaseTool) watch(ctx context.Context, d time.Duration) (leaseadmin.Survey, error) {
	s, err := leaseadmin.Watch(ctx, t.table, d)
	return s, t.explain(err)
}

// explain says what a missing table probably means.
func (t *leaseTool) explain(err error) error {
	if errors.Is(err, lease.ErrNoTable) {
		return fmt.Errorf("lease table %q: does not exist in this account and region; check --table, --region and --profile", t.name)
	}
	return err
}
