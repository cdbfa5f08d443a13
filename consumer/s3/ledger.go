package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/klauspost/compress/gzip"

	"dredge/internal/retry"
)

// DynamoDB is what the ledger needs of *dynamodb.Client.
type DynamoDB interface {
	CreateTable(ctx context.Context, in *dynamodb.CreateTableInput, opts ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, opts ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	UpdateTimeToLive(ctx context.Context, in *dynamodb.UpdateTimeToLiveInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error)
	Query(ctx context.Context, in *dynamodb.QueryInput, opts ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// The ledger's items. One for each file, which says whose it is:
//
//	id       file:s3://bucket/key#etag
//	mouthful the id of the mouthful that it is in
//	reason   why it was quarantined, and the tries that took
//
// and one for each mouthful:
//
//	id       mouthful:…
//	state    forming → sealed → sent → done, or forming → abandoned
//	packed   its files, gzip of JSON; written with the seal and never changed
//	unsent   there until it is sent, so that an index over it holds only mouthfuls on their way
//	claim    who reads it, claim_until when that ends; progress is how far it got
//	owners   with a sink that commits exactly once: the slots whose commits progress may not know yet; who takes over fences them
//
// A file whose mouthful is forming belongs to nobody for certain: its gatherer may have died. Whoever meets it abandons an old
// forming mouthful first, by a conditional write that its gatherer's seal contradicts, and then takes the file over.
const (
	filePrefix     = "file:"
	mouthfulPrefix = "mouthful:"

	attrID       = "id"
	attrMouthful = "mouthful"
	attrReason   = "reason"
	attrState    = "state"
	attrCreated  = "created"
	attrList     = "packed"
	attrFiles    = "file_count"
	attrBytes    = "total_bytes"
	attrUnsent   = "unsent"
	attrClaim    = "claim"
	attrUntil    = "claim_until"
	attrTries    = "tries"
	attrOwners   = "owners"
	attrProgress = "progress"
	attrExpires  = "expires"

	unsentIndex = "unsent-index"
	unsentMark  = "1"
)

// State is how far a mouthful is.
type State string

// The states of a mouthful.
const (
	StateForming   State = "forming"
	StateSealed    State = "sealed"
	StateSent      State = "sent"
	StateDone      State = "done"
	StateAbandoned State = "abandoned"
)

// Refusals of the ledger.
var (
	errNoMouthful = errors.New("the ledger has no such mouthful")
	errDone       = errors.New("the mouthful is done")
	errClaimed    = errors.New("another worker reads the mouthful")
	errLost       = errors.New("the claim on the mouthful was lost")
	errAbandoned  = errors.New("the mouthful was abandoned")
	errForming    = errors.New("the file is in a mouthful that is being formed")
)

// abandonAfter is how old a forming mouthful is before others take it apart. A gatherer has writeTimeout to seal one.
const (
	abandonAfter = 5 * time.Minute
	writeTimeout = 2 * time.Minute
	tablePoll    = time.Second
	maxItem      = 380_000 // of DynamoDB's 400 KB
	maxUnpacked  = 64 << 20
)

type item = map[string]types.AttributeValue

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func textOf(it item, name string) string {
	if v, ok := it[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

func numberOf(it item, name string) int64 {
	if v, ok := it[name].(*types.AttributeValueMemberN); ok {
		if n, err := strconv.ParseInt(v.Value, 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// Mouthful is a group of files that is read as one piece of work.
type Mouthful struct {
	ID      string
	State   State
	Created time.Time
	Files   []Object
	Bytes   int64
	// tries is how often it was claimed.
	tries    int
	progress progress
	claim    string
	// former are the slots that had it before, and may have committed more than progress knows.
	former []string
}

// ledger is the table. Its methods may be called concurrently.
type ledger struct {
	api       DynamoDB
	table     string
	retention time.Duration
	// space begins the ids of a run that has files and mouthfuls of its own; empty for those that are announced. In such a run a mouthful
	// stays in the index of the unsent until it is done, since its queue does not outlive the process.
	space string
}

func (l *ledger) mouthful(id string) string { return l.space + mouthfulPrefix + id }
func (l *ledger) file(o Object) string      { return l.space + o.ledgerKey() }

// init makes the table when it is missing.
func (l *ledger) init(ctx context.Context) error {
	for made := false; ; {
		out, err := l.api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &l.table})
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			mine, err := l.create(ctx)
			if err != nil {
				return err
			}
			made = made || mine // whoever made it lets its items expire, too
			continue
		}
		if err != nil {
			return fmt.Errorf("describe ledger table %q: %w", l.table, err)
		}
		if k := out.Table.KeySchema; len(k) != 1 || aws.ToString(k[0].AttributeName) != attrID || len(out.Table.GlobalSecondaryIndexes) == 0 {
			return fmt.Errorf("table %q is no ledger of dredge: it has another key or no index %s; name another s3.ledger_table", l.table, unsentIndex)
		}
		if s := out.Table.TableStatus; s == types.TableStatusActive || s == types.TableStatusUpdating {
			if !made {
				return nil
			}
			_, err := l.api.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
				TableName: &l.table, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(attrExpires), Enabled: aws.Bool(true)},
			})
			if err != nil {
				return fmt.Errorf("let items of ledger table %q expire: %w", l.table, err)
			}
			return nil
		}
		if err := retry.Sleep(ctx, tablePoll); err != nil {
			return fmt.Errorf("wait for ledger table %q: %w", l.table, err)
		}
	}
}

// create makes the table, unless another process just did.
func (l *ledger) create(ctx context.Context) (mine bool, err error) {
	_, err = l.api.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &l.table, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String(attrID), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String(attrID), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String(attrUnsent), AttributeType: types.ScalarAttributeTypeS},
		},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String(unsentIndex), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String(attrUnsent), KeyType: types.KeyTypeHash},
				{AttributeName: aws.String(attrID), KeyType: types.KeyTypeRange},
			},
		}},
	})
	if _, other := errors.AsType[*types.ResourceInUseException](err); other {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make ledger table %q: %w", l.table, err)
	}
	return true, nil
}

func (l *ledger) expires(now time.Time) types.AttributeValue {
	return number(now.Add(l.retention).Unix())
}

// refused says that a condition was not met, and returns the item as it stood.
func refused(err error) (item, bool) {
	if c, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		return c.Item, true
	}
	return nil, false
}

// form writes a mouthful that its files can point at.
func (l *ledger) form(ctx context.Context, id string, now time.Time) error {
	_, err := l.api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &l.table, Item: item{
			attrID: str(l.mouthful(id)), attrState: str(string(StateForming)), attrCreated: number(now.UnixMilli()),
			attrUnsent: str(l.space + unsentMark), attrExpires: l.expires(now),
		},
	})
	if err != nil {
		return fmt.Errorf("form mouthful %q: %w", id, err)
	}
	return nil
}

// take puts o into the forming mouthful id, unless it is in another one already; then fresh is false and the notification can be
// acknowledged. It returns errForming when the other one may yet be abandoned.
func (l *ledger) take(ctx context.Context, o Object, id string, now time.Time) (fresh bool, err error) {
	it := item{attrID: str(l.file(o)), attrMouthful: str(id), attrBytes: number(o.Size), attrCreated: number(now.UnixMilli()), attrExpires: l.expires(now)}
	_, err = l.api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &l.table, Item: it, ConditionExpression: aws.String("attribute_not_exists(id)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	old, ok := refused(err)
	switch {
	case err == nil:
		return true, nil
	case !ok:
		return false, fmt.Errorf("enter %q into the ledger: %w", o.ID(), err)
	}
	other := textOf(old, attrMouthful)
	if other == id {
		return true, nil // an earlier write whose answer was lost
	}
	switch gone, err := l.gone(ctx, other, now); {
	case err != nil:
		return false, err
	case !gone:
		return false, nil
	}
	_, err = l.api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &l.table, Item: it, ConditionExpression: aws.String("mouthful = :other"),
		ExpressionAttributeValues:           item{":other": str(other)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if old, ok := refused(err); ok {
		if textOf(old, attrMouthful) == id {
			return true, nil
		}
		return false, errForming // another gatherer took it over just now
	}
	if err != nil {
		return false, fmt.Errorf("take %q over in the ledger: %w", o.ID(), err)
	}
	return true, nil
}

// gone says that the mouthful will never be read, so that its files are free. An old forming one is made so.
func (l *ledger) gone(ctx context.Context, id string, now time.Time) (bool, error) {
	m, err := l.get(ctx, id)
	switch {
	case errors.Is(err, errNoMouthful):
		return true, nil
	case err != nil:
		return false, err
	case m.State == StateAbandoned:
		return true, nil
	case m.State != StateForming:
		return false, nil
	case now.Sub(m.Created) < abandonAfter:
		return false, errForming
	}
	switch err := l.abandon(ctx, id); {
	case errors.Is(err, errLost): // it was sealed meanwhile
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// abandon ends a mouthful that is forming; errLost says that it no longer was.
func (l *ledger) abandon(ctx context.Context, id string) error {
	_, err := l.update(ctx, id, "SET #state = :abandoned REMOVE unsent", "#state = :forming OR #state = :abandoned", item{
		":abandoned": str(string(StateAbandoned)), ":forming": str(string(StateForming)),
	})
	if _, ok := refused(err); ok {
		return errLost
	}
	if err != nil {
		return fmt.Errorf("abandon mouthful %q: %w", id, err)
	}
	return nil
}

func (l *ledger) update(ctx context.Context, id, expression, condition string, values item) (item, error) {
	in := &dynamodb.UpdateItemInput{
		TableName: &l.table, Key: item{attrID: str(l.mouthful(id))}, UpdateExpression: &expression, ConditionExpression: &condition,
		ExpressionAttributeValues: values, ReturnValues: types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		ExpressionAttributeNames:            map[string]string{"#state": attrState},
	}
	out, err := l.api.UpdateItem(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.Attributes, nil
}

// seal fixes the files of a mouthful: from here on it will be read. errAbandoned says that it will never be.
func (l *ledger) seal(ctx context.Context, m *Mouthful, list []byte) error {
	_, err := l.update(ctx, m.ID, "SET #state = :sealed, packed = :list, file_count = :files, total_bytes = :bytes", "#state = :forming", item{
		":sealed": str(string(StateSealed)), ":forming": str(string(StateForming)),
		":list": &types.AttributeValueMemberB{Value: list}, ":files": number(int64(len(m.Files))), ":bytes": number(m.Bytes),
	})
	if old, ok := refused(err); ok {
		if State(textOf(old, attrState)) == StateSealed {
			return nil // an earlier write whose answer was lost
		}
		return errAbandoned
	}
	if err != nil {
		return fmt.Errorf("seal mouthful %q: %w", m.ID, err)
	}
	return nil
}

// markSent notes that the mouthful is in its queue. One that a worker has finished before that is left as it is.
func (l *ledger) markSent(ctx context.Context, id string) error {
	if l.space != "" {
		return nil
	}
	_, err := l.update(ctx, id, "SET #state = :sent REMOVE unsent", "#state = :sealed", item{
		":sent": str(string(StateSent)), ":sealed": str(string(StateSealed)),
	})
	if _, ok := refused(err); err != nil && !ok {
		return fmt.Errorf("mark mouthful %q as sent: %w", id, err)
	}
	return nil
}

// unsent returns the ids of mouthfuls on their way, oldest first as far as their clocks agree.
func (l *ledger) unsent(ctx context.Context) ([]string, error) {
	var (
		out   []string
		start item
	)
	for {
		page, err := l.api.Query(ctx, &dynamodb.QueryInput{
			TableName: &l.table, IndexName: aws.String(unsentIndex), KeyConditionExpression: aws.String("unsent = :one"),
			ExpressionAttributeValues: item{":one": str(l.space + unsentMark)}, ExclusiveStartKey: start,
		})
		if err != nil {
			return nil, fmt.Errorf("list unsent mouthfuls: %w", err)
		}
		for _, it := range page.Items {
			out = append(out, textOf(it, attrID)[len(l.mouthful("")):])
		}
		if start = page.LastEvaluatedKey; len(start) == 0 {
			return out, nil
		}
	}
}

// get reads a mouthful.
func (l *ledger) get(ctx context.Context, id string) (Mouthful, error) {
	out, err := l.api.GetItem(ctx, &dynamodb.GetItemInput{TableName: &l.table, Key: item{attrID: str(l.mouthful(id))}, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return Mouthful{}, fmt.Errorf("read mouthful %q: %w", id, err)
	}
	if len(out.Item) == 0 {
		return Mouthful{}, errNoMouthful
	}
	return parseMouthful(id, out.Item)
}

func parseMouthful(id string, it item) (Mouthful, error) {
	m := Mouthful{
		ID: id, State: State(textOf(it, attrState)), Created: time.UnixMilli(numberOf(it, attrCreated)), Bytes: numberOf(it, attrBytes),
		tries: int(numberOf(it, attrTries)), claim: textOf(it, attrClaim),
	}
	if b, ok := it[attrList].(*types.AttributeValueMemberB); ok {
		var err error
		if m.Files, err = unpackList(b.Value); err != nil {
			return m, fmt.Errorf("mouthful %q: %w", id, err)
		}
	}
	if owners, ok := it[attrOwners].(*types.AttributeValueMemberSS); ok {
		m.former = slices.DeleteFunc(owners.Value, func(name string) bool { return name == m.claim })
	}
	if p := textOf(it, attrProgress); p != "" {
		if err := json.Unmarshal([]byte(p), &m.progress); err != nil {
			return m, fmt.Errorf("mouthful %q: read progress: %w", id, err)
		}
	}
	return m, nil
}

// packList writes a list of files as the ledger keeps it.
func packList(files []Object) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	err := json.NewEncoder(z).Encode(files)
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("pack list of files: %w", err)
	}
	return b.Bytes(), nil
}

func unpackList(data []byte) ([]Object, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read list of files: %w", err)
	}
	var files []Object
	if err := json.NewDecoder(io.LimitReader(z, maxUnpacked)).Decode(&files); err != nil {
		return nil, fmt.Errorf("read list of files: %w", err)
	}
	return files, nil
}
