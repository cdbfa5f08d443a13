package druid

import (
	"context"
	"slices"
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
	// overdue is how long a task may take before people are told that it does.
	overdue time.Duration
	metrics *metrics
	log     zerolog.Logger

	mu      sync.Mutex
	waiting map[string]*waited
	wake    chan struct{} // of size one: somebody waits
}

// waited is a task that somebody waits for.
type waited struct {
	datasource string
	// told is when people were told last that it is overdue; at first, when the wait began.
	told time.Time
	by   []chan<- answer
}

// answer is the end of a task, or that the overlord does not know it.
type answer struct {
	status cluster.TaskStatus
	known  bool
}

func newPoller(c *cluster.Client, cfg Config, m *metrics, log zerolog.Logger) *poller {
	return &poller{
		cluster: c, interval: cfg.PollInterval, overdue: 5 * cfg.TaskTime, metrics: m, log: log,
		waiting: map[string]*waited{}, wake: make(chan struct{}, 1),
	}
}

// wait returns when the task, which writes to datasource, has ended; not known when the overlord knows none of that id.
func (p *poller) wait(ctx context.Context, id, datasource string) (cluster.TaskStatus, bool, error) {
	ended := make(chan answer, 1)
	p.mu.Lock()
	if p.waiting[id] == nil {
		p.waiting[id] = &waited{datasource: datasource, told: time.Now()}
	}
	p.waiting[id].by = append(p.waiting[id].by, ended)
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
		p.complain(ctx)
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
		for _, c := range p.waiting[id].by {
			c <- answer{status, known}
		}
		delete(p.waiting, id)
	}
}

// late are the tasks that are overdue, by datasource.
func (p *poller) late() map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := map[string][]string{}
	for id, w := range p.waiting {
		if time.Since(w.told) >= p.overdue {
			w.told = time.Now()
			late[w.datasource] = append(late[w.datasource], id)
		}
	}
	return late
}

// complain tells people which tasks are overdue, and why when it is a lock. The shards of such a task are not read on, and nothing is lost.
func (p *poller) complain(ctx context.Context) {
	for datasource, ids := range p.late() {
		locked, err := p.cluster.WaitingTasks(ctx, datasource)
		said := p.log.Warn().Str("datasource", datasource).Strs("tasks", ids)
		if err == nil && slices.ContainsFunc(locked, func(id string) bool { return slices.Contains(ids, id) }) {
			said.Msg("the datasource is locked: our tasks wait for another one to end; set useConcurrentLocks in the context of compaction and of other tasks that write to it")
			continue
		}
		said.Msg("tasks take long; look whether druid's slots are all taken, and at the tasks' logs")
	}
}
