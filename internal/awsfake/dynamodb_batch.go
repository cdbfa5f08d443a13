package awsfake

import (
	"errors"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	maxBatchGet    = 100
	maxBatchWrite  = 25
	maxTransaction = 100
	maxBatchBytes  = 16 << 20
	tokenMemory    = 10 * time.Minute
)

func (d *DynamoDB) batchGetItem(c *call) (any, error) {
	type keysOfTable struct {
		Keys                     []map[string]wireAttribute
		ConsistentRead           bool
		ProjectionExpression     *string
		ExpressionAttributeNames map[string]string
		AttributesToGet          []string
	}
	var in struct{ RequestItems map[string]keysOfTable }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	n := 0
	for _, r := range in.RequestItems {
		n += len(r.Keys)
	}
	if n < 1 || n > maxBatchGet {
		return nil, failure("ValidationException", "Too many items requested for the BatchGetItem call: %d; use 1 to %d", n, maxBatchGet)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	responses, unprocessed, size, taken := object{}, object{}, 0, 0
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		r := in.RequestItems[name]
		found, left, seen := list{}, list{}, map[string]bool{}
		for _, wire := range r.Keys {
			key, err := newItem(wire)
			if err != nil {
				return nil, err
			}
			it, t, err := d.get(&getRequest{
				TableName: name, Key: wire, ConsistentRead: r.ConsistentRead, ProjectionExpression: r.ProjectionExpression,
				ExpressionAttributeNames: r.ExpressionAttributeNames, AttributesToGet: r.AttributesToGet,
			}, c.now)
			if err != nil {
				return nil, err
			}
			encoded := t.keyOf(key)
			if seen[encoded] {
				return nil, failure("ValidationException", "Provided list of item keys contains duplicates")
			}
			seen[encoded] = true
			taken++
			if size += it.size(); size > maxBatchBytes || c.partial && taken%2 == 0 {
				left = append(left, key)
				continue
			}
			if it != nil {
				found = append(found, it)
			}
		}
		responses = append(responses, member{name, found})
		if len(left) > 0 {
			unprocessed = append(unprocessed, member{name, object{{"Keys", left}, {"ConsistentRead", r.ConsistentRead}}})
		}
	}
	return object{{"Responses", responses}, {"UnprocessedKeys", unprocessed}}, nil
}

func (d *DynamoDB) batchWriteItem(c *call) (any, error) {
	type entry struct {
		PutRequest    *struct{ Item map[string]wireAttribute }
		DeleteRequest *struct{ Key map[string]wireAttribute }
	}
	var in struct{ RequestItems map[string][]entry }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	n := 0
	for _, entries := range in.RequestItems {
		n += len(entries)
	}
	if n < 1 || n > maxBatchWrite {
		return nil, failure("ValidationException", "Too many items requested for the BatchWriteItem call: %d; use 1 to %d", n, maxBatchWrite)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var outcomes []*outcome
	unprocessed, taken := object{}, 0
	for _, name := range slices.Sorted(maps.Keys(in.RequestItems)) {
		t, err := d.ready(name, c.now)
		if err != nil {
			return nil, err
		}
		seen, left := map[string]bool{}, list{}
		for _, e := range in.RequestItems[name] {
			var w *write
			var again object
			switch {
			case e.PutRequest != nil && e.DeleteRequest == nil:
				w, err = (&writeRequest{Item: e.PutRequest.Item}).prepare(verbPut)
			case e.DeleteRequest != nil && e.PutRequest == nil:
				w, err = (&writeRequest{Key: e.DeleteRequest.Key}).prepare(verbDelete)
			default:
				err = failure("ValidationException", "Supplied WriteRequest must have exactly one of PutRequest and DeleteRequest")
			}
			if err != nil {
				return nil, err
			}
			o, err := w.plan(t)
			if err != nil {
				return nil, err
			}
			if seen[o.key] {
				return nil, failure("ValidationException", "Provided list of item keys contains duplicates")
			}
			seen[o.key] = true
			if taken++; c.partial && taken%2 == 0 {
				if w.verb == verbPut {
					again = object{{"PutRequest", object{{"Item", w.keyOrItem}}}}
				} else {
					again = object{{"DeleteRequest", object{{"Key", w.keyOrItem}}}}
				}
				left = append(left, again)
				continue
			}
			outcomes = append(outcomes, o)
		}
		if len(left) > 0 {
			unprocessed = append(unprocessed, member{name, left})
		}
	}
	for _, o := range outcomes {
		o.apply(c.now)
	}
	return object{{"UnprocessedItems", unprocessed}}, nil
}

func (d *DynamoDB) transactGetItems(c *call) (any, error) {
	var in struct {
		TransactItems []struct{ Get *getRequest }
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.TransactItems); n < 1 || n > maxTransaction {
		return nil, failure("ValidationException", "a transaction of %d items; use 1 to %d", n, maxTransaction)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	responses := list{}
	for _, e := range in.TransactItems {
		if e.Get == nil {
			return nil, failure("ValidationException", "a member of TransactItems has no Get")
		}
		e.Get.ConsistentRead = true
		it, _, err := d.get(e.Get, c.now)
		if err != nil {
			return nil, err
		}
		responses = append(responses, object{{"Item", optionalItem(it)}})
	}
	return object{{"Responses", responses}}, nil
}

// requestToken remembers a ClientRequestToken and what it was used for.
type requestToken struct {
	at   time.Time
	body uint64
}

func (d *DynamoDB) transactWriteItems(c *call) (any, error) {
	var in struct {
		TransactItems []struct {
			ConditionCheck, Put, Update, Delete *writeRequest
		}
		ClientRequestToken string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.TransactItems); n < 1 || n > maxTransaction {
		return nil, failure("ValidationException", "a transaction of %d items; use 1 to %d", n, maxTransaction)
	}
	writes := make([]*write, len(in.TransactItems))
	for i, e := range in.TransactItems {
		for verb, r := range map[writeVerb]*writeRequest{verbCheck: e.ConditionCheck, verbPut: e.Put, verbUpdate: e.Update, verbDelete: e.Delete} {
			if r == nil {
				continue
			}
			if writes[i] != nil {
				return nil, failure("ValidationException", "TransactItems can only contain one of Check, Put, Update or Delete")
			}
			w, err := r.prepare(verb)
			if err != nil {
				return nil, err
			}
			writes[i] = w
		}
		if writes[i] == nil {
			return nil, failure("ValidationException", "a member of TransactItems is empty")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if done, err := d.repeated(in.ClientRequestToken, c); done || err != nil {
		return object{}, err
	}
	outcomes, err := d.planAll(writes, c.now)
	if err != nil {
		return nil, err
	}
	for _, o := range outcomes {
		o.apply(c.now)
	}
	if in.ClientRequestToken != "" {
		d.tokens[in.ClientRequestToken] = requestToken{c.now, bodyHash(c.body)}
	}
	return object{}, nil
}

// repeated says whether a transaction with this token has been done before.
func (d *DynamoDB) repeated(token string, c *call) (bool, error) {
	maps.DeleteFunc(d.tokens, func(_ string, t requestToken) bool { return c.now.Sub(t.at) > tokenMemory })
	t, ok := d.tokens[token]
	if ok && t.body != bodyHash(c.body) {
		return false, failure("IdempotentParameterMismatchException", "the ClientRequestToken %q was used with other parameters", token)
	}
	return ok, nil
}

func bodyHash(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}

// planAll plans every write of a transaction, or says for each why the transaction is cancelled.
func (d *DynamoDB) planAll(writes []*write, now time.Time) ([]*outcome, error) {
	type target struct {
		table *table
		key   string
	}
	seen := map[target]bool{}
	outcomes, reasons, codes, cancelled := []*outcome{}, list{}, []string{}, false
	for _, w := range writes {
		t, err := d.ready(w.request.TableName, now)
		if err != nil {
			return nil, err
		}
		at := target{t, t.keyOf(w.keyOrItem)}
		if seen[at] {
			return nil, failure("ValidationException", "Transaction request cannot include multiple operations on one item")
		}
		seen[at] = true
		o, err := w.plan(t)
		reason := object{{"Code", "None"}}
		if fault, ok := errors.AsType[*apiError](err); ok {
			cancelled = true
			code := map[string]string{"ConditionalCheckFailedException": "ConditionalCheckFailed"}[fault.Code]
			if code == "" {
				code = "ValidationError"
			}
			reason = append(object{{"Code", code}, {"Message", fault.Message}}, fault.Extra...)
		} else if err != nil {
			return nil, err
		}
		outcomes, reasons = append(outcomes, o), append(reasons, reason)
		code, _ := reason[0].value.(string)
		codes = append(codes, code)
	}
	if cancelled {
		fault := failure("TransactionCanceledException", "Transaction cancelled, please refer cancellation reasons for specific reasons [%s]", strings.Join(codes, ", "))
		fault.Extra = object{{"Message", fault.Message}, {"CancellationReasons", reasons}}
		return nil, fault
	}
	return outcomes, nil
}
