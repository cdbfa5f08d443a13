package druid

import (
	"context"
	"errors"
	"fmt"
	"time"

	cluster "dredge/druid"
	"dredge/internal/retry"
)

// Check tries all that the sink needs: the overlord, the coordinator, the broker, free slots, the place of objects, and a task without rows
// for each datasource, which shows whether Druid takes the spec and lets this user write.
func (s *Sink) Check(ctx context.Context) error {
	slots, _, err := s.cluster.TaskSlots(ctx)
	if err != nil {
		return err
	}
	if slots == 0 {
		return errors.New("druid: has no worker that could run a task; start a middle manager or an indexer")
	}
	fresh := s.cfg.Freshness(slots)
	if fresh > maxFreshness {
		return fmt.Errorf("task_slots: Druid has %d slots, so rows would be up to %s old when they can be queried, more than %s; add workers to Druid, or write sink.type: kafka",
			slots, fresh, maxFreshness)
	}
	s.log.Info().Int("slots_of_druid", slots).Int("task_slots", s.cfg.TaskSlots).Dur("freshness", fresh).
		Msg("rows can be queried after that time at the latest, while Druid keeps up")
	if _, err := s.cluster.Query(ctx, "SELECT 1"); err != nil {
		return fmt.Errorf("asking the broker: %w", err)
	}
	errs := []error{s.checkObjects(ctx)}
	now := time.Now().UTC().Truncate(time.Hour)
	for t := range tables {
		if s.tables[t].Datasource == "" {
			continue
		}
		if _, err := s.cluster.Published(ctx, s.tables[t].Datasource, now, now.Add(time.Hour)); err != nil {
			return errors.Join(append(errs, err)...) // it is the same for every other one
		}
		errs = append(errs, s.checkTable(ctx, t))
	}
	return errors.Join(errs...)
}

// checkObjects writes an object and deletes it.
func (s *Sink) checkObjects(ctx context.Context) error {
	if s.cfg.Objects == "" {
		return nil
	}
	key := "check-" + s.nonce()
	if err := s.objects.Create(ctx, key, []byte("dredge check\n")); err != nil {
		return fmt.Errorf("objects: %w; this process must be allowed to write there, and Druid's workers to read", err)
	}
	if err := s.objects.Delete(ctx, key); err != nil {
		return fmt.Errorf("objects: %w; what dredge check wrote stays there", err)
	}
	return nil
}

// checkTable submits a task without rows and waits for its end.
func (s *Sink) checkTable(ctx context.Context, t table) error {
	datasource := s.tables[t].Datasource
	id := "dredge-check-" + s.nonce()
	if err := s.cluster.SubmitBatch(ctx, cluster.Batch{TaskID: id, ID: "check", Table: s.tables[t]}); err != nil {
		return fmt.Errorf("submitting a task for %s: %w", datasource, err)
	}
	for {
		if err := retry.Sleep(ctx, s.cfg.PollInterval); err != nil {
			waiting, asked := s.cluster.WaitingTasks(context.WithoutCancel(ctx), datasource)
			if asked == nil && len(waiting) > 0 {
				return fmt.Errorf("%s is locked: %d tasks wait for another one to end, as %s does; set useConcurrentLocks in the context of compaction and of other tasks that write to it",
					datasource, len(waiting), id)
			}
			return fmt.Errorf("the task %s did not end in time; look whether Druid's slots are all taken: %w", id, err)
		}
		status, known, err := s.cluster.TaskStatus(ctx, id)
		switch {
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("asking for task %s: %w", id, err)
		case known && status.State == cluster.TaskFailed:
			return fmt.Errorf("a task without rows for %s failed: %s", datasource, status.Error)
		case known && status.State == cluster.TaskSuccess:
			return nil
		}
	}
}

// Describe names the promise for people.
func (s *Sink) Describe() string {
	return fmt.Sprintf("Druid datasource %s by tasks, at least once with a narrow window, rows up to %s old", s.tables[raw].Datasource, s.cfg.Freshness(s.cfg.TaskSlots))
}
