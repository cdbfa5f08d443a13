package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// tablePoll is how often the state of a new table is asked for.
const tablePoll = time.Second

// Client is what DynamoDB needs of *dynamodb.Client. It should be a client of its own, with at most one retry, a short time-out
// and no adaptive retry mode: a renewal that waits for another call's connection or retry budget is a lost lease.
type Client interface {
	CreateTable(ctx context.Context, in *dynamodb.CreateTableInput, opts ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, opts ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	UpdateContinuousBackups(ctx context.Context, in *dynamodb.UpdateContinuousBackupsInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateContinuousBackupsOutput, error)
	Query(ctx context.Context, in *dynamodb.QueryInput, opts ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	Scan(ctx context.Context, in *dynamodb.ScanInput, opts ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
	GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
}

// DynamoDB is the lease table in DynamoDB.
type DynamoDB struct {
	table       string
	application string // names KCL's other tables
	client      Client
	options     TableOptions
	layout      layout
}

var _ Store = (*DynamoDB)(nil)

// NewDynamoDB makes a store over the table of that name; by KCL's custom that is the application's name.
func NewDynamoDB(table string, client Client, opts ...Option) (*DynamoDB, error) {
	if table == "" {
		return nil, errors.New(`lease table "": want a name; the application's name is the custom`)
	}
	if client == nil {
		return nil, errors.New("lease table: no DynamoDB client")
	}
	d := &DynamoDB{table: table, application: table, client: client, options: DefaultTableOptions()}
	for _, o := range opts {
		o(d)
	}
	if err := d.options.Validate(); err != nil {
		return nil, fmt.Errorf("lease table %q: %w", table, err)
	}
	return d, nil
}

// Init implements Store.
func (d *DynamoDB) Init(ctx context.Context) error {
	wait := time.Duration(0) // a new table is looked at once right away
	made := false
	for {
		out, err := d.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &d.table})
		switch {
		case isMissing(err):
			mine, err := d.create(ctx)
			if err != nil {
				return err
			}
			made = made || mine
		case err != nil:
			return fmt.Errorf("describe lease table %q: %w", d.table, err)
		case out.Table == nil:
			return fmt.Errorf("describe lease table %q: empty answer", d.table)
		default:
			if err := d.checkKey(out.Table); err != nil {
				return err
			}
			// A table that is being changed can be used.
			if s := out.Table.TableStatus; s == types.TableStatusActive || s == types.TableStatusUpdating {
				if made && d.options.PointInTimeRecovery {
					return d.keepHistory(ctx)
				}
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for lease table %q: %w", d.table, ctx.Err())
		case <-time.After(wait):
			wait = tablePoll
		}
	}
}

// checkKey keeps us from writing into a table of something else, such as that of vmware-go-kcl, whose key is ShardID.
func (d *DynamoDB) checkKey(t *types.TableDescription) error {
	var names []string
	for _, k := range t.KeySchema {
		names = append(names, aws.ToString(k.AttributeName))
	}
	if !slices.Equal(names, []string{attrKey}) {
		return fmt.Errorf("table %q has the key %q, want %q; name another application or table: %w", d.table, names, attrKey, ErrForeignTable)
	}
	return nil
}

// List implements Store.
func (d *DynamoDB) List(ctx context.Context) (Listing, error) {
	var (
		out   Listing
		start item
	)
	for {
		page, err := d.client.Scan(ctx, &dynamodb.ScanInput{TableName: &d.table, ExclusiveStartKey: start})
		if err != nil {
			return Listing{}, d.fault("scan", "", err)
		}
		for _, it := range page.Items {
			if cv := clientVersion(it); cv != "" {
				out.ClientVersion = cv
			}
			if isForeign(it) {
				out.Foreign++
				continue
			}
			l, err := parseItem(it)
			if err != nil {
				out.Malformed++ // one bad row must not stop the fleet
				continue
			}
			out.Leases = append(out.Leases, l)
		}
		if len(page.LastEvaluatedKey) == 0 {
			break
		}
		start = page.LastEvaluatedKey
	}
	slices.SortFunc(out.Leases, func(a, b Lease) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// Get implements Store.
func (d *DynamoDB) Get(ctx context.Context, key string) (Lease, error) {
	out, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &d.table, Key: item{attrKey: text(key)}, ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return Lease{}, d.fault("get lease", key, err)
	}
	if len(out.Item) == 0 || isForeign(out.Item) {
		return Lease{}, ErrNotFound
	}
	l, err := parseItem(out.Item)
	if err != nil {
		return Lease{}, fmt.Errorf("get lease: %w", err)
	}
	return l, nil
}

// Create implements Store.
func (d *DynamoDB) Create(ctx context.Context, l Lease) (bool, error) {
	if err := checkNew(l); err != nil {
		return false, err
	}
	_, err := d.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                &d.table,
		Item:                     newItem(l),
		ConditionExpression:      aws.String("attribute_not_exists(#key)"),
		ExpressionAttributeNames: map[string]string{"#key": attrKey},
	})
	if _, refused := asRefused(err); refused {
		return false, nil
	}
	if err != nil {
		return false, d.fault("create lease", l.Key, err)
	}
	return true, nil
}

// Renew implements Store, with the write of KCL 3.5: it wants no hand-off under way unless it knows of it.
func (d *DynamoDB) Renew(ctx context.Context, l Lease, r Renewal) (Lease, error) {
	for range maxRenewTries {
		row, err := d.update(ctx, l.Key, renewExpr(l, r))
		if err == nil {
			return l.renewed(r), nil
		}
		if !errors.Is(err, errRefused) {
			return l, d.fault("renew lease", l.Key, err)
		}
		if row == nil {
			return Lease{}, ErrLost
		}
		next, done, err := afterRefusal(l, *row, r)
		if err != nil {
			return Lease{}, err
		}
		if done {
			return next, nil
		}
		l = next
	}
	return Lease{}, ErrLost
}

func renewExpr(l Lease, r Renewal) *expr {
	e := newExpr()
	e.set(attrCounter, number(l.Counter+1))
	e.where(attrCounter, "=", number(l.Counter))
	if !l.InHandOff() {
		e.whereAbsent(attrCheckpointOwner)
	}
	if r.ThroughputKBps > 0 {
		e.set(attrThroughput, kbps(r.ThroughputKBps))
	}
	if !r.Checkpoint.IsZero() {
		e.set(attrCheckpoint, text(r.Checkpoint.Sequence))
		e.set(attrSub, number(r.Checkpoint.Sub))
		e.set(attrSwitches, number(0))
		if r.settles(l) {
			e.remove(attrPending, attrPendingSub, attrPendingState)
		}
		if l.HashRange != nil {
			e.set(attrHashStart, text(l.HashRange.Start))
			e.set(attrHashEnd, text(l.HashRange.End))
		}
		if !r.Checkpoint.IsShardEnd() {
			e.where(attrCheckpoint, "<>", text(ShardEnd))
		}
	}
	if !r.Pending.IsZero() {
		e.set(attrPending, text(r.Pending.Sequence))
		e.set(attrPendingSub, number(r.Pending.Sub))
		e.set(attrPendingState, binary(r.PendingState))
	}
	return e
}

// Take implements Store.
func (d *DynamoDB) Take(ctx context.Context, l Lease, owner string) (Lease, error) {
	if owner == "" {
		return Lease{}, errNoOwner
	}
	e := newExpr()
	e.set(attrOwner, text(owner))
	e.set(attrCounter, number(l.Counter+1))
	e.remove(attrCheckpointOwner)
	if l.switchesTo(owner) {
		e.add(attrSwitches, number(1))
	}
	e.where(attrCounter, "=", number(l.Counter))
	row, err := d.update(ctx, l.Key, e)
	switch {
	case err == nil:
		return l.taken(owner), nil
	case !errors.Is(err, errRefused):
		return Lease{}, d.fault("take lease", l.Key, err)
	case row != nil && tookBefore(*row, l, owner):
		return *row, nil
	default:
		return Lease{}, ErrLost
	}
}

// Evict implements Store.
func (d *DynamoDB) Evict(ctx context.Context, l Lease) error {
	for {
		e := newExpr()
		e.add(attrCounter, number(1))
		e.remove(attrCheckpointOwner)
		if !l.InHandOff() {
			e.remove(attrOwner)
		}
		e.whereOwners(l)
		row, err := d.update(ctx, l.Key, e)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, errRefused):
			return d.fault("evict lease", l.Key, err)
		case row != nil && handOffUnseen(l, *row):
			l = *row // at most once: the new l knows of the hand-off
		default:
			return nil // it is no longer ours to give up, or an earlier try landed
		}
	}
}

// BeginHandOff implements Store.
func (d *DynamoDB) BeginHandOff(ctx context.Context, l Lease, owner string) (Lease, error) {
	if err := checkHandOff(l, owner); err != nil {
		return Lease{}, err
	}
	e := newExpr()
	e.set(attrOwner, text(owner))
	e.set(attrCheckpointOwner, text(l.Owner))
	e.whereOwners(l)
	row, err := d.update(ctx, l.Key, e)
	switch {
	case err == nil:
		l.Owner, l.CheckpointOwner = owner, l.Owner
		return l, nil
	case !errors.Is(err, errRefused):
		return Lease{}, d.fault("begin hand-off of lease", l.Key, err)
	case row != nil && row.Owner == owner && row.CheckpointOwner == l.Owner:
		return *row, nil
	default:
		return Lease{}, ErrLost
	}
}

// EndHandOff implements Store.
func (d *DynamoDB) EndHandOff(ctx context.Context, l Lease) error {
	e := newExpr()
	e.set(attrOwner, text(l.Owner))
	e.add(attrCounter, number(1))
	e.remove(attrCheckpointOwner)
	e.whereOwners(l)
	if _, err := d.update(ctx, l.Key, e); err != nil && !errors.Is(err, errRefused) {
		return d.fault("end hand-off of lease", l.Key, err)
	}
	return nil
}

// UpdateMeta implements Store.
func (d *DynamoDB) UpdateMeta(ctx context.Context, key string, m Meta) error {
	e := newExpr()
	if len(m.Children) > 0 {
		e.set(attrChildren, set(m.Children))
	}
	if m.HashRange != nil {
		e.set(attrHashStart, text(m.HashRange.Start))
		e.set(attrHashEnd, text(m.HashRange.End))
	}
	if e.empty() {
		return nil
	}
	e.whereExists()
	if _, err := d.update(ctx, key, e); errors.Is(err, errRefused) {
		return ErrNotFound
	} else if err != nil {
		return d.fault("update lease", key, err)
	}
	return nil
}

// Delete implements Store.
func (d *DynamoDB) Delete(ctx context.Context, l Lease) error {
	e := newExpr()
	e.where(attrCheckpoint, "=", text(l.Checkpoint.Sequence))
	if !l.Checkpoint.IsShardEnd() {
		e.where(attrSub, "=", number(l.Checkpoint.Sub))
		e.where(attrCounter, "=", number(l.Counter))
	}
	_, err := d.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName:                 &d.table,
		Key:                       item{attrKey: text(l.Key)},
		ConditionExpression:       e.condition(),
		ExpressionAttributeNames:  e.names,
		ExpressionAttributeValues: e.values,
	})
	if _, refused := asRefused(err); refused {
		if _, err := d.Get(ctx, l.Key); errors.Is(err, ErrNotFound) {
			return nil // gone already
		}
		return ErrLost
	}
	if err != nil {
		return d.fault("delete lease", l.Key, err)
	}
	return nil
}

// fault says what failed, and marks the loss of the table, which no retry mends.
func (d *DynamoDB) fault(doing, key string, err error) error {
	if key != "" {
		doing += " " + strconv.Quote(key)
	}
	if isMissing(err) {
		return fmt.Errorf("%s: table %q: %w", doing, d.table, ErrNoTable)
	}
	return fmt.Errorf("%s: table %q: %w", doing, d.table, err)
}

// errRefused says that the condition of a write did not hold.
var errRefused = errors.New("condition failed")

// update sends one conditional UpdateItem. When the condition fails it returns errRefused and the row as it is, nil when there
// is none: from the refusal itself or, from servers that do not give it, by a consistent read.
func (d *DynamoDB) update(ctx context.Context, key string, e *expr) (*Lease, error) {
	_, err := d.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                           &d.table,
		Key:                                 item{attrKey: text(key)},
		UpdateExpression:                    e.update(),
		ConditionExpression:                 e.condition(),
		ExpressionAttributeNames:            e.names,
		ExpressionAttributeValues:           e.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	refusal, refused := asRefused(err)
	if !refused {
		return nil, err
	}
	if len(refusal.Item) > 0 {
		if l, err := parseItem(refusal.Item); err == nil {
			return &l, errRefused
		}
	}
	l, err := d.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return nil, errRefused
	}
	if err != nil {
		return nil, fmt.Errorf("read back after a refused write: %w", err)
	}
	return &l, errRefused
}

func asRefused(err error) (*types.ConditionalCheckFailedException, bool) {
	return errors.AsType[*types.ConditionalCheckFailedException](err)
}
