package kafka

import (
	"time"

	"dredge/row"
)

// keyBytes is the length of a record's key, when it has one.
const keyBytes = 8

// stamper gives the records of one Write their topic, time and partition hash.
type stamper struct {
	topic string
	key   bool
	// chunk numbers slabs; it is what the hash is made of when rows are not kept together.
	chunk  uint64
	pairs  bool
	spread uint64

	mode   RecordTime
	now    time.Time
	newest int64
	oldest int64
}

func newStamper(cfg *Config) stamper {
	now := time.Now()
	return stamper{
		topic: cfg.Topic, key: cfg.RecordKey,
		pairs: cfg.PartitionBy == PartitionByAppPair, spread: uint64(cfg.PairSpread),
		mode: cfg.RecordTime, now: now, newest: now.UnixMilli(), oldest: now.Add(-cfg.RecordTimeMaxAge).UnixMilli(),
	}
}

// time is the record's timestamp. A row's own time is kept inside [now - record_time_max_age, now]: brokers refuse times in the
// future, and retention goes by this time, so a replay of last month would be deleted before it was read.
func (s *stamper) time(r *row.Row) time.Time {
	ms := r.Start
	switch s.mode {
	case RecordTimeProduce:
		return s.now
	case RecordTimeEnd:
		ms = r.End
	case RecordTimeStart:
	}
	return time.UnixMilli(min(max(ms, s.oldest), s.newest))
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// hash decides the partition: equal for rows of one pair of apps, so that they meet in one Druid task and roll up there. Rows
// with neither end named have no pair; they are kept together by address instead, because there are many of them.
// It is the same in every process and release.
func (s *stamper) hash(r *row.Row) uint64 {
	if !s.pairs {
		return s.chunk
	}
	h := uint64(fnvOffset)
	if r.Src.Named || r.Dst.Named {
		h = hashString(h, r.Src.App)
		h = (h ^ 0xff) * fnvPrime // no UTF-8 text holds this byte
		h = hashString(h, r.Dst.App)
	} else {
		h = hashAddr(h, r.Src.Addr.As16())
		h = hashAddr(h, r.Dst.Addr.As16())
	}
	// The low bits of FNV are its worst, and they are what a remainder takes.
	h ^= h >> 32
	if s.spread > 1 {
		h += s.chunk % s.spread
	}
	return h
}

func hashString(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

func hashAddr(h uint64, a [16]byte) uint64 {
	for _, c := range a {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}
