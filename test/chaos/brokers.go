package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// brokers is a real Kafka cluster on this machine, with a proxy before each broker for the workers.
type brokers struct {
	state   string
	count   int
	env     []string
	faults  *commitFaults
	strikes *strikes
	proxies []*proxy
	serving errgroup.Group
	// direct are the brokers' own addresses, proxied those that the workers are given.
	direct, proxied []string
	client          *kgo.Client
}

// startBrokers starts n nodes; state is where their data and logs are.
func startBrokers(ctx context.Context, n int, state string) (*brokers, error) {
	b := &brokers{state: state, count: n, faults: &commitFaults{gone: map[transactionKey]bool{}}, strikes: &strikes{}}
	var ports []string
	for i := range n {
		p, port, err := newProxy(ctx, b.faults, b.strikes, filepath.Join(state, fmt.Sprintf("kafka.%d.proxied", i+1)))
		if err != nil {
			return nil, errors.Join(err, b.stop())
		}
		b.proxies = append(b.proxies, p)
		b.serving.Go(p.run)
		ports = append(ports, strconv.Itoa(port))
		b.proxied = append(b.proxied, "127.0.0.1:"+ports[i])
	}
	b.env = append(os.Environ(), "DREDGE_STACK_STATE="+state, "DREDGE_KAFKA_BROKERS="+strconv.Itoa(n), "DREDGE_KAFKA_PROXIES="+strings.Join(ports, " "))
	out, err := b.script(ctx, "start")
	if err != nil {
		return nil, errors.Join(err, b.stop())
	}
	lines := strings.Fields(out)
	b.direct = strings.Split(lines[len(lines)-1], ",")
	b.client, err = kgo.NewClient(kgo.SeedBrokers(b.direct...))
	if err != nil {
		return nil, errors.Join(err, b.stop())
	}
	return b, nil
}

func (b *brokers) script(ctx context.Context, args ...string) (string, error) {
	return script(ctx, b.env, "test/stack/kafka.sh", args...)
}

// script runs a script that starts servers, and returns what it prints.
func script(ctx context.Context, env []string, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = env
	cmd.WaitDelay = time.Second // its servers inherit nothing that is waited for
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", path, strings.Join(args, " "), err, errs.String())
	}
	return string(out), nil
}

func (b *brokers) kill(ctx context.Context, node int) error {
	_, err := b.script(ctx, "kill", strconv.Itoa(node))
	return err
}

func (b *brokers) revive(ctx context.Context, node int) error {
	_, err := b.script(ctx, "revive", strconv.Itoa(node))
	return err
}

// awaitReplicas waits until every partition has all its replicas in sync, or ctx is over.
func (b *brokers) awaitReplicas(ctx context.Context) error {
	admin := kadm.NewClient(b.client)
	for {
		topics, err := admin.ListTopicsWithInternal(ctx) // __transaction_state too
		behind := 0
		topics.EachPartition(func(p kadm.PartitionDetail) {
			if len(p.ISR) < len(p.Replicas) || p.Err != nil {
				behind++
			}
		})
		if err == nil && behind == 0 {
			return nil
		}
		if err := wait(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

// stop ends what startBrokers started.
func (b *brokers) stop() error {
	if b.client != nil {
		b.client.Close()
	}
	_, err := b.script(context.Background(), "stop")
	for _, p := range b.proxies {
		err = errors.Join(err, p.listener.Close())
	}
	return errors.Join(err, b.serving.Wait())
}
