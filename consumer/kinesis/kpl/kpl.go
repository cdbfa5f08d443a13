// Package kpl reads and writes the aggregated records of the Kinesis Producer Library, in which one Kinesis record carries many
// user records:
//
//	magic F3 89 9A C2 | protobuf body | MD5 of the body
//
// The body holds a table of partition keys, a table of explicit hash keys and the user records, which point into both.
package kpl

import (
	"crypto/md5" //nolint:gosec // the format's checksum
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	magic = "\xF3\x89\x9A\xC2"
	// MaxUserRecords bounds the user records of one aggregate, and with them the memory that reading one takes.
	MaxUserRecords = 200_000
)

// Why an aggregate can't be taken apart.
var (
	// ErrChecksum says that the checksum is not that of the body: most likely the data only begins like an aggregate.
	ErrChecksum = errors.New("checksum does not match")
	// ErrMalformed says that the body is not what the Kinesis Producer Library writes, although its checksum is right.
	ErrMalformed = errors.New("malformed aggregate")
)

// UserRecord is one record as the application gave it to the producer.
type UserRecord struct {
	PartitionKey []byte
	// ExplicitHashKey is decimal text; empty when the producer gave none.
	ExplicitHashKey []byte
	Data            []byte
}

// HashKey returns what decided over the record's shard: the explicit hash key if there is one, else the MD5 of the partition key.
func (u UserRecord) HashKey() (HashKey, error) {
	if len(u.ExplicitHashKey) > 0 {
		return ParseHashKey(u.ExplicitHashKey)
	}
	sum := md5.Sum(u.PartitionKey) //nolint:gosec // Kinesis's hash
	return HashKey{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}, nil
}

// IsAggregated says whether data begins like an aggregate and is long enough to be one.
func IsAggregated(data []byte) bool {
	return len(data) > len(magic)+md5.Size && string(data[:len(magic)]) == magic
}

// Splitter takes aggregates apart. It keeps its memory from one to the next; the zero Splitter is ready.
type Splitter struct {
	keys, hashKeys [][]byte
	records        []UserRecord
	indexes        []indexes
}

// indexes are a record's places in the tables, which may come later than the record; explicit counts from 1.
type indexes struct{ key, explicit uint64 }

// Split returns the user records of data, for which IsAggregated was true, in order. They point into data; the slice itself is valid
// until the next call. The error is ErrChecksum or wraps ErrMalformed; then no record is returned.
func (s *Splitter) Split(data []byte) ([]UserRecord, error) {
	body, sum := data[len(magic):len(data)-md5.Size], data[len(data)-md5.Size:]
	if md5.Sum(body) != [md5.Size]byte(sum) { //nolint:gosec // the format's checksum
		return nil, ErrChecksum
	}
	s.keys, s.hashKeys, s.records, s.indexes = s.keys[:0], s.hashKeys[:0], s.records[:0], s.indexes[:0]
	if err := s.body(body); err != nil {
		return nil, err
	}
	for i, at := range s.indexes {
		r := &s.records[i]
		if at.key >= uint64(len(s.keys)) {
			return nil, malformed("user record %d has partition key %d of %d", i, at.key, len(s.keys))
		}
		r.PartitionKey = s.keys[at.key]
		switch {
		case at.explicit > uint64(len(s.hashKeys)):
			return nil, malformed("user record %d has explicit hash key %d of %d", i, at.explicit-1, len(s.hashKeys))
		case at.explicit > 0:
			r.ExplicitHashKey = s.hashKeys[at.explicit-1]
		}
	}
	return s.records, nil
}

// Field numbers of the body and of a record in it.
const (
	fieldKeys     = 1
	fieldHashKeys = 2
	fieldRecords  = 3

	fieldKeyIndex     = 1
	fieldHashKeyIndex = 2
	fieldData         = 3
)

func (s *Splitter) body(b []byte) error {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		switch {
		case f.number == fieldKeys && f.kind == kindBytes:
			s.keys = append(s.keys, f.bytes)
		case f.number == fieldHashKeys && f.kind == kindBytes:
			s.hashKeys = append(s.hashKeys, f.bytes)
		case f.number == fieldRecords && f.kind == kindBytes:
			if err := s.record(f.bytes); err != nil {
				return err
			}
		case f.number <= fieldRecords:
			return malformed("field %d has wire type %d", f.number, f.kind)
		}
		if max(len(s.keys), len(s.hashKeys), len(s.records)) > MaxUserRecords {
			return malformed("more than %d entries", MaxUserRecords)
		}
	}
	return nil
}

func (s *Splitter) record(b []byte) error {
	var r UserRecord
	var at indexes
	hasKey, hasData := false, false
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		switch {
		case f.number == fieldKeyIndex && f.kind == kindVarint:
			at.key, hasKey = f.value, true
		case f.number == fieldHashKeyIndex && f.kind == kindVarint:
			if at.explicit = f.value + 1; at.explicit == 0 {
				return malformed("explicit hash key index %d", f.value)
			}
		case f.number == fieldData && f.kind == kindBytes:
			r.Data, hasData = f.bytes, true
		case f.number <= fieldData:
			return malformed("field %d of a user record has wire type %d", f.number, f.kind)
		}
	}
	if !hasKey || !hasData {
		return malformed("a user record lacks its partition key or its data")
	}
	s.records, s.indexes = append(s.records, r), append(s.indexes, at)
	return nil
}

// Wire types of protobuf.
const (
	kindVarint = 0
	kindFixed8 = 1
	kindBytes  = 2
	kindFixed4 = 5
)

type field struct {
	number uint64
	kind   uint64
	value  uint64 // of a varint
	bytes  []byte // of kindBytes
}

// nextField reads one protobuf field and returns what follows it. The content of fixed-size fields, which the format does not
// have, is skipped.
func nextField(b []byte) (field, []byte, error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 {
		return field{}, nil, malformed("a field's tag is cut off or invalid")
	}
	f := field{number: tag >> 3, kind: tag & 7}
	b = b[n:]
	size := uint64(0)
	switch f.kind {
	case kindVarint, kindBytes:
		if f.value, n = binary.Uvarint(b); n <= 0 {
			return field{}, nil, malformed("field %d is cut off", f.number)
		}
		if b = b[n:]; f.kind == kindBytes {
			size = f.value
		}
	case kindFixed8:
		size = 8
	case kindFixed4:
		size = 4
	default:
		return field{}, nil, malformed("field %d has wire type %d", f.number, f.kind)
	}
	if size > uint64(len(b)) {
		return field{}, nil, malformed("field %d has %d bytes, %d are there", f.number, size, len(b))
	}
	f.bytes = b[:size:size]
	return f, b[size:], nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
