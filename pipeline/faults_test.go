package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"dredge/sink/sinktest"
	"dredge/stream"
)

// The books balance and nothing is passed over, whatever the sink does and whenever the work is stopped. The test does what
// sources do: after an error it reads on from what was told or where the sink stands, with the same handler or a new one.
func TestBooksBalanceUnderFaults(t *testing.T) {
	made := map[string][]byte{} // payloads, because making them takes longer than the check
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(0, 1500), 1, 8).Draw(rt, "sizes")
		bad := rapid.SliceOfN(rapid.IntRange(0, 7), len(sizes), len(sizes)).Draw(rt, "bad")
		fencing := rapid.Bool().Draw(rt, "exactly once")
		faults := rapid.SliceOfN(rapid.IntRange(0, 6), 0, 6).Draw(rt, "faults")
		perChunk := rapid.IntRange(1, 4).Draw(rt, "payloads per chunk")
		keep := rapid.Bool().Draw(rt, "keep the handler")
		synctest.Test(t, func(t *testing.T) {
			checkUnderFaults(t, made, sizes, bad, faults, perChunk, fencing, keep)
		})
	})
}

// A payload whose last line fills a slice ends in the next one, without a row: the sink must hear of its end all the same, or it would
// never commit the parts before.
func TestPayloadThatEndsWithItsSlice(t *testing.T) {
	made := map[string][]byte{}
	for n := 700; n < 760; n++ { // 64 KiB of lines lie among these
		synctest.Test(t, func(t *testing.T) {
			checkUnderFaults(t, made, []int{n}, []int{1}, nil, 1, true, false)
		})
	}
}

func checkUnderFaults(t *testing.T, made map[string][]byte, sizes, bad, faults []int, perChunk int, fencing, keep bool) {
	t.Helper()
	r := newRig(t, func(c *Config, _ *Deps) { c.Slice = 64 * KiB })
	r.mem.Fencing, r.mem.Delay = fencing, 20*time.Millisecond
	var all []stream.Payload
	want := map[sinktest.RowID]bool{}
	for i, n := range sizes {
		for j := range n {
			want[sinktest.RowID{Partition: "shard-1", Position: pos(i + 1), Index: j}] = true
		}
		key := fmt.Sprint(n, bad[i] == 0)
		if made[key] == nil {
			lines := flowLines(0, n)
			if bad[i] == 0 {
				lines = append(lines, "rubbish")
			}
			made[key] = message("flows", lines...)
		}
		all = append(all, stream.Payload{Data: made[key], At: pos(i + 1), Arrived: time.Now()})
	}
	var h stream.Handler
	var told, from stream.Position
	for round := 0; told != all[len(all)-1].At; round++ {
		if round > 100 {
			t.Fatalf("told %q after %d rounds", told, round)
		}
		fault := -1
		if round < len(faults) {
			fault = faults[round]
		}
		if h == nil {
			var at stream.Position
			var err error
			if h, at, err = r.p.Open(t.Context(), "shard-1"); err != nil {
				t.Fatal(err)
			}
			from = max(told, at)
		}
		got := &progress{t: t}
		ctx, cancel := context.WithCancel(t.Context())
		var breaking sync.WaitGroup
		breaking.Go(func() {
			select {
			case <-time.After(time.Duration(fault*7) * time.Millisecond):
			case <-ctx.Done():
				return
			}
			switch fault {
			case 0, 1:
				r.mem.Rewind("shard-1")
			case 2:
				r.mem.Fence("shard-1")
			case 3:
				r.mem.Fail("shard-1", &stream.PermanentError{Err: errors.New("refused")})
			case 4:
				r.mem.Fail("shard-1", errors.New("broker away"))
			case 5:
				cancel()
			}
		})
		var broke error
		for broke == nil {
			i := slices.IndexFunc(all, func(p stream.Payload) bool { return p.At > from })
			if i < 0 {
				flushing, stop := context.WithTimeout(t.Context(), time.Second)
				broke = h.Flush(flushing)
				stop()
				break
			}
			c := stream.Chunk{Partition: "shard-1", Payloads: all[i:min(i+perChunk, len(all))]}
			c.Last = c.Payloads[len(c.Payloads)-1].At
			broke = h.Handle(ctx, c, got.tell)
			from = c.Last
			if fault >= 0 {
				<-time.After(3 * time.Millisecond) // as a reader takes its time
			}
			if err := r.p.Books().Snapshot().Check(); err != nil {
				t.Error(err)
			}
		}
		cancel()
		breaking.Wait()
		if _, permanent := errors.AsType[*stream.PermanentError](broke); !keep || permanent || errors.Is(broke, stream.ErrFenced) {
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
			h = nil
			r.atRest()
		}
		told = max(told, got.last())
		from = told
		if rewind, ok := errors.AsType[*stream.RewindError](broke); ok {
			from = max(told, rewind.To)
		}
	}
	if h != nil {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r.atRest()
	times := map[sinktest.RowID]int{}
	for _, s := range r.mem.All() {
		times[s.ID()]++
	}
	for id := range want {
		if times[id] == 0 {
			t.Errorf("row %s is lost", id)
		}
		if fencing && times[id] > 1 {
			t.Errorf("row %s is there %d times", id, times[id])
		}
	}
	if len(times) > len(want) {
		t.Errorf("%d rows of %d", len(times), len(want))
	}
}
