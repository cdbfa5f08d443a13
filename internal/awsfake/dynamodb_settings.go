package awsfake

// Settings of a table that change nothing of how it answers: time to live, backups, tags.

import (
	"maps"
	"slices"
)

func (d *DynamoDB) describeTimeToLive(c *call) (any, error) {
	return d.withTable(c, func(t *table) (any, error) {
		if t.ttl == "" {
			return object{{"TimeToLiveDescription", object{{"TimeToLiveStatus", "DISABLED"}}}}, nil
		}
		return object{{"TimeToLiveDescription", object{{"TimeToLiveStatus", "ENABLED"}, {"AttributeName", t.ttl}}}}, nil
	})
}

func (d *DynamoDB) updateTimeToLive(c *call) (any, error) {
	var in struct {
		TimeToLiveSpecification struct {
			AttributeName string
			Enabled       bool
		}
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return d.withTable(c, func(t *table) (any, error) {
		spec := in.TimeToLiveSpecification
		switch {
		case spec.AttributeName == "":
			return nil, failure("ValidationException", "TimeToLiveSpecification.AttributeName is missing")
		case spec.Enabled == (t.ttl != ""):
			return nil, failure("ValidationException", "TimeToLive is already %s", map[bool]string{true: "enabled", false: "disabled"}[spec.Enabled])
		case spec.Enabled:
			t.ttl = spec.AttributeName
		default:
			t.ttl = ""
		}
		return object{{"TimeToLiveSpecification", object{{"AttributeName", spec.AttributeName}, {"Enabled", spec.Enabled}}}}, nil
	})
}

func (t *table) backups() object {
	status := "DISABLED"
	if t.recovery {
		status = "ENABLED"
	}
	return object{{"ContinuousBackupsDescription", object{
		{"ContinuousBackupsStatus", "ENABLED"},
		{"PointInTimeRecoveryDescription", object{{"PointInTimeRecoveryStatus", status}}},
	}}}
}

func (d *DynamoDB) describeContinuousBackups(c *call) (any, error) {
	return d.withTable(c, func(t *table) (any, error) { return t.backups(), nil })
}

func (d *DynamoDB) updateContinuousBackups(c *call) (any, error) {
	var in struct {
		PointInTimeRecoverySpecification struct{ PointInTimeRecoveryEnabled bool }
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return d.withTable(c, func(t *table) (any, error) {
		t.recovery = in.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled
		return t.backups(), nil
	})
}

// tagged decodes a request about the tags of a table.
func (d *DynamoDB) tagged(c *call, use func(t *table, add wireTags, remove []string) (any, error)) (any, error) {
	var in struct {
		ResourceArn string
		Tags        wireTags
		TagKeys     []string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t, err := d.table(in.ResourceArn, c.now)
	if err != nil {
		return nil, err
	}
	return use(t, in.Tags, in.TagKeys)
}

func (d *DynamoDB) tagResource(c *call) (any, error) {
	return d.tagged(c, func(t *table, add wireTags, _ []string) (any, error) {
		for _, tag := range add {
			t.tags[tag.Key] = tag.Value
		}
		return object{}, nil
	})
}

func (d *DynamoDB) untagResource(c *call) (any, error) {
	return d.tagged(c, func(t *table, _ wireTags, remove []string) (any, error) {
		for _, key := range remove {
			delete(t.tags, key)
		}
		return object{}, nil
	})
}

func (d *DynamoDB) listTagsOfResource(c *call) (any, error) {
	return d.tagged(c, func(t *table, _ wireTags, _ []string) (any, error) {
		tags := list{}
		for _, key := range slices.Sorted(maps.Keys(t.tags)) {
			tags = append(tags, tagObject(key, t.tags[key]))
		}
		return object{{"Tags", tags}}, nil
	})
}
