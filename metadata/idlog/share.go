package idlog

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sharer decides which of a worker's sightings other workers need: new pairs of address and interface at once, longer ranges of
// known ones at most once a minute of their own time, nothing twice. It is called for every run of flow records, by many
// goroutines, and does not block.
type Sharer struct {
	writer  *Writer
	fold    *Fold
	limit   float64
	now     func() time.Time
	seed    maphash.Seed
	shards  [32]sharerShard
	metrics *sharerMetrics

	mu     sync.Mutex
	tokens float64
	filled time.Time
}

type sharerShard struct {
	mu sync.Mutex
	// recent and older together remember what was shared; when recent is full it becomes older.
	recent, older map[sightedKey]shared
}

type sightedKey struct {
	scope, eni string
	ip         netip.Addr
}

// shared is the range of sightings of one pair that was written, and how far it has grown since.
type shared struct {
	from, to, grown int64
	primary         bool
}

// maxShared is how many pairs are remembered in each half of each shard: 2 M in all.
const maxShared = 32_768

// shareEvery is by how much a range must have grown to be shared again, in milliseconds.
const shareEvery = 60_000

type sharerMetrics struct{ shared, dropped prometheus.Counter }

// NewSharer returns a Sharer that hands on to w what others need, at most s.SightingsPerSecond, and the same to f unless that is
// nil.
func NewSharer(s Settings, w *Writer, f *Fold, r prometheus.Registerer, now func() time.Time) *Sharer {
	m := &sharerMetrics{
		shared: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_log_shared_sightings_total", Help: "Sightings of this worker that were handed to the others.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_log_dropped_sightings_total", Help: "Sightings of this worker that were not handed to the others, because there were too many.",
		}),
	}
	if r != nil {
		r.MustRegister(m.shared, m.dropped)
	}
	sh := &Sharer{
		writer: w, fold: f, limit: float64(s.SightingsPerSecond), now: clock(now), seed: maphash.MakeSeed(), metrics: m,
		tokens: float64(s.SightingsPerSecond),
	}
	sh.filled = sh.now()
	for i := range sh.shards {
		sh.shards[i].recent, sh.shards[i].older = map[sightedKey]shared{}, map[sightedKey]shared{}
	}
	return sh
}

// Observe takes one sighting. Its texts may be kept.
func (sh *Sharer) Observe(s Sighting) {
	if !s.valid() {
		return
	}
	key := sightedKey{s.Scope, s.ENI, s.IP}
	shard := &sh.shards[maphash.Comparable(sh.seed, key)%uint64(len(sh.shards))]
	shard.mu.Lock()
	send, ok := shard.take(key, &s)
	shard.mu.Unlock()
	if !ok {
		return
	}
	if !sh.allowed() || !sh.writer.Observe(send) {
		sh.metrics.dropped.Inc()
		return
	}
	if sh.fold != nil {
		sh.fold.Observe(send)
	}
	sh.metrics.shared.Inc()
}

// take remembers s and returns what is to be shared, if anything.
func (shard *sharerShard) take(key sightedKey, s *Sighting) (send Sighting, ok bool) {
	e, known := shard.recent[key]
	if !known {
		if e, known = shard.older[key]; known {
			delete(shard.older, key)
		}
	}
	far := s.Start > e.grown+heartbeatGap || s.End < e.from-heartbeatGap
	switch {
	case known && !far && s.Start >= e.from && s.End <= e.grown && (e.primary || !s.Primary):
		ok = false
	case !known || far || s.Primary && !e.primary || s.Start < e.from:
		e, ok = shared{s.Start, s.End, s.End, s.Primary || known && e.primary}, true
		send = *s
	default:
		e.grown = max(e.grown, s.End)
		if e.grown-e.to >= shareEvery {
			send, ok = *s, true
			send.Start, send.End, e.to = e.to, e.grown, e.grown
		}
	}
	shard.remember(key, e)
	return send, ok
}

func (shard *sharerShard) remember(key sightedKey, e shared) {
	if len(shard.recent) >= maxShared {
		if _, ok := shard.recent[key]; !ok {
			shard.older, shard.recent = shard.recent, make(map[sightedKey]shared, maxShared)
		}
	}
	shard.recent[key] = e
}

// allowed takes one from the second's share.
func (sh *Sharer) allowed() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := sh.now()
	sh.tokens = min(sh.limit, sh.tokens+now.Sub(sh.filled).Seconds()*sh.limit)
	sh.filled = now
	if sh.tokens < 1 {
		return false
	}
	sh.tokens--
	return true
}
