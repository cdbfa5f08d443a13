package druid

import (
	"context"
	"strings"
	"testing"
	"time"

	"dredge/druid/druidtest"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// The contract of package sink, with rows in the specs of tasks and in objects. Rows that are in objects are never given up, so a sink
// with objects asks for no rewind, and only the other one runs the checks of sinks that do.
func TestContract(t *testing.T) {
	for name, change := range map[string]func(*Config){"Inline": inline, "Objects": objects} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Options{
				Virtual: true, Patience: time.Hour, ExactlyOnce: name == "Inline",
				New: func(t *testing.T) sinktest.Harness { return newHarness(t, change) },
			})
		})
	}
}

func newHarness(t *testing.T, change func(*Config)) sinktest.Harness {
	t.Helper()
	r := newRig(t)
	s := r.sink("a", r.leases.of("a"), change)
	h := sinktest.Harness{
		Sink:    s,
		Durable: func(*testing.T) []sinktest.RowID { return r.ids("flows_raw") },
		Break:   func(*testing.T) sinktest.Fault { return r.broken() },
		Forbid: func(*testing.T) {
			r.druid.Change(func(c *druidtest.Cluster) {
				c.Fault = func(method, path string) druidtest.Fault {
					if strings.HasSuffix(path, "/task") {
						return druidtest.Forbidden
					}
					return druidtest.None
				}
			})
		},
		Commits: func(t *testing.T, partition string) [][]sinktest.RowID {
			t.Helper()
			var commits [][]sinktest.RowID
			last := ""
			for _, row := range r.druid.Rows("flows_raw") {
				id, err := parseRow(row.Line)
				if err != nil {
					t.Fatal(err)
				}
				if id.Partition != partition {
					continue
				}
				if row.Task != last {
					commits, last = append(commits, nil), row.Task
				}
				commits[len(commits)-1] = append(commits[len(commits)-1], id)
			}
			return commits
		},
		Fence: func(_ *testing.T, partition string) { r.leases.give(partition, "b") },
		Undo: func(t *testing.T, partition string) stream.Position {
			t.Helper()
			// Somebody gives the next batch up: as soon as it is recorded, a task without rows takes its id.
			at, _ := r.leases.pending(partition)
			r.druid.Change(func(c *druidtest.Cluster) {
				c.Fault = func(_, path string) druidtest.Fault {
					if strings.HasSuffix(path, "/task") {
						_, _, state, err := r.leases.of("a").Prepared(context.Background(), partition)
						if rec, ok := parseState(state); ok && err == nil {
							c.Fault = nil
							c.TakeLocked(rec.Loads[0].taskID(rec.Batch))
						}
					}
					return druidtest.None
				}
			})
			return at
		},
		Close: func(*testing.T) { r.close() },
	}
	return h
}

// broken makes every request to Druid fail, in turn in each way.
func (r *rig) broken() *fault {
	f := &fault{rig: r, met: make(chan struct{})}
	ways := []druidtest.Fault{druidtest.Internal, druidtest.Refuse, druidtest.Busy, druidtest.Unavailable, druidtest.Hang}
	n := 0
	r.druid.Change(func(c *druidtest.Cluster) {
		c.Fault = func(string, string) druidtest.Fault {
			if n == 0 {
				close(f.met)
			}
			n++
			return ways[n%len(ways)]
		}
	})
	return f
}

type fault struct {
	rig *rig
	met chan struct{}
}

func (f *fault) Await(ctx context.Context) error {
	select {
	case <-f.met:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fault) Mend() { f.rig.druid.Change(func(c *druidtest.Cluster) { c.Fault = nil }) }
