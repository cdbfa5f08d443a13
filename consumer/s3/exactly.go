package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dredge/consumer/text"
	"dredge/stream"
)

// Slots is a sink that commits rows and progress in one transaction, so that both are there or neither.
//
// A slot of a worker then has a transactional id, and its claim on a mouthful is written under that name. What it commits with the
// rows of a file is how far the whole mouthful is. Whoever takes a mouthful over fences the slots that had it before, asks what
// each of them committed last, adds that to what the ledger knows, and only then proves that the claim still is its own. So
// nothing is read again that was committed, and nothing is committed any more by who lost the mouthful.
//
//	claim (the ledger keeps all owners) → fence them → read what they committed → write that and prove the claim → read files
type Slots interface {
	// Slot makes a slot under a name that was never used before.
	Slot(name string) Slot
}

// Slot is one of them. One goroutine uses it, but for what it asks of a Stint.
type Slot interface {
	// Succeed fences the slots of those names, so that they can commit nothing any more, and returns what each committed last.
	Succeed(ctx context.Context, former []string) ([]stream.Position, error)
	// Enter says that rows of partition are committed through this slot from now on; Leave ends that.
	Enter(partition string, s Stint)
	Leave(partition string)
	// Forget removes what was committed last, which nobody will ask for.
	Forget(ctx context.Context) error
	// Close ends the slot. Its name is not used again.
	Close()
}

// Stint is what a Slot asks about the file that it works on. Calls may come from other goroutines.
type Stint interface {
	// Prove writes to the claim on condition that it still is the slot's; stream.ErrFenced says that it is not.
	Prove(ctx context.Context) error
	// Whole is what to commit when the file stands at at: how far the whole mouthful is then.
	Whole(at stream.Position) (stream.Position, error)
	// Part is where the file stands in what was committed; "" when that is of another mouthful.
	Part(whole stream.Position) (stream.Position, error)
	// Compare orders two positions of the file.
	Compare(a, b stream.Position) int
}

const (
	// maxPartial bounds the files of a mouthful that were begun and could not be read further: all of them are committed with each
	// position. A mouthful with more is given back between two tries.
	maxPartial = 1000
	// forgetTimeout bounds what a worker does about its slots at its end.
	forgetTimeout = 10 * time.Second
)

// place is one of a worker's slots, and how its claims are named.
type place struct {
	w      *Worker
	number int
	lives  int
	// name and slot are those of the present life; slot is nil when the sink delivers at least once.
	name string
	slot Slot
}

// owner returns the name for a claim. A sink that commits exactly once knows it as a slot, for as long as all went well: a slot whose
// work may be another's now is not used again.
func (p *place) owner(now time.Time) string {
	switch {
	case p.w.d.Slots == nil:
		return p.w.name + "/" + newID(now)
	case p.slot == nil:
		p.lives++
		p.name = fmt.Sprintf("s3/%s/%s/%d.%d", p.w.cfg.LedgerTable, p.w.name, p.number, p.lives)
		p.slot = p.w.d.Slots.Slot(p.name)
	}
	return p.name
}

// spoil ends the present slot, whose claim stays in the ledger for others to fence.
func (p *place) spoil() {
	if p.slot != nil {
		p.slot.Close()
		p.slot = nil
	}
}

// leave ends the slot when the worker does.
func (p *place) leave(ctx context.Context) {
	if p.slot == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
	defer cancel()
	if err := p.slot.Forget(ctx); err != nil {
		p.w.d.Log.Warn().Err(err).Str("slot", p.name).Msg("what the slot committed last stays in the checkpoints topic")
	}
	p.spoil()
}

// committed is what is committed with rows: how far a mouthful is.
type committed struct {
	Mouthful string   `json:"mouthful"`
	Progress progress `json:"progress"`
}

func parseCommitted(p stream.Position) (committed, error) {
	var c committed
	if err := json.Unmarshal([]byte(p), &c); err != nil {
		return c, fmt.Errorf("what a slot committed, %q: %w", clip(string(p)), err)
	}
	return c, nil
}

// succeed makes j's slot the only one that may commit rows of its mouthful, and j know all that was committed.
func (w *Worker) succeed(ctx context.Context, j *job) error {
	former := fenced(&j.m)
	last, err := j.place.slot.Succeed(ctx, former)
	if err != nil {
		return fmt.Errorf("fence former owners of mouthful %q: %w", j.m.ID, err)
	}
	for _, p := range last {
		if p == "" {
			continue
		}
		c, err := parseCommitted(p)
		if err != nil {
			return fmt.Errorf("mouthful %q: %w", j.m.ID, err)
		}
		if c.Mouthful == j.m.ID {
			j.p.merge(c.Progress)
		}
	}
	if len(former) > 0 {
		w.m.fenced.Add(float64(len(former)))
		w.d.Log.Info().Str("mouthful", j.m.ID).Strs("former", former).Msg("mouthful taken over, former owners fenced")
	}
	until := time.Now().Add(w.cfg.Work.Visibility)
	if err := w.ledger.write(ctx, &j.m, proveClaim, j.p, until); err != nil {
		return fmt.Errorf("prove the claim on mouthful %q: %w", j.m.ID, err)
	}
	j.until = until
	return nil
}

// partial counts the files that were begun and not read to their end.
func (j *job) partial() (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, f := range j.p.Files {
		if f.At > 0 && !j.p.done(i) {
			n++
		}
	}
	return n
}

// stint is a file of a job in a slot.
type stint struct {
	w *Worker
	j *job
	i int
}

func (s *stint) Prove(ctx context.Context) error {
	until := time.Now().Add(s.w.cfg.Work.Visibility)
	err := s.w.ledger.write(ctx, &s.j.m, keepClaim, s.j.snapshot(), until)
	if errors.Is(err, errLost) {
		return fmt.Errorf("mouthful %q: %w: %w", s.j.m.ID, err, stream.ErrFenced)
	}
	return err
}

func (s *stint) Whole(at stream.Position) (stream.Position, error) {
	n, err := text.ParsePosition(at)
	if err != nil {
		return "", err
	}
	all := s.j.snapshot()
	c := committed{Mouthful: s.j.m.ID, Progress: progress{Done: all.Done, Files: map[int]fileProgress{s.i: {At: n}}}}
	for i, f := range all.Files {
		if i != s.i && f.At > 0 && !all.done(i) {
			c.Progress.Files[i] = fileProgress{At: f.At}
		}
	}
	doc, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("write how far mouthful %q is: %w", s.j.m.ID, err)
	}
	return stream.Position(doc), nil
}

func (s *stint) Part(whole stream.Position) (stream.Position, error) {
	c, err := parseCommitted(whole)
	if err != nil || c.Mouthful != s.j.m.ID {
		return "", err
	}
	at := c.Progress.Files[s.i].At
	if at == 0 {
		return "", nil
	}
	return text.Position(at), nil
}

func (*stint) Compare(a, b stream.Position) int { return text.ComparePositions(a, b) }
