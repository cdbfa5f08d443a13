package druid

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/druid/druidtest"
)

// Check says what is wrong with Druid, where, and what to write or do instead.
func TestCheck(t *testing.T) {
	f := func(want string, change func(c *druidtest.Cluster, st *store)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			defer r.close()
			k := r.sink("a", nil, func(c *Config) { objects(c); c.TaskTime = 2 * time.Minute })
			r.druid.Change(func(c *druidtest.Cluster) { change(c, r.store) })
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			err := k.Check(ctx)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("Check = %v, want %q", err, want)
			}
			if n := len(r.druid.Rows("flows_raw")); n != 0 {
				t.Errorf("Check left %d rows", n)
			}
		})
	}
	answer := func(part string, fault druidtest.Fault) func(*druidtest.Cluster, *store) {
		return func(c *druidtest.Cluster, _ *store) {
			c.Fault = func(_, path string) druidtest.Fault {
				if strings.HasSuffix(path, part) {
					return fault
				}
				return druidtest.None
			}
		}
	}
	f("", func(*druidtest.Cluster, *store) {})
	f("has no worker that could run a task; start a middle manager or an indexer", func(c *druidtest.Cluster, _ *store) { c.Slots = 0 })
	f("reaching druid at http://druid.test: connect: connection refused", answer("", druidtest.Refuse))
	f("submitting a task for flows_raw: druid answers 403 to POST /druid/indexer/v1/task; grant the user", answer("/task", druidtest.Forbidden))
	f("druid answers 401 to GET /druid/indexer/v1/totalWorkerCapacity: HTTP ERROR 401 Unauthorized; check druid.username and druid.password_file", answer("", druidtest.Unauthorized))
	f("flows_raw is locked: 1 tasks wait for another one to end, as dredge-check-", func(c *druidtest.Cluster, _ *store) {
		c.Locked = map[string]bool{"flows_raw": true}
	})
	f("asking the broker: druid answers 403", answer("/sql", druidtest.Forbidden))
	f("druid answers 403 to POST /druid/coordinator/v1/metadata", answer("/segments", druidtest.Forbidden))
	f("a task without rows for flows_raw failed: Task killed", func(c *druidtest.Cluster, _ *store) {
		c.Outcome = func(string) druidtest.Outcome { return druidtest.Fails }
	})
	f("did not end in time; look whether Druid's slots are all taken", func(c *druidtest.Cluster, _ *store) { c.TaskTime = time.Hour })
	f("objects: access denied; this process must be allowed to write there", func(_ *druidtest.Cluster, st *store) {
		st.fault = func(string) (before, after error) { return errors.New("access denied"), nil }
	})
}

// Fewer slots than the configuration counts on make rows older than is any use.
func TestCheckRefusesStaleRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		k := r.sink("a", nil, func(c *Config) { inline(c); c.TaskSlots, c.TaskTime = 8, 2*time.Minute })
		r.druid.Change(func(c *druidtest.Cluster) { c.Slots = 1 })
		if err := k.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "Druid has 1 slots, so rows would be up to 32m0s old") {
			t.Errorf("Check = %v", err)
		}
	})
}
