package kafka

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// openConns counts the connections that are open, by address, and how many were at most.
type openConns struct {
	dial       func(ctx context.Context, network, addr string) (net.Conn, error)
	mu         sync.Mutex
	open, most map[string]int
}

type countedConn struct {
	net.Conn
	once sync.Once
	of   *openConns
	addr string
}

func (o *openConns) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := o.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[addr]++
	o.most[addr] = max(o.most[addr], o.open[addr])
	return &countedConn{Conn: c, of: o, addr: addr}, nil
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.of.open[c.addr]--
	})
	return c.Conn.Close()
}

// Each shard has a client of its own in mode exactly-once. It must not take more than two connections to a broker at any time: one for
// rows, one for all else. The first broker is the only one that the configuration names, so the start of all clients is there.
func TestConnectionsPerShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTxStage(t, nil, kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094))
		defer s.cluster.Close()
		count := &openConns{dial: s.net.DialContext, open: map[string]int{}, most: map[string]int{}}
		p := s.process("one", kgo.Dialer(count.DialContext))
		defer p.Close()
		const shards = 20
		var authors []*author
		for i := range shards {
			authors = append(authors, s.open(p, fmt.Sprintf("shard-%d", i), ""))
		}
		for range 30 {
			pass(2 * time.Second)
			for _, a := range authors {
				a.must(a.write())
			}
			for _, a := range authors {
				a.must(a.Flush(t.Context()))
			}
		}
		count.mu.Lock()
		const shared = 4 // of the process: positions, checks
		if len(count.open) != 3 {
			t.Errorf("connections to %d brokers, want 3", len(count.open))
		}
		for addr, n := range count.most {
			if n > 2*shards+shared {
				t.Errorf("%d connections to %s at once for %d shards, want at most two each", n, addr, shards)
			}
			t.Logf("%d connections to %s for %d shards at the end, %d at most", count.open[addr], addr, shards, n)
		}
		count.mu.Unlock()
		for _, a := range authors {
			a.must(a.Close(t.Context()))
		}
	})
}
