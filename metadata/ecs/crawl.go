package ecs

import (
	"context"
	"maps"
	"slices"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// list lists all running tasks, and looks those up that were running before and are not listed: an absent task is released only
// when ECS says that it stopped or knows it no more.
func (e *estate) list(ctx context.Context) error {
	begin := e.millis()
	clusters, err := e.clusters(ctx)
	if err != nil {
		return &callError{err}
	}
	arns := map[string][]string{} // by cluster
	listed := map[string]bool{}
	for _, c := range clusters {
		tasks, err := e.taskARNs(ctx, c)
		if err != nil {
			return &callError{err}
		}
		arns[c] = tasks
		for _, t := range tasks {
			listed[t] = true
		}
	}
	e.mu.Lock()
	missing, known := 0, len(e.tasks)
	for arn, t := range e.tasks {
		if !listed[arn] {
			missing++
			arns[t.cluster] = append(arns[t.cluster], arn)
		}
	}
	e.mu.Unlock()
	shown, lost := map[string]bool{}, []string{}
	for _, c := range slices.Sorted(maps.Keys(arns)) {
		found, failed, err := e.describe(ctx, c, arns[c])
		if err != nil {
			return &callError{err}
		}
		if err := e.take(ctx, found); err != nil {
			return err
		}
		for i := range found {
			shown[aws.ToString(found[i].TaskArn)] = true
		}
		lost = append(lost, failed...)
	}
	return e.complete(lost, shown, missing, known, begin)
}

// complete releases what ECS knows no more and moves the watermark. When nearly everything is suddenly unknown, that is believed
// only the third time.
func (e *estate) complete(lost []string, shown map[string]bool, missing, known int, begin int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event.Event
	if len(lost) > 10 && 2*len(lost) > known && e.doubts < 2 {
		e.doubts++
		e.metrics.doubts.Inc()
		e.log.Error().Int("missing", len(lost)).Int("known", known).Msg("a listing lacks so much that it is doubted")
	} else {
		e.doubts = 0
		for _, arn := range lost {
			if t := e.tasks[arn]; t != nil && !shown[arn] && begin >= t.lastSeen+e.cfg.Consistency.Milliseconds() {
				out = e.release(arn, t.lastSeen-e.cfg.Consistency.Milliseconds(), begin, out)
			}
		}
	}
	e.metrics.missing.Add(float64(missing))
	e.metrics.lastComplete.Set(float64(begin) / 1000)
	return e.tell(append(out, e.teller.Complete(begin-e.cfg.Consistency.Milliseconds())))
}

func (e *estate) clusters(ctx context.Context) ([]string, error) {
	var out []string
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "ListClusters", func(ctx context.Context) (*ecs.ListClustersOutput, error) {
			return e.ecs.ListClusters(ctx, &ecs.ListClustersInput{NextToken: token, MaxResults: aws.Int32(100)})
		})
		if err != nil {
			return nil, err
		}
		out = append(out, answer.ClusterArns...)
		return answer.NextToken, nil
	})
	return out, err
}

func (e *estate) taskARNs(ctx context.Context, cluster string) ([]string, error) {
	var out []string
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "ListTasks", func(ctx context.Context) (*ecs.ListTasksOutput, error) {
			return e.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: &cluster, NextToken: token, MaxResults: aws.Int32(100)})
		})
		if err != nil {
			return nil, err
		}
		out = append(out, answer.TaskArns...)
		return answer.NextToken, nil
	})
	return out, err
}

// describe returns tasks, and the ARNs that ECS does not know.
func (e *estate) describe(ctx context.Context, cluster string, arns []string) (found []types.Task, missing []string, err error) {
	slices.Sort(arns)
	for some := range slices.Chunk(slices.Compact(arns), describeMost) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeTasks", func(ctx context.Context) (*ecs.DescribeTasksOutput, error) {
			return e.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: some, Include: []types.TaskField{types.TaskFieldTags}})
		})
		if err != nil {
			return nil, nil, err
		}
		found = append(found, answer.Tasks...)
		for _, f := range answer.Failures {
			if aws.ToString(f.Reason) == "MISSING" {
				missing = append(missing, aws.ToString(f.Arn))
			}
		}
	}
	return found, missing, nil
}
