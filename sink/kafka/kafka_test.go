package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"dredge/sink"
	"dredge/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "flows_raw"

// stage is a broker in memory, the sink on it and what the sink gave to the dead letter. Inside a synctest bubble everything,
// the network too, runs on virtual time.
type stage struct {
	t       *testing.T
	net     *kfake.VirtualNetwork
	cluster *kfake.Cluster
	cfg     Config
	sink    *Sink
	reg     *prometheus.Registry
	letters *letters
	log     zerolog.Logger
}

// letters keeps what it is given.
type letters struct {
	sink.Discard
	all []sink.Letter
}

func (l *letters) Put(_ context.Context, x sink.Letter) error {
	x.Data = append([]byte(nil), x.Data...)
	l.all = append(l.all, x)
	return nil
}

func newCluster(t *testing.T, opts ...kfake.Opt) (*kfake.VirtualNetwork, *kfake.Cluster) {
	t.Helper()
	net := &kfake.VirtualNetwork{}
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.ListenFn(net.Listen)}, opts...)
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return net, cluster
}

func testConfig(cluster *kfake.Cluster) Config {
	cfg := DefaultConfig()
	cfg.Brokers = cluster.ListenAddrs()
	cfg.Topic = topic
	cfg.Partitions, cfg.Replication = 3, 1
	cfg.BufferBytes = 4 << 20
	return cfg
}

func newStage(t *testing.T, change func(*Config), opts ...kfake.Opt) *stage {
	t.Helper()
	net, cluster := newCluster(t, append([]kfake.Opt{kfake.SeedTopics(3, topic)}, opts...)...)
	cfg := testConfig(cluster)
	if change != nil {
		change(&cfg)
	}
	s := &stage{t: t, net: net, cluster: cluster, cfg: cfg, reg: prometheus.NewPedanticRegistry(), letters: &letters{}, log: zerolog.Nop()}
	k, err := New(cfg, Deps{
		Encoder: sinktest.Encoder{}, Minute: minuteEncoder(t), DeadLetter: s.letters, Registry: s.reg, Log: s.log,
		Options: []kgo.Opt{kgo.Dialer(net.DialContext)},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.sink = k
	return s
}

func (s *stage) close() {
	s.sink.Close()
	s.cluster.Close()
}

// read returns every record of name, partition by partition.
func (s *stage) read(name string) []*kgo.Record {
	s.t.Helper()
	opts, err := s.cfg.connection(s.log, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	want := int64(0)
	for _, p := range s.cluster.PartitionInfos(name) {
		want += p.HighWatermark
	}
	client, err := kgo.NewClient(append(opts, kgo.Dialer(s.net.DialContext), kgo.ConsumeTopics(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	byPartition := map[int32][]*kgo.Record{}
	for got := int64(0); got < want; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatalf("reading back: %v after %d of %d records", err, got, want)
		}
		for r := range fetches.RecordsAll() {
			byPartition[r.Partition] = append(byPartition[r.Partition], r)
			got++
		}
	}
	var all []*kgo.Record
	for p := range s.cluster.PartitionInfos(name) {
		all = append(all, byPartition[int32(p)]...)
	}
	return all
}

func (s *stage) durable(t *testing.T) []sinktest.RowID {
	t.Helper()
	var ids []sinktest.RowID
	for _, r := range s.read(topic) {
		id, err := sinktest.ParseRow(string(r.Value))
		if err != nil {
			t.Errorf("offset %d: %v", r.Offset, err)
		}
		ids = append(ids, id)
	}
	return ids
}

// fault is an error that the broker gives to every produce request until it is mended.
type fault struct{ h *kfake.FaultHandle }

func (f fault) Await(ctx context.Context) error { return f.h.Wait(ctx, 1) }
func (f fault) Mend()                           { f.h.Remove() }

func (s *stage) refuse(err *kerr.Error) fault {
	return fault{s.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1})}
}

// cut is a broker that takes produce requests and closes the connection on them.
type cut struct {
	met    chan struct{}
	mended chan struct{}
}

func (s *stage) cut() *cut {
	c := &cut{met: make(chan struct{}), mended: make(chan struct{})}
	s.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case <-c.mended:
			s.cluster.DropControl()
			return nil, nil, false
		default:
		}
		s.cluster.KeepControl()
		select {
		case <-c.met:
		default:
			close(c.met)
		}
		return nil, errors.New("connection cut"), true
	})
	return c
}

func (c *cut) Mend() { close(c.mended) }

func (c *cut) Await(ctx context.Context) error {
	select {
	case <-c.met:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestContract(t *testing.T) {
	harness := func(change func(*Config), fault func(*stage) sinktest.Fault) func(*testing.T) sinktest.Harness {
		return func(t *testing.T) sinktest.Harness {
			t.Helper()
			s := newStage(t, change)
			return sinktest.Harness{
				Sink:    s.sink,
				Durable: s.durable,
				Break:   func(*testing.T) sinktest.Fault { return fault(s) },
				Forbid:  func(*testing.T) { s.refuse(kerr.TopicAuthorizationFailed) },
				Close:   func(*testing.T) { s.close() },
			}
		}
	}
	notEnoughReplicas := func(s *stage) sinktest.Fault { return s.refuse(kerr.NotEnoughReplicas) }
	cut := func(s *stage) sinktest.Fault { return s.cut() }
	// The client gives these rows up, so the sink has to produce them again.
	corrupt := func(s *stage) sinktest.Fault { return s.refuse(kerr.CorruptMessage) }
	onePartition := func(c *Config) { c.PartitionBy = PartitionByNone }

	t.Run("NotEnoughReplicas", func(t *testing.T) {
		sinktest.Run(t, sinktest.Options{New: harness(nil, notEnoughReplicas), Virtual: true, Unordered: true})
	})
	t.Run("ConnectionCut", func(t *testing.T) {
		sinktest.Run(t, sinktest.Options{New: harness(nil, cut), Virtual: true, Unordered: true})
	})
	t.Run("GivenUpByTheClient", func(t *testing.T) {
		sinktest.Run(t, sinktest.Options{New: harness(onePartition, corrupt), Virtual: true, Unordered: true})
	})
}
