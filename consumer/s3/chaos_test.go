package s3

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/retry"
)

// mortal is a gatherer or worker that can be killed.
type mortal struct {
	kill  *killer
	ended chan struct{}
}

func (m *mortal) strike() {
	m.kill.end() // nothing that it still tries has any effect
	m.kill.die()
	<-m.ended
}

// Five minutes in which gatherers and workers are killed at random, in virtual time: no line is lost and none is committed twice. The same with
// real processes and SIGKILL: go run ./test/chaoss3.
func TestChaosExactlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Gather.MaxAge, c.Gather.MaxFiles = 5*time.Second, 8
			c.Work.Slots, c.Work.Visibility, c.Work.RetryDelay = 2, 15*time.Second, time.Second
		})
		s, c := newStore(), newCoordinator()
		random := rand.New(rand.NewPCG(7, 0))
		live := func(run func(k *killer, ctx context.Context) error) *mortal {
			ctx, die := context.WithCancel(t.Context())
			m := &mortal{kill: &killer{die: die}, ended: make(chan struct{})}
			go func() {
				defer close(m.ended)
				_ = run(m.kill, ctx) // a killed one may say anything
			}()
			return m
		}
		gather := func() *mortal {
			return live(func(k *killer, ctx context.Context) error { return r.gatherer(k).Run(ctx) })
		}
		work := func() *mortal {
			return live(func(k *killer, ctx context.Context) error {
				sink := newTxSink(c, k)
				sink.hold = func(ctx context.Context) error { return retry.Sleep(ctx, 700*time.Millisecond) }
				return r.exact(k, s, sink).Run(ctx)
			})
		}
		fleet := []*mortal{gather(), gather(), work(), work(), work()}
		start := []func() *mortal{gather, gather, work, work, work}
		var want []string
		kills := 0
		for second := range 300 {
			name := fmt.Sprintf("f%03d.parquet", second)
			data := flowParquetFrom(t, 10_000*second, 5000, 2000)
			lines, err := readAll(t, data)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, lines[1:]...)
			s.mu.Lock()
			s.files[name] = data
			s.mu.Unlock()
			for range 2 {
				r.announce(name, int64(len(data)))
			}
			<-time.After(time.Second - time.Duration(random.IntN(400))*time.Millisecond)
			if random.IntN(4) == 0 {
				i := random.IntN(len(fleet))
				fleet[i].strike()
				fleet[i] = start[i]()
				kills++
			}
		}
		r.wait(time.Hour, "all announcements taken", r.drained("announced"))
		r.wait(time.Hour, "all mouthfuls read", r.drained("mouthfuls"))
		for _, m := range fleet {
			m.kill.die()
			<-m.ended
		}
		retaken := 0
		for _, m := range r.mouthfuls() {
			if m.tries > 1 {
				retaken++
			}
		}
		t.Logf("%d kills; %d mouthfuls, %d of them claimed more than once", kills, len(r.mouthfuls()), retaken)
		if kills < 30 || retaken < 5 {
			t.Errorf("%d kills, %d mouthfuls claimed more than once: that proves little", kills, retaken)
		}
		slices.Sort(want)
		c.once(t, want)
	})
}
