package lease

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Names of the attributes of a row. startedAt is dredge's own, the others are KCL's.
const (
	attrKey             = "leaseKey"
	attrOwner           = "leaseOwner"
	attrCheckpointOwner = "checkpointOwner"
	attrCounter         = "leaseCounter"
	attrSwitches        = "ownerSwitchesSinceCheckpoint"
	attrCheckpoint      = "checkpoint"
	attrSub             = "checkpointSubSequenceNumber"
	attrPending         = "pendingCheckpoint"
	attrPendingSub      = "pendingCheckpointSubSequenceNumber"
	attrPendingState    = "pendingCheckpointState"
	attrParents         = "parentShardId"
	attrChildren        = "childShardIds"
	attrHashStart       = "startingHashKey"
	attrHashEnd         = "endingHashKey"
	attrThroughput      = "throughputKBps"
	attrEntityType      = "entityType"
	attrStreamName      = "streamName"
	attrShardID         = "shardId"
	attrStartedAt       = "startedAt"

	// The row that holds the state of KCL's migration from 2.x to 3.x, and the attribute with the state.
	migrationKey      = "Migration3.0"
	attrClientVersion = "cv"
)

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func binary(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

func set(ss []string) types.AttributeValue {
	ss = slices.Clone(ss)
	slices.Sort(ss)
	return &types.AttributeValueMemberSS{Value: slices.Compact(ss)}
}

// kbps writes a throughput as KCL does, with six decimals.
func kbps(f float64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatFloat(f, 'f', 6, 64)}
}

// newItem is the row that creates l. DynamoDB holds no empty strings or sets for us: what is empty is left out.
func newItem(l Lease) item {
	it := item{
		attrKey:        text(l.Key),
		attrCounter:    number(0),
		attrSwitches:   number(0),
		attrCheckpoint: text(l.Checkpoint.Sequence),
		attrSub:        number(l.Checkpoint.Sub),
		attrEntityType: text(EntityType),
	}
	if len(l.Parents) > 0 {
		it[attrParents] = set(l.Parents)
	}
	if len(l.Children) > 0 {
		it[attrChildren] = set(l.Children)
	}
	if l.HashRange != nil {
		it[attrHashStart], it[attrHashEnd] = text(l.HashRange.Start), text(l.HashRange.End)
	}
	if l.StreamName != "" {
		it[attrStreamName] = text(l.StreamName)
	}
	if l.ShardID != "" {
		it[attrShardID] = text(l.ShardID)
	}
	if !l.StartedAt.IsZero() {
		it[attrStartedAt] = number(l.StartedAt.UnixMilli())
	}
	return it
}

// isForeign says whether a row belongs to another kind of entity that KCL keeps in the same table.
func isForeign(it item) bool {
	e, ok := it[attrEntityType].(*types.AttributeValueMemberS)
	return ok && e.Value != EntityType
}

// clientVersion returns the migration state when it is the row that holds it.
func clientVersion(it item) string {
	key, _ := it[attrKey].(*types.AttributeValueMemberS)
	if key == nil || key.Value != migrationKey {
		return ""
	}
	if cv, ok := it[attrClientVersion].(*types.AttributeValueMemberS); ok {
		return cv.Value
	}
	return ""
}

// itemReader takes attributes out of a row and keeps the first fault, so that a row is read as a list of its fields.
type itemReader struct {
	it  item
	err error
}

func (r *itemReader) fault(name, want string, v types.AttributeValue) {
	if r.err == nil {
		r.err = fmt.Errorf("attribute %s: got %T, want %s", name, v, want)
	}
}

func (r *itemReader) text(name string) string {
	switch v := r.it[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
		return ""
	case *types.AttributeValueMemberS:
		return v.Value
	default:
		r.fault(name, "S", v)
		return ""
	}
}

func (r *itemReader) number(name string) int64 {
	switch v := r.it[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
		return 0
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("attribute %s: %q is not an integer of 64 bits", name, v.Value)
		}
		return n
	default:
		r.fault(name, "N", v)
		return 0
	}
}

func (r *itemReader) set(name string) []string {
	switch v := r.it[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
		return nil
	case *types.AttributeValueMemberSS:
		ss := slices.Clone(v.Value)
		slices.Sort(ss)
		return ss
	default:
		r.fault(name, "SS", v)
		return nil
	}
}

// parseItem reads a lease row. Attributes it does not know are ignored. A row without key, counter or checkpoint is malformed.
func parseItem(it item) (Lease, error) {
	r := itemReader{it: it}
	l := Lease{
		Key:             r.text(attrKey),
		Owner:           r.text(attrOwner),
		CheckpointOwner: r.text(attrCheckpointOwner),
		Counter:         r.number(attrCounter),
		OwnerSwitches:   r.number(attrSwitches),
		Parents:         r.set(attrParents),
		Children:        r.set(attrChildren),
		EntityType:      r.text(attrEntityType),
		StreamName:      r.text(attrStreamName),
		ShardID:         r.text(attrShardID),
	}
	sequence, sub := r.text(attrCheckpoint), r.number(attrSub)
	pending, pendingSub := r.text(attrPending), r.number(attrPendingSub)
	hashStart, hashEnd := r.text(attrHashStart), r.text(attrHashEnd)
	if ms := r.number(attrStartedAt); ms != 0 {
		l.StartedAt = time.UnixMilli(ms)
	}
	if r.err != nil {
		return l, r.err
	}
	if l.Key == "" {
		return l, errors.New("row without leaseKey")
	}
	if _, ok := it[attrCounter]; !ok {
		return l, fmt.Errorf("row %q: no leaseCounter", l.Key)
	}
	var err error
	if l.Checkpoint, err = ParseCheckpoint(sequence, sub); err != nil {
		return l, fmt.Errorf("row %q: %w", l.Key, err)
	}
	if pending != "" {
		if l.Pending, err = ParseCheckpoint(pending, pendingSub); err != nil {
			return l, fmt.Errorf("row %q: pending %w", l.Key, err)
		}
	}
	if hashStart != "" && hashEnd != "" {
		l.HashRange = &HashRange{Start: hashStart, End: hashEnd}
	}
	// KCL's create path writes a number here where its update path writes bytes; the number carries nothing.
	if b, ok := it[attrPendingState].(*types.AttributeValueMemberB); ok {
		l.PendingState = slices.Clone(b.Value)
	}
	// A throughput is a hint: one that can't be read is no reason to leave the shard unread.
	if n, ok := it[attrThroughput].(*types.AttributeValueMemberN); ok {
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && f > 0 {
			l.ThroughputKBps = f
		}
	}
	return l, nil
}
