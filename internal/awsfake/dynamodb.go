package awsfake

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DynamoDB is the tables of a Server. Every operation runs under one lock, so each is atomic, transactions included.
type DynamoDB struct {
	server *Server

	mu     sync.Mutex
	tables map[string]*table
	tokens map[string]requestToken // of transactions done within the last minutes
}

func newDynamoDB(s *Server) *DynamoDB {
	return &DynamoDB{server: s, tables: map[string]*table{}, tokens: map[string]requestToken{}}
}

func (d *DynamoDB) operations() map[string]operation {
	return map[string]operation{
		"BatchGetItem":              d.batchGetItem,
		"BatchWriteItem":            d.batchWriteItem,
		"CreateTable":               d.createTable,
		"DeleteItem":                d.deleteItem,
		"DeleteTable":               d.deleteTable,
		"DescribeContinuousBackups": d.describeContinuousBackups,
		"DescribeEndpoints":         d.describeEndpoints,
		"DescribeLimits":            d.describeLimits,
		"DescribeTable":             d.describeTable,
		"DescribeTimeToLive":        d.describeTimeToLive,
		"GetItem":                   d.getItem,
		"ListTables":                d.listTables,
		"ListTagsOfResource":        d.listTagsOfResource,
		"PutItem":                   d.putItem,
		"Query":                     d.query,
		"Scan":                      d.scan,
		"TagResource":               d.tagResource,
		"TransactGetItems":          d.transactGetItems,
		"TransactWriteItems":        d.transactWriteItems,
		"UntagResource":             d.untagResource,
		"UpdateContinuousBackups":   d.updateContinuousBackups,
		"UpdateItem":                d.updateItem,
		"UpdateTable":               d.updateTable,
		"UpdateTimeToLive":          d.updateTimeToLive,
	}
}

// tableOfARN is the table's name in a table's ARN; a plain name stands for itself, as AWS allows.
func tableOfARN(s string) string {
	if _, rest, ok := strings.Cut(s, ":table/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	return s
}

// table finds a table and brings it up to now. The caller holds the mutex.
func (d *DynamoDB) table(name string, now time.Time) (*table, error) {
	if name == "" {
		return nil, failure("ValidationException", "The parameter 'TableName' is required but was not present in the request")
	}
	t := d.tables[tableOfARN(name)]
	if t != nil {
		t.settle(now)
		if t.status == "" {
			delete(d.tables, t.name)
			t = nil
		}
	}
	if t == nil {
		return nil, failure("ResourceNotFoundException", "Requested resource not found: Table: %s not found", tableOfARN(name))
	}
	return t, nil
}

// ready is a table that serves items.
func (d *DynamoDB) ready(name string, now time.Time) (*table, error) {
	t, err := d.table(name, now)
	if err == nil && t.status != statusActive && t.status != statusUpdating {
		err = failure("ResourceNotFoundException", "Requested resource not found")
	}
	return t, err
}

// Tables are the names of all tables, sorted.
func (d *DynamoDB) Tables() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.tables))
}

// Items are a table's items in order of their keys, each attribute in the JSON form of the wire ({"S":"…"}). It is nil for
// an unknown table.
func (d *DynamoDB) Items(tableName string) []map[string]json.RawMessage {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tables[tableName]
	if t == nil {
		return nil
	}
	out := make([]map[string]json.RawMessage, 0, len(t.rows))
	for _, key := range slices.Sorted(maps.Keys(t.rows)) {
		out = append(out, t.rows[key].item.raw())
	}
	return out
}

// Item is the item whose hash key is the string key, in the form of Items; nil if there is none.
func (d *DynamoDB) Item(tableName, key string) map[string]json.RawMessage {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tables[tableName]
	if t == nil {
		return nil
	}
	for _, r := range t.rows {
		if a := r.item[t.schema.hash]; a.kind == kindS && a.text == key {
			return r.item.raw()
		}
	}
	return nil
}

// PutRaw stores an item in the JSON form of the wire, without a condition: the way to lay down rows that no SDK would write.
func (d *DynamoDB) PutRaw(tableName string, itemJSON []byte) error {
	var wire map[string]wireAttribute
	if err := json.Unmarshal(itemJSON, &wire); err != nil {
		return fmt.Errorf("item for table %q: %w", tableName, err)
	}
	it, err := newItem(wire)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.server.now()
	t, err := d.ready(tableName, now)
	if err != nil {
		return err
	}
	key, err := t.checkItem(it)
	if err != nil {
		return err
	}
	t.store(key, it, now)
	return nil
}

// ExpireItems deletes the items whose time to live has passed, which AWS does some time within days, and says how many.
func (d *DynamoDB) ExpireItems(tableName string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.server.now()
	t, err := d.ready(tableName, now)
	if err != nil || t.ttl == "" {
		return 0
	}
	n := 0
	for key, r := range maps.Clone(t.rows) {
		a := r.item[t.ttl]
		limit, err := parseDecimal(strconv.FormatInt(now.Unix(), 10))
		if err == nil && a.kind == kindN && mustDecimal(a.text).compare(limit) <= 0 {
			t.store(key, nil, now)
			n++
		}
	}
	return n
}

func (it item) raw() map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(it))
	for name, a := range it {
		out[name] = a.appendJSON(nil)
	}
	return out
}
