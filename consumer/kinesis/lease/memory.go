package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// Memory is a lease table in memory: one process's workers can share it. It is used by tests and by the embedded demo, and
// keeps nothing after the process ends.
type Memory struct {
	mu   sync.Mutex
	rows map[string]Lease
}

// NewMemory makes an empty table.
func NewMemory() *Memory { return &Memory{rows: map[string]Lease{}} }

var _ Store = (*Memory)(nil)

// Init implements Store.
func (m *Memory) Init(ctx context.Context) error { return ctx.Err() }

// List implements Store.
func (m *Memory) List(ctx context.Context) (Listing, error) {
	if err := ctx.Err(); err != nil {
		return Listing{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := Listing{Leases: make([]Lease, 0, len(m.rows))}
	for _, key := range slices.Sorted(maps.Keys(m.rows)) {
		out.Leases = append(out.Leases, m.rows[key].clone())
	}
	return out, nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return Lease{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.rows[key]
	if !ok {
		return Lease{}, ErrNotFound
	}
	return l.clone(), nil
}

// Create implements Store.
func (m *Memory) Create(ctx context.Context, l Lease) (bool, error) {
	if err := checkNew(l); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.rows[l.Key]; ok {
		return false, nil
	}
	row := Lease{
		Key: l.Key, Checkpoint: l.Checkpoint, Parents: l.Parents, Children: l.Children, HashRange: l.HashRange,
		EntityType: EntityType, StreamName: l.StreamName, ShardID: l.ShardID, StartedAt: l.StartedAt,
	}.clone()
	slices.Sort(row.Parents)
	slices.Sort(row.Children)
	m.rows[l.Key] = row
	return true, nil
}

// Renew implements Store.
func (m *Memory) Renew(ctx context.Context, l Lease, r Renewal) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return Lease{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for range maxRenewTries {
		row, ok := m.rows[l.Key]
		if !ok {
			return Lease{}, ErrLost
		}
		if mayRenew(l, row, r) {
			m.rows[l.Key] = row.renewed(r)
			return m.rows[l.Key].clone(), nil
		}
		next, done, err := afterRefusal(l, row, r)
		if err != nil {
			return Lease{}, err
		}
		if done {
			return next.clone(), nil
		}
		l = next
	}
	return Lease{}, ErrLost
}

// Take implements Store.
func (m *Memory) Take(ctx context.Context, l Lease, owner string) (Lease, error) {
	if owner == "" {
		return Lease{}, errNoOwner
	}
	if err := ctx.Err(); err != nil {
		return Lease{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[l.Key]
	switch {
	case !ok:
		return Lease{}, ErrLost
	case row.Counter == l.Counter:
		m.rows[l.Key] = row.taken(owner)
		return m.rows[l.Key].clone(), nil
	case tookBefore(row, l, owner):
		return row.clone(), nil
	default:
		return Lease{}, ErrLost
	}
}

// Evict implements Store.
func (m *Memory) Evict(ctx context.Context, l Lease) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[l.Key]
	if ok && handOffUnseen(l, row) {
		l = row
	}
	if !ok || row.Owner != l.Owner || row.CheckpointOwner != l.CheckpointOwner {
		return nil
	}
	row.Counter++
	if row.CheckpointOwner != "" {
		row.CheckpointOwner = "" // hands the row straight to the next owner
	} else {
		row.Owner = ""
	}
	m.rows[l.Key] = row
	return nil
}

// BeginHandOff implements Store.
func (m *Memory) BeginHandOff(ctx context.Context, l Lease, owner string) (Lease, error) {
	if err := checkHandOff(l, owner); err != nil {
		return Lease{}, err
	}
	if err := ctx.Err(); err != nil {
		return Lease{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[l.Key]
	switch {
	case ok && row.Owner == l.Owner && row.CheckpointOwner == "":
		row.CheckpointOwner, row.Owner = row.Owner, owner
		m.rows[l.Key] = row
		return row.clone(), nil
	case ok && row.Owner == owner && row.CheckpointOwner == l.Owner:
		return row.clone(), nil
	default:
		return Lease{}, ErrLost
	}
}

// EndHandOff implements Store.
func (m *Memory) EndHandOff(ctx context.Context, l Lease) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[l.Key]
	if !ok || row.Owner != l.Owner || row.CheckpointOwner != l.CheckpointOwner {
		return nil
	}
	row.CheckpointOwner = ""
	row.Counter++
	m.rows[l.Key] = row
	return nil
}

// UpdateMeta implements Store.
func (m *Memory) UpdateMeta(ctx context.Context, key string, meta Meta) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[key]
	if !ok {
		return ErrNotFound
	}
	if len(meta.Children) > 0 {
		row.Children = slices.Clone(meta.Children)
		slices.Sort(row.Children)
	}
	if meta.HashRange != nil {
		r := *meta.HashRange
		row.HashRange = &r
	}
	m.rows[key] = row
	return nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, l Lease) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[l.Key]
	switch {
	case !ok:
		return nil
	case row.Checkpoint != l.Checkpoint, !l.Checkpoint.IsShardEnd() && row.Counter != l.Counter:
		return ErrLost
	}
	delete(m.rows, l.Key)
	return nil
}

var errNoOwner = errors.New(`take lease: owner "": want a worker id`)

// checkNew refuses what would make a row that nobody can read.
func checkNew(l Lease) error {
	if l.Key == "" {
		return errors.New(`create lease: key "": want a shard id`)
	}
	if _, err := ParseCheckpoint(l.Checkpoint.Sequence, l.Checkpoint.Sub); err != nil {
		return errors.Join(errors.New("create lease"), err)
	}
	return nil
}

// checkHandOff refuses hand-offs that say nothing: from nobody, to nobody, or to the owner itself.
func checkHandOff(l Lease, owner string) error {
	switch {
	case owner == "":
		return errNoOwner
	case l.Owner == "" || l.Owner == owner || l.InHandOff():
		return errors.New("begin hand-off: the lease must have another owner and no hand-off under way")
	default:
		return nil
	}
}

// tookBefore says whether row is what an earlier take of l by owner made of it.
func tookBefore(row, l Lease, owner string) bool {
	return row.Counter == l.Counter+1 && row.Owner == owner && row.CheckpointOwner == "" && row.Checkpoint == l.Checkpoint
}

// handOffUnseen says that row is l, but that a hand-off was begun which the holder of l has not seen yet.
func handOffUnseen(l, row Lease) bool {
	return row.InHandOff() && !l.InHandOff() && row.ActualOwner() == l.Owner
}
