package ecs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// handle looks up the task of one event. The error is awscall.ErrAgain or emit's.
func (s *Source) handle(ctx context.Context, body string) error {
	s.metrics.messages.Inc()
	account, region, t, err := parseChange([]byte(body))
	if err != nil {
		s.metrics.messagesBad.Inc()
		s.deps.Log.Warn().Err(err).Str("queue", s.queue.URL).Msg("a message of the queue is no task state change and was removed")
		return nil
	}
	for _, e := range s.estates {
		if e.account != account || e.region != region {
			continue
		}
		err := e.change(ctx, t)
		if _, ok := errors.AsType[*callError](err); ok {
			return fmt.Errorf("%w: %w", awscall.ErrAgain, err)
		}
		return err
	}
	s.metrics.messagesOther.Inc()
	return nil
}

// changed is what an event says of a task.
type changed struct {
	ARN     string `json:"taskArn"`
	Cluster string `json:"clusterArn"`
	Version int64  `json:"version"`
}

// parseChange reads an ECS Task State Change as EventBridge writes it.
func parseChange(body []byte) (account, region string, t changed, err error) {
	if len(body) > awscall.MaxMessage {
		return "", "", t, fmt.Errorf("message of %d bytes; at most %d are read", len(body), awscall.MaxMessage)
	}
	var e struct {
		Type    string  `json:"detail-type"`
		Account string  `json:"account"`
		Region  string  `json:"region"`
		Detail  changed `json:"detail"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return "", "", t, fmt.Errorf("message is no event of EventBridge: %w", err)
	}
	if e.Type != "ECS Task State Change" || e.Detail.ARN == "" || e.Detail.Cluster == "" {
		return "", "", t, fmt.Errorf("detail-type %q is no ECS Task State Change with a task and a cluster", e.Type)
	}
	return e.Account, e.Region, e.Detail, nil
}

// change looks one task up. An answer that is older than the event is not the last word: the message stays in the queue.
func (e *estate) change(ctx context.Context, c changed) error {
	e.mu.Lock()
	was := e.tasks[c.ARN]
	stale := was != nil && was.version >= c.Version
	e.mu.Unlock()
	if stale {
		return nil
	}
	found, missing, err := e.describe(ctx, c.Cluster, []string{c.ARN})
	if err != nil {
		return &callError{err}
	}
	if len(missing) > 0 {
		return nil // the next listing looks twice
	}
	if err := e.take(ctx, found); err != nil {
		return err
	}
	if v := slices.MaxFunc(append(found, types.Task{}), func(a, b types.Task) int { return cmp.Compare(a.Version, b.Version) }).Version; v < c.Version {
		return &callError{fmt.Errorf("DescribeTasks answers version %d of a task whose event has %d", v, c.Version)}
	}
	return nil
}
