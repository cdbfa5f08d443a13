package kinesis

import (
	"crypto/md5" //nolint:gosec // the format's checksum
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dredge/consumer/kinesis/kpl"
	"dredge/consumer/kinesis/lease"
	"dredge/stream"
)

// user returns n user records whose data is what was put as written.
func (b *bench) user(shard string, n int) []kpl.UserRecord {
	var out []kpl.UserRecord
	for range n {
		data := fmt.Sprintf("%s/%06d", shard, len(b.written))
		b.written = append(b.written, data)
		out = append(out, kpl.UserRecord{PartitionKey: fmt.Append(nil, "key", n), Data: []byte(data)})
	}
	return out
}

// sealed is an aggregate of body with a right checksum.
func sealed(body string) string {
	sum := md5.Sum([]byte(body)) //nolint:gosec // the format's checksum
	return "\xF3\x89\x9A\xC2" + body + string(sum[:])
}

func value(c prometheus.Counter) float64 { return testutil.ToFloat64(c) }

func (b *bench) lastSequence(shard string) string {
	b.kinesis.mu.Lock()
	defer b.kinesis.mu.Unlock()
	records := b.kinesis.shard(shard).records
	return *records[len(records)-1].SequenceNumber
}

// settleFirst makes the first n pending rows durable and reports them; the others stay pending.
func (f *fakeSink) settleFirst(n int) {
	f.mu.Lock()
	h := f.handlers[len(f.handlers)-1]
	rows := h.pending[:n]
	h.pending = h.pending[n:]
	for _, r := range rows {
		f.durable = append(f.durable, r.data)
	}
	f.mu.Unlock()
	for _, r := range rows {
		r.progress(r.at, nil)
	}
}

func TestAggregatesAreTakenApart(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.write(shardID(0), 2)
		b.kinesis.put(shardID(0), string(kpl.Append(nil, b.user(shardID(0), 5)...)))
		b.write(shardID(0), 2)
		b.kinesis.put(shardID(0), string(kpl.Append(nil, b.user(shardID(0), 3)...)))
		w := b.start("dredge-a")
		b.wantAll(5 * time.Second)
		if got := b.sink.of(shardID(0)); !slices.Equal(got, b.written) {
			t.Errorf("order %q", got)
		}
		if n, u := w.metric("aggregated_records_total"), w.metric("user_records_total"); n != 2 || u != 8 {
			t.Errorf("%v aggregates of %v user records counted", n, u)
		}
		w.stop()
		if c, want := b.lease(shardID(0)).Checkpoint, (lease.Checkpoint{Sequence: b.lastSequence(shardID(0)), Sub: 2}); c != want {
			t.Errorf("checkpoint %s, want %s", c, want)
		}
	})
}

// A worker dies when a part of an aggregate is durable: the row says which in the two attributes of Java's, and the next worker
// goes on in the middle.
func TestHandOverInTheMiddleOfAnAggregate(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.sink.refuse(true)
		a := b.start("dredge-a")
		b.kinesis.put(shardID(0), string(kpl.Append(nil, b.user(shardID(0), 8)...)))
		b.await("in flight", 5*time.Second, func() bool { return b.sink.chunks() == 1 })
		b.sink.settleFirst(3)
		want := lease.Checkpoint{Sequence: b.lastSequence(shardID(0)), Sub: 2}
		b.await("checkpoint in the middle", 5*time.Second, func() bool { return b.lease(shardID(0)).Checkpoint == want })
		a.kill()
		b.sink.refuse(false)
		b.start("dredge-b")
		b.wantAll(3 * b.cfg.FailoverTime)
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
	})
}

// What Java workers and earlier versions of ours leave behind for a whole aggregate.
func TestStartBehindAnAggregate(t *testing.T) {
	for _, sub := range []int64{4, wholeRecord, 1<<63 - 1} {
		inBubble(t, 1, func(b *bench) {
			b.kinesis.put(shardID(0), string(kpl.Append(nil, b.user(shardID(0), 5)...)))
			b.written = nil
			at := lease.Checkpoint{Sequence: b.lastSequence(shardID(0)), Sub: sub}
			if _, err := b.store.Create(t.Context(), lease.Lease{Key: shardID(0), Checkpoint: at}); err != nil {
				t.Fatal(err)
			}
			w := b.start("dredge-a")
			b.advance(5 * time.Second)
			b.write(shardID(0), 3)
			b.wantAll(5 * time.Second)
			if n := w.metric("user_records_total"); n != 5 {
				t.Errorf("after %s the aggregate was not read: %v user records", at, n)
			}
		})
	}
}

func TestBrokenAggregatesArePassedWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		data string
		sub  int64 // of the position behind it
	}{
		"checksum":  {"\xF3\x89\x9A\xC2" + strings.Repeat("x", 40), 0},
		"malformed": {sealed("\x1a\x02\x08\x00"), wholeRecord}, // a record without data
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(b *bench) {
				data := tt.data
				b.written = []string{data}
				b.kinesis.put(shardID(0), data)
				w := b.start("dredge-a")
				b.wantAll(5 * time.Second)
				if n := w.metric("broken_aggregates_total"); n != 1 {
					t.Errorf("%v broken aggregates counted", n)
				}
				w.stop()
				if c, want := b.lease(shardID(0)).Checkpoint, (lease.Checkpoint{Sequence: b.lastSequence(shardID(0)), Sub: tt.sub}); c != want {
					t.Errorf("checkpoint %s, want %s", c, want)
				}
				b.start("dredge-b")
				b.advance(5 * time.Second)
				if _, repeats := b.sink.got(); repeats != 0 {
					t.Error("it was delivered again")
				}
			})
		})
	}
}

// After a reshard an aggregate may hold records of another shard.
func TestOutOfRange(t *testing.T) {
	upper := new(big.Int).Lsh(big.NewInt(1), 127) // the first key of the second of two shards
	in, out := []byte("5"), []byte(upper.String())
	for policy, tt := range map[string]struct {
		want          []string
		kept, dropped float64
	}{
		OutOfRangeKeep:          {[]string{"a", "b", "c", "d"}, 1, 0},
		OutOfRangeDropRecord:    {[]string{"a", "c", "d"}, 0, 1},
		OutOfRangeDropAggregate: {[]string{"d"}, 0, 3},
	} {
		t.Run(policy, func(t *testing.T) {
			inBubble(t, 2, func(b *bench) {
				b.cfg.KPLOutOfRange = policy
				b.kinesis.put(shardID(0), string(kpl.Append(nil,
					kpl.UserRecord{PartitionKey: []byte("k"), ExplicitHashKey: in, Data: []byte("a")},
					kpl.UserRecord{PartitionKey: []byte("k"), ExplicitHashKey: out, Data: []byte("b")},
					kpl.UserRecord{PartitionKey: []byte("k"), ExplicitHashKey: in, Data: []byte("c")})),
					"d")
				b.written = tt.want
				w := b.start("dredge-a")
				b.wantAll(5 * time.Second)
				if k, d := w.m.outOfRange[outOfRangeKept], w.m.outOfRange[outOfRangeDropped]; value(k) != tt.kept || value(d) != tt.dropped {
					t.Errorf("kept %v and dropped %v out of range", value(k), value(d))
				}
			})
		})
	}
}

// A shard of which everything is dropped is checkpointed all the same.
func TestDroppedRecordsAreDoneWith(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.cfg.KPLOutOfRange = OutOfRangeDropRecord
		w := b.start("dredge-a")
		b.advance(5 * time.Second)
		b.kinesis.put(shardID(1), string(kpl.Append(nil, kpl.UserRecord{PartitionKey: []byte("k"), ExplicitHashKey: []byte("5"), Data: []byte("a")})))
		seq := b.lastSequence(shardID(1))
		b.await("checkpoint", 10*time.Second, func() bool { return b.lease(shardID(1)).Checkpoint.Sequence == seq })
		if n := value(w.m.outOfRange[outOfRangeDropped]); n != 1 {
			t.Errorf("%v dropped", n)
		}
	})
}

// Very many small records come in chunks of bounded size, and the position is right in the middle of the aggregate.
func TestLargeAggregateComesInChunks(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.kinesis.put(shardID(0), string(kpl.Append(nil, b.user(shardID(0), 2*chunkPayloads+500)...)))
		w := b.start("dredge-a")
		b.wantAll(5 * time.Second)
		if n := b.sink.chunks(); n != 3 {
			t.Errorf("%d chunks, want 3", n)
		}
		w.stop()
		if c := b.lease(shardID(0)).Checkpoint; c.Sub != 2*chunkPayloads+499 {
			t.Errorf("checkpoint %s", c)
		}
	})
}

// A plain record costs nothing but its place in the slice of payloads, which is kept.
func TestExpandAllocatesNothing(t *testing.T) {
	e := &expander{m: newMetrics(prometheus.NewRegistry()), last: lease.Checkpoint{Sequence: "99"}}
	now := time.Now()
	records := make([]types.Record, 1000)
	for i := range records {
		records[i] = types.Record{Data: []byte("data"), SequenceNumber: aws.String(strconv.Itoa(100 + i)), ApproximateArrivalTimestamp: &now}
	}
	got := 0
	hand := func(p []stream.Payload, _ lease.Checkpoint) error {
		got += len(p)
		return nil
	}
	n := testing.AllocsPerRun(10, func() {
		e.last = lease.Checkpoint{Sequence: "99"}
		if _, err := e.expand(records, hand); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 || got == 0 {
		t.Errorf("%v allocations for %d records", n, got)
	}
}

// The sink rewinds into an aggregate.
func TestRewindIntoAnAggregate(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.sink.refuse(true)
		b.start("dredge-a")
		b.kinesis.put(shardID(0), string(kpl.Append(nil, b.user(shardID(0), 8)...)))
		b.await("in flight", 5*time.Second, func() bool { return b.sink.chunks() == 1 })
		b.sink.settleFirst(5)
		b.sink.fail(errors.New("connection lost"))
		b.sink.refuse(false)
		b.wantAll(5 * time.Second)
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
	})
}
