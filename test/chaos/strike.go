package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// moment is when a fault strikes. Those that matter last milliseconds, and chance seldom meets them; the proxies see them go by.
type moment int

const (
	anytime moment = iota
	// committed is when a transaction is committed and its worker does not know yet: the answer is on its way.
	committed
	// undecided is when the rows of a transaction are with the brokers, and the position that belongs to them is on its way.
	undecided
)

func (m moment) String() string {
	switch m {
	case committed:
		return "between a commit and its answer"
	case undecided:
		return "before a position that follows its rows"
	default:
		return "at any time"
	}
}

// strike waits for a worker to come to a moment, and holds it there until release is closed.
type strike struct {
	at moment
	// suffix is that of the transactional id; empty for any.
	suffix string
	// topic is where positions go, topicID what newer requests call it.
	topic   string
	topicID kadm.TopicID
	victim  chan string // of size one: the client id of who came
	release chan struct{}
}

// hold tells who came, and waits for what becomes of him.
func (x *strike) hold(ctx context.Context, client string) {
	x.victim <- client
	select {
	case <-x.release:
	case <-ctx.Done():
	}
}

// strikes is where a strike waits, one at a time.
type strikes struct {
	mu      sync.Mutex
	waiting *strike
}

func (s *strikes) arm(x *strike) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = x
}

// take takes the strike that waits for m if it fits.
func (s *strikes) take(m moment, fits func(*strike) bool) *strike {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.waiting
	if x == nil || x.at != m || !fits(x) {
		return nil
	}
	s.waiting = nil
	return x
}

// disarm takes x back; false when somebody has come to it.
func (s *strikes) disarm(x *strike) bool {
	return s.take(x.at, func(y *strike) bool { return x == y }) != nil
}

// lookingForPositions says whether a strike waits for one: only then are requests to produce looked into.
func (s *strikes) lookingForPositions() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting != nil && s.waiting.at == undecided
}

// atCommit is the strike for a commit; k is empty for what is none.
func (s *strikes) atCommit(k transactionKey) *strike {
	if k == (transactionKey{}) {
		return nil
	}
	return s.take(committed, func(x *strike) bool { return strings.HasSuffix(k.id, x.suffix) })
}

// atPosition is the strike for a Produce request that carries a position.
func (s *strikes) atPosition(version int16, body []byte) *strike {
	req := kmsg.NewProduceRequest()
	req.SetVersion(version)
	if err := req.ReadFrom(body); err != nil || len(req.Topics) == 0 {
		return nil
	}
	return s.take(undecided, func(x *strike) bool {
		t := req.Topics[0]
		return t.Topic == x.topic || t.Topic == "" && t.TopicID == x.topicID
	})
}

// patience is how long a strike waits for somebody to come to its moment.
const patience = 15 * time.Second

// victim is the worker to do something to: one at random, or the first that comes to the moment. It is held there until release is called.
func (e *experiment) victim(ctx context.Context, at moment) (i int, when moment, release func(), err error) {
	if at != anytime {
		if i, release, err = e.lurk(ctx, at); err != nil || i >= 0 {
			return i, at, release, err
		}
		e.note("nobody came to the moment "+at.String(), 0)
	}
	return e.random.IntN(len(e.workers)), anytime, func() {}, nil
}

// lurk waits for a worker to come to the moment; i is -1 when none did.
func (e *experiment) lurk(ctx context.Context, at moment) (i int, release func(), err error) {
	x := &strike{at: at, suffix: e.plan.suffix, topic: e.kafka.checkpoints, victim: make(chan string, 1), release: make(chan struct{})}
	topics, err := e.kafka.admin.ListTopics(ctx, x.topic)
	if err != nil {
		return -1, nil, fmt.Errorf("ask for topic %s: %w", x.topic, err)
	}
	x.topicID = topics[x.topic].ID
	e.plan.brokers.strikes.arm(x)
	release = func() { close(x.release) }
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var id string
	select {
	case id = <-x.victim:
	case <-patient.Done():
		if e.plan.brokers.strikes.disarm(x) {
			return -1, release, ctx.Err()
		}
		id = <-x.victim
	}
	for i, w := range e.workers {
		if w.id == id {
			return i, release, nil
		}
	}
	release()
	return -1, func() {}, nil
}
