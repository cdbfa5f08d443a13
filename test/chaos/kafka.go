package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"golang.org/x/sync/errgroup"
)

// transactionTimeout is the workers': how long what a dead one left open holds readers back when nobody takes its shard over.
const transactionTimeout = 30 * time.Second

// kafkaOutcome is what a run with Kafka found beside the count of rows.
type kafkaOutcome struct {
	BrokerKills                int
	LostRequests, LostAnswers  int // commits
	Foreign                    int // transactions of somebody else in the checkpoints topic
	Committed, Aborted         int // transactions, as their ends stand in the topic
	Unknown, Fenced            float64
	TakeOvers                  float64
	TakeOver, Commit, CommitP5 float64 // seconds, upper bounds: p99 of take-overs and commits, median of commits
	Resident                   float64 // bytes: the largest that a worker was
	Connections                int64   // to one broker, of all workers: the most at once
	Steady                     int64   // when the last line was put
	Hanging                    int64   // records behind a transaction that nobody ends
}

// kafkaSide is one run's topics and who reads them.
type kafkaSide struct {
	plan        plan
	topic       string
	minute      string // empty without Druid
	checkpoints string
	config      string
	admin       *kadm.Client
	reader      *reader
	foreign     *foreign
	scraper     *scraper
	beside      errgroup.Group
	begun       kafkaOutcome // what the brokers' faults had counted before this run
	kills       int
	visits      int
	steady      int64 // connections to one broker when the last line was put
}

func newKafkaSide(p plan, l *ledger) (*kafkaSide, error) {
	name := filepath.Base(p.binary)
	k := &kafkaSide{
		plan: p, admin: kadm.NewClient(p.brokers.client), topic: name + "-rows", checkpoints: name + "-checkpoints", config: filepath.Join(p.logs, name+".yaml"),
		scraper: &scraper{last: map[string]map[string]float64{}},
	}
	k.begun.LostRequests, k.begun.LostAnswers = p.brokers.faults.requests, p.brokers.faults.answers
	minute, more := "", ""
	if p.druid != nil {
		k.minute = name + "-minutes"
		minute, more = "\n    minute_topic: "+k.minute, p.druid.config(tablesOf(p))
	}
	yaml := fmt.Sprintf(`sink:
  type: kafka
  kafka:
    mode: %s
    brokers: [%q]
    topic: %s%s
    create_topic: true
    partitions: %d
    replication: %d
    exactly_once: {checkpoints_topic: %s, transaction_timeout: %s}
%s`, p.mode, strings.Join(p.brokers.proxied, `", "`), k.topic, minute, p.partitions, min(3, p.brokers.count), k.checkpoints, transactionTimeout, more)
	yaml = strings.ReplaceAll(yaml, `\"`, `"`)
	if err := os.WriteFile(k.config, []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	var err error
	if k.reader, err = newReader(p.brokers.direct, k.topic, l); err != nil {
		return nil, err
	}
	k.foreign, err = newForeign(p.brokers.direct, k.checkpoints)
	return k, err
}

// begin counts rows and looks at the workers' metrics until ctx ends.
func (k *kafkaSide) begin(ctx context.Context, e *experiment) {
	k.beside.Go(func() error { return k.reader.run(ctx) })
	k.beside.Go(func() error {
		for wait(ctx, time.Second) == nil {
			k.scraper.look(ctx, e.all())
		}
		return nil
	})
}

// end stops counting, when everything that was committed was read.
func (k *kafkaSide) end(ctx context.Context, stop context.CancelFunc) (o kafkaOutcome, err error) {
	if o.Hanging, err = hanging(ctx, k.plan.brokers.client, k.topic); err != nil {
		return o, err
	}
	stop()
	if err := k.beside.Wait(); err != nil {
		return o, err
	}
	f := k.plan.brokers.faults
	f.mu.Lock()
	o.LostRequests, o.LostAnswers = f.requests-k.begun.LostRequests, f.answers-k.begun.LostAnswers
	f.mu.Unlock()
	o.BrokerKills, o.Foreign, o.Steady = k.kills, k.visits, k.steady
	o.Committed, o.Aborted = k.reader.transactions()
	o.Unknown = k.scraper.sum(`dredge_sink_kafka_transactions_total{outcome="unknown"}`)
	o.Fenced = k.scraper.sum("dredge_sink_kafka_fenced_producers_total")
	o.TakeOver, o.TakeOvers = k.scraper.quantile("dredge_sink_kafka_takeover_seconds", 0.99)
	o.Commit, _ = k.scraper.quantile("dredge_sink_kafka_commit_seconds", 0.99)
	o.Resident = k.scraper.most
	for _, p := range k.plan.brokers.proxies {
		o.Connections = max(o.Connections, p.most.Load())
	}
	o.CommitP5, _ = k.scraper.quantile("dredge_sink_kafka_commit_seconds", 0.5)
	return o, nil
}

func (k *kafkaSide) close() {
	k.reader.client.Close()
	k.foreign.client.Close()
}

// spread calls act n times, evenly over the duration.
func (e *experiment) spread(ctx context.Context, n int, act func(i int) error) error {
	for i := range n {
		if err := wait(ctx, time.Until(e.begin.Add(e.plan.duration*time.Duration(i+1)/time.Duration(n+1)))); err != nil {
			return err
		}
		if err := act(i); err != nil {
			return err
		}
	}
	return nil
}

// disturbBrokers kills brokers, one at a time, and starts each again on its data.
func (e *experiment) disturbBrokers(ctx context.Context) error {
	b, random := e.plan.brokers, rand.New(rand.NewPCG(e.plan.seed, 1))
	return e.spread(ctx, e.plan.brokerKills, func(int) error {
		node := 1 + random.IntN(b.count)
		if err := b.kill(ctx, node); err != nil {
			return err
		}
		e.kafka.kills++
		e.note(fmt.Sprintf("kill -9 broker %d", node), 0)
		if err := wait(ctx, time.Duration(8+random.IntN(8))*time.Second); err != nil {
			return err
		}
		if err := b.revive(ctx, node); err != nil {
			return err
		}
		inSync, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := b.awaitReplicas(inSync); err != nil && ctx.Err() == nil {
			e.note(fmt.Sprintf("broker %d is back, but replicas are behind for a minute", node), 0)
			return nil
		}
		e.note(fmt.Sprintf("broker %d is back and in sync", node), 0)
		return ctx.Err()
	})
}

// loseCommits loses requests to commit and answers to them, in turn.
func (e *experiment) loseCommits(ctx context.Context) error {
	return e.spread(ctx, e.plan.lostCommits, func(i int) error {
		what, name := loseAnswer, "the answer to a commit is lost"
		if i%2 == 1 {
			what, name = loseRequest, "a request to commit is lost"
		}
		e.plan.brokers.faults.arm(what)
		e.note(name, 0)
		return nil
	})
}

// visits opens foreign transactions in the checkpoints topic, each for a while. One that stays for the whole run comes as soon as
// every shard has committed something: what is behind it is what matters.
func (e *experiment) visits(ctx context.Context) error {
	if e.plan.visits == 0 || e.plan.stay < e.plan.duration {
		return e.spread(ctx, e.plan.visits, func(int) error { return e.visit(ctx) })
	}
	for n := 0; n < 2*e.plan.shards && time.Since(e.begin) < e.plan.duration/2; n, _ = e.kafka.reader.transactions() {
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return e.visit(ctx)
}

// visit opens a foreign transaction in every partition of the checkpoints topic, and ends it after the plan's time.
func (e *experiment) visit(ctx context.Context) error {
	opening, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := e.kafka.foreign.begin(opening)
	if err == nil {
		e.kafka.visits++
		e.note("a foreign transaction in every partition of the checkpoints topic", 0)
		err = wait(ctx, min(e.plan.stay, time.Until(e.begin.Add(e.plan.duration))))
	}
	ending, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if fault := e.kafka.foreign.end(ending); fault != nil || err != nil {
		// A broker was killed under it. Its transaction is ended by its time-out.
		e.note("the foreign transaction failed", 0)
		e.kafka.foreign.client.Close()
		var again error
		e.kafka.foreign, again = newForeign(e.plan.brokers.direct, e.kafka.checkpoints)
		return errors.Join(again, ctx.Err())
	}
	return nil
}
