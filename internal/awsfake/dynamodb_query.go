package awsfake

import (
	"math/bits"
	"slices"
)

const maxPage = 1 << 20

// readRequest is the parameters of Query and Scan.
type readRequest struct {
	TableName                 string
	IndexName                 string
	ConsistentRead            bool
	Select                    string
	Limit                     *int
	ExclusiveStartKey         map[string]wireAttribute
	KeyConditionExpression    *string
	FilterExpression          *string
	ProjectionExpression      *string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]wireAttribute
	KeyConditions             map[string]wireExpected
	QueryFilter               map[string]wireExpected
	ScanFilter                map[string]wireExpected
	ConditionalOperator       string
	AttributesToGet           []string
	ScanIndexForward          *bool
	Segment                   *int
	TotalSegments             *int
	ReturnConsumedCapacity    string
}

// read is a readRequest that has been understood.
type read struct {
	request    *readRequest
	key        condition // of a Query
	filter     condition // nil for none
	filterSeen []path
	show       shown
	start      item
}

func (r *readRequest) prepare(isQuery bool) (*read, error) {
	expressions := r.KeyConditionExpression != nil || r.FilterExpression != nil || r.ProjectionExpression != nil
	if expressions && (r.KeyConditions != nil || r.QueryFilter != nil || r.ScanFilter != nil || r.AttributesToGet != nil || r.ConditionalOperator != "") {
		return nil, failure("ValidationException", "Can not use both expression and non-expression parameters in the same request")
	}
	ph, err := newPlaceholders(r.ExpressionAttributeNames, r.ExpressionAttributeValues)
	if err != nil {
		return nil, err
	}
	q := &read{request: r}
	if isQuery {
		switch {
		case r.KeyConditionExpression != nil:
			q.key, _, err = parseCondition(*r.KeyConditionExpression, "KeyConditionExpression", ph)
		case len(r.KeyConditions) > 0:
			q.key, err = legacyConditions(r.KeyConditions, "")
		default:
			err = failure("ValidationException", "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case r.FilterExpression != nil:
		q.filter, q.filterSeen, err = parseCondition(*r.FilterExpression, "FilterExpression", ph)
	case isQuery:
		q.filter, err = legacyConditions(r.QueryFilter, r.ConditionalOperator)
	default:
		q.filter, err = legacyConditions(r.ScanFilter, r.ConditionalOperator)
	}
	if err != nil {
		return nil, err
	}
	if r.ProjectionExpression != nil {
		q.show, err = parseProjection(*r.ProjectionExpression, ph)
	} else {
		q.show, err = parseShown(nil, nil, r.AttributesToGet)
	}
	if err != nil {
		return nil, err
	}
	if r.ExclusiveStartKey != nil {
		if q.start, err = newItem(r.ExclusiveStartKey); err != nil {
			return nil, err
		}
	}
	if r.Limit != nil && *r.Limit < 1 {
		return nil, failure("ValidationException", "1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1", *r.Limit)
	}
	return q, ph.unused()
}

// keyParts takes a key condition apart: the hash key's value, and a condition on the sort key or nil.
func keyParts(c condition, s keySchema) (hash attribute, rest condition, err error) {
	parts := []condition{c}
	if all, ok := c.(and); ok {
		parts = all
	}
	invalid := failure("ValidationException", "Query condition missed key schema element: %s", s.hash)
	if len(parts) > 2 {
		return hash, nil, failure("ValidationException", "Conditions can be of length 1 or 2 only")
	}
	found := false
	for _, part := range parts {
		on, value := conditionOn(part)
		switch {
		case on == s.hash && value != nil && !found:
			hash, found = *value, true
		case on == s.sort && s.sort != "" && rest == nil:
			rest = part
		case on == s.hash:
			return hash, nil, failure("ValidationException", "Query key condition not supported")
		default:
			return hash, nil, invalid
		}
	}
	if !found {
		return hash, nil, invalid
	}
	return hash, rest, nil
}

// conditionOn is the attribute that a part of a key condition is about, and the value if it demands equality.
func conditionOn(c condition) (name string, equal *attribute) {
	what := func(o operand) string {
		if p, ok := o.(pathOperand); ok && len(p.path) == 1 {
			return p.path[0].name
		}
		return ""
	}
	switch c := c.(type) {
	case comparison:
		l, ok := c.right.(literal)
		if !ok || c.operator == "<>" {
			return "", nil
		}
		if c.operator == "=" {
			equal = &l.a
		}
		return what(c.left), equal
	case between:
		return what(c.what), nil
	case begins:
		return what(c.what), nil
	default:
		return "", nil
	}
}

func (d *DynamoDB) query(c *call) (any, error) { return d.read(c, true) }
func (d *DynamoDB) scan(c *call) (any, error)  { return d.read(c, false) }

func (d *DynamoDB) read(c *call, isQuery bool) (any, error) {
	var in readRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	q, err := in.prepare(isQuery)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.ready(in.TableName, c.now)
	if err != nil {
		return nil, err
	}
	var x *index
	if in.IndexName != "" {
		if x = t.index(in.IndexName); x == nil {
			return nil, failure("ValidationException", "The table does not have the specified index: %s", in.IndexName)
		}
		if !x.local && in.ConsistentRead {
			return nil, failure("ValidationException", "Consistent reads are not supported on global secondary indexes")
		}
		if c.now.Before(x.active) {
			return nil, failure("ValidationException", "Cannot read from backfilling global secondary index: %s", x.name)
		}
	}
	lag := d.server.cfg.ReadLag
	if in.ConsistentRead {
		lag = 0
	}
	schema, rows := t.rowsFor(x, lag, c.now)
	if isQuery {
		if rows, err = q.selectKeys(t, schema, rows); err != nil {
			return nil, err
		}
	} else if rows, err = in.segment(schema, rows); err != nil {
		return nil, err
	}
	backward := isQuery && in.ScanIndexForward != nil && !*in.ScanIndexForward
	if backward {
		rows = slices.Clone(rows)
		slices.Reverse(rows)
	}
	if q.start != nil {
		if rows, err = q.skip(t, schema, rows, backward); err != nil {
			return nil, err
		}
	}
	return q.page(t, x, schema, rows), nil
}

// selectKeys narrows rows to what the key condition holds for.
func (q *read) selectKeys(t *table, schema keySchema, rows []*row) ([]*row, error) {
	hash, rest, err := keyParts(q.key, schema)
	if err != nil {
		return nil, err
	}
	if hash.kind != t.types[schema.hash] {
		return nil, failure("ValidationException", "One or more parameter values were invalid: Condition parameter type does not match schema type")
	}
	for _, p := range q.filterSeen {
		if p[0].name == schema.hash || p[0].name == schema.sort {
			return nil, failure("ValidationException", "Filter Expression can only contain non-primary key attributes: Primary key attribute: %s", p[0].name)
		}
	}
	order := func(r *row) int {
		a := r.item[schema.hash]
		if a.text == hash.text {
			return 0
		}
		return compareRows(keySchema{hash: schema.hash})(r, &row{item: item{schema.hash: hash}})
	}
	from, _ := slices.BinarySearchFunc(rows, 0, func(r *row, _ int) int { return order(r) })
	var out []*row
	for _, r := range rows[from:] {
		if order(r) != 0 {
			break
		}
		if rest == nil || rest.holds(r.item) {
			out = append(out, r)
		}
	}
	return out, nil
}

// segment narrows rows to one segment of a parallel scan.
func (r *readRequest) segment(schema keySchema, rows []*row) ([]*row, error) {
	if r.Segment == nil && r.TotalSegments == nil {
		return rows, nil
	}
	if r.Segment == nil || r.TotalSegments == nil || *r.TotalSegments < 1 || *r.TotalSegments > 1_000_000 || *r.Segment < 0 || *r.Segment >= *r.TotalSegments {
		return nil, failure("ValidationException", "Segment and TotalSegments must come together, with 0 <= Segment < TotalSegments <= 1000000")
	}
	return slices.DeleteFunc(slices.Clone(rows), func(row *row) bool {
		// The hash space is cut into TotalSegments equal parts.
		part, _ := bits.Mul64(hashOrder(row.item[schema.hash]), uint64(*r.TotalSegments))
		return int(part) != *r.Segment
	}), nil
}

// skip drops the rows up to and including ExclusiveStartKey, which need not exist any more.
func (q *read) skip(t *table, schema keySchema, rows []*row, backward bool) ([]*row, error) {
	for _, name := range []string{schema.hash, schema.sort, t.schema.hash, t.schema.sort} {
		if a, ok := q.start[name]; name != "" && (!ok || a.kind != t.types[name]) {
			return nil, failure("ValidationException", "The provided starting key is invalid: The provided key element does not match the schema")
		}
	}
	start := &row{key: t.keyOf(q.start), item: q.start}
	compare := compareRows(schema)
	n, found := slices.BinarySearchFunc(rows, start, func(a, b *row) int {
		if backward {
			return compare(b, a)
		}
		return compare(a, b)
	})
	if found {
		n++
	}
	return rows[n:], nil
}

// page evaluates rows until Limit or 1 MB is reached.
func (q *read) page(t *table, x *index, schema keySchema, rows []*row) object {
	items := list{}
	count, scanned, size := 0, 0, 0
	var last *row
	for i, r := range rows {
		it := t.project(x, r.item)
		size += it.size()
		scanned++
		if q.filter == nil || q.filter.holds(it) {
			count++
			items = append(items, q.show.of(it))
		}
		// AWS gives a key to go on from whenever the limit is reached, even at the very end.
		if q.request.Limit != nil && scanned == *q.request.Limit || size >= maxPage && i+1 < len(rows) {
			last = r
			break
		}
	}
	out := object{{"Count", count}, {"ScannedCount", scanned}}
	if q.request.Select != "COUNT" {
		out = append(out, member{"Items", items})
	}
	if last != nil {
		key := item{}
		for _, name := range []string{t.schema.hash, t.schema.sort, schema.hash, schema.sort} {
			if name != "" {
				key[name] = last.item[name]
			}
		}
		out = append(out, member{"LastEvaluatedKey", key})
	}
	return append(out, member{"ConsumedCapacity", consumed(q.request.ReturnConsumedCapacity, t, readUnits(size, q.request.ConsistentRead))})
}
