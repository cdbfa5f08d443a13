package awsfake

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

type wireKeySchema []struct{ AttributeName, KeyType string }

func (w wireKeySchema) schema() (keySchema, error) {
	var s keySchema
	for i, e := range w {
		switch {
		case i == 0 && e.KeyType == "HASH":
			s.hash = e.AttributeName
		case i == 1 && e.KeyType == "RANGE":
			s.sort = e.AttributeName
		default:
			return s, failure("ValidationException", "Invalid KeySchema: use one HASH and at most one RANGE key, in this order")
		}
	}
	if s.hash == "" {
		return s, failure("ValidationException", "Invalid KeySchema: the first element must be the HASH key")
	}
	return s, nil
}

func (s keySchema) describe() list {
	out := list{object{{"AttributeName", s.hash}, {"KeyType", "HASH"}}}
	if s.sort != "" {
		out = append(out, object{{"AttributeName", s.sort}, {"KeyType", "RANGE"}})
	}
	return out
}

type wireThroughput struct{ ReadCapacityUnits, WriteCapacityUnits int }

type wireIndex struct {
	IndexName  string
	KeySchema  wireKeySchema
	Projection struct {
		ProjectionType   string
		NonKeyAttributes []string
	}
	ProvisionedThroughput wireThroughput
}

type wireTags []struct{ Key, Value string }

type wireAttributeDefinitions []struct{ AttributeName, AttributeType string }

func (d *DynamoDB) createTable(c *call) (any, error) {
	var in struct {
		TableName                 string
		KeySchema                 wireKeySchema
		AttributeDefinitions      wireAttributeDefinitions
		BillingMode               string
		ProvisionedThroughput     wireThroughput
		GlobalSecondaryIndexes    []wireIndex
		LocalSecondaryIndexes     []wireIndex
		DeletionProtectionEnabled bool
		Tags                      wireTags
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.TableName); n < 3 || n > 255 || strings.Trim(in.TableName, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" {
		return nil, failure("ValidationException", "TableName %q; use 3 to 255 of a-z, A-Z, 0-9, _, . and -", in.TableName)
	}
	schema, err := in.KeySchema.schema()
	if err != nil {
		return nil, err
	}
	t := &table{
		name: in.TableName, arn: fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", d.server.cfg.Region, d.server.cfg.Account, in.TableName),
		created: c.now, schema: schema, types: map[string]kind{}, billing: in.BillingMode, protected: in.DeletionProtectionEnabled,
		tags: map[string]string{}, rows: map[string]*row{}, lag: d.server.cfg.ReadLag,
	}
	t.define(in.AttributeDefinitions)
	for _, tag := range in.Tags {
		t.tags[tag.Key] = tag.Value
	}
	if err := t.bill(in.BillingMode, in.ProvisionedThroughput, c.now); err != nil {
		return nil, err
	}
	for i, w := range slices.Concat(in.GlobalSecondaryIndexes, in.LocalSecondaryIndexes) {
		local := i >= len(in.GlobalSecondaryIndexes)
		if err := t.addIndex(w, local, c.now.Add(d.server.cfg.TableDelay)); err != nil {
			return nil, err
		}
	}
	if err := t.checkDefinitions(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.table(in.TableName, c.now); err == nil {
		return nil, failure("ResourceInUseException", "Table already exists: %s", in.TableName)
	}
	t.id = fmt.Sprintf("00000000-0000-4000-8000-%012x", c.now.UnixMilli())
	t.transit(c.now, d.server.cfg.TableDelay, statusCreating, statusActive)
	d.tables[t.name] = t
	answer := t.describe(c.now)
	return object{{"TableDescription", answer}}, nil
}

func (t *table) define(definitions wireAttributeDefinitions) {
	for _, a := range definitions {
		t.types[a.AttributeName] = kind(a.AttributeType)
	}
}

// checkDefinitions holds that exactly the key attributes are defined, as S, N or B.
func (t *table) checkDefinitions() error {
	used := map[string]bool{t.schema.hash: true, t.schema.sort: true}
	for _, x := range t.indexes {
		used[x.schema.hash], used[x.schema.sort] = true, true
	}
	delete(used, "")
	for name := range used {
		switch t.types[name] {
		case kindS, kindN, kindB:
		default:
			return failure("ValidationException", "One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s]", name)
		}
	}
	if len(used) != len(t.types) {
		return failure("ValidationException", "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	return nil
}

func (t *table) bill(mode string, p wireThroughput, now time.Time) error {
	switch {
	case mode == "PAY_PER_REQUEST" && p != wireThroughput{}:
		return failure("ValidationException", "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
	case mode == "PAY_PER_REQUEST":
		t.billing, t.onDemandSince = mode, now
	case mode == "" || mode == "PROVISIONED":
		if p.ReadCapacityUnits < 1 || p.WriteCapacityUnits < 1 {
			return failure("ValidationException", "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
		}
		t.billing, t.read, t.write = "PROVISIONED", p.ReadCapacityUnits, p.WriteCapacityUnits
	default:
		return failure("ValidationException", "BillingMode %q; use PROVISIONED or PAY_PER_REQUEST", mode)
	}
	return nil
}

func (t *table) addIndex(w wireIndex, local bool, active time.Time) error {
	schema, err := w.KeySchema.schema()
	if err != nil {
		return err
	}
	if t.index(w.IndexName) != nil || w.IndexName == "" {
		return failure("ValidationException", "One or more parameter values were invalid: Duplicate or missing index name: %q", w.IndexName)
	}
	if local && schema.hash != t.schema.hash {
		return failure("ValidationException", "One or more parameter values were invalid: Index KeySchema does not have the same HASH key as the table: %s", w.IndexName)
	}
	if !local && t.billing == "PROVISIONED" && (w.ProvisionedThroughput.ReadCapacityUnits < 1 || w.ProvisionedThroughput.WriteCapacityUnits < 1) {
		return failure("ValidationException", "One or more parameter values were invalid: ProvisionedThroughput is not specified for index: %s", w.IndexName)
	}
	switch w.Projection.ProjectionType {
	case "ALL", "KEYS_ONLY", "INCLUDE":
	default:
		return failure("ValidationException", "One or more parameter values were invalid: ProjectionType of index %s is %q", w.IndexName, w.Projection.ProjectionType)
	}
	x := &index{
		name: w.IndexName, arn: t.arn + "/index/" + w.IndexName, local: local, schema: schema,
		projection: w.Projection.ProjectionType, include: w.Projection.NonKeyAttributes,
		read: w.ProvisionedThroughput.ReadCapacityUnits, write: w.ProvisionedThroughput.WriteCapacityUnits, active: active,
	}
	for _, r := range t.rows {
		x.add(r)
	}
	t.indexes = append(t.indexes, x)
	return nil
}

func (d *DynamoDB) updateTable(c *call) (any, error) {
	var in struct {
		TableName                   string
		AttributeDefinitions        wireAttributeDefinitions
		BillingMode                 string
		ProvisionedThroughput       wireThroughput
		DeletionProtectionEnabled   *bool
		GlobalSecondaryIndexUpdates []struct {
			Create *wireIndex
			Delete *struct{ IndexName string }
			Update *wireIndex
		}
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(in.TableName, c.now)
	if err != nil {
		return nil, err
	}
	if t.status != statusActive {
		return nil, failure("ResourceInUseException", "Attempt to change a resource which is still in use: Table is being updated: %s", t.name)
	}
	t.define(in.AttributeDefinitions)
	for _, u := range in.GlobalSecondaryIndexUpdates {
		switch {
		case u.Create != nil:
			if err := t.addIndex(*u.Create, false, c.now.Add(d.server.cfg.TableDelay)); err != nil {
				return nil, err
			}
		case u.Delete != nil:
			x := t.index(u.Delete.IndexName)
			if x == nil {
				return nil, failure("ResourceNotFoundException", "Requested resource not found: Index: %s", u.Delete.IndexName)
			}
			t.indexes = slices.DeleteFunc(t.indexes, func(o *index) bool { return o == x })
		case u.Update != nil:
			x := t.index(u.Update.IndexName)
			if x == nil {
				return nil, failure("ResourceNotFoundException", "Requested resource not found: Index: %s", u.Update.IndexName)
			}
			x.read, x.write = u.Update.ProvisionedThroughput.ReadCapacityUnits, u.Update.ProvisionedThroughput.WriteCapacityUnits
		}
	}
	t.forgetTypes()
	if in.DeletionProtectionEnabled != nil {
		t.protected = *in.DeletionProtectionEnabled
	}
	if in.BillingMode != "" || in.ProvisionedThroughput != (wireThroughput{}) {
		mode := in.BillingMode
		if mode == "" {
			mode = t.billing
		}
		if err := t.bill(mode, in.ProvisionedThroughput, c.now); err != nil {
			return nil, err
		}
	}
	t.transit(c.now, d.server.cfg.TableDelay, statusUpdating, statusActive)
	return object{{"TableDescription", t.describe(c.now)}}, nil
}

// forgetTypes drops the definitions of attributes that are no key any more.
func (t *table) forgetTypes() {
	maps.DeleteFunc(t.types, func(name string, _ kind) bool {
		if name == t.schema.hash || name == t.schema.sort {
			return false
		}
		return !slices.ContainsFunc(t.indexes, func(x *index) bool { return x.schema.hash == name || x.schema.sort == name })
	})
}

func (d *DynamoDB) deleteTable(c *call) (any, error) {
	return d.withTable(c, func(t *table) (any, error) {
		if t.protected {
			return nil, failure("ValidationException", "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
		}
		if t.status != statusActive {
			return nil, failure("ResourceInUseException", "Attempt to change a resource which is still in use: Table is in state %s: %s", t.status, t.name)
		}
		t.transit(c.now, d.server.cfg.TableDelay, statusDeleting, "")
		answer := t.describe(c.now)
		if t.status == "" {
			delete(d.tables, t.name)
		}
		return object{{"TableDescription", answer}}, nil
	})
}

// withTable decodes a request that names a table and nothing else, and runs use on it under the lock.
func (d *DynamoDB) withTable(c *call, use func(*table) (any, error)) (any, error) {
	var in struct{ TableName string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(in.TableName, c.now)
	if err != nil {
		return nil, err
	}
	return use(t)
}

func (d *DynamoDB) describeTable(c *call) (any, error) {
	return d.withTable(c, func(t *table) (any, error) { return object{{"Table", t.describe(c.now)}}, nil })
}

func throughput(read, write int) object {
	return object{{"NumberOfDecreasesToday", 0}, {"ReadCapacityUnits", read}, {"WriteCapacityUnits", write}}
}

func (t *table) describe(now time.Time) object {
	status := t.status
	if status == "" {
		status = statusDeleting
	}
	definitions := list{}
	for _, name := range slices.Sorted(maps.Keys(t.types)) {
		definitions = append(definitions, object{{"AttributeName", name}, {"AttributeType", string(t.types[name])}})
	}
	size := 0
	for _, r := range t.rows {
		size += r.item.size()
	}
	out := object{
		{"TableName", t.name},
		{"TableArn", t.arn},
		{"TableId", t.id},
		{"TableStatus", status},
		{"CreationDateTime", t.created},
		{"KeySchema", t.schema.describe()},
		{"AttributeDefinitions", definitions},
		{"ProvisionedThroughput", throughput(t.read, t.write)},
		{"ItemCount", len(t.rows)},
		{"TableSizeBytes", size},
		{"DeletionProtectionEnabled", t.protected},
	}
	if t.billing == "PAY_PER_REQUEST" {
		out = append(out, member{"BillingModeSummary", object{{"BillingMode", t.billing}, {"LastUpdateToPayPerRequestDateTime", t.onDemandSince}}})
	}
	var global, local list
	for _, x := range t.indexes {
		entry := object{
			{"IndexName", x.name},
			{"IndexArn", x.arn},
			{"KeySchema", x.schema.describe()},
			{"Projection", object{{"ProjectionType", x.projection}, {"NonKeyAttributes", optionalList(x.include)}}},
			{"ItemCount", len(x.order)},
			{"IndexSizeBytes", 0},
		}
		if x.local {
			local = append(local, entry)
			continue
		}
		status, filling := any(statusActive), any(nil)
		if now.Before(x.active) {
			status, filling = statusCreating, true
		}
		global = append(global, append(entry, member{"IndexStatus", status}, member{"Backfilling", filling},
			member{"ProvisionedThroughput", throughput(x.read, x.write)}))
	}
	if global != nil {
		out = append(out, member{"GlobalSecondaryIndexes", global})
	}
	if local != nil {
		out = append(out, member{"LocalSecondaryIndexes", local})
	}
	return out
}

func optionalList(s []string) any {
	if len(s) == 0 {
		return nil
	}
	return s
}

func (d *DynamoDB) listTables(c *call) (any, error) {
	var in struct {
		ExclusiveStartTableName string
		Limit                   *int
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	limit, err := parsePage(in.Limit, 100, 100, "limit")
	if err != nil {
		return nil, err
	}
	names := []string{}
	var last any
	for _, name := range d.Tables() {
		if name <= in.ExclusiveStartTableName {
			continue
		}
		if len(names) == limit {
			last = names[limit-1]
			break
		}
		names = append(names, name)
	}
	return object{{"TableNames", names}, {"LastEvaluatedTableName", last}}, nil
}

func (d *DynamoDB) describeLimits(*call) (any, error) {
	return object{
		{"AccountMaxReadCapacityUnits", 80_000},
		{"AccountMaxWriteCapacityUnits", 80_000},
		{"TableMaxReadCapacityUnits", 40_000},
		{"TableMaxWriteCapacityUnits", 40_000},
	}, nil
}

func (d *DynamoDB) describeEndpoints(*call) (any, error) {
	return object{{"Endpoints", list{object{{"Address", strings.TrimPrefix(d.server.URL(), "http://")}, {"CachePeriodInMinutes", 1440}}}}}, nil
}
