package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// States of KCL's migration from 2.x to 3.x, as its row Migration3.0 holds them. In the first two every worker takes leases for itself,
// as it does while there is no such row; in the last two an elected leader assigns them.
const (
	Version2x         = "CLIENT_VERSION_2X"
	VersionUpgrade    = "CLIENT_VERSION_UPGRADE_FROM_2X"
	Version3xRollback = "CLIENT_VERSION_3X_WITH_ROLLBACK"
	Version3x         = "CLIENT_VERSION_3X"
)

// LeaderAssigns says whether, in that state, leases are assigned by the leader and must not be taken.
func LeaderAssigns(version string) bool { return version == Version3x || version == Version3xRollback }

// Fleet is what the workers of an application tell each other beside the leases, since KCL 3.0. All methods may be called concurrently.
type Fleet interface {
	// ClientVersion reads the state of the migration to 3.x; "" when no Java worker of 3.x has ever taken part.
	ClientVersion(ctx context.Context) (string, error)
	// Announce tells the leader that worker lives at now, in wall-clock time, so that it may be assigned leases. It must be repeated
	// every 30 seconds. ClientVersion must have been called before; without a state there is no leader, and it fails with ErrNoState.
	Announce(ctx context.Context, worker string, now time.Time) error
	// Retire takes the announcement back, so that nothing more is assigned to worker.
	Retire(ctx context.Context, worker string) error
	// Assigned returns the keys of the leases whose next or present owner is worker. The answer may be out of date: confirm each by Get.
	Assigned(ctx context.Context, worker string) ([]string, error)
}

// ErrNoState says that the application has no state of KCL 3.x: a row that is no lease would stop its older Java workers.
var ErrNoState = errors.New("the application has no state of KCL 3.x")

const (
	ownerIndex = "LeaseOwnerToLeaseKeyIndex"
	// KCL 3.0 to 3.4 keep what is no lease in two other tables, named after the application.
	stateTableSuffix   = "-CoordinatorState"
	metricsTableSuffix = "-WorkerMetricStats"
	attrStateKey       = "key"
	attrWorkerID       = "wid"

	tableMigrationKey  = "TableMigration3.5"
	attrTableMigration = "tm"
	// tablesMerged is the state in which the lease table holds everything.
	tablesMerged = "TABLE_MIGRATION_STATUS_COMPLETE"

	entityWorker    = "WORKER_METRIC_STATS"
	attrLastUpdate  = "lut"
	attrSystemStats = "sts"
	attrOperating   = "opr"
	attrSupport     = "sup"
	attrSupportedAt = "slu"
)

// layout is where an application keeps what is no lease.
type layout struct {
	mu       sync.Mutex
	hasState bool
	legacy   bool // in tables of their own
}

func (l *layout) set(hasState, legacy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hasState, l.legacy = hasState, legacy
}

func (l *layout) get() (hasState, legacy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hasState, l.legacy
}

var _ Fleet = (*DynamoDB)(nil)

// ClientVersion implements Fleet.
func (d *DynamoDB) ClientVersion(ctx context.Context) (string, error) {
	version, legacy, err := d.legacyVersion(ctx)
	if err != nil {
		return "", err
	}
	if !legacy {
		row, err := d.row(ctx, d.table, attrKey, migrationKey)
		if err != nil {
			return "", err
		}
		if cv := textOf(row, attrClientVersion); cv != "" {
			version = cv
		}
	}
	d.layout.set(version != "", legacy)
	return version, nil
}

// legacyVersion reads the state in its own table, if there is one and it has not been merged into the lease table.
func (d *DynamoDB) legacyVersion(ctx context.Context) (version string, legacy bool, err error) {
	table := d.application + stateTableSuffix
	row, err := d.row(ctx, table, attrStateKey, migrationKey)
	if isMissing(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	merge, err := d.row(ctx, table, attrStateKey, tableMigrationKey)
	if err != nil {
		return "", false, err
	}
	return textOf(row, attrClientVersion), textOf(merge, attrTableMigration) != tablesMerged, nil
}

func (d *DynamoDB) row(ctx context.Context, table, keyName, key string) (item, error) {
	out, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &table, Key: item{keyName: text(key)}, ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, fmt.Errorf("get row %q of table %q: %w", key, table, err)
	}
	return out.Item, nil
}

func textOf(it item, name string) string {
	if s, ok := it[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func isMissing(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

// workerRow is the table and key of a worker's row.
func (d *DynamoDB) workerRow(worker string) (table *string, key item, keyName string, err error) {
	switch hasState, legacy := d.layout.get(); {
	case !hasState:
		return nil, nil, "", ErrNoState
	case legacy:
		return aws.String(d.application + metricsTableSuffix), item{attrWorkerID: text(worker)}, attrWorkerID, nil
	default:
		return &d.table, item{attrKey: text(worker)}, attrKey, nil
	}
}

// Announce implements Fleet. Without figures in its two maps the leader balances the worker by the throughput of its leases.
func (d *DynamoDB) Announce(ctx context.Context, worker string, now time.Time) error {
	table, key, keyName, err := d.workerRow(worker)
	if err != nil {
		return fmt.Errorf("announce worker: %w", err)
	}
	e := newExpr()
	e.set(attrEntityType, text(entityWorker))
	e.set(attrLastUpdate, number(now.Unix()))
	e.set(attrSystemStats, &types.AttributeValueMemberM{Value: item{}})
	e.set(attrOperating, &types.AttributeValueMemberM{Value: item{}})
	e.set(attrSupport, number(1)) // we read and write both layouts
	e.set(attrSupportedAt, number(now.Unix()))
	// A lease whose key happens to be our id is left alone. Rows of KCL 3.4 have no entityType.
	condition := "attribute_not_exists(" + e.name(keyName) + ") OR attribute_exists(" + e.name(attrLastUpdate) + ")"
	_, err = d.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: table, Key: key, UpdateExpression: e.update(), ConditionExpression: &condition,
		ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
	})
	if _, refused := asRefused(err); refused {
		return fmt.Errorf("announce worker: table %q has a row %q that is no worker's; choose another worker_id", *table, worker)
	}
	if err != nil {
		return fmt.Errorf("announce worker in table %q: %w", *table, err)
	}
	return nil
}

// Retire implements Fleet.
func (d *DynamoDB) Retire(ctx context.Context, worker string) error {
	table, key, _, err := d.workerRow(worker)
	if err != nil {
		return nil //nolint:nilerr // never announced
	}
	_, err = d.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: table, Key: key, ConditionExpression: aws.String("attribute_exists(#lut)"),
		ExpressionAttributeNames: map[string]string{"#lut": attrLastUpdate},
	})
	if _, refused := asRefused(err); refused {
		return nil
	}
	if err != nil {
		return fmt.Errorf("retire worker in table %q: %w", *table, err)
	}
	return nil
}

// Assigned implements Fleet: by the index that Java makes, or by a filtered scan while there is none.
func (d *DynamoDB) Assigned(ctx context.Context, worker string) ([]string, error) {
	keys, err := d.assignedByIndex(ctx, worker)
	if err == nil || !isNoIndex(err) {
		return keys, err
	}
	return d.assignedByScan(ctx, worker)
}

func (d *DynamoDB) assignedByIndex(ctx context.Context, worker string) ([]string, error) {
	var (
		keys  []string
		start item
	)
	for {
		page, err := d.client.Query(ctx, &dynamodb.QueryInput{
			TableName: &d.table, IndexName: aws.String(ownerIndex), ExclusiveStartKey: start,
			KeyConditionExpression:   aws.String("#owner = :owner"),
			ExpressionAttributeNames: map[string]string{"#owner": attrOwner}, ExpressionAttributeValues: item{":owner": text(worker)},
		})
		if err != nil {
			return nil, fmt.Errorf("query index %s of lease table %q: %w", ownerIndex, d.table, err)
		}
		for _, it := range page.Items {
			keys = append(keys, textOf(it, attrKey))
		}
		if len(page.LastEvaluatedKey) == 0 {
			return keys, nil
		}
		start = page.LastEvaluatedKey
	}
}

func (d *DynamoDB) assignedByScan(ctx context.Context, worker string) ([]string, error) {
	listing, err := d.List(ctx)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, l := range listing.Leases {
		if l.Owner == worker {
			keys = append(keys, l.Key)
		}
	}
	return keys, nil
}

// isNoIndex says whether a query failed because the index is missing or not built yet.
func isNoIndex(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "ValidationException"
}
