package leaseadmin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	consumer "dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
)

// wholeRecord is the sub-sequence number that stands for all user records of an aggregated record.
const wholeRecord = math.MaxInt32

// VMwareRow is a row of the lease table of vmware-go-kcl and vmware-go-kcl-v2, which is not Amazon's.
type VMwareRow struct {
	ShardID string
	// Checkpoint is the last sequence number that is done with, SHARD_END, or "" when there is none yet.
	Checkpoint string
	// AssignedTo is the worker; "" when nobody has it.
	AssignedTo string
	// LeaseTimeout is when the worker's lease ends, by the worker's own clock.
	LeaseTimeout time.Time
}

// VMwareClient is what is needed of *dynamodb.Client to read a table of vmware-go-kcl.
type VMwareClient interface {
	DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, opts ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	Scan(ctx context.Context, in *dynamodb.ScanInput, opts ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

// ReadVMware reads the table at rest. It looks twice, watch apart, and returns ErrInUse when a worker has a lease that has
// not run out or when anything changed in between.
func ReadVMware(ctx context.Context, api VMwareClient, table string, watch time.Duration) ([]VMwareRow, error) {
	if err := checkVMwareTable(ctx, api, table); err != nil {
		return nil, err
	}
	rows, err := scanVMware(ctx, api, table)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		// Their clocks may differ from ours a little; the second look finds who goes on in spite of that.
		if r.AssignedTo != "" && r.LeaseTimeout.After(time.Now()) {
			return nil, fmt.Errorf("table %q: %w: %q holds %s until %s; stop the whole vmware-go-kcl fleet and wait until then",
				table, ErrInUse, r.AssignedTo, r.ShardID, r.LeaseTimeout.UTC().Format(time.RFC3339))
		}
	}
	if err := retry.Sleep(ctx, watch); err != nil {
		return nil, err
	}
	again, err := scanVMware(ctx, api, table)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(rows, again) {
		return nil, fmt.Errorf("table %q: %w: rows changed within %s; stop the whole vmware-go-kcl fleet", table, ErrInUse, watch)
	}
	return rows, nil
}

func checkVMwareTable(ctx context.Context, api VMwareClient, table string) error {
	out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	if _, missing := errors.AsType[*ddbtypes.ResourceNotFoundException](err); missing {
		return fmt.Errorf("table %q: does not exist in this region and account; vmware-go-kcl names it after the application", table)
	}
	if err != nil {
		return fmt.Errorf("describe table %q: %w", table, err)
	}
	for _, k := range out.Table.KeySchema {
		switch name := aws.ToString(k.AttributeName); {
		case k.KeyType != ddbtypes.KeyTypeHash || name == "ShardID":
		case name == "leaseKey":
			return fmt.Errorf("table %q: is a lease table of Amazon's KCL already; there is nothing to carry over, name it as the application", table)
		default:
			return fmt.Errorf("table %q: has the key %q, want ShardID: this is no table of vmware-go-kcl", table, name)
		}
	}
	return nil
}

// scanVMware returns the rows in order of their shard ids.
func scanVMware(ctx context.Context, api VMwareClient, table string) ([]VMwareRow, error) {
	var (
		out   []VMwareRow
		start map[string]ddbtypes.AttributeValue
	)
	for {
		page, err := api.Scan(ctx, &dynamodb.ScanInput{TableName: &table, ExclusiveStartKey: start, ConsistentRead: aws.Bool(true)})
		if err != nil {
			return nil, fmt.Errorf("scan table %q: %w", table, err)
		}
		for _, it := range page.Items {
			r, err := parseVMwareRow(it)
			if err != nil {
				return nil, fmt.Errorf("table %q: %w; mend or delete the row", table, err)
			}
			out = append(out, r)
		}
		if len(page.LastEvaluatedKey) == 0 {
			slices.SortFunc(out, func(a, b VMwareRow) int { return strings.Compare(a.ShardID, b.ShardID) })
			return out, nil
		}
		start = page.LastEvaluatedKey
	}
}

// parseVMwareRow reads a row. A row that cannot be read is an error: guessing a checkpoint could lose records.
func parseVMwareRow(it map[string]ddbtypes.AttributeValue) (VMwareRow, error) {
	var (
		r     VMwareRow
		fault error
	)
	read := func(name string) string {
		switch v := it[name].(type) {
		case nil, *ddbtypes.AttributeValueMemberNULL:
		case *ddbtypes.AttributeValueMemberS:
			return v.Value
		default:
			fault = fmt.Errorf("row %q: attribute %s is a %T, want S", r.ShardID, name, v)
		}
		return ""
	}
	r.ShardID = read("ShardID")
	r.Checkpoint = read("Checkpoint")
	r.AssignedTo = read("AssignedTo")
	timeout := read("LeaseTimeout")
	switch {
	case fault != nil:
		return r, fault
	case r.ShardID == "":
		return r, errors.New("a row has no ShardID")
	}
	if r.Checkpoint != "" {
		if _, err := lease.ParseCheckpoint(r.Checkpoint, 0); err != nil {
			return r, fmt.Errorf("row %q: %w", r.ShardID, err)
		}
	}
	if timeout != "" {
		t, err := time.Parse(time.RFC3339Nano, timeout)
		if err != nil {
			return r, fmt.Errorf("row %q: LeaseTimeout %q is no time in RFC 3339", r.ShardID, timeout)
		}
		r.LeaseTimeout = t.UTC()
	}
	return r, nil
}

// VMwareImport says how rows are carried over.
type VMwareImport struct {
	// Aggregated says that the stream holds KPL records: a checkpoint then means the whole record, where sub-sequence 0 would deliver
	// the rest of its user records again.
	Aggregated bool
	// WithoutCheckpoint is where a shard starts that was never checkpointed, unless it has a parent: TRIM_HORIZON, or LATEST.
	WithoutCheckpoint string
}

// Step is what the import does about one shard.
type Step struct {
	Shard string
	// Lease is the row to create; its Key is empty when there is none to create.
	Lease lease.Lease
	// Why says where the checkpoint comes from, or why nothing is created.
	Why string
}

// Plan says for every shard which lease is made of rows, given what the stream lists and the leases that are there already. It
// calls nobody.
func (v VMwareImport) Plan(rows []VMwareRow, shards []types.Shard, existing []lease.Lease) ([]Step, error) {
	listed := make(map[string]types.Shard, len(shards))
	children := map[string][]string{}
	for _, s := range shards {
		id := aws.ToString(s.ShardId)
		listed[id] = s
		for _, p := range parents(s) {
			children[p] = append(children[p], id)
		}
	}
	present := make(map[string]lease.Lease, len(existing))
	for _, l := range existing {
		present[l.Shard()] = l
	}
	var steps []Step
	planned := maps.Clone(present)
	for _, r := range rows {
		s, ok := listed[r.ShardID]
		switch {
		case present[r.ShardID].Key != "":
			steps = append(steps, Step{Shard: r.ShardID, Why: "kept: the table has a lease for it, at " + present[r.ShardID].Checkpoint.String()})
			continue
		case !ok:
			steps = append(steps, Step{Shard: r.ShardID, Why: "left out: the stream does not list this shard any more"})
			continue
		}
		l := newLease(s, children[r.ShardID])
		why := "checkpoint of vmware-go-kcl"
		switch {
		case r.Checkpoint == "" && len(l.Parents) == 0 && r.AssignedTo == "":
			l.Checkpoint, why = lease.Checkpoint{Sequence: v.WithoutCheckpoint}, "never checkpointed"
		case r.Checkpoint == "":
			l.Checkpoint, why = lease.Checkpoint{Sequence: lease.TrimHorizon}, "never checkpointed, but it has parents or was being read"
		default:
			l.Checkpoint = lease.Checkpoint{Sequence: r.Checkpoint}
			if v.Aggregated && l.Checkpoint.IsSequence() {
				l.Checkpoint.Sub = wholeRecord
			}
		}
		if l.Checkpoint.Sequence == lease.Latest {
			l.StartedAt = time.Now()
		}
		if !l.Checkpoint.IsShardEnd() {
			l.Children = nil // they become known at the shard's end
		}
		planned[r.ShardID] = l
		steps = append(steps, Step{Shard: r.ShardID, Lease: l, Why: why})
	}
	missing, err := consumer.Uncovered(shards, slices.Collect(maps.Values(planned)))
	if err != nil {
		return nil, err
	}
	for _, s := range missing {
		l := newLease(s, nil)
		l.Checkpoint = lease.Checkpoint{Sequence: lease.TrimHorizon}
		steps = append(steps, Step{Shard: l.Key, Lease: l, Why: "no row of vmware-go-kcl covers it"})
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return strings.Compare(a.Shard, b.Shard) })
	return steps, nil
}

// Apply creates the leases of steps. It may be repeated: a lease that exists is left as it is. It returns the keys created.
func Apply(ctx context.Context, table Table, steps []Step) ([]string, error) {
	if err := table.Init(ctx); err != nil {
		return nil, err
	}
	var created []string
	for _, s := range steps {
		if s.Lease.Key == "" {
			continue
		}
		ok, err := table.Create(ctx, s.Lease)
		if err != nil {
			return created, err
		}
		if ok {
			created = append(created, s.Lease.Key)
		}
	}
	return created, nil
}

func parents(s types.Shard) []string {
	var out []string
	for _, p := range []*string{s.ParentShardId, s.AdjacentParentShardId} {
		if aws.ToString(p) != "" {
			out = append(out, *p)
		}
	}
	return out
}

func newLease(s types.Shard, children []string) lease.Lease {
	l := lease.Lease{Key: aws.ToString(s.ShardId), Parents: parents(s), Children: children}
	if r := s.HashKeyRange; r != nil {
		l.HashRange = &lease.HashRange{Start: aws.ToString(r.StartingHashKey), End: aws.ToString(r.EndingHashKey)}
	}
	return l
}
