package druid

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	cluster "dredge/druid"
	"dredge/internal/retry"
)

// poller asks for the states of all tasks that somebody waits for, in one request.
type poller struct {
	cluster  *cluster.Client
	interval time.Duration
	metrics  *metrics
	log      zerolog.Logger

	mu      sync.Mutex
	waiting map[string][]chan<- answer
	wake    chan struct{} // of size one: somebody waits
}

// answer is the end of a task, or that the overlord does not know it.
type answer struct {
	status cluster.TaskStatus
	known  bool
}

func newPoller(c *cluster.Client, interval time.Duration, m *metrics, log zerolog.Logger) *poller {
	return &poller{cluster: c, interval: interval, metrics: m, log: log, waiting: map[string][]chan<- answer{}, wake: make(chan struct{}, 1)}
}

// wait returns when the task has ended; not known when the overlord knows none of that id.
func (p *poller) wait(ctx context.Context, id string) (cluster.TaskStatus, bool, error) {
	ended := make(chan answer, 1)
	p.mu.Lock()
	p.waiting[id] = append(p.waiting[id], ended)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	select {
	case a := <-ended:
		return a.status, a.known, nil
	case <-ctx.Done():
		return cluster.TaskStatus{}, false, context.Cause(ctx) // the channel has room, so nobody waits for us
	}
}

// run asks while somebody waits, until ctx ends.
func (p *poller) run(ctx context.Context) {
	again := retry.Backoff{Min: p.interval, Max: max(p.interval, 15*time.Second)}
	pause := p.interval
	for {
		ids := p.ids()
		if len(ids) == 0 {
			select {
			case <-p.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if retry.Sleep(ctx, pause) != nil {
			return
		}
		states, err := p.cluster.TaskStatuses(ctx, ids)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			pause = again.Next()
			p.metrics.failed(err)
			p.log.Warn().Err(err).Int("tasks", len(ids)).Dur("retry_in", pause).Msg("druid does not tell how tasks are doing")
			continue
		}
		again.Reset()
		pause = p.interval
		p.tell(ids, states)
	}
}

// ids are the tasks that somebody waits for.
func (p *poller) ids() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]string, 0, len(p.waiting))
	for id := range p.waiting {
		ids = append(ids, id)
	}
	return ids
}

// tell answers for those of ids that have ended or are unknown.
func (p *poller) tell(ids []string, states map[string]cluster.TaskStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		status, known := states[id]
		if known && status.State != cluster.TaskSuccess && status.State != cluster.TaskFailed {
			continue
		}
		for _, c := range p.waiting[id] {
			c <- answer{status, known}
		}
		delete(p.waiting, id)
	}
}
