package sink

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// Discard is the dead letter of a process that has none: it forgets every letter. Count says how many there were.
type Discard struct{}

// Put forgets l.
func (Discard) Put(context.Context, Letter) error { return nil }

// Flush has nothing to do.
func (Discard) Flush(context.Context) error { return nil }

// Count returns next with a counter before it: dredge_sink_dead_letters_total by reason counts the letters that next has taken.
// Whoever chooses the dead letter wraps it once, so that the count is the same for every kind, Discard too.
func Count(next DeadLetter, reg prometheus.Registerer) DeadLetter {
	c := &counted{
		next: next,
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dredge_sink_dead_letters_total", Help: "Inputs that could not become rows, by reason.",
		}, []string{"reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_sink_dead_letter_bytes_total", Help: "Bytes of inputs that could not become rows, before they were cut.",
		}),
	}
	reg.MustRegister(c.letters, c.bytes)
	return c
}

type counted struct {
	next    DeadLetter
	letters *prometheus.CounterVec
	bytes   prometheus.Counter
}

func (c *counted) Put(ctx context.Context, l Letter) error {
	if err := c.next.Put(ctx, l); err != nil {
		return err
	}
	c.letters.WithLabelValues(l.Reason).Inc()
	c.bytes.Add(float64(l.Size))
	return nil
}

func (c *counted) Flush(ctx context.Context) error { return c.next.Flush(ctx) }
