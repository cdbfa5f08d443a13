package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// TestA1OneServicePerRegion: two regions have each a stream and an application of the same names and two workers with the same ids. Their leases are
// disjoint, each region's records arrive in its own service only, and what befalls one region, a reshard and the death of its table's
// service, is not noticed in the other.
func TestA1OneServicePerRegion(t *testing.T) {
	regions := []string{"us-east-1", "eu-west-1"}
	shards := []int{4, 6}
	inBubble(t, 1, func(outer *bench) {
		var benches []*bench
		var servers []*awsfake.Server
		for i, region := range regions {
			server := awsfaketest.NewServer(outer.T, awsfake.Config{Limits: awsfake.AllLimits(), Region: region})
			if err := server.Kinesis().CreateStream(outer.cfg.StreamName, shards[i]); err != nil {
				t.Fatal(err)
			}
			b := &bench{T: outer.T, sink: newFakeSink(), cfg: outer.cfg, api: awsfaketest.Kinesis(server, func(o *kinesis.Options) { o.RetryMaxAttempts = 2 })}
			store, err := lease.NewDynamoDB(b.cfg.Table(), awsfaketest.DynamoDB(server, func(o *dynamodb.Options) { o.RetryMaxAttempts = 2 }))
			if err != nil {
				t.Fatal(err)
			}
			b.store, b.fleet = store, store
			servers, benches = append(servers, server), append(benches, b)
		}
		defer func() {
			for _, b := range benches {
				for _, r := range b.running {
					r.stop()
				}
			}
		}()
		put := func(n int) {
			outer.Helper()
			for i, b := range benches {
				for range n {
					data := fmt.Sprintf("%s/%06d", regions[i], len(b.written))
					if _, _, err := servers[i].Kinesis().Put(b.cfg.StreamName, data, []byte(data)); err != nil {
						t.Fatal(err)
					}
					b.written = append(b.written, data)
				}
			}
		}
		check := func(b *bench, region string, want int) {
			outer.Helper()
			listing, err := awsfaketest.DynamoDB(servers[slices.Index(regions, region)]).DescribeTable(b.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(b.cfg.Table())})
			if err != nil || !strings.Contains(aws.ToString(listing.Table.TableArn), ":"+region+":") {
				t.Errorf("table of %s: %v, %v", region, listing, err)
			}
			n := 0
			for _, l := range b.leases() {
				if !l.Checkpoint.IsShardEnd() {
					n++
				}
			}
			if n != want {
				t.Errorf("%s has %d leases, want %d:\n%s", region, n, want, b.dump())
			}
			for _, d := range b.sink.durable {
				if !strings.HasPrefix(d, region+"/") {
					t.Fatalf("%s delivered %q", region, d)
				}
			}
		}
		for _, b := range benches {
			b.start("dredge-a")
			b.start("dredge-b")
		}
		for i, b := range benches {
			b.advance(3 * time.Second)
			b.await("balance", time.Minute, func() bool { least, most := b.spread(); return least == shards[i]/2 && most == least })
		}
		put(200)
		for i, b := range benches {
			b.wantAll(10 * time.Second)
			check(b, regions[i], shards[i])
		}

		before := benches[1].moves()
		if err := servers[0].Kinesis().Reshard(benches[0].cfg.StreamName, 8); err != nil {
			t.Fatal(err)
		}
		put(200)
		benches[0].running[0].kill()
		servers[0].Inject(awsfake.Fault{Kind: awsfake.Unavailable, Probability: 1})
		put(200)
		benches[1].wantAll(10 * time.Second)
		outer.advance(30 * time.Second)
		put(200)
		benches[1].wantAll(10 * time.Second)
		check(benches[1], regions[1], shards[1])
		if n := benches[1].moves() - before; n != 0 {
			t.Errorf("%v leases moved in %s while %s was out of order", n, regions[1], regions[0])
		}
		if _, repeats := benches[1].sink.got(); repeats != 0 {
			t.Errorf("%d records of %s were delivered twice", repeats, regions[1])
		}

		servers[0].ClearFaults()
		benches[0].running = benches[0].running[1:]
		benches[0].wantAll(6 * outer.cfg.FailoverTime)
		check(benches[0], regions[0], 8)
	})
}

// TestA3ScaleInIsGraceful: of six workers three are stopped, one after the other, under load, and then two at once. Nothing is lost, no hand-over
// repeats a record (the bound is an unflushed batch each), every shard goes on within 5 seconds, and each stopped worker has released all it had.
func TestA3ScaleInIsGraceful(t *testing.T) {
	const shards, batch = 12, 5
	inBubble(t, shards, func(b *bench) {
		feed := func(d time.Duration) {
			for range int(d / time.Second) {
				for i := range shards {
					b.write(shardID(i), batch)
				}
				b.advance(time.Second)
			}
		}
		for i := range 6 {
			b.start(fmt.Sprintf("dredge-%c", 'a'+i))
		}
		b.await("2 leases each", 2*time.Minute, func() bool { least, most := b.spread(); return least == 2 && most == 2 })
		feed(30 * time.Second)
		stop := func(n int) {
			b.Helper()
			leaving := b.running[:n]
			b.running = b.running[n:]
			before := make([]int, shards)
			for i := range shards {
				before[i] = len(b.sink.of(shardID(i)))
				b.write(shardID(i), batch)
			}
			for _, r := range leaving {
				r.cancel(nil)
			}
			for _, r := range leaving {
				<-r.done
				if owned := b.owned()[r.id]; owned != 0 {
					b.Errorf("%s left %d leases behind", r.id, owned)
				}
			}
			took := b.await("every shard goes on", 5*time.Second, func() bool {
				for i := range shards {
					if len(b.sink.of(shardID(i))) < before[i]+batch {
						return false
					}
				}
				return true
			})
			b.Logf("%d of %d workers gone, every shard went on within %s", n, n+len(b.running), took)
			feed(40 * time.Second)
			least, most := b.spread()
			if want := shards / len(b.running); least < want || most > want+1 {
				b.Errorf("from %d to %d leases per worker of %d", least, most, len(b.running))
			}
		}
		stop(1)
		stop(1)
		stop(1)
		stop(2)
		b.wantAll(10 * time.Second)
		_, repeats := b.sink.got()
		b.Logf("%d records, %d repeated", len(b.written), repeats)
		// A hand-over drains first: on a sink that answers, nothing at all is repeated.
		if repeats != 0 {
			b.Errorf("%d records were delivered twice although the sink had time to flush", repeats)
		}
	})
}
