package awsfake

import (
	"time"
)

// writeRequest is the parameters of PutItem, UpdateItem and DeleteItem, and of one member of a transaction.
type writeRequest struct {
	TableName                           string
	Key                                 map[string]wireAttribute
	Item                                map[string]wireAttribute
	ConditionExpression                 *string
	UpdateExpression                    *string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           map[string]wireAttribute
	Expected                            map[string]wireExpected
	ConditionalOperator                 string
	AttributeUpdates                    map[string]wireUpdate
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
	ReturnConsumedCapacity              string
}

type writeVerb int

const (
	verbPut writeVerb = iota
	verbUpdate
	verbDelete
	verbCheck
)

// write is a request that has been understood but not yet met its table.
type write struct {
	verb      writeVerb
	request   *writeRequest
	keyOrItem item
	condition condition // nil for none
	update    update
}

// prepare parses and checks all that needs no table.
func (r *writeRequest) prepare(verb writeVerb) (*write, error) {
	if (r.ConditionExpression != nil || r.UpdateExpression != nil) && (r.Expected != nil || r.AttributeUpdates != nil || r.ConditionalOperator != "") {
		return nil, failure("ValidationException", "Can not use both expression and non-expression parameters in the same request")
	}
	switch r.ReturnValues {
	case "", "NONE", "ALL_OLD":
	case "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW":
		if verb != verbUpdate {
			return nil, failure("ValidationException", "Return values set to invalid value")
		}
	default:
		return nil, failure("ValidationException", "ReturnValues %q is unknown", r.ReturnValues)
	}
	w := &write{verb: verb, request: r}
	source := r.Key
	if verb == verbPut {
		source = r.Item
	}
	var err error
	if w.keyOrItem, err = newItem(source); err != nil {
		return nil, err
	}
	ph, err := newPlaceholders(r.ExpressionAttributeNames, r.ExpressionAttributeValues)
	if err != nil {
		return nil, err
	}
	if r.UpdateExpression != nil {
		w.update, err = parseUpdate(*r.UpdateExpression, ph)
	} else {
		w.update, err = legacyUpdate(r.AttributeUpdates)
	}
	if err != nil {
		return nil, err
	}
	if r.ConditionExpression != nil {
		w.condition, _, err = parseCondition(*r.ConditionExpression, "ConditionExpression", ph)
	} else {
		w.condition, err = legacyConditions(r.Expected, r.ConditionalOperator)
	}
	if err != nil {
		return nil, err
	}
	return w, ph.unused()
}

// outcome is what a write would do.
type outcome struct {
	table    *table
	key      string
	old, new item
}

// plan finds out what the write does to its table, without doing it. The caller holds the lock.
func (w *write) plan(t *table) (*outcome, error) {
	out := &outcome{table: t}
	var err error
	if w.verb == verbPut {
		out.key, err = t.checkItem(w.keyOrItem)
	} else {
		out.key, err = t.checkKey(w.keyOrItem)
	}
	if err != nil {
		return nil, err
	}
	out.old = t.get(out.key)
	if w.condition != nil && !w.condition.holds(out.old) {
		fault := failure("ConditionalCheckFailedException", "The conditional request failed")
		if w.request.ReturnValuesOnConditionCheckFailure == "ALL_OLD" && out.old != nil {
			fault.Extra = object{{"Item", out.old}}
		}
		return nil, fault
	}
	switch w.verb {
	case verbPut:
		out.new = w.keyOrItem
	case verbUpdate:
		return out, w.planUpdate(out)
	case verbCheck:
		out.new = out.old
	case verbDelete: // nothing is left
	}
	return out, nil
}

func (w *write) planUpdate(out *outcome) error {
	t := out.table
	for _, a := range w.update {
		if name := a.path[0].name; name == t.schema.hash || name == t.schema.sort {
			return failure("ValidationException", "One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", name)
		}
	}
	before := out.old
	if before == nil {
		before = w.keyOrItem
	}
	after, err := w.update.apply(before)
	if err != nil {
		return err
	}
	if _, err := t.checkItem(after); err != nil {
		return err
	}
	if out.old == nil && w.onlyDeletes() {
		return nil
	}
	out.new = after
	return nil
}

// onlyDeletes says whether AttributeUpdates has nothing to store; then it does not create an item.
func (w *write) onlyDeletes() bool {
	if len(w.request.AttributeUpdates) == 0 {
		return false
	}
	for _, a := range w.update {
		if a.verb != "REMOVE" && a.verb != "DELETE" {
			return false
		}
	}
	return true
}

func (o *outcome) apply(now time.Time) { o.table.store(o.key, o.new, now) }

// returned is the Attributes of the answer; nil for none.
func (w *write) returned(o *outcome) any {
	var it item
	switch w.request.ReturnValues {
	case "ALL_OLD":
		it = o.old
	case "ALL_NEW":
		it = o.new
	case "UPDATED_OLD":
		it = w.touched(o.old)
	case "UPDATED_NEW":
		it = w.touched(o.new)
	}
	if it == nil {
		return nil
	}
	return it
}

func (w *write) touched(it item) item {
	var out item
	for _, a := range w.update {
		name := a.path[0].name
		if value, ok := it[name]; ok {
			if out == nil {
				out = item{}
			}
			out[name] = value
		}
	}
	return out
}

// write runs one conditional write.
func (d *DynamoDB) write(c *call, verb writeVerb) (any, error) {
	var in writeRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	w, err := in.prepare(verb)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.ready(in.TableName, c.now)
	if err != nil {
		return nil, err
	}
	o, err := w.plan(t)
	if err != nil {
		return nil, err
	}
	o.apply(c.now)
	size := max(o.old.size(), o.new.size())
	return object{{"Attributes", w.returned(o)}, {"ConsumedCapacity", consumed(in.ReturnConsumedCapacity, t, float64(units(size, 1<<10)))}}, nil
}

// units is how many capacity units of the given size n bytes take.
func units(n, unit int) int { return max(1, (n+unit-1)/unit) }

// consumed is the ConsumedCapacity of an answer; nil unless asked for.
func consumed(wanted string, t *table, capacity float64) any {
	if wanted == "" || wanted == "NONE" {
		return nil
	}
	return object{{"TableName", t.name}, {"CapacityUnits", capacity}}
}

func (d *DynamoDB) putItem(c *call) (any, error)    { return d.write(c, verbPut) }
func (d *DynamoDB) updateItem(c *call) (any, error) { return d.write(c, verbUpdate) }
func (d *DynamoDB) deleteItem(c *call) (any, error) { return d.write(c, verbDelete) }

// getRequest is the parameters of GetItem, and of one member of a transaction.
type getRequest struct {
	TableName                string
	Key                      map[string]wireAttribute
	ConsistentRead           bool
	ProjectionExpression     *string
	ExpressionAttributeNames map[string]string
	AttributesToGet          []string
	ReturnConsumedCapacity   string
}

// get reads one item; nil if there is none. The caller holds the lock.
func (d *DynamoDB) get(r *getRequest, now time.Time) (it item, t *table, err error) {
	key, err := newItem(r.Key)
	if err != nil {
		return nil, nil, err
	}
	show, err := parseShown(r.ProjectionExpression, r.ExpressionAttributeNames, r.AttributesToGet)
	if err != nil {
		return nil, nil, err
	}
	if t, err = d.ready(r.TableName, now); err != nil {
		return nil, nil, err
	}
	encoded, err := t.checkKey(key)
	if err != nil {
		return nil, nil, err
	}
	lag := d.server.cfg.ReadLag
	if r.ConsistentRead {
		lag = 0
	}
	return show.of(t.lagging(encoded, lag, now)), t, nil
}

func (d *DynamoDB) getItem(c *call) (any, error) {
	var in getRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	it, t, err := d.get(&in, c.now)
	if err != nil {
		return nil, err
	}
	return object{{"Item", optionalItem(it)}, {"ConsumedCapacity", consumed(in.ReturnConsumedCapacity, t, readUnits(it.size(), in.ConsistentRead))}}, nil
}

func readUnits(size int, consistent bool) float64 {
	n := float64(units(size, 4<<10))
	if !consistent {
		n /= 2
	}
	return n
}

func optionalItem(it item) any {
	if it == nil {
		return nil
	}
	return it
}

// shown is the part of an item that an answer carries; nil is all of it.
type shown []path

// parseShown reads a projection in either of its forms.
func parseShown(expression *string, names map[string]string, legacy []string) (shown, error) {
	if expression == nil {
		var out shown
		for _, name := range legacy {
			out = append(out, path{{name, -1}})
		}
		return out, nil
	}
	if legacy != nil {
		return nil, failure("ValidationException", "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {AttributesToGet} Expression parameters: {ProjectionExpression}")
	}
	ph, err := newPlaceholders(names, nil)
	if err != nil {
		return nil, err
	}
	out, err := parseProjection(*expression, ph)
	if err != nil {
		return nil, err
	}
	return out, ph.unused()
}

// of is the shown part of an item.
func (s shown) of(it item) item {
	if s == nil || it == nil {
		return it
	}
	return pick(attribute{kind: kindM, fields: it}, s).fields
}

// pick is the parts of a container that the paths lead to. Lists close their ranks.
func pick(a attribute, paths []path) attribute {
	out := attribute{kind: a.kind}
	if a.kind == kindM {
		out.fields = item{}
	}
	grouped := map[step][]path{}
	for _, p := range paths {
		grouped[p[0]] = append(grouped[p[0]], p[1:])
	}
	take := func(s step, child attribute) (attribute, bool) {
		rest, ok := grouped[s]
		if !ok {
			return child, false
		}
		for _, p := range rest {
			if len(p) == 0 {
				return child, true
			}
		}
		part := pick(child, rest)
		return part, len(part.fields)+len(part.list) > 0
	}
	for name, child := range a.fields {
		if part, ok := take(step{name, -1}, child); ok {
			out.fields[name] = part
		}
	}
	for i, child := range a.list {
		if part, ok := take(step{"", i}, child); ok {
			out.list = append(out.list, part)
		}
	}
	return out
}
