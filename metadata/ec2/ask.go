package ec2

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// askMemory is how many interfaces are remembered as asked for.
	askMemory = 50_000
	// askAgain is how long nobody asks for the same interface again. The next listings tell it anyway if it exists.
	askAgain = 10 * time.Minute
	// askQueue is how many interfaces may wait.
	askQueue = 4096
	// askGather is how long questions are gathered into one call.
	askGather = time.Second
)

// asker looks interfaces up that flows mention and no listing has told.
type asker struct {
	source *Source
	asked  *lru.Cache[string, time.Time]
	queue  chan string
}

func newAsker(s *Source) *asker {
	asked, err := lru.New[string, time.Time](askMemory)
	if err != nil {
		panic("BUG: size of the memory of look-ups: " + err.Error())
	}
	return &asker{source: s, asked: asked, queue: make(chan string, askQueue)}
}

// ask is called from the row path: it must not block.
func (a *asker) ask(eni string) {
	if !strings.HasPrefix(eni, "eni-") || len(eni) > 64 || !a.source.cfg.LookUp {
		return
	}
	now := a.source.deps.Now()
	if at, ok := a.asked.Peek(eni); ok && now.Sub(at) < askAgain {
		return
	}
	id := strings.Clone(eni)
	select {
	case a.queue <- id:
		a.asked.Add(id, now)
	default:
		a.source.metrics.askDropped.Inc()
	}
}

// run takes what was asked for in batches to every estate that does not know it: a flow does not say whose an interface is.
func (a *asker) run(ctx context.Context) error {
	for {
		batch := map[string]bool{}
		select {
		case <-ctx.Done():
			return nil
		case eni := <-a.queue:
			batch[eni] = true
		}
		if awscall.Pause(ctx, askGather) != nil {
			return nil //nolint:nilerr // the end has come
		}
		for len(batch) < filterValues && len(a.queue) > 0 {
			batch[<-a.queue] = true
		}
		if err := a.lookUp(ctx, batch); err != nil {
			return err
		}
	}
}

func (a *asker) lookUp(ctx context.Context, batch map[string]bool) error {
	m := a.source.metrics
	m.asked.Add(float64(len(batch)))
	for _, e := range a.source.estates {
		if len(batch) == 0 {
			return nil
		}
		found, err := e.meet(ctx, "network-interface-id", sorted(batch), look{})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end has come
		}
		if err != nil {
			if _, listing := errors.AsType[*listingError](err); listing {
				continue // the listing names the same fault
			}
			return err
		}
		for eni := range found {
			delete(batch, eni)
			m.askedKnown.Inc()
		}
	}
	return nil
}

// meet looks interfaces up by one filter and tells what it sees. Absence means nothing here. It returns the interfaces found.
func (e *estate) meet(ctx context.Context, filter string, values []string, v look) (map[string]bool, error) {
	seen, v, err := e.lookUp(ctx, filter, values, v)
	if err != nil {
		return nil, &listingError{err}
	}
	e.mu.Lock()
	machines := make(map[string]machine, len(e.machines))
	maps.Copy(machines, e.machines)
	v.before = e.listed
	e.mu.Unlock()
	if err := e.missingInstances(ctx, seen, machines); err != nil {
		return nil, &listingError{err}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.Copy(e.machines, machines)
	var out []event.Event
	e.seeAll(seen, &v, &out)
	found := map[string]bool{}
	for i := range seen {
		found[str(seen[i].NetworkInterfaceId)] = true
	}
	if len(out) == 0 {
		return found, nil
	}
	return found, e.tell(out)
}
