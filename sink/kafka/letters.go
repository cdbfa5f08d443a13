package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"dredge/sink"
	"dredge/stream"
)

// heldLetterBytes bounds the letters that wait for their transaction, of all shards together.
const heldLetterBytes = 64 << 20

// Letters is the dead letter of mode exactly-once. A letter is produced in the transaction that moves its shard's position past
// the line, so it is there once, as the rows are. Until then it waits in memory.
type Letters struct {
	topic   string
	maxData int
	room    *semaphore.Weighted

	mu      sync.Mutex
	writers map[string]*txWriter
}

// NewLetters makes the dead letter for the Sink that gets it in Deps. cfg.DeadLetter.Topic is needed.
func NewLetters(cfg Config) *Letters {
	return &Letters{
		topic: cfg.DeadLetter.Topic, maxData: cfg.DeadLetter.MaxDataBytes,
		room: semaphore.NewWeighted(heldLetterBytes), writers: map[string]*txWriter{},
	}
}

// heldLetter is a letter on its way.
type heldLetter struct {
	at    stream.Position
	value []byte
}

// Put keeps l until its shard's next transaction that passes l.At. It fails when 64 MiB of letters wait: whoever puts a letter
// is who would make room, so waiting would be for ever.
func (l *Letters) Put(_ context.Context, x sink.Letter) error {
	const frame = 1 << 10
	value := sink.AppendLetter(make([]byte, 0, min(len(x.Data), l.maxData)+frame), x, time.Now(), l.maxData)
	l.mu.Lock()
	w := l.writers[x.Partition]
	l.mu.Unlock()
	if w == nil {
		return fmt.Errorf("dead letter of %q: the shard is not open", x.Partition)
	}
	if !l.room.TryAcquire(int64(len(value))) {
		return fmt.Errorf("dead letter of %q: %d bytes of letters wait for their transactions already", x.Partition, heldLetterBytes)
	}
	w.lettersMu.Lock()
	defer w.lettersMu.Unlock()
	if w.left {
		l.room.Release(int64(len(value)))
		return fmt.Errorf("dead letter of %q: %w", x.Partition, errWriterClosed)
	}
	w.letters = append(w.letters, heldLetter{at: x.At, value: value})
	return nil
}

// Flush has nothing to do: a position is told only when its transaction is committed, and the letters with it.
func (*Letters) Flush(context.Context) error { return nil }

// enter makes w take the letters of its partition.
func (l *Letters) enter(w *txWriter) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writers[w.partition] = w
}

// leave ends that, and drops what waits: whoever reads the lines again puts the letters again.
func (l *Letters) leave(w *txWriter) {
	if l == nil {
		return
	}
	l.mu.Lock()
	if l.writers[w.partition] == w {
		delete(l.writers, w.partition)
	}
	l.mu.Unlock()
	w.lettersMu.Lock()
	w.left = true
	w.lettersMu.Unlock()
	l.take(w, func(heldLetter) bool { return true })
}

// any says whether take would remove something.
func (l *Letters) any(w *txWriter, may func(heldLetter) bool) bool {
	if l == nil {
		return false
	}
	w.lettersMu.Lock()
	defer w.lettersMu.Unlock()
	return len(w.letters) > 0 && may(w.letters[0])
}

// take removes the first letters of w that may go.
func (l *Letters) take(w *txWriter, may func(heldLetter) bool) []heldLetter {
	if l == nil {
		return nil
	}
	w.lettersMu.Lock()
	n, bytes := 0, int64(0)
	for n < len(w.letters) && may(w.letters[n]) {
		bytes += int64(len(w.letters[n].value))
		n++
	}
	out := w.letters[:n:n]
	if w.letters = w.letters[n:]; len(w.letters) == 0 {
		w.letters = nil
	}
	w.lettersMu.Unlock()
	l.room.Release(bytes)
	return out
}
