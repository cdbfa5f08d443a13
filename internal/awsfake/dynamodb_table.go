package awsfake

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// keySchema is a hash key and, unless empty, a range key.
type keySchema struct{ hash, sort string }

// table is one table. The mutex of DynamoDB guards it.
type table struct {
	name, arn, id string
	created       time.Time
	status        string
	schema        keySchema
	types         map[string]kind // AttributeDefinitions
	billing       string
	read, write   int
	onDemandSince time.Time
	protected     bool
	tags          map[string]string
	ttl           string // attribute; empty while disabled
	recovery      bool   // point-in-time recovery
	pending       []transition
	indexes       []*index

	rows    map[string]*row
	order   []*row        // by hash of the hash key, then by key: the order of Scan; all but fresh
	fresh   []*row        // stored since the last read of the order, which puts them there: a ledger of 500,000 files is hardly ever read
	lag     time.Duration // of eventually consistent reads
	deleted []*row        // within the lag
}

// index is a secondary index; local ones share the table's hash key.
type index struct {
	name        string
	arn         string
	local       bool
	schema      keySchema
	projection  string // ALL, KEYS_ONLY, INCLUDE
	include     []string
	read, write int
	active      time.Time // when CREATING is over
	order       []*row
}

// row is one stored item. The item is replaced, never changed.
type row struct {
	key      string
	item     item
	previous item // before changed; nil if the row was not there
	changed  time.Time
}

// settle applies the changes of state that are due.
func (t *table) settle(now time.Time) {
	for len(t.pending) > 0 && !t.pending[0].due.After(now) {
		next := t.pending[0]
		t.pending = t.pending[1:]
		next.apply(next.due)
	}
}

// transit sets a state that lasts for delay.
func (t *table) transit(now time.Time, delay time.Duration, during, then string) {
	if delay <= 0 {
		t.status = then
		return
	}
	t.status = during
	t.pending = append(t.pending, transition{now.Add(delay), func(time.Time) { t.status = then }})
}

// keyOf is the primary key of an item, in an injective encoding.
func (t *table) keyOf(it item) string {
	b := appendKey(nil, it[t.schema.hash])
	if t.schema.sort != "" {
		b = appendKey(b, it[t.schema.sort])
	}
	return string(b)
}

func appendKey(b []byte, a attribute) []byte {
	b = append(append(b, a.kind...), ':')
	b = binary.AppendUvarint(b, uint64(len(a.text)))
	return append(b, a.text...)
}

// checkKey validates a Key parameter and returns its encoding.
func (t *table) checkKey(key item) (string, error) {
	want := 1
	if t.schema.sort != "" {
		want = 2
	}
	if len(key) != want {
		return "", failure("ValidationException", "The provided key element does not match the schema")
	}
	for _, name := range []string{t.schema.hash, t.schema.sort} {
		if name == "" {
			continue
		}
		a, ok := key[name]
		if !ok || a.kind != t.types[name] {
			return "", failure("ValidationException", "The provided key element does not match the schema")
		}
		if err := checkKeyValue(name, a, name == t.schema.sort); err != nil {
			return "", err
		}
	}
	return t.keyOf(key), nil
}

func checkKeyValue(name string, a attribute, isSort bool) error {
	most := 2048
	if isSort {
		most = 1024
	}
	switch {
	case a.text == "":
		return failure("ValidationException", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", name)
	case len(a.text) > most:
		return failure("ValidationException", "One or more parameter values were invalid: Size of key attribute %s has exceeded the maximum size limit of %d bytes", name, most)
	}
	return nil
}

// checkItem validates an item that is about to be stored and returns its key.
func (t *table) checkItem(it item) (string, error) {
	for _, name := range []string{t.schema.hash, t.schema.sort} {
		if name == "" {
			continue
		}
		a, ok := it[name]
		if !ok {
			return "", failure("ValidationException", "One or more parameter values were invalid: Missing the key %s in the item", name)
		}
		if a.kind != t.types[name] {
			return "", failure("ValidationException", "One or more parameter values were invalid: Type mismatch for key %s expected: %s actual: %s", name, t.types[name], a.kind)
		}
		if err := checkKeyValue(name, a, name == t.schema.sort); err != nil {
			return "", err
		}
	}
	for _, x := range t.indexes {
		for _, name := range []string{x.schema.hash, x.schema.sort} {
			a, ok := it[name]
			if name == "" || !ok {
				continue
			}
			if a.kind != t.types[name] {
				return "", failure("ValidationException", "One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", name, t.types[name], a.kind, x.name)
			}
			if a.text == "" {
				return "", failure("ValidationException", "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: %s, IndexKey: %s", x.name, name)
			}
		}
	}
	if it.size() > maxItemSize {
		return "", failure("ValidationException", "Item size has exceeded the maximum allowed size")
	}
	return t.keyOf(it), nil
}

// get is the stored item; nil if there is none.
func (t *table) get(key string) item {
	if r := t.rows[key]; r != nil {
		return r.item
	}
	return nil
}

// store puts an item under its key, or removes it when it is nil.
func (t *table) store(key string, it item, now time.Time) {
	old := t.rows[key]
	if old == nil && it == nil {
		return
	}
	if old != nil {
		for _, x := range t.indexes {
			x.remove(old)
		}
	}
	switch {
	case it == nil:
		delete(t.rows, key)
		t.sort()
		i, _ := slices.BinarySearchFunc(t.order, old, compareRows(t.schema))
		t.order = slices.Delete(t.order, i, i+1)
		if t.lag > 0 {
			t.deleted = slices.DeleteFunc(t.deleted, func(r *row) bool { return now.Sub(r.changed) >= t.lag })
			t.deleted = append(t.deleted, &row{key: key, previous: old.item, changed: now})
		}
		return
	case old == nil:
		old = &row{key: key, item: it, changed: now}
		t.rows[key] = old
		t.fresh = append(t.fresh, old)
	default:
		old.previous, old.item, old.changed = old.item, it, now
	}
	for _, x := range t.indexes {
		x.add(old)
	}
}

// sort brings order up to date.
func (t *table) sort() {
	if len(t.fresh) == 0 {
		return
	}
	t.order = append(t.order, t.fresh...)
	slices.SortFunc(t.order, compareRows(t.schema))
	clear(t.fresh)
	t.fresh = t.fresh[:0]
}

// has says whether an item belongs in the index.
func (x *index) has(it item) bool {
	_, hash := it[x.schema.hash]
	_, sorted := it[x.schema.sort]
	return hash && (sorted || x.schema.sort == "")
}

func (x *index) add(r *row) {
	if x.has(r.item) {
		i, _ := slices.BinarySearchFunc(x.order, r, compareRows(x.schema))
		x.order = slices.Insert(x.order, i, r)
	}
}

func (x *index) remove(r *row) {
	if x.has(r.item) {
		i, _ := slices.BinarySearchFunc(x.order, r, compareRows(x.schema))
		x.order = slices.Delete(x.order, i, i+1)
	}
}

func hashOrder(a attribute) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.text)) // never fails
	// FNV leaves the upper bits of similar keys alike; segments of a Scan are cut by them.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// compareRows orders rows by a schema: by the hash of the hash key, then its value, then the range key, then the primary key.
func compareRows(s keySchema) func(a, b *row) int {
	return func(a, b *row) int {
		x, y := a.item[s.hash], b.item[s.hash]
		if x.text != y.text {
			return cmp.Or(cmp.Compare(hashOrder(x), hashOrder(y)), strings.Compare(x.text, y.text))
		}
		if s.sort != "" {
			if order, _ := a.item[s.sort].compare(b.item[s.sort]); order != 0 {
				return order
			}
		}
		return strings.Compare(a.key, b.key)
	}
}

// rowsFor are the rows of the table, or of an index of it, in order; stale reads see each row as it was lag ago.
func (t *table) rowsFor(x *index, lag time.Duration, now time.Time) (keySchema, []*row) {
	if x != nil && lag <= 0 {
		return x.schema, x.order
	}
	t.sort()
	if lag <= 0 {
		return t.schema, t.order
	}
	schema := t.schema
	if x != nil {
		schema = x.schema
	}
	var out []*row
	for _, r := range slices.Concat(t.order, t.deleted) {
		it := r.visible(lag, now)
		if it != nil && (x == nil || x.has(it)) {
			out = append(out, &row{key: r.key, item: it})
		}
	}
	slices.SortFunc(out, compareRows(schema))
	return schema, out
}

// visible is the row's item as a read that lags behind sees it.
func (r *row) visible(lag time.Duration, now time.Time) item {
	if lag > 0 && now.Sub(r.changed) < lag {
		return r.previous
	}
	return r.item
}

// lagging is get for an eventually consistent read.
func (t *table) lagging(key string, lag time.Duration, now time.Time) item {
	if r := t.rows[key]; r != nil {
		return r.visible(lag, now)
	}
	for _, r := range t.deleted {
		if r.key == key && lag > 0 && now.Sub(r.changed) < lag {
			return r.previous
		}
	}
	return nil
}

func (t *table) index(name string) *index {
	i := slices.IndexFunc(t.indexes, func(x *index) bool { return x.name == name })
	if i < 0 {
		return nil
	}
	return t.indexes[i]
}

// project is what an index shows of an item.
func (t *table) project(x *index, it item) item {
	if x == nil || x.projection == "ALL" {
		return it
	}
	out := item{}
	for _, name := range slices.Concat([]string{t.schema.hash, t.schema.sort, x.schema.hash, x.schema.sort}, x.include) {
		if a, ok := it[name]; ok {
			out[name] = a
		}
	}
	return out
}
