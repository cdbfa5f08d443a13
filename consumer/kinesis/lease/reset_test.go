package lease_test

import (
	"context"
	"errors"
	"testing"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
)

type resetter interface {
	lease.Store
	ResetCheckpoint(ctx context.Context, l lease.Lease, c lease.Checkpoint) (lease.Lease, error)
}

func eachResetter(t *testing.T, test func(*testing.T, resetter)) {
	t.Run("memory", func(t *testing.T) { test(t, lease.NewMemory()) })
	t.Run("dynamodb", func(t *testing.T) {
		_, _, store := newDynamoDB(t, awsfake.Config{})
		test(t, store)
	})
}

func takenLease(t *testing.T, s lease.Store) lease.Lease {
	t.Helper()
	ctx := t.Context()
	if err := s.Init(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, lease.Lease{Key: "s", Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}}); err != nil {
		t.Fatal(err)
	}
	free, err := s.Get(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Take(ctx, free, "zombie")
	if err != nil {
		t.Fatal(err)
	}
	l, err = s.Renew(ctx, l, lease.Renewal{Checkpoint: lease.Checkpoint{Sequence: "500", Sub: 3}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A checkpoint that an operator moved stays: the owner of before can neither renew nor checkpoint, whatever it writes next.
func TestResetCheckpointFencesTheOwnerOfBefore(t *testing.T) {
	eachResetter(t, func(t *testing.T, s resetter) {
		ctx := t.Context()
		old := takenLease(t, s)
		to := lease.Checkpoint{Sequence: "100"}
		got, err := s.ResetCheckpoint(ctx, old, to)
		if err != nil {
			t.Fatal(err)
		}
		if got.Owner != "" || got.Checkpoint != to || got.Counter != old.Counter+1 {
			t.Errorf("row after the write: %+v", got)
		}
		if _, err := s.Renew(ctx, old, lease.Renewal{}); !errors.Is(err, lease.ErrLost) {
			t.Errorf("the owner of before renews: %v", err)
		}
		if _, err := s.Renew(ctx, old, lease.Renewal{Checkpoint: lease.Checkpoint{Sequence: "600"}}); !errors.Is(err, lease.ErrLost) {
			t.Errorf("the owner of before checkpoints: %v", err)
		}
		row, err := s.Get(ctx, "s")
		if err != nil || row.Checkpoint != to || row.Owner != "" {
			t.Errorf("row at rest: %+v, %v", row, err)
		}
	})
}

func TestResetCheckpointNeedsTheRowAsRead(t *testing.T) {
	eachResetter(t, func(t *testing.T, s resetter) {
		ctx := t.Context()
		old := takenLease(t, s)
		renewed, err := s.Renew(ctx, old, lease.Renewal{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ResetCheckpoint(ctx, old, lease.Checkpoint{Sequence: "100"}); !errors.Is(err, lease.ErrLost) {
			t.Errorf("a row that was renewed meanwhile: %v, want ErrLost", err)
		}
		missing := old
		missing.Key = "none"
		if _, err := s.ResetCheckpoint(ctx, missing, lease.Checkpoint{Sequence: "100"}); !errors.Is(err, lease.ErrLost) {
			t.Errorf("a row that does not exist: %v, want ErrLost", err)
		}
		if row, err := s.Get(ctx, "s"); err != nil || row.Checkpoint != renewed.Checkpoint || row.Owner != "zombie" {
			t.Errorf("the row was changed: %+v, %v", row, err)
		}
	})
}

// At LATEST the row says from when the shard is wanted; any other checkpoint says it itself.
func TestResetCheckpointAtLatestKeepsTheTime(t *testing.T) {
	eachResetter(t, func(t *testing.T, s resetter) {
		ctx := t.Context()
		l, err := s.ResetCheckpoint(ctx, takenLease(t, s), lease.Checkpoint{Sequence: lease.Latest})
		if err != nil {
			t.Fatal(err)
		}
		row, err := s.Get(ctx, "s")
		if err != nil || row.StartedAt.IsZero() || !row.StartedAt.Equal(l.StartedAt) {
			t.Errorf("started at %v, returned %v, %v", row.StartedAt, l.StartedAt, err)
		}
		if _, err = s.ResetCheckpoint(ctx, l, lease.Checkpoint{Sequence: lease.TrimHorizon}); err != nil {
			t.Fatal(err)
		}
		if row, err = s.Get(ctx, "s"); err != nil || !row.StartedAt.IsZero() {
			t.Errorf("started at %v, %v; want none", row.StartedAt, err)
		}
	})
}

// The write lands and its reply is lost; the SDK's own retry finds the condition broken by it.
func TestResetCheckpointKnowsItsOwnLostReply(t *testing.T) {
	server, _, store := newDynamoDB(t, awsfake.Config{})
	old := takenLease(t, store)
	server.Inject(awsfake.Fault{Op: "UpdateItem", Kind: awsfake.LostReply, Times: 1})
	got, err := store.ResetCheckpoint(t.Context(), old, lease.Checkpoint{Sequence: "100"})
	if err != nil || got.Checkpoint.Sequence != "100" || got.Owner != "" {
		t.Errorf("%+v, %v", got, err)
	}
}
