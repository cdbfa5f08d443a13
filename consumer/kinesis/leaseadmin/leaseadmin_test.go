package leaseadmin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"dredge/consumer/kinesis/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const maxHash = "340282366920938463463374607431768211455"

func over(key, from, to, checkpoint string) lease.Lease {
	return lease.Lease{Key: key, HashRange: &lease.HashRange{Start: from, End: to}, Checkpoint: lease.Checkpoint{Sequence: checkpoint}}
}

func TestGaps(t *testing.T) {
	f := func(want []string, ok bool, leases ...lease.Lease) {
		t.Helper()
		got, gotOK := gaps(leases)
		if diff := cmp.Diff(want, got); diff != "" || ok != gotOK {
			t.Errorf("gaps, %t instead of %t (-want +got):\n%s", gotOK, ok, diff)
		}
	}
	f(nil, true, over("a", "0", maxHash, "5"))
	f(nil, true, over("b", "100", maxHash, "5"), over("a", "0", "99", "TRIM_HORIZON"))
	f(nil, true, over("parent", "0", maxHash, "5"), over("child", "0", "99", "TRIM_HORIZON"), over("child2", "100", maxHash, "TRIM_HORIZON"))
	f([]string{"100 to 199"}, true, over("a", "0", "99", "5"), over("b", "200", maxHash, "5"))
	f([]string{"100 to 199"}, true, over("a", "0", "99", "5"), over("done", "0", maxHash, "SHARD_END"), over("b", "200", maxHash, "5"))
	f([]string{"0 to 9", "100 to " + maxHash}, true, over("a", "10", "99", "5"))
	f([]string{"0 to " + maxHash}, true, over("done", "0", maxHash, "SHARD_END"))
	f(nil, false, over("a", "0", "99", "5"), lease.Lease{Key: "kcl1"})
	f(nil, false, over("a", "x", "99", "5"))
	f(nil, false, over("a", "0", maxHash+"0", "5"))
}

func TestVerifyKeepsStreamsApart(t *testing.T) {
	in := func(stream, shard, from, to string) lease.Lease {
		l := over(stream+":"+shard, from, to, "5")
		l.StreamName, l.ShardID = stream, shard
		return l
	}
	m := lease.NewMemory()
	for _, l := range []lease.Lease{in("1:a:7", "s0", "0", maxHash), in("1:b:8", "s0", "0", "99")} {
		if _, err := m.Create(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Watch(t.Context(), m, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := Verify(s, map[string][]types.Shard{"1:a:7": {{ShardId: aws.String("s0"), SequenceNumberRange: &types.SequenceNumberRange{}}}, "1:c:9": {}})
	want := []Finding{
		{Kind: KindHole, Stream: "1:b:8", Detail: "no unfinished lease covers the hash keys 100 to " + maxHash + ": records with them are not read"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A reshard between the two readings is no fault.
func TestVerifyBelievesOnlyWhatBothReadingsShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := lease.NewMemory()
		create := func(l lease.Lease) {
			if _, err := m.Create(t.Context(), l); err != nil {
				t.Error(err)
			}
		}
		create(over("a", "0", "99", "5"))
		go func() {
			<-time.After(time.Second)
			create(over("b", "100", maxHash, "5"))
		}()
		s, err := Watch(t.Context(), m, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range Verify(s, nil) {
			if f.Kind == KindHole {
				t.Errorf("%+v", f)
			}
		}
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	m := lease.NewMemory()
	cancel(nil)
	if _, err := Watch(ctx, m, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestFind(t *testing.T) {
	multi := []lease.Lease{{Key: "1:a:7:s0", ShardID: "s0"}, {Key: "1:b:8:s0", ShardID: "s0"}, {Key: "1:b:8:s1", ShardID: "s1"}}
	f := func(shard, want, fault string) {
		t.Helper()
		l, err := Find(multi, shard)
		if fault == "" && (err != nil || l.Key != want) {
			t.Errorf("%s: %q, %v", shard, l.Key, err)
		}
		if fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: error %v does not say %q", shard, err, fault)
		}
	}
	f("s1", "1:b:8:s1", "")
	f("1:a:7:s0", "1:a:7:s0", "")
	f("s0", "", "1:a:7:s0, 1:b:8:s0")
	f("s2", "", "there is none")
}

func FuzzParseVMwareRow(f *testing.F) {
	f.Add("shardId-000000000000", "SHARD_END", "w", "2026-01-01T00:00:00.123456789Z")
	f.Add("s", "49590338271490256608559692538361571095921575989136588898", "", "")
	f.Add("", "TRIM_HORIZON", "", "yesterday")
	f.Fuzz(func(t *testing.T, shard, checkpoint, worker, timeout string) {
		r, err := parseVMwareRow(map[string]ddbtypes.AttributeValue{
			"ShardID": &ddbtypes.AttributeValueMemberS{Value: shard}, "Checkpoint": &ddbtypes.AttributeValueMemberS{Value: checkpoint},
			"AssignedTo": &ddbtypes.AttributeValueMemberS{Value: worker}, "LeaseTimeout": &ddbtypes.AttributeValueMemberS{Value: timeout},
		})
		if err != nil {
			return
		}
		if r.ShardID == "" || r.ShardID != shard || r.AssignedTo != worker {
			t.Errorf("read %+v", r)
		}
		if _, err := lease.ParseCheckpoint(r.Checkpoint, 0); r.Checkpoint != "" && err != nil {
			t.Errorf("a row with checkpoint %q passes: %v", r.Checkpoint, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add("123456789012:flows:1700000000:shardId-000000000000")
	f.Add("shardId-000000000000")
	f.Fuzz(func(t *testing.T, key string) {
		account, stream, epoch, shard, ok := ParseKey(key)
		if ok && account+":"+stream+":"+epoch+":"+shard != key {
			t.Errorf("%q taken apart as %q %q %q %q", key, account, stream, epoch, shard)
		}
	})
}
