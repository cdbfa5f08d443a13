package awsfake

import (
	"errors"
	"time"
	"unicode/utf8"
)

const (
	maxPutRecords = 500
	maxPutBytes   = 10 << 20
	writeBytes    = 1 << 20 // a second, per shard
	writeRecords  = 1000    // a second, per shard
)

// putEntry is one record as producers send it.
type putEntry struct {
	Data            []byte
	PartitionKey    string
	ExplicitHashKey string
}

// check validates the entry and says where it goes.
func (e *putEntry) check(st *dataStream) (hashKey, error) {
	if n := utf8.RuneCountInString(e.PartitionKey); n < 1 || n > 256 {
		return hashKey{}, failure("ValidationException", "1 validation error detected: Value at 'partitionKey' failed to satisfy constraint: Member must have length between 1 and 256")
	}
	if len(e.Data) > st.maxRecord {
		return hashKey{}, failure("ValidationException", "1 validation error detected: Value at 'data' failed to satisfy constraint: Member must have length less than or equal to %d", st.maxRecord)
	}
	if e.ExplicitHashKey == "" {
		return hashOf(e.PartitionKey), nil
	}
	h, ok := parseHashKey(e.ExplicitHashKey)
	if !ok {
		return h, failure("InvalidArgumentException", "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was %s", e.ExplicitHashKey)
	}
	return h, nil
}

// put stores an entry. The caller holds the mutex.
func (st *dataStream) put(h hashKey, e *putEntry, now time.Time, held Limits) (*shard, *record, error) {
	if st.status != statusActive && st.status != statusUpdating {
		return nil, nil, failure("ResourceNotFoundException", "Stream %s is in state %s", st.name, st.status)
	}
	sh := st.route(h)
	if second := now.Unix(); sh.written.second != second {
		sh.written = meter{second: second}
	}
	size := len(e.Data) + len(e.PartitionKey)
	if held.WriteRecords && sh.written.records >= writeRecords || held.WriteBytes && sh.written.bytes+size > writeBytes {
		return nil, nil, failure("ProvisionedThroughputExceededException", "Rate exceeded for shard %s in stream %s.", sh.id, st.name)
	}
	sh.written.records++
	sh.written.bytes += size
	r := newRecord(st.nextSequence(sh, now), now, e.PartitionKey, e.Data)
	sh.records = append(sh.records, r)
	st.wake()
	return sh, r, nil
}

func (k *Kinesis) putRecord(c *call) (any, error) {
	var in struct {
		streamRef
		putEntry
	}
	held := k.heldLimits()
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		h, err := in.check(st)
		if err != nil {
			return nil, err
		}
		sh, r, err := st.put(h, &in.putEntry, c.now, held)
		if err != nil {
			return nil, err
		}
		return object{{"ShardId", sh.id}, {"SequenceNumber", r.seq.String()}, {"EncryptionType", "NONE"}}, nil
	})
}

func (k *Kinesis) putRecords(c *call) (any, error) {
	var in struct {
		streamRef
		Records []putEntry
	}
	held := k.heldLimits()
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		if n := len(in.Records); n < 1 || n > maxPutRecords {
			return nil, failure("ValidationException", "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length between 1 and 500, not %d", n)
		}
		size := 0
		hashes := make([]hashKey, len(in.Records))
		for i := range in.Records {
			h, err := in.Records[i].check(st)
			if err != nil {
				return nil, err
			}
			hashes[i] = h
			size += len(in.Records[i].Data) + len(in.Records[i].PartitionKey)
		}
		if size > maxPutBytes {
			return nil, failure("InvalidArgumentException", "Records size exceeds 10 MB limit")
		}
		results, failed := list{}, 0
		for i := range in.Records {
			if c.partial && i%2 == 1 {
				failed++
				results = append(results, object{{"ErrorCode", "ProvisionedThroughputExceededException"}, {"ErrorMessage", "Rate exceeded (on order)"}})
				continue
			}
			sh, r, err := st.put(hashes[i], &in.Records[i], c.now, held)
			if fault, ok := errors.AsType[*apiError](err); ok && fault.Code == "ProvisionedThroughputExceededException" {
				failed++
				results = append(results, object{{"ErrorCode", fault.Code}, {"ErrorMessage", fault.Message}})
				continue
			}
			if err != nil {
				return nil, err
			}
			results = append(results, object{{"ShardId", sh.id}, {"SequenceNumber", r.seq.String()}})
		}
		return object{{"FailedRecordCount", failed}, {"Records", results}, {"EncryptionType", "NONE"}}, nil
	})
}
