package kinesis

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/consumer/kinesis/lease"
)

// twoStreams makes the application read "flows" and "more", each through its own client.
func (b *bench) twoStreams() (flows, more *fakeKinesis) {
	flows, more = b.kinesis, newFakeKinesis(2)
	more.seq = 5000
	more.created = flows.created.Add(time.Hour)
	b.cfg.StreamName = ""
	b.cfg.Streams = []StreamConfig{
		{StreamName: "flows"},
		{StreamName: "more", RoleARN: "arn:aws:iam::210987654321:role/reader", InitialPosition: lease.Latest},
	}
	b.streamAPI = func(c StreamConfig) (API, error) {
		switch {
		case c.StreamName == "flows" && c.RoleARN == "":
			return flows, nil
		case c.StreamName == "more" && c.RoleARN != "":
			return more, nil
		}
		return nil, errors.New("no such stream")
	}
	return flows, more
}

// Two streams in one application, one of them behind a role: rows as in KCL's multi-stream mode, a position to start at for each, and reshards of
// one that know their own kin.
func TestTwoStreams(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		flows, more := b.twoStreams()
		b.write(shardID(0), 5)
		more.put(shardID(0), "older than LATEST")
		b.advance(time.Second)
		b.start("dredge-a")
		b.start("dredge-b")
		b.await("4 leases, 2 each", time.Minute, func() bool { least, most := b.spread(); return len(b.leases()) == 4 && least == 2 && most == 2 })
		put := func(shard string, data ...string) {
			b.written = append(b.written, data...)
			more.put(shard, data...)
		}
		put(shardID(0), "m0", "m1")
		put(shardID(1), "m2")
		b.wantAll(10 * time.Second)

		prefix := "123456789012:more:" // the fake's account
		for _, l := range b.leases() {
			if !strings.HasPrefix(l.Key, "123456789012:") || !strings.HasSuffix(l.Key, ":"+l.ShardID) || l.Key != l.StreamName+":"+l.ShardID {
				b.Errorf("row %+v", l)
			}
			if strings.HasPrefix(l.Key, prefix) && l.StartedAt.IsZero() || !strings.HasPrefix(l.Key, prefix) && !l.StartedAt.IsZero() {
				b.Errorf("%s: startedAt = %v", l.Key, l.StartedAt)
			}
		}
		// Both streams have a shard of the same name; only one of them splits.
		x, y := more.split(shardID(0))
		put(x, "x0")
		put(y, "y0")
		b.write(shardID(0), 5)
		b.wantAll(20 * time.Second)
		var parents []string
		for _, l := range b.leases() {
			parents = append(parents, l.Parents...)
		}
		if !slices.Equal(parents, []string{shardID(0), shardID(0)}) {
			b.Errorf("parents in the rows are %q, want raw shard ids", parents)
		}
		b.await("the parent's row is cleaned up", 5*b.cfg.ShardSyncInterval, func() bool { return len(b.leases()) == 5 })
		if n := flows.count("DescribeStreamSummary"); n != 2 {
			b.Errorf("%d descriptions of a stream, want one per worker", n)
		}
	})
}

// A stream that can't be reached keeps no other from being read, and its leases stay with who can.
func TestOneStreamIsOutOfReach(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		_, more := b.twoStreams()
		more.fail = func(string, string) error { return &types.AccessDeniedException{} }
		w := b.start("dredge-a")
		b.write(shardID(0), 5)
		b.wantAll(10 * time.Second)
		if n := w.metric("shard_sync_errors_total"); n == 0 {
			b.Error("nothing tells of the stream that can't be read")
		}
		more.mu.Lock()
		more.fail = nil
		more.mu.Unlock()
		b.await("its leases are made", 2*b.cfg.ShardSyncInterval, func() bool { return len(b.leases()) == 4 })
		b.advance(5 * time.Second)
		b.written = append(b.written, "m")
		more.put(shardID(1), "m")
		b.wantAll(10 * time.Second)
	})
}

// Rows of streams that are not, or no longer, this application's are left alone and counted; so are those of the single-stream mode.
func TestLeasesOfOtherStreams(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.twoStreams()
		for _, l := range []lease.Lease{
			{Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}},
			{Key: "1:gone:7:" + shardID(0), StreamName: "1:gone:7", ShardID: shardID(0), Checkpoint: lease.Checkpoint{Sequence: "7"}},
		} {
			if _, err := b.store.Create(b.Context(), l); err != nil {
				b.Fatal(err)
			}
		}
		w := b.start("dredge-a")
		b.advance(5 * time.Minute)
		if n := w.metric("leases_of_other_streams"); n != 2 {
			b.Errorf("%v leases of other streams counted, want 2", n)
		}
		if n := b.owned(); n[""] != 2 || n[w.id] != 4 {
			b.Errorf("owned: %v, want 4, and 2 left alone:\n%s", n, b.dump())
		}
	})
}

// A stream that was deleted and made again under its name starts anew: the keys of its leases are others.
func TestStreamMadeAgain(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.cfg.Streams, b.cfg.StreamName = []StreamConfig{{StreamName: "flows"}}, ""
		w := b.start("dredge-a")
		b.write(shardID(0), 50)
		b.wantAll(10 * time.Second)
		w.stop()
		again := newFakeKinesis(1) // its sequence numbers begin anew, below the old checkpoint
		again.created = b.kinesis.created.Add(24 * time.Hour)
		b.kinesis, b.api = again, again
		b.start("dredge-b")
		b.write(shardID(0), 5)
		b.wantAll(10 * time.Second)
	})
}

func TestStreamsInConfig(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := testConfig()
		cfg.StreamName = ""
		cfg.Streams = []StreamConfig{{StreamName: "a"}, {StreamARN: "arn:aws:kinesis:eu-west-1:123456789012:stream/b"}}
		change(&cfg)
		err := cfg.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Validate = %v, want %q in it", err, want)
		}
	}
	f("", func(*Config) {})
	f("stream_name: \"x\" is given beside streams", func(c *Config) { c.StreamName = "x" })
	f("role_arn", func(c *Config) { c.RoleARN = "x" })
	f("streams[1].stream_arn", func(c *Config) { c.Streams[1].StreamName = "b" })
	f("streams[0].stream_name", func(c *Config) { c.Streams[0] = StreamConfig{} })
	f("streams[1]: \"a\" stands at streams[0]", func(c *Config) { c.Streams[1] = c.Streams[0] })
	f("streams[0].initial_timestamp", func(c *Config) { c.Streams[0].InitialPosition = lease.AtTimestamp })
	f("streams[0].initial_position", func(c *Config) { c.Streams[0].InitialPosition = "NOW" })
}
