package awsfake

import (
	"maps"
	"math/big"
	"slices"
	"time"
)

func (k *Kinesis) createStream(c *call) (any, error) {
	var in struct {
		StreamName         string
		ShardCount         *int
		MaxRecordSizeInKiB *int
		StreamModeDetails  struct{ StreamMode string }
		Tags               map[string]string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	mode, shards, maxRecord := in.StreamModeDetails.StreamMode, 4, defaultMaxRecordSize
	if mode == "" {
		mode = "PROVISIONED"
	}
	switch {
	case in.ShardCount != nil:
		shards = *in.ShardCount
	case mode == "PROVISIONED":
		return nil, failure("InvalidArgumentException", "ShardCount must be given for a stream in mode PROVISIONED.")
	}
	if in.MaxRecordSizeInKiB != nil {
		maxRecord = *in.MaxRecordSizeInKiB << 10
	}
	return object{}, k.create(in.StreamName, shards, mode, maxRecord, in.Tags)
}

func (k *Kinesis) deleteStream(c *call) (any, error) {
	var in struct {
		streamRef
		EnforceConsumerDeletion bool
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return object{}, k.delete(in.streamRef, in.EnforceConsumerDeletion, c.now)
}

// edit decodes in and runs change on the locked stream that ref, a part of in, names.
func (k *Kinesis) edit(c *call, in any, ref *streamRef, change func(*dataStream) (any, error)) (any, error) {
	if err := c.decode(in); err != nil {
		return nil, err
	}
	st, err := k.lock(*ref, c.now)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	return change(st)
}

func (st *dataStream) summary() object {
	return object{
		{"StreamName", st.name},
		{"StreamARN", st.arn},
		{"StreamStatus", st.status},
		{"StreamModeDetails", object{{"StreamMode", st.mode}}},
		{"StreamCreationTimestamp", st.created},
	}
}

func (st *dataStream) details() object {
	return append(st.summary(), object{
		{"RetentionPeriodHours", int(st.retention / time.Hour)},
		{"EnhancedMonitoring", list{object{{"ShardLevelMetrics", []string{}}}}},
		{"EncryptionType", "NONE"},
		{"MaxRecordSizeInKiB", st.maxRecord >> 10},
	}...)
}

func (k *Kinesis) describeStream(c *call) (any, error) {
	var in struct {
		streamRef
		ExclusiveStartShardId string //nolint:revive // AWS's name
		Limit                 *int
	}
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		limit, err := parsePage(in.Limit, 100, 10_000, "limit")
		if err != nil {
			return nil, err
		}
		shards, more := list{}, false
		for _, sh := range st.shards {
			if sh.id <= in.ExclusiveStartShardId {
				continue
			}
			if len(shards) == limit {
				more = true
				break
			}
			shards = append(shards, sh.describe())
		}
		return object{{"StreamDescription", append(st.details(), member{"Shards", shards}, member{"HasMoreShards", more})}}, nil
	})
}

func (k *Kinesis) describeStreamSummary(c *call) (any, error) {
	var in streamRef
	return k.edit(c, &in, &in, func(st *dataStream) (any, error) {
		return object{{"StreamDescriptionSummary", append(st.details(),
			member{"OpenShardCount", len(st.openShards())}, member{"ConsumerCount", len(st.consumers)})}}, nil
	})
}

func (k *Kinesis) listStreams(c *call) (any, error) {
	var in struct {
		ExclusiveStartStreamName string
		NextToken                string
		Limit                    *int
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	limit, err := parsePage(in.Limit, 100, 10_000, "limit")
	if err != nil {
		return nil, err
	}
	after := max(in.ExclusiveStartStreamName, in.NextToken)
	names, summaries, more := []string{}, list{}, false
	for _, name := range k.names() {
		if name <= after {
			continue
		}
		st, err := k.lock(streamRef{StreamName: name}, c.now)
		if err != nil {
			continue
		}
		summary := st.summary()
		st.mu.Unlock()
		if len(names) == limit {
			more = true
			break
		}
		names, summaries = append(names, name), append(summaries, summary)
	}
	var next any
	if more {
		next = names[len(names)-1]
	}
	return object{{"StreamNames", names}, {"StreamSummaries", summaries}, {"HasMoreStreams", more}, {"NextToken", next}}, nil
}

func (k *Kinesis) describeLimits(c *call) (any, error) {
	open := 0
	for _, name := range k.names() {
		if st, err := k.lock(streamRef{StreamName: name}, c.now); err == nil {
			open += len(st.openShards())
			st.mu.Unlock()
		}
	}
	return object{{"ShardLimit", 20_000}, {"OpenShardCount", open}, {"OnDemandStreamCount", 0}, {"OnDemandStreamCountLimit", 50}}, nil
}

// reshard plans a change of shards under the lock and lets it take effect after the configured delay.
func (k *Kinesis) reshard(ref streamRef, now time.Time, plan func(*dataStream) (func(at time.Time), error)) error {
	st, err := k.lock(ref, now)
	if err != nil {
		return err
	}
	defer st.mu.Unlock()
	if st.status != statusActive {
		return failure("ResourceInUseException", "Stream %s under account %s not ACTIVE, instead in state %s", st.name, k.server.cfg.Account, st.status)
	}
	change, err := plan(st)
	if err != nil {
		return err
	}
	st.status = statusUpdating
	st.after(now, k.server.cfg.ReshardDelay, func(at time.Time) {
		change(at)
		st.status = statusActive
	})
	return nil
}

// openShard is an open shard by id.
func (k *Kinesis) openShard(st *dataStream, id string) (*shard, error) {
	sh := st.shard(id)
	if sh == nil {
		return nil, k.shardNotFound(id, st.name)
	}
	if !sh.open() {
		return nil, failure("ResourceInUseException", "Shard %s in stream %s under account %s has already been merged or split, and thus is not eligible for merging or splitting.", id, st.name, k.server.cfg.Account)
	}
	return sh, nil
}

func (k *Kinesis) splitShard(c *call) (any, error) {
	var in struct {
		streamRef
		ShardToSplit       string
		NewStartingHashKey string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return object{}, k.split(in.streamRef, in.ShardToSplit, in.NewStartingHashKey, c.now)
}

func (k *Kinesis) split(ref streamRef, shardID, newStart string, now time.Time) error {
	return k.reshard(ref, now, func(st *dataStream) (func(time.Time), error) {
		sh, err := k.openShard(st, shardID)
		if err != nil {
			return nil, err
		}
		key, ok := parseHashKey(newStart)
		// AWS wants both children to have at least two keys.
		if !ok || key.compare(sh.start) <= 0 || key.compare(sh.end) > 0 ||
			new(big.Int).Sub(key.big(), sh.start.big()).Cmp(big.NewInt(1)) <= 0 || key == sh.end {
			return nil, failure("InvalidArgumentException", "NewStartingHashKey %s used in SplitShard() on shard %s in stream %s under account %s is not both greater than one plus the shard's StartingHashKey %s and less than the shard's EndingHashKey %s.",
				newStart, sh.id, st.name, k.server.cfg.Account, sh.start, sh.end)
		}
		return func(at time.Time) { st.split(sh, key, at) }, nil
	})
}

func (k *Kinesis) mergeShards(c *call) (any, error) {
	var in struct {
		streamRef
		ShardToMerge         string
		AdjacentShardToMerge string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return object{}, k.merge(in.streamRef, in.ShardToMerge, in.AdjacentShardToMerge, c.now)
}

func (k *Kinesis) merge(ref streamRef, shardID, adjacentID string, now time.Time) error {
	return k.reshard(ref, now, func(st *dataStream) (func(time.Time), error) {
		a, err := k.openShard(st, shardID)
		if err != nil {
			return nil, err
		}
		b, err := k.openShard(st, adjacentID)
		if err != nil {
			return nil, err
		}
		if a == b || (a.end == maxHashKey || a.end.next() != b.start) && (b.end == maxHashKey || b.end.next() != a.start) {
			return nil, failure("InvalidArgumentException", "Shards %s and %s in stream %s under account %s are not an adjacent pair of shards eligible for merging", a.id, b.id, st.name, k.server.cfg.Account)
		}
		return func(at time.Time) { st.merge(a, b, at) }, nil
	})
}

func (k *Kinesis) updateShardCount(c *call) (any, error) {
	var in struct {
		streamRef
		TargetShardCount int
		ScalingType      string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.ScalingType != "UNIFORM_SCALING" {
		return nil, failure("ValidationException", "ScalingType %q; use UNIFORM_SCALING", in.ScalingType)
	}
	var out object
	err := k.reshard(in.streamRef, c.now, func(st *dataStream) (func(time.Time), error) {
		open := len(st.openShards())
		if in.TargetShardCount < 1 || in.TargetShardCount > 2*open || 2*in.TargetShardCount < open {
			return nil, failure("InvalidArgumentException", "UpdateShardCount cannot scale to %d from %d open shards; use half to double", in.TargetShardCount, open)
		}
		out = object{{"StreamName", st.name}, {"StreamARN", st.arn}, {"CurrentShardCount", open}, {"TargetShardCount", in.TargetShardCount}}
		return func(at time.Time) { st.scale(in.TargetShardCount, at) }, nil
	})
	return out, err
}

func (k *Kinesis) increaseRetention(c *call) (any, error) {
	return k.changeRetention(c, func(st *dataStream, d time.Duration) bool { return d >= st.retention })
}

func (k *Kinesis) decreaseRetention(c *call) (any, error) {
	return k.changeRetention(c, func(st *dataStream, d time.Duration) bool { return d <= st.retention })
}

func (k *Kinesis) changeRetention(c *call, allowed func(*dataStream, time.Duration) bool) (any, error) {
	var in struct {
		streamRef
		RetentionPeriodHours int
	}
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		d := time.Duration(in.RetentionPeriodHours) * time.Hour
		if in.RetentionPeriodHours < 24 || in.RetentionPeriodHours > 8760 || !allowed(st, d) {
			return nil, failure("InvalidArgumentException", "%s cannot go from %d to %d hours; the bounds are 24 and 8760", c.operation, int(st.retention/time.Hour), in.RetentionPeriodHours)
		}
		st.retention = d
		return object{}, nil
	})
}

func (k *Kinesis) updateMaxRecordSize(c *call) (any, error) {
	var in struct {
		streamRef
		MaxRecordSizeInKiB int
	}
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		if in.MaxRecordSizeInKiB < 1024 || in.MaxRecordSizeInKiB > 10240 {
			return nil, failure("ValidationException", "MaxRecordSizeInKiB %d; use 1024 to 10240", in.MaxRecordSizeInKiB)
		}
		st.maxRecord = in.MaxRecordSizeInKiB << 10
		return object{}, nil
	})
}

func (k *Kinesis) addTagsToStream(c *call) (any, error) {
	var in struct {
		streamRef
		Tags map[string]string
	}
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) { return st.addTags(in.Tags) })
}

func (st *dataStream) addTags(tags map[string]string) (any, error) {
	all := maps.Clone(st.tags)
	maps.Copy(all, tags)
	if len(all) > 50 {
		return nil, failure("InvalidArgumentException", "a stream can have 50 tags, not %d", len(all))
	}
	st.tags = all
	return object{}, nil
}

func (k *Kinesis) removeTagsFromStream(c *call) (any, error) {
	var in struct {
		streamRef
		TagKeys []string
	}
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		for _, key := range in.TagKeys {
			delete(st.tags, key)
		}
		return object{}, nil
	})
}

func (k *Kinesis) listTagsForStream(c *call) (any, error) {
	var in struct {
		streamRef
		ExclusiveStartTagKey string
		Limit                *int
	}
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		limit, err := parsePage(in.Limit, 50, 50, "limit")
		if err != nil {
			return nil, err
		}
		tags, more := list{}, false
		for _, key := range slices.Sorted(maps.Keys(st.tags)) {
			if key <= in.ExclusiveStartTagKey {
				continue
			}
			if len(tags) == limit {
				more = true
				break
			}
			tags = append(tags, tagObject(key, st.tags[key]))
		}
		return object{{"Tags", tags}, {"HasMoreTags", more}}, nil
	})
}

func tagObject(key, value string) object { return object{{"Key", key}, {"Value", value}} }

// byResource serves the tag operations, which name a stream by its ARN.
func (k *Kinesis) byResource(c *call, in any, arn *string, change func(*dataStream) (any, error)) (any, error) {
	if err := c.decode(in); err != nil {
		return nil, err
	}
	st, err := k.lock(streamRef{StreamARN: *arn}, c.now)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	return change(st)
}

func (k *Kinesis) tagResource(c *call) (any, error) {
	var in struct {
		ResourceARN string
		Tags        map[string]string
	}
	return k.byResource(c, &in, &in.ResourceARN, func(st *dataStream) (any, error) { return st.addTags(in.Tags) })
}

func (k *Kinesis) untagResource(c *call) (any, error) {
	var in struct {
		ResourceARN string
		TagKeys     []string
	}
	return k.byResource(c, &in, &in.ResourceARN, func(st *dataStream) (any, error) {
		for _, key := range in.TagKeys {
			delete(st.tags, key)
		}
		return object{}, nil
	})
}

func (k *Kinesis) listTagsForResource(c *call) (any, error) {
	var in struct{ ResourceARN string }
	return k.byResource(c, &in, &in.ResourceARN, func(st *dataStream) (any, error) {
		tags := list{}
		for _, key := range slices.Sorted(maps.Keys(st.tags)) {
			tags = append(tags, tagObject(key, st.tags[key]))
		}
		return object{{"Tags", tags}}, nil
	})
}
