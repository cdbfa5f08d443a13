// Package leasetest is the contract of lease.Store as a test suite: every store runs it, so that what is proved over the
// in-memory table holds for DynamoDB too.
package leasetest

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
)

const (
	me    = "dredge-me"
	other = "dredge-other"
)

func at(sequence string, sub int64) lease.Checkpoint {
	return lease.Checkpoint{Sequence: sequence, Sub: sub}
}

// child is a row with every attribute that a create writes.
func child() lease.Lease {
	return lease.Lease{
		Key:        "shardId-000000000002",
		Checkpoint: at(lease.TrimHorizon, 0),
		Parents:    []string{"shardId-000000000000", "shardId-000000000001"},
		HashRange:  &lease.HashRange{Start: "0", End: "340282366920938463463374607431768211455"},
	}
}

type suite struct {
	*testing.T
	store lease.Store
}

func (s suite) create(l lease.Lease) lease.Lease {
	s.Helper()
	created, err := s.store.Create(s.Context(), l)
	if err != nil || !created {
		s.Fatalf("Create(%q) = %t, %v", l.Key, created, err)
	}
	return s.get(l.Key)
}

func (s suite) get(key string) lease.Lease {
	s.Helper()
	l, err := s.store.Get(s.Context(), key)
	if err != nil {
		s.Fatalf("Get(%q): %v", key, err)
	}
	return l
}

func (s suite) take(l lease.Lease, owner string) lease.Lease {
	s.Helper()
	l, err := s.store.Take(s.Context(), l, owner)
	if err != nil {
		s.Fatalf("Take by %q: %v", owner, err)
	}
	return l
}

func (s suite) renew(l lease.Lease, r lease.Renewal) lease.Lease {
	s.Helper()
	l, err := s.store.Renew(s.Context(), l, r)
	if err != nil {
		s.Fatalf("Renew: %v", err)
	}
	return l
}

// same wants the value that a write returned to be the row that the table holds.
func (s suite) same(returned lease.Lease) {
	s.Helper()
	if stored := s.get(returned.Key); !reflect.DeepEqual(stored, returned) {
		s.Errorf("returned lease is not the stored row:\nstored   %+v\nreturned %+v", stored, returned)
	}
}

func (s suite) wantErr(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("error = %v, want %v", err, want)
	}
}

// Run runs the suite. newStore returns an empty table, not yet initialised.
func Run(t *testing.T, newStore func(t *testing.T) lease.Store) {
	for name, test := range map[string]func(suite){
		"Init":                testInit,
		"Create":              testCreate,
		"List":                testList,
		"Take":                testTake,
		"TakeLostReply":       testTakeLostReply,
		"Renew":               testRenew,
		"RenewLostReply":      testRenewLostReply,
		"DuplicateOwner":      testDuplicateOwner,
		"Checkpoint":          testCheckpoint,
		"Pending":             testPending,
		"ShardEndIsFinal":     testShardEndIsFinal,
		"ZombieIsRefused":     testZombie,
		"NothingResurrects":   testNothingResurrects,
		"Evict":               testEvict,
		"HandOff":             testHandOff,
		"HandOffInterrupted":  testHandOffInterrupted,
		"UpdateMeta":          testUpdateMeta,
		"Delete":              testDelete,
		"OneWinner":           testOneWinner,
		"EmptyIsRefused":      testEmptyIsRefused,
		"StartedAtIsKept":     testStartedAt,
		"MetaBesideARenewal":  testMetaBesideRenewal,
		"TakeEndsAnyHandOff":  testTakeEndsHandOff,
		"ReturnedRowsAreRows": testReturnedRows,
	} {
		t.Run(name, func(t *testing.T) {
			s := suite{t, newStore(t)}
			if err := s.store.Init(t.Context()); err != nil {
				t.Fatalf("Init: %v", err)
			}
			test(s)
		})
	}
}

func testInit(s suite) {
	if err := s.store.Init(s.Context()); err != nil {
		s.Errorf("second Init: %v", err)
	}
	got, err := s.store.List(s.Context())
	if err != nil || len(got.Leases) != 0 {
		s.Errorf("List of a new table = %v, %v", got.Leases, err)
	}
	_, err = s.store.Get(s.Context(), "shardId-000000000000")
	s.wantErr(err, lease.ErrNotFound)
}

func testCreate(s suite) {
	want := child()
	got := s.create(want)
	want.EntityType = lease.EntityType
	if !reflect.DeepEqual(want, got) {
		s.Errorf("row:\nwant %+v\ngot  %+v", want, got)
	}
	again := child()
	again.Checkpoint = at("7", 0)
	created, err := s.store.Create(s.Context(), again)
	if created || err != nil {
		s.Errorf("second Create = %t, %v; want false, nil", created, err)
	}
	s.same(got)
}

func testList(s suite) {
	want := []string{"shardId-000000000000", "shardId-000000000001", "shardId-000000000002"}
	for _, k := range []int{2, 0, 1} {
		s.create(lease.Lease{Key: want[k], Checkpoint: at(lease.Latest, 0)})
	}
	got, err := s.store.List(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var keys []string
	for _, l := range got.Leases {
		keys = append(keys, l.Key)
	}
	if !slices.Equal(keys, want) {
		s.Errorf("List = %q, want %q", keys, want)
	}
}

func testTake(s suite) {
	l := s.take(s.create(child()), me)
	if l.Owner != me || l.Counter != 1 || l.OwnerSwitches != 0 {
		s.Errorf("first take: owner %q counter %d switches %d, want %q 1 0", l.Owner, l.Counter, l.OwnerSwitches, me)
	}
	s.same(l)
	l = s.take(l, other)
	if l.Owner != other || l.Counter != 2 || l.OwnerSwitches != 1 {
		s.Errorf("take from another: owner %q counter %d switches %d, want %q 2 1", l.Owner, l.Counter, l.OwnerSwitches, other)
	}
	l = s.take(l, other)
	if l.Counter != 3 || l.OwnerSwitches != 1 {
		s.Errorf("take of one's own: counter %d switches %d, want 3 1", l.Counter, l.OwnerSwitches)
	}
	s.same(l)
}

func testTakeLostReply(s suite) {
	free := s.create(child())
	landed := s.take(free, me)
	if again := s.take(free, me); again.Counter != landed.Counter {
		s.Errorf("repeated take: counter %d, want %d", again.Counter, landed.Counter)
	}
	_, err := s.store.Take(s.Context(), free, other)
	s.wantErr(err, lease.ErrLost)
	s.same(landed)
}

func testRenew(s suite) {
	l := s.take(s.create(child()), me)
	before := l.Checkpoint
	l = s.renew(l, lease.Renewal{ThroughputKBps: 12.345678})
	if l.Counter != 2 || l.Checkpoint != before || l.ThroughputKBps != 12.345678 {
		s.Errorf("renewed = %+v", l)
	}
	s.same(l)
	l = s.renew(l, lease.Renewal{})
	if l.ThroughputKBps != 12.345678 {
		s.Errorf("a renewal without throughput changed it to %v", l.ThroughputKBps)
	}
	s.same(l)
}

func testRenewLostReply(s suite) {
	held := s.take(s.create(child()), me)
	r := lease.Renewal{Checkpoint: at("100", 0)}
	landed := s.renew(held, r)
	if again := s.renew(held, r); again.Counter != landed.Counter {
		s.Errorf("same write again: counter %d, want %d: it had landed", again.Counter, landed.Counter)
	}
	// More was delivered since the try whose reply was lost.
	more := s.renew(held, lease.Renewal{Checkpoint: at("200", 0)})
	if more.Counter != landed.Counter+1 || more.Checkpoint != at("200", 0) {
		s.Errorf("write with a later checkpoint = %d %s, want %d 200", more.Counter, more.Checkpoint, landed.Counter+1)
	}
	s.same(more)
}

func testDuplicateOwner(s suite) {
	first := s.take(s.create(child()), me)
	l := first
	for range 3 { // more than lost replies of one writer can explain
		l = s.renew(l, lease.Renewal{})
	}
	_, err := s.store.Renew(s.Context(), first, lease.Renewal{})
	s.wantErr(err, lease.ErrDuplicateOwner)
	s.same(l)
}

// What is pending is written with a renewal, survives a checkpoint before it, and ends with one at or beyond it.
func testPending(s suite) {
	l := s.take(s.create(child()), me)
	r := lease.Renewal{Checkpoint: at("100", 0), Pending: at("200", 3), PendingState: []byte{0, 1, 255}}
	landed := s.renew(l, r)
	s.same(landed)
	if landed.Pending != r.Pending || !slices.Equal(landed.PendingState, r.PendingState) || landed.Checkpoint != r.Checkpoint {
		s.Errorf("prepared = %+v", landed)
	}
	if again := s.renew(l, r); again.Counter != landed.Counter {
		s.Errorf("same write again: counter %d, want %d: it had landed", again.Counter, landed.Counter)
	}
	// The earlier try carried another state: ours must still be written.
	other := s.renew(l, lease.Renewal{Checkpoint: at("100", 0), Pending: at("200", 3), PendingState: []byte("other")})
	if other.Counter != landed.Counter+1 || string(other.PendingState) != "other" {
		s.Errorf("write with another state = %d %q, want %d other", other.Counter, other.PendingState, landed.Counter+1)
	}
	s.same(other)
	before := s.renew(other, lease.Renewal{Checkpoint: at("200", 2)})
	if before.Pending != r.Pending || string(before.PendingState) != "other" {
		s.Errorf("a checkpoint before it ended what was pending: %+v", before)
	}
	s.same(before)
	before = s.take(before, me)
	if before.Pending != r.Pending {
		s.Errorf("a take ended what was pending: %+v", before)
	}
	done := s.renew(before, lease.Renewal{Checkpoint: at("200", 3)})
	if !done.Pending.IsZero() || done.PendingState != nil {
		s.Errorf("the checkpoint did not end what was pending: %+v", done)
	}
	s.same(done)
}

func testCheckpoint(s suite) {
	l := s.take(s.create(child()), other)
	l = s.take(l, me)
	if l.OwnerSwitches != 1 {
		s.Fatalf("switches = %d, want 1", l.OwnerSwitches)
	}
	// Beyond 64 bits, as sequence numbers are, with a sub-sequence number beyond 32.
	cp := at("49590338271490256608559692538361571095921575989136588898", 1<<40)
	l = s.renew(l, lease.Renewal{Checkpoint: cp})
	if l.Checkpoint != cp || l.OwnerSwitches != 0 || l.Counter != 3 {
		s.Errorf("checkpointed = %+v", l)
	}
	s.same(l)
}

func testShardEndIsFinal(s suite) {
	l := s.take(s.create(child()), me)
	l = s.renew(l, lease.Renewal{Checkpoint: at(lease.ShardEnd, 0)})
	_, err := s.store.Renew(s.Context(), l, lease.Renewal{Checkpoint: at("5", 0)})
	s.wantErr(err, lease.ErrShardEnded)
	s.same(l)
	s.same(s.renew(l, lease.Renewal{Checkpoint: at(lease.ShardEnd, 0)}))
}

func testZombie(s suite) {
	zombie := s.take(s.create(child()), me)
	winner := s.take(zombie, other)
	_, err := s.store.Renew(s.Context(), zombie, lease.Renewal{Checkpoint: at("100", 0)})
	s.wantErr(err, lease.ErrLost)
	_, err = s.store.Renew(s.Context(), zombie, lease.Renewal{})
	s.wantErr(err, lease.ErrLost)
	if err := s.store.Evict(s.Context(), zombie); err != nil {
		s.Errorf("Evict of a lost lease: %v", err)
	}
	s.same(winner)
	// Even when the counter comes to stand at what the zombie would have written.
	if got := s.get(zombie.Key); got.Counter != zombie.Counter+1 || got.Owner != other {
		s.Errorf("row = %+v", got)
	}
}

func testNothingResurrects(s suite) {
	l := s.take(s.create(child()), me)
	if err := s.store.Delete(s.Context(), l); err != nil {
		s.Fatal(err)
	}
	_, err := s.store.Renew(s.Context(), l, lease.Renewal{Checkpoint: at("1", 0)})
	s.wantErr(err, lease.ErrLost)
	_, err = s.store.Take(s.Context(), l, other)
	s.wantErr(err, lease.ErrLost)
	_, err = s.store.BeginHandOff(s.Context(), l, other)
	s.wantErr(err, lease.ErrLost)
	s.wantErr(s.store.UpdateMeta(s.Context(), l.Key, lease.Meta{Children: []string{"x"}}), lease.ErrNotFound)
	if err := s.store.Evict(s.Context(), l); err != nil {
		s.Errorf("Evict of a deleted lease: %v", err)
	}
	if err := s.store.EndHandOff(s.Context(), l); err != nil {
		s.Errorf("EndHandOff of a deleted lease: %v", err)
	}
	_, err = s.store.Get(s.Context(), l.Key)
	s.wantErr(err, lease.ErrNotFound)
}

func testEvict(s suite) {
	l := s.take(s.create(child()), me)
	for range 2 { // the second is a repeat after a lost reply
		if err := s.store.Evict(s.Context(), l); err != nil {
			s.Fatal(err)
		}
		got := s.get(l.Key)
		if got.Owner != "" || got.Counter != l.Counter+1 || got.Checkpoint != l.Checkpoint {
			s.Errorf("evicted row = %+v", got)
		}
	}
	_, err := s.store.Renew(s.Context(), l, lease.Renewal{})
	s.wantErr(err, lease.ErrLost)
}

func testHandOff(s suite) {
	old := s.take(s.create(child()), me)
	next, err := s.store.BeginHandOff(s.Context(), old, other)
	if err != nil {
		s.Fatal(err)
	}
	if next.Owner != other || next.ActualOwner() != me || next.Counter != old.Counter {
		s.Errorf("begun = %+v", next)
	}
	s.same(next)
	if again, err := s.store.BeginHandOff(s.Context(), old, other); err != nil || again.Owner != other {
		s.Errorf("repeated BeginHandOff = %+v, %v", again, err)
	}
	_, err = s.store.BeginHandOff(s.Context(), old, "dredge-third")
	s.wantErr(err, lease.ErrLost)

	// The old owner does not know; its next renewal tells it, and carries its checkpoint all the same.
	told := s.renew(old, lease.Renewal{Checkpoint: at("10", 0)})
	if !told.InHandOff() || told.ActualOwner() != me || told.Checkpoint != at("10", 0) || told.Counter != old.Counter+1 {
		s.Errorf("renewal during a hand-off = %+v", told)
	}
	told = s.renew(told, lease.Renewal{Checkpoint: at("11", 0)})
	s.same(told)
	for range 2 {
		if err := s.store.EndHandOff(s.Context(), told); err != nil {
			s.Fatal(err)
		}
	}
	got := s.get(old.Key)
	if got.Owner != other || got.InHandOff() || got.Counter != told.Counter+1 || got.Checkpoint != at("11", 0) || got.OwnerSwitches != 0 {
		s.Errorf("after the hand-off = %+v", got)
	}
	_, err = s.store.Renew(s.Context(), told, lease.Renewal{})
	s.wantErr(err, lease.ErrLost)
	s.renew(got, lease.Renewal{})
}

func testHandOffInterrupted(s suite) {
	old := s.take(s.create(child()), me)
	if _, err := s.store.BeginHandOff(s.Context(), old, other); err != nil {
		s.Fatal(err)
	}
	// The old owner shuts down before it saw the hand-off: evicting hands the row to the next owner.
	if err := s.store.Evict(s.Context(), old); err != nil {
		s.Fatal(err)
	}
	got := s.get(old.Key)
	if got.Owner != other || got.InHandOff() || got.Counter != old.Counter+1 {
		s.Errorf("evicted during a hand-off = %+v", got)
	}
}

func testTakeEndsHandOff(s suite) {
	old := s.take(s.create(child()), me)
	begun, err := s.store.BeginHandOff(s.Context(), old, other)
	if err != nil {
		s.Fatal(err)
	}
	got := s.take(begun, "dredge-third")
	if got.Owner != "dredge-third" || got.InHandOff() || got.OwnerSwitches != 1 {
		s.Errorf("taken out of a hand-off = %+v", got)
	}
	s.same(got)
	_, err = s.store.Renew(s.Context(), old, lease.Renewal{Checkpoint: at("9", 0)})
	s.wantErr(err, lease.ErrLost)
}

func testUpdateMeta(s suite) {
	s.create(lease.Lease{Key: "s", Checkpoint: at(lease.TrimHorizon, 0)})
	r := &lease.HashRange{Start: "0", End: "9"}
	if err := s.store.UpdateMeta(s.Context(), "s", lease.Meta{HashRange: r}); err != nil {
		s.Fatal(err)
	}
	if err := s.store.UpdateMeta(s.Context(), "s", lease.Meta{Children: []string{"b", "a"}}); err != nil {
		s.Fatal(err)
	}
	want := lease.Lease{
		Key: "s", Checkpoint: at(lease.TrimHorizon, 0), EntityType: lease.EntityType, HashRange: r, Children: []string{"a", "b"},
	}
	if got := s.get("s"); !reflect.DeepEqual(want, got) {
		s.Errorf("row:\nwant %+v\ngot  %+v", want, got)
	}
}

func testMetaBesideRenewal(s suite) {
	l := s.take(s.create(child()), me)
	if err := s.store.UpdateMeta(s.Context(), l.Key, lease.Meta{Children: []string{"c"}}); err != nil {
		s.Fatal(err)
	}
	s.renew(l, lease.Renewal{Checkpoint: at("3", 0)})
	if got := s.get(l.Key); !slices.Equal(got.Children, []string{"c"}) {
		s.Errorf("children = %q after a renewal that did not know of them, want c", got.Children)
	}
}

func testDelete(s suite) {
	l := s.take(s.create(child()), me)
	stale := l
	l = s.renew(l, lease.Renewal{Checkpoint: at("5", 0)})
	s.wantErr(s.store.Delete(s.Context(), stale), lease.ErrLost)
	stale = l
	l = s.renew(l, lease.Renewal{})
	s.wantErr(s.store.Delete(s.Context(), stale), lease.ErrLost) // somebody renews it
	l = s.renew(l, lease.Renewal{Checkpoint: at(lease.ShardEnd, 0)})
	ended := l
	s.renew(l, lease.Renewal{})
	for range 2 { // an ended lease may be renewed by a Java worker; the repeat is a lost reply
		if err := s.store.Delete(s.Context(), ended); err != nil {
			s.Fatalf("delete ended lease: %v", err)
		}
	}
	_, err := s.store.Get(s.Context(), l.Key)
	s.wantErr(err, lease.ErrNotFound)
}

func testOneWinner(s suite) {
	free := s.create(child())
	const workers = 8
	wins := make(chan string, workers)
	done := make(chan error, workers)
	for i := range workers {
		go func() {
			owner := "dredge-" + string(rune('a'+i))
			_, err := s.store.Take(s.Context(), free, owner)
			if err == nil {
				wins <- owner
			}
			done <- err
		}()
	}
	for range workers {
		if err := <-done; err != nil && !errors.Is(err, lease.ErrLost) {
			s.Errorf("Take: %v", err)
		}
	}
	if len(wins) != 1 {
		s.Fatalf("%d workers won one lease", len(wins))
	}
	if got, won := s.get(free.Key).Owner, <-wins; got != won {
		s.Errorf("row belongs to %q, but %q won", got, won)
	}
}

func testEmptyIsRefused(s suite) {
	if _, err := s.store.Create(s.Context(), lease.Lease{Checkpoint: at("1", 0)}); err == nil {
		s.Error("Create without a key succeeded")
	}
	if _, err := s.store.Create(s.Context(), lease.Lease{Key: "s"}); err == nil {
		s.Error("Create without a checkpoint succeeded")
	}
	l := s.create(child())
	if _, err := s.store.Take(s.Context(), l, ""); err == nil {
		s.Error("Take for nobody succeeded")
	}
	if _, err := s.store.BeginHandOff(s.Context(), l, other); err == nil {
		s.Error("BeginHandOff of an unowned lease succeeded")
	}
}

func testStartedAt(s suite) {
	l := child()
	l.Checkpoint, l.StartedAt = at(lease.Latest, 0), time.UnixMilli(1795319392313)
	got := s.take(s.create(l), me)
	if !got.StartedAt.Equal(l.StartedAt) {
		s.Errorf("startedAt = %s, want %s", got.StartedAt, l.StartedAt)
	}
	s.same(s.renew(got, lease.Renewal{Checkpoint: at("4", 0)}))
}

func testReturnedRows(s suite) {
	l := s.create(child())
	l = s.take(l, me)
	s.same(l)
	for _, r := range []lease.Renewal{{}, {Checkpoint: at("1", 0)}, {Checkpoint: at("1", 7), ThroughputKBps: 0.25}, {Checkpoint: at(lease.ShardEnd, 0)}} {
		l = s.renew(l, r)
		s.same(l)
	}
}
