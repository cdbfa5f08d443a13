package pipeline

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/flowlog"
	"dredge/sink"
	"dredge/stream"
)

// Reject is one rejected line or payload, as a person needs it to find the cause.
type Reject struct {
	Time      time.Time       `json:"time"`
	Partition string          `json:"partition"`
	At        stream.Position `json:"at"`
	// Index is the line's place in its payload, from 0; -1 when the payload as a whole is meant.
	Index    int    `json:"index"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
	LogGroup string `json:"log_group,omitempty"`
	// Line is the beginning of the line; empty for a payload, which is seldom text.
	Line string `json:"line,omitempty"`
}

const (
	keptRejects = 100
	// rejectsPerSecond are explained and kept; the others are only counted (and dead-lettered, when there is a dead letter).
	rejectsPerSecond = 20
	rejectLine       = 512
)

// rejects keeps the latest rejected lines for people to look at. It takes a few each second, so that a stream of rubbish
// costs no more than counting it.
type rejects struct {
	mu     sync.Mutex
	ring   []Reject
	next   int
	second int64
	taken  int
}

// wants says whether one more reject may be kept now. Asking counts as taking.
func (r *rejects) wants(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := now.Unix(); s != r.second {
		r.second, r.taken = s, 0
	}
	if r.taken >= rejectsPerSecond {
		return false
	}
	r.taken++
	return true
}

func (r *rejects) keep(x Reject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) < keptRejects {
		r.ring = append(r.ring, x)
		return
	}
	r.ring[r.next] = x
	r.next = (r.next + 1) % keptRejects
}

// latest returns the kept ones, newest first.
func (r *rejects) latest() []Reject {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Reject, 0, len(r.ring))
	for i := range r.ring {
		out = append(out, r.ring[(r.next+len(r.ring)-1-i)%len(r.ring)])
	}
	return out
}

// clip returns at most limit bytes of b as text.
func clip(b []byte, limit int) string {
	if len(b) > limit {
		return string(b[:limit]) + "…"
	}
	return string(b)
}

// countingSampler lets through what next does and counts what it swallows.
type countingSampler struct {
	next      zerolog.Sampler
	swallowed prometheus.Counter
}

// Sample implements zerolog.Sampler.
func (s *countingSampler) Sample(lvl zerolog.Level) bool {
	if s.next.Sample(lvl) {
		return true
	}
	s.swallowed.Inc()
	return false
}

// rejectLine enters the present line, which could not be decoded. f is its layout, nil when it has none.
func (h *handler) rejectLine(ctx context.Context, u *unfolder, s *slice, reason string, f *flowlog.Format, index uint32) error {
	s.tally.rejected.add(reason, 1)
	u.seen.rejected++
	sampled := h.p.rejects.wants(time.Now())
	if !sampled && h.p.deps.DeadLetter == nil {
		return nil
	}
	line, detail := u.reader.Line(), reason
	switch {
	case reason == RejectedNoFormat:
		detail = "no rule of formats gives a layout for this log group, stream and account, and formats.default is empty"
	case reason == RejectedMalformed:
		detail = "a JSON object that is neither a CloudWatch message nor a line nor a record"
	case u.reader.TooLong():
		detail = fmt.Sprintf("%d bytes, want at most %d; raise max_line if such lines are real", u.reader.Size(), h.p.cfg.MaxLine)
	default:
		if err := flowlog.Explain(f, line); err != nil {
			detail = strings.TrimPrefix(err.Error(), reason+": ") // the reason has its own field
		}
	}
	return h.reject(ctx, sink.Letter{
		Partition: h.partition, At: u.payload.At, Index: int(index), LogGroup: u.meta.LogGroup, LogStream: u.meta.LogStream, Account: u.origin.Owner,
		Reason: reason, Detail: detail, Data: line, Size: u.reader.Size(),
	}, sampled)
}

// reject shows l to people, when sampled, and puts it into the dead letter. A letter that is refused is counted and logged
// but stops nothing: one bad line never stops a partition. Errors that speak of the partition or of ctx do.
func (h *handler) reject(ctx context.Context, l sink.Letter, sampled bool) error {
	if sampled {
		r := Reject{
			Time: time.Now(), Partition: l.Partition, At: l.At, Index: l.Index, Reason: l.Reason, Detail: l.Detail, LogGroup: l.LogGroup,
		}
		if l.Index >= 0 {
			r.Line = clip(l.Data, rejectLine)
		}
		h.p.rejects.keep(r)
		h.p.log.Warn().Str("partition", l.Partition).Str("at", string(l.At)).Int("index", l.Index).
			Str("reason", l.Reason).Str("detail", l.Detail).Str("log_group", l.LogGroup).Msg("input rejected")
	}
	if h.p.deps.DeadLetter == nil {
		return nil
	}
	h.letters = true
	err := h.p.deps.DeadLetter.Put(ctx, l)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || abandonReason(err) != AbandonedFailed {
		return err
	}
	h.p.metrics.letterFailures.put.Inc()
	h.p.log.Error().Err(err).Str("partition", l.Partition).Str("at", string(l.At)).Int("index", l.Index).
		Str("reason", l.Reason).Msg("dead letter refused")
	return nil
}
