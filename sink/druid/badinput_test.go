package druid

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/druid/druidtest"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// Credentials are wrong from one moment on: the shard stops and says what to write, nothing passes its rows, and when they are right again
// the next opening has all rows once.
func TestCredentialsBecomeWrong(t *testing.T) {
	for name, change := range map[string]func(*Config){"Inline": inline, "Objects": objects} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close()
				s := &source{rig: r, partitions: 1, payloads: 5, rows: 10}
				k := r.sink("a", r.leases.of("a"), change)
				r.druid.Change(func(c *druidtest.Cluster) {
					c.Fault = func(string, string) druidtest.Fault { return druidtest.Unauthorized }
				})
				err := s.session(t.Context(), k, partitionName(0))
				if _, permanent := errors.AsType[*stream.PermanentError](err); !permanent || !strings.Contains(err.Error(), "check druid.username and druid.password_file") {
					t.Errorf("session = %v, want a permanent error that names the password", err)
				}
				if checkpoint, _, _, _ := r.leases.of("a").Prepared(t.Context(), partitionName(0)); checkpoint != "" {
					t.Errorf("the checkpoint stands at %q although nothing was published", checkpoint)
				}
				r.druid.Change(func(c *druidtest.Cluster) { c.Fault = nil })
				s.work(t.Context(), k, partitionName(0))
				s.wantOnce(false)
			})
		})
	}
}

// Another task holds the lock of the datasource: rows wait, the log says for what and what to do, and when it ends they are there.
func TestLockedDatasource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		k := r.sink("a", r.leases.of("a"), inline)
		r.druid.Change(func(c *druidtest.Cluster) { c.Locked = map[string]bool{"flows_raw": true} })
		w, _, err := k.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, 1, 10)
		const said = "the datasource is locked: our tasks wait for another one to end; set useConcurrentLocks"
		<-time.After(4 * k.cfg.TaskTime)
		if r.log.has(said) {
			t.Error("a task that is not overdue was called locked")
		}
		<-time.After(3 * k.cfg.TaskTime)
		if !r.log.has(said) || !r.log.has(`"datasource":"flows_raw"`) {
			t.Error("the log does not say that flows_raw is locked")
		}
		r.druid.Change(func(c *druidtest.Cluster) { c.Locked = nil })
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(sinktest.IDs(sinktest.Batch("shard-0", sinktest.Position(1), 0, 10, 200)), r.ids("flows_raw")); d != "" {
			t.Errorf("rows (-written +there):\n%s", d)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
