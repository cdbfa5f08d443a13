package scenario

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/internal/awsfake"
	"dredge/row"
	"dredge/sink"
	"dredge/stream"
)

// idSink remembers the id of every row, and of which flow it is.
type idSink struct {
	mu  sync.Mutex
	ids map[string]string
}

// rows is how many different rows came: when a shard changes hands some come again.
func (s *idSink) rows() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

func (s *idSink) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return idWriter{s}, "", nil
}

type idWriter struct{ to *idSink }

func (w idWriter) Write(_ context.Context, b *row.Batch, _ stream.Position, done func(error)) error {
	w.to.mu.Lock()
	for i := range b.Rows {
		r := &b.Rows[i]
		w.to.ids[row.RowID(b, r)] = fmt.Sprintf("%s %v:%d>%v:%d %d %d", r.InterfaceID, r.Src.Addr, r.Src.Port, r.Dst.Addr, r.Dst.Port, r.Start, r.Bytes)
	}
	w.to.mu.Unlock()
	done(nil)
	return nil
}
func (idWriter) Flush(context.Context) error { return nil }
func (idWriter) Close(context.Context) error { return nil }

// TestO6SameInputSameRowIDs: two applications read the same stream, with other workers at other times in other chunks; every row has the same id in both, and no two
// rows share one.
func TestO6SameInputSameRowIDs(t *testing.T) {
	ids := map[string]map[string]string{}
	inBubble(t, 3, awsfake.Config{}, func(r *rig) {
		l := r.newLoad(7)
		for i, app := range []string{"first", "second"} {
			r.consumer.Application, r.sink = app, &idSink{ids: map[string]string{}}
			mine := r.sink.(*idSink)
			ids[app] = mine.ids
			var workers []*worker
			for k := range i + 1 {
				workers = append(workers, r.start(fmt.Sprintf("%s-%d", app, k)))
			}
			if i == 0 {
				l.play(70 * time.Second)
			}
			r.await("all is delivered to "+app, 10*time.Minute, func() bool { return mine.rows() == len(l.flows) })
			for _, w := range workers {
				w.stop()
			}
		}
		if len(ids["first"]) != len(l.flows) || len(l.flows) < 1000 {
			t.Errorf("%d different ids for %d flows", len(ids["first"]), len(l.flows))
		}
	})
	if diff := cmp.Diff(ids["first"], ids["second"]); diff != "" {
		t.Errorf("ids and flows (-first +second):\n%.2000s", diff)
	}
}
