package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"dredge/metadata/event"

	"golang.org/x/sync/errgroup"
)

const (
	podsPath  = "/api/v1/pods"
	nodesPath = "/api/v1/nodes"
)

// settle is how long a node may take to tell the API server of an address: progress stays that far behind.
const settle = 10 * time.Second

// cluster is one API server's pods.
type cluster struct {
	cfg     Cluster
	src     string
	deps    Dependencies
	client  *http.Client
	base    string
	metrics *metrics
	loaded  atomic.Bool
	// renamed says that pods are to be listed anew, for their names.
	renamed atomic.Bool

	mu    sync.Mutex
	epoch int64
	seq   int64
	nodes map[string]place
	pods  map[string]*podState
	// unplaced are pods that wait for their node's scope, by UID.
	unplaced map[string]*pod
	host     map[string]struct{} // UIDs of pods on their node's network
	// reached is the time up to which everything has been told, in Unix milliseconds; asked are questions for the newest
	// version that the watch has not reached yet.
	reached int64
	asked   []question
	at      uint64 // version that the watch has reached; 0 when the server's is no number, and then nothing is credited by it
	// watching says that the watch stands.
	watching bool
	logged   map[fault]string
}

// question is the newest version at one time.
type question struct {
	at      int64
	version uint64
}

// place is where a node is.
type place struct{ scope, instance, az, region string }

func newCluster(cfg Cluster, deps Dependencies, client *http.Client, base string, m *metrics) *cluster {
	return &cluster{
		cfg: cfg, src: SourceName(cfg.Name), deps: deps, client: client, base: base, metrics: m,
		nodes: map[string]place{}, pods: map[string]*podState{}, unplaced: map[string]*pod{}, host: map[string]struct{}{}, logged: map[fault]string{},
	}
}

// run watches nodes and pods until ctx ends.
func (c *cluster) run(ctx context.Context) error {
	c.epoch = time.Now().UnixMilli()
	if c.deps.Open != nil {
		c.reopen(c.deps.Open(c.src))
	}
	nodes := &nodeHandler{cluster: c, listed: make(chan struct{})}
	pods := &podHandler{cluster: c}
	podWatcher := &watcher{client: c.client, base: c.base, path: podsPath, handler: pods, anew: &c.renamed}
	var g errgroup.Group
	g.Go(func() error {
		return (&watcher{client: c.client, base: c.base, path: nodesPath, handler: nodes}).run(ctx)
	})
	g.Go(func() error {
		select { // pods stand on nodes
		case <-nodes.listed:
			return podWatcher.run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error { return c.progress(ctx, podWatcher) })
	return g.Wait()
}

// progress asks for the newest version and tells how far the watch is, until ctx ends.
func (c *cluster) progress(ctx context.Context, w *watcher) error {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		c.mu.Lock()
		watching := c.watching
		c.mu.Unlock()
		if !watching {
			continue // silence makes the source idle, which is what it is
		}
		now := time.Now().UnixMilli()
		rv, err := w.newest(ctx)
		c.mu.Lock()
		if version, perr := strconv.ParseUint(rv, 10, 64); err == nil && perr == nil && c.watching {
			if len(c.asked) < maxQuestions {
				c.asked = append(c.asked, question{now, version})
			} else {
				c.asked[len(c.asked)-1] = question{now, version}
			}
			c.credit()
		}
		c.tellProgress()
		c.gauges()
		c.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			c.fault(reasonOf(err), err)
		}
	}
}

// maxQuestions bounds asked: ten minutes of a watch without a bookmark, and a watch that silent is ended long before.
const maxQuestions = 60

// credit takes the questions that the watch has reached.
func (c *cluster) credit() {
	n := 0
	for n < len(c.asked) && c.asked[n].version <= c.at {
		c.reached = max(c.reached, c.asked[n].at)
		n++
	}
	c.asked = append(c.asked[:0], c.asked[n:]...)
}

func (c *cluster) tellProgress() {
	if to := c.reached - settle.Milliseconds(); c.watching && to > 0 {
		c.metrics.reached.Set(float64(to) / 1000)
		c.tell(&event.Event{Op: event.Progress, To: to}, time.Now().UnixMilli())
	}
}

// tell hands e to the target.
func (c *cluster) tell(e *event.Event, obs int64) {
	c.seq++
	e.V, e.Src, e.Epoch, e.Seq, e.Obs = event.Version, c.src, c.epoch, c.seq, obs
	c.metrics.events.Inc()
	if err := c.deps.Target.Apply(e); err != nil {
		c.noteFault(faultRefused, err)
	}
}

// fault counts what went wrong and logs it when it is not the same as before.
func (c *cluster) fault(f fault, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteFault(f, err)
}

func (c *cluster) noteFault(f fault, err error) {
	c.metrics.faults[f].Inc()
	if text := err.Error(); c.logged[f] != text && !errors.Is(err, context.Canceled) {
		c.logged[f] = text
		c.deps.Logger.Warn().Err(err).Str("cluster", c.cfg.Name).Str("reason", string(f)).Msg("kubernetes source met a fault")
	}
}

// nodeHandler takes nodes in.
type nodeHandler struct {
	*cluster
	listed chan struct{} // closed after the first complete listing
	seen   map[string]struct{}
}

func (h *nodeHandler) begin(time.Time) { h.seen = map[string]struct{}{} }
func (h *nodeHandler) position(string) {}

func (h *nodeHandler) object(raw json.RawMessage) { h.take(raw) }

func (h *nodeHandler) end(string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.nodes {
		if _, ok := h.seen[name]; !ok {
			delete(h.nodes, name)
		}
	}
	h.metrics.lists.Inc()
	select {
	case <-h.listed:
	default:
		close(h.listed)
	}
}

func (h *nodeHandler) change(kind string, raw json.RawMessage) {
	if kind != "DELETED" { // a node's pods may outlive its object
		h.take(raw)
	}
}

func (h *nodeHandler) take(raw json.RawMessage) {
	var n node
	if err := json.Unmarshal(raw, &n); err != nil || n.Metadata.Name == "" {
		h.fault(faultBadObject, fmt.Errorf("reading a node: %w", errors.Join(err, errNoName)))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen != nil {
		h.seen[n.Metadata.Name] = struct{}{}
	}
	h.nodes[n.Metadata.Name] = h.place(&n)
	now := time.Now().UnixMilli()
	for uid, p := range h.unplaced {
		if p.Spec.NodeName == n.Metadata.Name {
			delete(h.unplaced, uid)
			h.takePod(p, now)
		}
	}
}

var errNoName = errors.New("metadata: name or uid is missing")

// place says where a node is.
func (c *cluster) place(n *node) place {
	p := place{scope: c.cfg.VPC, instance: n.instance(), az: n.Metadata.Labels["topology.k8s.aws/zone-id"], region: c.cfg.Region}
	if key := c.cfg.VPCFrom; key != "" {
		if v := n.Metadata.Annotations[key]; v != "" {
			p.scope = v
		} else if v := n.Metadata.Labels[key]; v != "" {
			p.scope = v
		}
	}
	if p.region == "" {
		p.region = n.Metadata.Labels["topology.kubernetes.io/region"]
	}
	return p
}
