package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dredge/druid"
)

const (
	// taskDuration is Druid's shortest.
	taskDuration = time.Minute
	// suspension is how long the supervisors stand still: longer than leases, transactions and tasks live.
	suspension = 90 * time.Second
)

// druidCluster is a real Druid on this machine, a process for each role: two overlords, and a process for each task.
type druidCluster struct {
	env              []string
	overlord, broker string
	client           *druid.Client
}

// startDruid starts it; state is where its data and logs are.
func startDruid(ctx context.Context, state string) (*druidCluster, error) {
	d := &druidCluster{env: append(os.Environ(), "DREDGE_STACK_STATE="+state, "DREDGE_DRUID_LAYOUT=ha")}
	out, err := d.script(ctx, "start")
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	addresses := strings.Fields(out)
	if len(addresses) < 2 {
		return nil, errors.Join(fmt.Errorf("test/stack/druid.sh says %q, not two addresses", out), d.stop())
	}
	d.overlord, d.broker = addresses[len(addresses)-2], addresses[len(addresses)-1]
	d.client, err = druid.NewClient(druid.Config{Overlord: d.overlord, Broker: d.broker, Timeout: 20 * time.Second})
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func (d *druidCluster) script(ctx context.Context, args ...string) (string, error) {
	return script(ctx, d.env, "test/stack/druid.sh", args...)
}

// stop ends what startDruid started.
func (d *druidCluster) stop() error {
	if d.client != nil {
		d.client.Close()
	}
	_, err := d.script(context.Background(), "stop")
	return err
}

// tables are the datasources of one run, by the name of its build.
type tables struct{ raw, minute string }

func tablesOf(p plan) tables {
	name := filepath.Base(p.binary)
	return tables{raw: name + "_raw", minute: name + "_1m"}
}

// config is what the workers' configuration says of it.
func (d *druidCluster) config(t tables) string {
	return fmt.Sprintf(`druid:
  overlord: %s
  broker: %s
  datasources: {raw: %s, minute: %s}
  supervisor: {task_duration: %s}
`, d.overlord, d.broker, t.raw, t.minute, taskDuration)
}

// druidOutcome is what Druid's published segments hold, and what was done to it.
type druidOutcome struct {
	tables
	OverlordKills, PeonKills, ManagerKills int
	Suspended                              time.Duration
	Published                              tally
	RowsIn, Segments                       int64
	// Behind is how long after the last line was put Druid had all rows.
	Behind time.Duration
	// Median and Slowest are from the put of a payload until a query finds its first row.
	Median, Slowest time.Duration
	Probes          int
}

// druidSide is what a run does with Druid.
type druidSide struct {
	*druidCluster
	outcome     druidOutcome
	undisturbed bool

	mu     sync.Mutex
	probes map[string]time.Time // row ids that no query has found yet, by when their payloads were put
	delays []time.Duration
}

// fill makes the supervisors, as a person does, when the workers have made the topics.
func (d *druidSide) fill(ctx context.Context, e *experiment) error {
	for d.missing(ctx, e) {
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, e.plan.binary, "druid", "apply", "-c", e.kafka.config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("dredge druid apply: %w\n%s", err, out)
	}
	e.note("supervisors "+d.outcome.raw+" and "+d.outcome.minute+" applied", 0)
	return nil
}

func (d *druidSide) missing(ctx context.Context, e *experiment) bool {
	have, err := e.kafka.admin.ListTopics(ctx, e.kafka.topic, e.kafka.minute)
	return err != nil || have.Error() != nil
}

// disturb kills the leading overlord, tasks and the middle manager, in turn, and suspends the supervisors once in between.
func (d *druidSide) disturb(ctx context.Context, e *experiment) error {
	if err := d.fill(ctx, e); err != nil || d.undisturbed {
		return err
	}
	overlord := func() error { return d.kill(ctx, e, "leader", &d.outcome.OverlordKills) }
	peon := func() error { return d.kill(ctx, e, "peon", &d.outcome.PeonKills) }
	manager := func() error { return d.kill(ctx, e, "middleManager", &d.outcome.ManagerKills) }
	acts := []func() error{overlord, peon, peon, func() error { return d.suspend(ctx, e) }, overlord, manager, peon}
	return e.spread(ctx, len(acts), func(i int) error { return acts[i]() })
}

// kill ends a role, the overlord that leads, or a task. A role comes back after a while; a task has a successor.
func (d *druidSide) kill(ctx context.Context, e *experiment, role string, count *int) error {
	out, err := d.script(ctx, "kill", role)
	for until := time.Now().Add(time.Minute); err != nil && role == "peon" && time.Now().Before(until); out, err = d.script(ctx, "kill", role) {
		if err := wait(ctx, time.Second); err != nil { // there is no task at this moment
			return err
		}
	}
	if err != nil {
		return err
	}
	*count++
	victim := cmp.Or(strings.TrimSpace(out), role)
	e.note("kill -9 in Druid: "+strings.TrimSpace(role+" "+strings.TrimSpace(out)), 0)
	if role == "peon" {
		return nil
	}
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	if _, err := d.script(ctx, "revive", victim); err != nil {
		return err
	}
	e.note("Druid's "+victim+" is back", 0)
	return nil
}

// both calls f for each supervisor until it succeeds: the overlord may be on its way up.
func (d *druidSide) both(ctx context.Context, f func(ctx context.Context, id string) error) error {
	for _, id := range []string{d.outcome.raw, d.outcome.minute} {
		err := f(ctx, id)
		for until := time.Now().Add(2 * time.Minute); err != nil && time.Now().Before(until) && ctx.Err() == nil; err = f(ctx, id) {
			if wait(ctx, time.Second) != nil {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("supervisor %s: %w", id, err)
		}
	}
	return nil
}

func (d *druidSide) suspend(ctx context.Context, e *experiment) error {
	if err := d.both(ctx, d.client.Suspend); err != nil {
		return err
	}
	e.note("supervisors suspended", 0)
	begin := time.Now()
	if err := wait(ctx, suspension); err != nil {
		return err
	}
	if err := d.both(ctx, d.client.Resume); err != nil {
		return err
	}
	d.outcome.Suspended = time.Since(begin)
	e.note("supervisors go on", 0)
	return nil
}

// probe looks twice a second for rows that were put into Kinesis, one payload a second, until ctx ends.
func (d *druidSide) probe(ctx context.Context, l *ledger) {
	for n := 0; wait(ctx, 500*time.Millisecond) == nil; n++ {
		if id, at := l.newest(); id != "" && n%2 == 0 {
			d.mu.Lock()
			d.probes[id] = at
			d.mu.Unlock()
		}
		d.find(ctx)
	}
}

// find asks for the probes that no query has found yet.
func (d *druidSide) find(ctx context.Context) {
	d.mu.Lock()
	ids := slices.Collect(maps.Keys(d.probes))
	d.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	answer, err := d.client.Query(ctx, "SELECT DISTINCT row_id FROM "+d.outcome.raw+" WHERE row_id IN ('"+strings.Join(ids, "','")+"')")
	if err != nil {
		return // there is no table yet, or a role is down: the delay goes on
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, values := range answer.Rows {
		id, _ := values[0].(string)
		if at, ok := d.probes[id]; ok {
			d.delays = append(d.delays, time.Since(at))
			delete(d.probes, id)
		}
	}
}

// count waits until Druid has everything, has it publish all, and counts its rows by their ids.
func (d *druidSide) count(ctx context.Context, l *ledger) (druidOutcome, error) {
	raw, minute := d.outcome.raw, d.outcome.minute
	_, want := l.outstanding() // what is in Kafka, be it right or wrong
	begin := time.Now()
	if err := d.settle(ctx, func() (bool, string) {
		rows, minutes := d.number(ctx, "SELECT COUNT(*) FROM "+raw), d.number(ctx, "SELECT SUM(rows_in) FROM "+minute)
		return rows == int64(want) && minutes == int64(want), fmt.Sprint(rows, minutes)
	}); err != nil {
		return druidOutcome{}, err
	}
	d.outcome.Behind = time.Since(begin)
	d.find(ctx)
	if err := d.both(ctx, d.client.Suspend); err != nil {
		return druidOutcome{}, err
	}
	var segments int64
	published := func() (bool, string) {
		tasks, unavailable := 0, int64(0)
		segments = 0
		for _, id := range []string{d.outcome.raw, d.outcome.minute} {
			s, ok, err := d.client.SupervisorStatus(ctx, id)
			if err != nil || !ok {
				return false, fmt.Sprintf("no status of %s: %v", id, err)
			}
			t, err := d.client.TableStatus(ctx, druid.Table{Datasource: id}, time.Now())
			if err != nil {
				return false, err.Error()
			}
			tasks += len(s.ActiveTasks) + len(s.PublishingTasks)
			segments += t.Segments
			unavailable += t.Unavailable
		}
		return tasks == 0 && unavailable == 0 && segments > 0, fmt.Sprintf("%d tasks, %d of %d segments unavailable", tasks, unavailable, segments)
	}
	if err := d.settle(ctx, published); err != nil {
		return druidOutcome{}, err
	}
	if ok, state := published(); !ok {
		return druidOutcome{}, fmt.Errorf("suspended supervisors have not published everything: %s", state)
	}
	o := d.outcome
	o.Segments = segments
	o.RowsIn = d.number(ctx, "SELECT SUM(rows_in) FROM "+minute)
	again := l.afresh()
	// An answer is read whole, so it is asked for in pieces.
	first, err := d.client.Query(ctx, "SELECT DISTINCT SUBSTRING(row_id, 1, 1) FROM "+raw)
	if err != nil {
		return druidOutcome{}, err
	}
	for _, values := range first.Rows {
		piece, err := d.client.Query(ctx, "SELECT row_id FROM "+raw+" WHERE SUBSTRING(row_id, 1, 1) = ?", druid.Parameter{Type: "VARCHAR", Value: values[0]})
		if err != nil {
			return druidOutcome{}, err
		}
		for _, r := range piece.Rows {
			id, _ := r[0].(string)
			again.id([]byte(id))
		}
	}
	o.Published = again.tally()
	d.mu.Lock()
	defer d.mu.Unlock()
	o.Probes = len(d.delays)
	o.Median, o.Slowest = quantiles(d.delays)
	return o, nil
}

// settle waits until done, or until its state has not changed for long enough.
func (d *druidSide) settle(ctx context.Context, done func() (bool, string)) error {
	const quiet = 3 * time.Minute // a task that died is found out, its successor reads again
	last, since := "", time.Now()
	for {
		ok, state := done()
		if state != last {
			last, since = state, time.Now()
		}
		if ok || time.Since(since) > quiet {
			return nil
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

// number is the answer to a query of one number; -1 while there is none.
func (d *druidSide) number(ctx context.Context, sql string) int64 {
	answer, err := d.client.Query(ctx, sql)
	if err != nil || len(answer.Rows) != 1 {
		return -1
	}
	n, ok := answer.Rows[0][0].(float64)
	if !ok {
		return -1
	}
	return int64(n)
}
