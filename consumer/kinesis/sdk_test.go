package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// overSDK runs test with real SDK clients over a fake AWS that holds AWS's limits and delays.
func overSDK(t *testing.T, shards int, test func(*bench, *awsfake.Server)) {
	inBubble(t, shards, func(b *bench) {
		server := awsfaketest.NewServer(b.T, awsfake.Config{
			Limits: awsfake.AllLimits(), ReshardDelay: 2 * time.Second, TableDelay: 3 * time.Second, ReadLag: 500 * time.Millisecond,
		})
		if err := server.Kinesis().CreateStream(b.cfg.StreamName, shards); err != nil {
			t.Fatal(err)
		}
		store, err := lease.NewDynamoDB(b.cfg.Table(), awsfaketest.DynamoDB(server, func(o *dynamodb.Options) { o.RetryMaxAttempts = 2 }))
		if err != nil {
			t.Fatal(err)
		}
		b.store, b.fleet = store, store
		b.api = awsfaketest.Kinesis(server, func(o *kinesis.Options) { o.RetryMaxAttempts = 2 })
		test(b, server)
		for _, r := range b.running {
			r.stop()
		}
	})
}

// putKeys writes n records under each of 20 partition keys.
func (b *bench) putKeys(server *awsfake.Server, n int) {
	b.Helper()
	for range n {
		for key := range 20 {
			data := fmt.Sprintf("key%02d/%08d", key, len(b.written))
			if _, _, err := server.Kinesis().Put(b.cfg.StreamName, fmt.Sprintf("key%02d", key), []byte(data)); err != nil {
				b.Fatal(err)
			}
			b.written = append(b.written, data)
		}
	}
}

func openShards(server *awsfake.Server, stream string) []awsfake.Shard {
	return slices.DeleteFunc(server.Kinesis().Shards(stream), func(s awsfake.Shard) bool { return !s.Closed.IsZero() })
}

// Split, merge and crash with the SDK in between, and AWS failing now and then: nothing is lost.
func TestSDKSplitMergeKill(t *testing.T) {
	overSDK(t, 2, func(b *bench, server *awsfake.Server) {
		for _, f := range []awsfake.Fault{
			{Op: "UpdateItem", Kind: awsfake.LostReply, Probability: 0.05, Seed: 1},
			{Op: "UpdateItem", Kind: awsfake.Throttle, Probability: 0.05, Seed: 2},
			{Op: "PutItem", Kind: awsfake.LostReply, Probability: 0.2, Seed: 3},
			{Op: "GetItem", Kind: awsfake.InternalError, Probability: 0.1, Seed: 4},
			{Op: "Scan", Kind: awsfake.InternalError, Probability: 0.1, Seed: 5},
			{Op: "GetRecords", Kind: awsfake.Throttle, Probability: 0.1, Seed: 6},
			{Op: "GetRecords", Kind: awsfake.TruncatedReply, Probability: 0.05, Seed: 7},
			{Op: "GetRecords", Kind: awsfake.ExpiredIterator, Probability: 0.05, Seed: 8},
			{Op: "ListShards", Kind: awsfake.Unavailable, Probability: 0.2, Seed: 9},
		} {
			server.Inject(f)
		}
		stream := b.cfg.StreamName
		a := b.start("dredge-a")
		b.start("dredge-b")
		b.putKeys(server, 5)
		b.wantAll(time.Minute)

		open := openShards(server, stream)
		if err := server.Kinesis().Split(stream, open[0].ID); err != nil {
			t.Fatal(err)
		}
		b.putKeys(server, 5)
		b.advance(3 * time.Second)
		b.putKeys(server, 5)
		a.kill()
		b.putKeys(server, 5)
		b.start("dredge-c")
		b.wantAll(6 * b.cfg.FailoverTime) // one in five calls fails: the expiry is seen late, and the children wait for their parent

		open = openShards(server, stream)
		slices.SortFunc(open, func(x, y awsfake.Shard) int {
			if len(x.StartingHashKey) != len(y.StartingHashKey) {
				return len(x.StartingHashKey) - len(y.StartingHashKey)
			}
			return strings.Compare(x.StartingHashKey, y.StartingHashKey)
		})
		if err := server.Kinesis().Merge(stream, open[0].ID, open[1].ID); err != nil {
			t.Fatal(err)
		}
		b.putKeys(server, 5)
		b.advance(3 * time.Second)
		b.putKeys(server, 5)
		b.wantAll(time.Minute)
		server.ClearFaults()
		b.await("leases of finished shards are deleted", 10*b.cfg.ShardSyncInterval, func() bool {
			return len(b.leases()) == len(openShards(server, stream))
		})
	})
}

// With nothing going wrong, reshards keep the records of each key in order and deliver each once.
func TestSDKReshardKeepsOrder(t *testing.T) {
	overSDK(t, 3, func(b *bench, server *awsfake.Server) {
		b.start("dredge-a")
		b.start("dredge-b")
		for _, n := range []int{5, 2, 4} {
			b.putKeys(server, 5)
			if err := server.Kinesis().Reshard(b.cfg.StreamName, n); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				b.putKeys(server, 1)
				b.advance(time.Second)
			}
		}
		b.wantAll(time.Minute)
		last := map[string]string{}
		for _, d := range b.sink.durable {
			key, n, _ := strings.Cut(d, "/")
			if n <= last[key] {
				t.Fatalf("record %s of %s was durable after %s", n, key, last[key])
			}
			last[key] = n
		}
	})
}

// What the lease table costs: 18 to 20 renewals a minute and lease, which carry the checkpoints, and one scan per worker for each
// take interval, which serves the comparison of shards too.
func TestSDKCost(t *testing.T) {
	const leases, workers, minutes = 4, 2, 2
	overSDK(t, leases, func(b *bench, server *awsfake.Server) {
		b.start("dredge-a")
		b.start("dredge-b")
		b.advance(5 * time.Second) // the table is being made
		b.await("balance", time.Minute, func() bool { n := b.owned(); return n["dredge-a"] == 2 && n["dredge-b"] == 2 })
		b.advance(30 * time.Second)
		server.ResetCounts()
		for range minutes * 60 {
			b.putKeys(server, 1)
			b.advance(time.Second)
		}
		n := server.Counts()
		perLease := float64(n["UpdateItem"]) / leases / minutes
		if perLease < 17 || perLease > 20 { // 60 s / 3.308 s, jittered by up to a tenth
			t.Errorf("%.1f writes per lease and minute, want 18 to 20", perLease)
		}
		perWorker := float64(n["Scan"]) / workers / minutes
		if perWorker < 12 || perWorker > 13 {
			t.Errorf("%.1f scans per worker and minute, want 12 to 13", perWorker)
		}
		for op, most := range map[string]int{"PutItem": 0, "DeleteItem": 0, "GetItem": 2 * workers * minutes /* the state of the migration */, "ListShards": workers * (minutes + 1), "GetShardIterator": 0} {
			if n[op] > most {
				t.Errorf("%d %s requests, want at most %d", n[op], op, most)
			}
		}
		b.wantAll(10 * time.Second)
	})
}

// What an idle shard costs: with the defaults at most 60 GetRecords a minute, and nothing else of Kinesis but the list of shards.
func TestSDKCostOfIdleShards(t *testing.T) {
	const shards, minutes = 3, 10
	overSDK(t, shards, func(b *bench, server *awsfake.Server) {
		b.start("dredge-a")
		b.advance(5 * time.Second) // the table is being made
		b.await("all held", time.Minute, func() bool { return b.owned()["dredge-a"] == shards })
		b.putKeys(server, 1)
		b.wantAll(10 * time.Second)
		b.advance(10 * time.Second)
		server.ResetCounts()
		b.advance(minutes * time.Minute)
		n := server.Counts()
		if reads := n["GetRecords"]; reads > 60*shards*minutes+shards || reads < 50*shards*minutes { // one may stand at each end of the stretch
			t.Errorf("%.1f GetRecords per idle shard and minute, want at most 60", float64(reads)/shards/minutes)
		}
		if n["GetShardIterator"] > 0 || n["ListShards"] > minutes+1 {
			t.Errorf("%d GetShardIterator and %d ListShards in %d minutes, want none and one a minute", n["GetShardIterator"], n["ListShards"], minutes)
		}
	})
}
