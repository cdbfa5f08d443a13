package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"dredge/config"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// leaseBench is an application "app" reading the stream "flows", in virtual time, with the SDK in between.
type leaseBench struct {
	*testing.T
	server *awsfake.Server
	store  *lease.DynamoDB
	shards []awsfake.Shard
}

const (
	shard0 = "shardId-000000000000"
	shard1 = "shardId-000000000001"
	shard2 = "shardId-000000000002"
)

func withLeases(t *testing.T, test func(*leaseBench)) {
	t.Helper()
	t.Setenv("DREDGE_CONFIG", "")
	synctest.Test(t, func(t *testing.T) {
		server := awsfaketest.NewServer(t, awsfake.Config{})
		if err := server.Kinesis().CreateStream("flows", 3); err != nil {
			t.Fatal(err)
		}
		store, err := lease.NewDynamoDB("app", awsfaketest.DynamoDB(server))
		if err != nil {
			t.Fatal(err)
		}
		b := &leaseBench{T: t, server: server, store: store, shards: server.Kinesis().Shards("flows")}
		if err := store.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(b)
	})
}

// lease makes a row for the i-th shard, owned when owner is not empty.
func (b *leaseBench) lease(i int, checkpoint, owner string) lease.Lease {
	b.Helper()
	s := b.shards[i]
	return b.row(lease.Lease{
		Key: s.ID, Checkpoint: lease.Checkpoint{Sequence: checkpoint},
		HashRange: &lease.HashRange{Start: s.StartingHashKey, End: s.EndingHashKey},
	}, owner)
}

func (b *leaseBench) row(l lease.Lease, owner string) lease.Lease {
	b.Helper()
	if _, err := b.store.Create(b.Context(), l); err != nil {
		b.Fatal(err)
	}
	l = b.get(l.Key)
	if owner == "" {
		return l
	}
	l, err := b.store.Take(b.Context(), l, owner)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// put writes a record into the i-th shard and returns its sequence number.
func (b *leaseBench) put(i int) string {
	b.Helper()
	_, sequence, err := b.server.Kinesis().PutExplicit("flows", "k", b.shards[i].StartingHashKey, []byte("x"))
	if err != nil {
		b.Fatal(err)
	}
	return sequence
}

func (b *leaseBench) get(key string) lease.Lease {
	b.Helper()
	l, err := b.store.Get(b.Context(), key)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// renewing renews l as a live worker does, until the test ends or the lease is lost, which it then says.
func (b *leaseBench) renewing(l lease.Lease) (lost <-chan error) {
	ended := make(chan error, 1)
	ctx := b.Context()
	go func() {
		tick := time.NewTicker(3 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-tick.C:
			}
			var err error
			if l, err = b.store.Renew(ctx, l, lease.Renewal{}); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// run runs `dredge leases args...` over the fake.
func (b *leaseBench) run(args ...string) (string, error) {
	b.Helper()
	cmd := newLeasesCmd(func(context.Context, config.AWSConfig, time.Duration) (awsClients, error) {
		return clientsFrom(awsfaketest.AWSConfig(b.server), config.AWSConfig{DynamoDBEndpoint: "http://awsfake.invalid"}, time.Minute), nil
	})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(b.Context())
	return out.String(), err
}

// want runs args, which must work and print text.
func (b *leaseBench) want(text string, args ...string) {
	b.Helper()
	got, err := b.run(args...)
	if err != nil {
		b.Errorf("%v: %v", args, err)
	}
	if diff := cmp.Diff(strings.TrimLeft(text, "\n"), got); diff != "" {
		b.Errorf("%v (-want +got):\n%s", args, diff)
	}
}

// refused runs args, which must fail with an error that says every one of texts.
func (b *leaseBench) refused(args []string, texts ...string) {
	b.Helper()
	_, err := b.run(args...)
	if err == nil {
		b.Errorf("%v works", args)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			b.Errorf("%v: the error does not say %q: %v", args, text, err)
		}
	}
}

func TestLeasesList(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		first := b.put(0)
		<-time.After(30 * time.Second) // virtual
		b.put(0)
		<-time.After(time.Minute)
		b.put(0)
		b.renewing(b.lease(0, first, "dredge-a"))
		b.lease(1, lease.TrimHorizon, "java-b")
		b.row(lease.Lease{Key: shard2, Checkpoint: lease.Checkpoint{Sequence: lease.ShardEnd}, Parents: []string{"shardId-p1", "shardId-p2"}}, "dredge-a")
		b.row(lease.Lease{Key: "shardId-gone", Checkpoint: lease.Checkpoint{Sequence: "77", Sub: 4}}, "")
		if _, err := awsfaketest.DynamoDB(b.server).PutItem(b.Context(), &dynamodb.PutItemInput{TableName: aws.String("app"), Item: map[string]types.AttributeValue{
			"leaseKey": &types.AttributeValueMemberS{Value: "Migration3.0"}, "entityType": &types.AttributeValueMemberS{Value: "CLIENT_VERSION_MIGRATION"},
			"cv": &types.AttributeValueMemberS{Value: "CLIENT_VERSION_3X"},
		}}); err != nil {
			b.Fatal(err)
		}
		b.want(`
SHARD                 STATE    OWNER     AGE  CHECKPOINT                                                PARENTS                LAG
shardId-000000000000  renewed  dredge-a  <5s  `+first+`  -                      1m5s
shardId-000000000001  silent   java-b    >5s  TRIM_HORIZON                                              -                      0s
shardId-000000000002  ended    dredge-a  >5s  SHARD_END                                                 shardId-p1,shardId-p2  -
shardId-gone          free     -         >5s  77:4                                                      -                      ?

table app: 4 leases, 1 ended, 2 owners, 1 rows of other entities, Java's client version CLIENT_VERSION_3X
1 shards did not tell their lag; the first: ask for the lag of shard shardId-gone: ResourceNotFoundException: Could not find shard shardId-gone in stream flows under account 123456789012.
`, "list", "--table", "app", "--stream", "flows")
	})
}

func TestLeasesListJSON(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		l := b.lease(0, lease.TrimHorizon, "dredge-a")
		b.renewing(l)
		if _, err := b.store.BeginHandOff(b.Context(), b.lease(1, "5", "dredge-a"), "dredge-b"); err != nil {
			b.Fatal(err)
		}
		b.want(`
{
  "table": "app",
  "watched_seconds": 4,
  "leases": [
    {
      "key": "shardId-000000000000",
      "shard": "shardId-000000000000",
      "state": "renewed",
      "owner": "dredge-a",
      "counter": 2,
      "counter_changed": true,
      "checkpoint": "TRIM_HORIZON",
      "starting_hash_key": "`+l.HashRange.Start+`",
      "ending_hash_key": "`+l.HashRange.End+`",
      "lag_seconds": null
    },
    {
      "key": "shardId-000000000001",
      "shard": "shardId-000000000001",
      "state": "hand-off",
      "owner": "dredge-a",
      "next_owner": "dredge-b",
      "counter": 1,
      "counter_changed": false,
      "checkpoint": "5",
      "starting_hash_key": "`+b.shards[1].StartingHashKey+`",
      "ending_hash_key": "`+b.shards[1].EndingHashKey+`",
      "lag_seconds": null
    }
  ],
  "malformed_rows": 0,
  "foreign_rows": 0
}
`, "list", "--table", "app", "--json", "--watch", "4s")
		if n := b.server.Count("GetRecords"); n != 0 {
			b.Errorf("%d reads of shards although no stream was named", n)
		}
	})
}

func TestLeasesSayWhatTheyNeed(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		b.refused([]string{"list"}, "--table NAME", "kinesis.application")
		b.refused([]string{"list", "--table", "none"}, `"none"`, "does not exist", "--region")
		b.refused([]string{"list", "--table", "app", "--endpoint", "localhost"}, "is no URL")
		b.refused([]string{"release", "--table", "app"}, "--worker")
		b.refused([]string{"release", "--table", "app", "nowhere"}, `"nowhere"`, "leases list")
		b.refused([]string{"release", "--table", "app", "--worker", "nobody"}, `"nobody"`, "owns no lease")
		b.refused([]string{"checkpoint", "set", "--table", "app", "s", "12x"}, "12x", "TRIM_HORIZON")
		b.refused([]string{"import-vmware", "app", "--table", "app"}, "another name")
		b.refused([]string{"import-vmware", "old", "--table", "app"}, "--stream NAME")
		b.refused([]string{"import-vmware", "old", "--table", "app", "--without-checkpoint", "NOW"}, `"NOW"`, "TRIM_HORIZON")
	})
}

func TestLeasesRelease(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		lost := b.renewing(b.lease(0, "5", "dredge-a"))
		b.lease(1, "6", "dredge-b")
		if _, err := b.store.BeginHandOff(b.Context(), b.lease(2, "7", "dredge-a"), "dredge-c"); err != nil {
			b.Fatal(err)
		}
		b.want("released shardId-000000000000 from dredge-a; it is free\n"+
			"released shardId-000000000002 from dredge-a; it is owned by dredge-c\n", "release", "--table", "app", "--worker", "dredge-a")
		if err := <-lost; !errors.Is(err, lease.ErrLost) {
			b.Errorf("the worker that lived renews after the release: %v", err)
		}
		b.want(`{
  "released": [
    {
      "key": "shardId-000000000001",
      "from": "dredge-b",
      "now": ""
    }
  ],
  "table": "app"
}
`, "release", "--table", "app", "--json", shard1)
		b.want("nobody owned it; nothing was changed\n", "release", "--table", "app", shard0, shard1)
		for i, want := range []string{"5", "6", "7"} {
			if l := b.get(b.shards[i].ID); l.Checkpoint.Sequence != want {
				b.Errorf("checkpoint of %s moved to %s", l.Key, l.Checkpoint)
			}
		}
	})
}

func TestLeasesCheckpointSet(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		at := func(from int) []string { return []string{b.put(from), b.put(from), b.put(from)} }
		s, other := at(0), at(1)
		b.lease(0, s[1], "dead")
		set := func(position string, more ...string) []string {
			return append([]string{"checkpoint", "set", "--table", "app", "--stream", "flows", shard0, position}, more...)
		}
		b.refused(set(s[2]), "move forward", "lost", "--allow-skip")
		b.refused(set(s[2], "--allow-repeat"), "--allow-skip")
		b.refused(set(s[0]), "move back", "--allow-repeat")
		b.refused(set(lease.TrimHorizon, "--allow-skip"), "--allow-repeat")
		b.refused(set(lease.ShardEnd), "--allow-skip")
		b.refused(set(s[1]), "stands at "+s[1])
		b.refused(set(lease.AtTimestamp, "--allow-repeat"), "TRIM_HORIZON, LATEST")
		b.refused(set(other[0], "--allow-repeat", "--allow-skip"), "is of shard 1, not of "+shard0)
		b.refused(set("5", "--allow-repeat", "--allow-skip"), "lies outside of shard "+shard0)
		if got := b.get(shard0); got.Checkpoint.Sequence != s[1] || got.Owner != "dead" {
			b.Fatalf("a refused command changed the row: %+v", got)
		}
		b.want(shard0+": from "+s[1]+" to "+s[0]+"; the lease is free (it was owned by dead)\n", set(s[0], "--allow-repeat")...)
		start := time.Now()
		b.want(shard0+": from "+s[0]+" to "+s[2]+":3; the lease is free (it was owned by nobody)\n", set(s[2]+":3", "--allow-skip")...)
		if waited := time.Since(start); waited != 0 {
			b.Errorf("a lease without owner was watched for %s", waited)
		}
		if got := b.get(shard0); got.Checkpoint != (lease.Checkpoint{Sequence: s[2], Sub: 3}) || got.Owner != "" {
			b.Errorf("row at the end: %+v", got)
		}
		b.refused([]string{"checkpoint", "set", "--table", "app", "none", "5"}, `"none"`, "leases list")
	})
}

// A lease that somebody renews is not touched, whether he renews it during the watch or takes it right before the write.
func TestLeasesCheckpointSetRefusesALiveLease(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		b.renewing(b.lease(0, "5", "dredge-a"))
		args := []string{"checkpoint", "set", "--table", "app", "--allow-repeat", shard0, lease.TrimHorizon}
		b.refused(args, `"dredge-a" renewed it within 10s`, "stop that worker")
		if got := b.get(shard0); got.Checkpoint.Sequence != "5" || got.Owner != "dredge-a" {
			b.Errorf("the row was changed: %+v", got)
		}
	})
	withLeases(t, func(b *leaseBench) {
		l := b.lease(0, "5", "")
		// Between the look at the row and the write.
		fault := b.server.Inject(awsfake.Fault{Op: "UpdateItem", Kind: awsfake.Delay, Delay: time.Second, Times: 1})
		go func() {
			<-time.After(500 * time.Millisecond)
			if _, err := b.store.Take(b.Context(), l, "dredge-b"); err != nil {
				b.Error(err)
			}
		}()
		b.refused([]string{"checkpoint", "set", "--table", "app", "--allow-repeat", shard0, lease.TrimHorizon}, "took or renewed it just now", "nothing was changed")
		if got := b.get(shard0); got.Checkpoint.Sequence != "5" || got.Owner != "dredge-b" || fault.Struck() != 1 {
			b.Errorf("the row was changed, or the race did not happen: %+v, %d", got, fault.Struck())
		}
	})
}

func TestLeasesVerify(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		verify := func(want string, args ...string) {
			b.Helper()
			got, err := b.run(append([]string{"verify", "--table", "app"}, args...)...)
			exit, ok := errors.AsType[*exitError](err)
			if err != nil && (!ok || exit.code != findingsExit) {
				b.Fatalf("%v: %v", args, err)
			}
			if ok == strings.Contains(got, " 0 faults") {
				b.Errorf("exit code does not tell what was found: %v\n%s", err, got)
			}
			if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
				b.Errorf("%v (-want +got):\n%s", args, diff)
			}
		}
		verify(`
hole        table app: the table holds no lease: nothing is read until a worker has filled it
0 leases watched for 10s: 1 faults; without --stream, shards that have no lease were not looked for
`)
		b.renewing(b.lease(0, lease.TrimHorizon, "dredge-a"))
		b.renewing(b.lease(1, lease.TrimHorizon, "dredge-a"))
		gap := "no unfinished lease covers the hash keys " + b.shards[2].StartingHashKey + " to " + b.shards[2].EndingHashKey + ": records with them are not read\n"
		verify(`
hole        table app: ` + gap + `2 leases watched for 10s: 1 faults; without --stream, shards that have no lease were not looked for
`)
		verify(`
hole        table app: `+gap+`uncovered   shardId-000000000002: no lease covers this shard: it is not read; workers make a lease at TRIM_HORIZON when they find it so three times
2 leases watched for 10s: 2 faults
`, "--stream", "flows")
		b.renewing(b.lease(2, lease.TrimHorizon, "dredge-b"))
		verify("3 leases watched for 10s: 0 faults\n", "--stream", "flows")

		b.row(lease.Lease{Key: "shardId-gone", Checkpoint: lease.Checkpoint{Sequence: "5"}}, "dead")
		b.row(lease.Lease{Key: "shardId-waits", Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}, Parents: []string{shard0}}, "")
		b.row(lease.Lease{Key: "shardId-untaken", Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}, Parents: []string{"shardId-before"}}, "")
		if _, err := b.store.BeginHandOff(b.Context(), b.row(lease.Lease{Key: "shardId-torn", Checkpoint: lease.Checkpoint{Sequence: "6"}}, "dead"), "dredge-a"); err != nil {
			b.Fatal(err)
		}
		if _, err := awsfaketest.DynamoDB(b.server).PutItem(b.Context(), &dynamodb.PutItemInput{TableName: aws.String("app"), Item: map[string]types.AttributeValue{
			"leaseKey": &types.AttributeValueMemberS{Value: "stump"}, "leaseCounter": &types.AttributeValueMemberN{Value: "3"},
		}}); err != nil {
			b.Fatal(err)
		}
		verify(`
malformed   table app: 1 rows should be leases and cannot be read; workers leave them alone
silent      shardId-gone: "dead" did not renew it for 10s and nobody took it: is any worker running, and is failover_time longer than the watch?
hand-off    shardId-torn: from "dead" to "dredge-a", not finished in 10s: the old owner does not renew; release it if it does not end
untaken     shardId-untaken: nobody took it for 10s: is any worker running, below its max_leases?
7 leases watched for 10s: 4 faults; without --stream, shards that have no lease were not looked for
`)
	})
}

func TestLeasesVerifyFindsOrphans(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		for i := range b.shards {
			b.lease(i, lease.TrimHorizon, "")
		}
		b.row(lease.Lease{Key: "shardId-gone", Checkpoint: lease.Checkpoint{Sequence: "5"}}, "")
		b.row(lease.Lease{Key: "shardId-done", Checkpoint: lease.Checkpoint{Sequence: lease.ShardEnd}}, "")
		got, err := b.run("verify", "--table", "app", "--stream", "flows", "--watch", "0", "--json")
		if exit, ok := errors.AsType[*exitError](err); !ok || exit.code != findingsExit {
			b.Errorf("%v", err)
		}
		want := `{
  "findings": [
    {
      "kind": "orphan",
      "shard": "shardId-gone",
      "detail": "the stream lists no such shard, checkpoint 5: its records are past retention, or this table belongs to another stream"
    }
  ],
  "leases": 5,
  "streams": 1,
  "table": "app",
  "watched_seconds": 0
}
`
		if diff := cmp.Diff(want, got); diff != "" {
			b.Errorf("(-want +got):\n%s", diff)
		}
	})
}
