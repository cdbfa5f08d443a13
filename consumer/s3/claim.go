package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// progress is how far a mouthful got, as the ledger keeps it.
type progress struct {
	// Done has a bit for each file of the list that is delivered or quarantined.
	Done []byte `json:"done,omitempty"`
	// Files holds those that were begun and are not done, or are quarantined, by their place in the list.
	Files map[int]fileProgress `json:"files,omitempty"`
}

type fileProgress struct {
	// At is the position up to which the rows are durable.
	At int64 `json:"at,omitempty"`
	// Tries is how often it could not be read, Reason why.
	Tries  int    `json:"tries,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (p *progress) done(i int) bool { return i/8 < len(p.Done) && p.Done[i/8]&(1<<(i%8)) != 0 }

func (p *progress) setDone(i int) {
	for len(p.Done) <= i/8 {
		p.Done = append(p.Done, 0)
	}
	p.Done[i/8] |= 1 << (i % 8)
}

func (p *progress) clone() progress {
	return progress{Done: bytes.Clone(p.Done), Files: maps.Clone(p.Files)}
}

// merge adds what another knows: what either says is done, is.
func (p *progress) merge(o progress) {
	for i := range len(o.Done) * 8 {
		if o.done(i) {
			p.setDone(i)
		}
	}
	for i, of := range o.Files {
		if p.done(i) {
			continue
		}
		f := p.Files[i]
		f.At = max(f.At, of.At)
		p.Files[i] = f
	}
}

// claim makes the mouthful owner's until the given time. A slot that commits exactly once is remembered until the ledger knows of all
// that it committed: whoever takes over then can fence it, even if the taker between them died before it did.
func (l *ledger) claim(ctx context.Context, id, owner string, exactlyOnce bool, now, until time.Time) (Mouthful, error) {
	how := "SET claim = :me, claim_until = :until ADD tries :one"
	values := item{
		":me": str(owner), ":until": number(until.UnixMilli()), ":now": number(now.UnixMilli()), ":one": number(1),
		":sealed": str(string(StateSealed)), ":sent": str(string(StateSent)),
	}
	if exactlyOnce {
		how += ", owners :owners"
		values[":owners"] = &types.AttributeValueMemberSS{Value: []string{owner}}
	}
	it, err := l.update(ctx, id, how,
		"(#state = :sealed OR #state = :sent) AND (attribute_not_exists(claim) OR claim = :me OR claim_until < :now)", values)
	if old, ok := refused(err); ok {
		switch s := State(textOf(old, attrState)); s {
		case "":
			return Mouthful{}, errNoMouthful
		case StateDone:
			return Mouthful{}, errDone
		case StateForming, StateAbandoned:
			return Mouthful{}, fmt.Errorf("a message names the mouthful %q, which is %s", id, s)
		default:
		}
		return Mouthful{}, errClaimed
	}
	if err != nil {
		return Mouthful{}, fmt.Errorf("claim mouthful %q: %w", id, err)
	}
	return parseMouthful(id, it)
}

// The ways to write to a mouthful that is claimed.
const (
	keepClaim = "SET claim_until = :until, progress = :progress"
	giveClaim = "SET progress = :progress REMOVE claim, claim_until, owners"
	endClaim  = "SET progress = :progress, #state = :done REMOVE claim, claim_until, owners, unsent"
	// proveClaim says that progress knows all that former owners committed.
	proveClaim = "SET claim_until = :until, progress = :progress, owners = :owners"
)

// write notes the progress of a claimed mouthful in one of the ways above; errLost says that the claim is another's.
func (l *ledger) write(ctx context.Context, m *Mouthful, how string, p progress, until time.Time) error {
	doc, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write progress of mouthful %q: %w", m.ID, err)
	}
	values := item{":me": str(m.claim), ":progress": str(string(doc))}
	switch how {
	case keepClaim:
		values[":until"] = number(until.UnixMilli())
	case proveClaim:
		values[":until"] = number(until.UnixMilli())
		values[":owners"] = &types.AttributeValueMemberSS{Value: []string{m.claim}}
	case endClaim:
		values[":done"] = str(string(StateDone))
	}
	in := &dynamodb.UpdateItemInput{
		TableName: &l.table, Key: item{attrID: str(l.mouthful(m.ID))}, UpdateExpression: &how, ConditionExpression: aws.String("claim = :me"),
		ExpressionAttributeValues: values, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	if how == endClaim {
		in.ExpressionAttributeNames = map[string]string{"#state": attrState}
	}
	_, err = l.api.UpdateItem(ctx, in)
	if old, ok := refused(err); ok {
		if how == endClaim && State(textOf(old, attrState)) == StateDone {
			return nil // an earlier write whose answer was lost
		}
		return errLost
	}
	if err != nil {
		return fmt.Errorf("write progress of mouthful %q: %w", m.ID, err)
	}
	return nil
}

// quarantine notes on the file's item why it is not read.
func (l *ledger) quarantine(ctx context.Context, o Object, reason, detail string) error {
	_, err := l.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &l.table, Key: item{attrID: str(l.file(o))}, UpdateExpression: aws.String("SET reason = :reason, detail = :detail"),
		ExpressionAttributeValues: item{":reason": str(reason), ":detail": str(detail)},
	})
	if err != nil {
		return fmt.Errorf("quarantine %q: %w", o.ID(), err)
	}
	return nil
}
