package row

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
)

// originBytes is how much of the hash of partition and position stands in a row id. With 96 bits, ten thousand million payloads
// meet a collision once in some 10^9 such fleets.
const originBytes = 12

// appendRowID appends the row's id: base64url of the hash of partition and position, a dot, and the line's index. The hash is
// made once per payload. In full, partition and position are longer than everything else in the row (decision 0002).
func appendRowID(dst []byte, b *Batch, r *Row) []byte {
	o := b.hashed(r)
	dst = base64.RawURLEncoding.AppendEncode(dst, o.hash[:])
	dst = append(dst, '.')
	return strconv.AppendUint(dst, uint64(r.Index), 10)
}

// hashed returns where r came from, with the payload's part of its id.
func (b *Batch) hashed(r *Row) *Origin {
	o := b.origin(r)
	if !o.hashed {
		o.hash = hashOrigin(b.Partition, o.Position)
		o.hashed = true
	}
	return o
}

// Spread returns a number made of the row's id alone: evenly spread over all numbers, and the same on every delivery of the line.
// Whoever chooses rows by it chooses the same ones again.
func (b *Batch) Spread(r *Row) uint64 {
	o := b.hashed(r)
	x := binary.LittleEndian.Uint64(o.hash[:]) + (uint64(r.Index)+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func hashOrigin(partition, position string) (h [originBytes]byte) {
	var room [256]byte
	text := append(room[:0], partition...)
	text = append(text, 0)
	text = append(text, position...)
	sum := sha256.Sum256(text)
	copy(h[:], sum[:])
	return h
}

// RowID returns the row's id as it stands in the column row_id.
func RowID(b *Batch, r *Row) string { return string(appendRowID(nil, b, r)) } //nolint:revive // the column's name

// LineID returns the id of the row that line index of the payload at (partition, position) makes: dead letters and traces say
// those three.
func LineID(partition, position string, index uint32) string {
	b := Batch{Partition: partition, Origins: []Origin{{Position: position}}}
	return RowID(&b, &Row{Index: index})
}
