package kafka

import (
	"cmp"
	"time"

	"dredge/row"
	"dredge/row/rollup"
)

// keyBytes is the length of a record's key, when it has one.
const keyBytes = 8

// stamper gives the records of one Write their topic, time and partition hash.
type stamper struct {
	topic, late string
	key         bool
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
		topic: cfg.Topic, late: cmp.Or(cfg.LateTopic, cfg.Topic), key: cfg.RecordKey,
		pairs: cfg.PartitionBy == PartitionByAppPair, spread: uint64(cfg.PairSpread),
		mode: cfg.RecordTime, now: now, newest: now.UnixMilli(), oldest: now.Add(-cfg.RecordTimeMaxAge).UnixMilli(),
	}
}

// topicOf is where r goes.
func (s *stamper) topicOf(r *row.Row) string {
	if r.Late {
		return s.late
	}
	return s.topic
}

// time is the record's timestamp. A row's own time is kept inside [now - record_time_max_age, now]: brokers refuse times in the
// future, and retention goes by this time, so a replay of last month would be deleted before it was read.
func (s *stamper) time(r *row.Row) time.Time {
	if s.mode == RecordTimeEnd {
		return s.bounded(r.End)
	}
	return s.bounded(r.Start)
}

func (s *stamper) bounded(ms int64) time.Time {
	if s.mode == RecordTimeProduce {
		return s.now
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
		h = hashPair(h, r.Src.App, r.Dst.App)
	} else {
		h = hashAddr(h, r.Src.Addr.As16())
		h = hashAddr(h, r.Dst.Addr.As16())
	}
	return s.spreadOut(h)
}

// minuteHash is hash for a rolled-up row, whose rows without a named end are kept together by their dimensions.
func (s *stamper) minuteHash(r *rollup.Row) uint64 {
	if !s.pairs {
		return s.chunk
	}
	_, src := row.UnescapeApp(r.SrcApp)
	_, dst := row.UnescapeApp(r.DstApp)
	if src || dst {
		return s.spreadOut(hashPair(fnvOffset, r.SrcApp, r.DstApp))
	}
	return s.spreadOut(hashBytes(fnvOffset, r.Dimensions))
}

func (s *stamper) spreadOut(h uint64) uint64 {
	// The low bits of FNV are its worst, and they are what a remainder takes.
	h ^= h >> 32
	if s.spread > 1 {
		h += s.chunk % s.spread
	}
	return h
}

func hashPair(h uint64, src, dst string) uint64 {
	h = hashString(h, src)
	h = (h ^ 0xff) * fnvPrime // no UTF-8 text holds this byte
	return hashString(h, dst)
}

func hashString(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

func hashAddr(h uint64, a [16]byte) uint64 { return hashBytes(h, a[:]) }

func hashBytes(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}
