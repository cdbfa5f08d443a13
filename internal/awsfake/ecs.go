package awsfake

import (
	"slices"
	"strconv"
	"sync"
	"time"
)

// ECS is the inventory of one account in one region.
type ECS struct {
	account, region string

	mu    sync.Mutex
	tasks []Task
	hosts []ContainerInstance
}

// Task is a running or stopped task.
type Task struct {
	ARN, Cluster, Definition, Group, LaunchType, LastStatus string
	ContainerInstance                                       string
	Started, Stopped                                        time.Time
	Version                                                 int64
	Tags                                                    []Tag
	// ENI and PrivateIP belong to awsvpc tasks.
	ENI, PrivateIP, Subnet string
	// Bindings belong to bridge and host tasks.
	Bindings []Binding
}

// Binding is a port of the host that a container has.
type Binding struct {
	HostPort, ContainerPort int
	Protocol                string
}

// ContainerInstance is a host of bridge and host tasks.
type ContainerInstance struct{ ARN, Cluster, Instance string }

// ECS is the direct way to the inventory of an account in a region; empty ones are the server's own.
func (s *Server) ECS(account, region string) *ECS {
	if account == "" {
		account = s.cfg.Account
	}
	if region == "" {
		region = s.cfg.Region
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ecs[account+"/"+region]
	if e == nil {
		e = &ECS{account: account, region: region}
		s.ecs[account+"/"+region] = e
	}
	return e
}

// PutTask adds a task or replaces the one with the same ARN. A task whose LastStatus is STOPPED is no longer listed, as by
// default with AWS, but still described.
func (e *ECS) PutTask(t Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.IndexFunc(e.tasks, func(o Task) bool { return o.ARN == t.ARN }); i >= 0 {
		e.tasks[i] = t
		return
	}
	e.tasks = append(e.tasks, t)
}

// RemoveTask forgets a task, as ECS does about an hour after it stopped.
func (e *ECS) RemoveTask(arn string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tasks = slices.DeleteFunc(e.tasks, func(t Task) bool { return t.ARN == arn })
}

// PutContainerInstance adds a host.
func (e *ECS) PutContainerInstance(c ContainerInstance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hosts = append(e.hosts, c)
}

func (s *Server) ecsOperations() map[string]operation {
	with := func(f func(e *ECS, c *call) (any, error)) operation {
		return func(c *call) (any, error) {
			e := s.ECS(c.account, c.region)
			e.mu.Lock()
			defer e.mu.Unlock()
			return f(e, c)
		}
	}
	return map[string]operation{
		"ListClusters":               with((*ECS).listClusters),
		"ListTasks":                  with((*ECS).listTasks),
		"DescribeTasks":              with((*ECS).describeTasks),
		"DescribeContainerInstances": with((*ECS).describeHosts),
	}
}

// ecsPage cuts a list of ARNs; the token is a position, so the list may shift between two calls.
func ecsPage(all []string, token string, size int) (part []string, next string, err error) {
	start := 0
	if token != "" {
		if start, err = strconv.Atoi(token); err != nil {
			return nil, "", failure("InvalidParameterException", "Invalid token %s", token)
		}
	}
	if size <= 0 || size > 100 {
		size = 100
	}
	start = min(start, len(all))
	end := min(start+size, len(all))
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	return all[start:end], next, nil
}

func (e *ECS) listClusters(c *call) (any, error) {
	var in struct {
		NextToken  string
		MaxResults int
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	var all []string
	for _, t := range e.tasks {
		if !slices.Contains(all, t.Cluster) {
			all = append(all, t.Cluster)
		}
	}
	part, next, err := ecsPage(all, in.NextToken, in.MaxResults)
	return object{{"clusterArns", append([]string{}, part...)}, {"nextToken", optional(next)}}, err
}

func (e *ECS) listTasks(c *call) (any, error) {
	var in struct {
		Cluster, NextToken, DesiredStatus string
		MaxResults                        int
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	var all []string
	for _, t := range e.tasks {
		if t.Cluster == in.Cluster && (t.LastStatus == "STOPPED") == (in.DesiredStatus == "STOPPED") {
			all = append(all, t.ARN)
		}
	}
	part, next, err := ecsPage(all, in.NextToken, in.MaxResults)
	return object{{"taskArns", append([]string{}, part...)}, {"nextToken", optional(next)}}, err
}

func (e *ECS) describeTasks(c *call) (any, error) {
	var in struct {
		Cluster string
		Tasks   []string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Tasks) == 0 || len(in.Tasks) > 100 {
		return nil, failure("InvalidParameterException", "Tasks must have 1 to 100 entries.")
	}
	var found, missing list
	for _, arn := range in.Tasks {
		i := slices.IndexFunc(e.tasks, func(t Task) bool { return t.ARN == arn })
		if i < 0 {
			missing = append(missing, object{{"arn", arn}, {"reason", "MISSING"}})
			continue
		}
		found = append(found, e.tasks[i].document())
	}
	return object{{"tasks", append(list{}, found...)}, {"failures", append(list{}, missing...)}}, nil
}

// document is the task as DescribeTasks answers it, and as EventBridge puts it into "detail".
func (t *Task) document() object {
	attachments, containers, tags := list{}, list{}, list{}
	if t.ENI != "" {
		attachments = append(attachments, object{{"type", "ElasticNetworkInterface"}, {"status", "ATTACHED"}, {"details", list{
			object{{"name", "subnetId"}, {"value", t.Subnet}},
			object{{"name", "networkInterfaceId"}, {"value", t.ENI}},
			object{{"name", "privateIPv4Address"}, {"value", t.PrivateIP}},
		}}})
	}
	bindings := list{}
	for _, b := range t.Bindings {
		bindings = append(bindings, object{{"bindIP", "0.0.0.0"}, {"hostPort", b.HostPort}, {"containerPort", b.ContainerPort}, {"protocol", b.Protocol}})
	}
	containers = append(containers, object{{"name", "main"}, {"networkBindings", bindings}})
	for _, tag := range t.Tags {
		tags = append(tags, object{{"key", tag.Key}, {"value", tag.Value}})
	}
	at := func(v time.Time) any {
		if v.IsZero() {
			return nil
		}
		return v
	}
	return object{
		{"taskArn", t.ARN},
		{"clusterArn", t.Cluster},
		{"taskDefinitionArn", t.Definition},
		{"group", t.Group},
		{"launchType", t.LaunchType},
		{"lastStatus", t.LastStatus},
		{"containerInstanceArn", optional(t.ContainerInstance)},
		{"version", t.Version},
		{"startedAt", at(t.Started)},
		{"stoppedAt", at(t.Stopped)},
		{"attachments", attachments},
		{"containers", containers},
		{"tags", tags},
	}
}

func (e *ECS) describeHosts(c *call) (any, error) {
	var in struct {
		Cluster            string
		ContainerInstances []string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	found, missing := list{}, list{}
	for _, arn := range in.ContainerInstances {
		i := slices.IndexFunc(e.hosts, func(h ContainerInstance) bool { return h.ARN == arn })
		if i < 0 {
			missing = append(missing, object{{"arn", arn}, {"reason", "MISSING"}})
			continue
		}
		found = append(found, object{{"containerInstanceArn", arn}, {"ec2InstanceId", e.hosts[i].Instance}, {"status", "ACTIVE"}})
	}
	return object{{"containerInstances", found}, {"failures", missing}}, nil
}
