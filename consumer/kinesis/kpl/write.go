package kpl

import (
	"crypto/md5" //nolint:gosec // the format's checksum
	"encoding/binary"
)

// Append appends one aggregate of records to dst. Equal keys share an entry of their table, as the Kinesis Producer Library does.
func Append(dst []byte, records ...UserRecord) []byte {
	dst = append(dst, magic...)
	start := len(dst)
	keys, hashKeys := map[string]uint64{}, map[string]uint64{}
	index := func(table map[string]uint64, number uint64, key []byte) uint64 {
		i, known := table[string(key)]
		if !known {
			i = uint64(len(table))
			table[string(key)] = i
			dst = appendBytes(dst, number, key)
		}
		return i
	}
	at := make([]indexes, len(records))
	for i, r := range records {
		at[i].key = index(keys, fieldKeys, r.PartitionKey)
	}
	for i, r := range records {
		if len(r.ExplicitHashKey) > 0 {
			at[i].explicit = index(hashKeys, fieldHashKeys, r.ExplicitHashKey) + 1
		}
	}
	var record []byte
	for i, r := range records {
		record = appendVarint(record[:0], fieldKeyIndex, at[i].key)
		if at[i].explicit > 0 {
			record = appendVarint(record, fieldHashKeyIndex, at[i].explicit-1)
		}
		record = appendBytes(record, fieldData, r.Data)
		dst = appendBytes(dst, fieldRecords, record)
	}
	sum := md5.Sum(dst[start:]) //nolint:gosec // the format's checksum
	return append(dst, sum[:]...)
}

func appendVarint(dst []byte, number, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, number<<3|kindVarint), value)
}

func appendBytes(dst []byte, number uint64, value []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, number<<3|kindBytes), uint64(len(value)))
	return append(dst, value...)
}
