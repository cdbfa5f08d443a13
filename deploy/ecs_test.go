package deploy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dredge/config"
)

// The task definition is one that ECS takes as far as that can be seen here, drains in time, runs without rights, and its environment is a
// configuration that dredge accepts.
func TestECSTaskDefinition(t *testing.T) {
	type pair struct{ Name, Value, ValueFrom string }
	var task struct {
		Family, NetworkMode, CPU, Memory, TaskRoleArn string
		ContainerDefinitions                          []struct {
			Name, Image, User      string
			Command                []string
			ReadonlyRootFilesystem bool
			StopTimeout            int
			PortMappings           []struct{ ContainerPort int }
			Environment, Secrets   []pair
			LinuxParameters        struct{ Capabilities struct{ Drop []string } }
		}
	}
	if err := json.Unmarshal(read(t, "ecs/task-definition.json"), &task); err != nil {
		t.Fatal(err)
	}
	if len(task.ContainerDefinitions) != 1 || task.TaskRoleArn == "" || task.NetworkMode != "awsvpc" {
		t.Fatalf("task %+v", task)
	}
	c := task.ContainerDefinitions[0]
	if !c.ReadonlyRootFilesystem || c.User == "" || strings.HasPrefix(c.User, "0") || len(c.LinuxParameters.Capabilities.Drop) == 0 {
		t.Errorf("the container has rights that it does not need: %+v", c)
	}
	var environ []string
	for _, e := range c.Environment {
		environ = append(environ, e.Name+"="+e.Value)
	}
	for _, s := range c.Secrets {
		if s.Name != config.EnvName("http.auth") || !strings.HasPrefix(s.ValueFrom, "arn:aws:secretsmanager:") {
			t.Errorf("secret %+v", s)
		}
		environ = append(environ, s.Name+`=[{name: prometheus, role: read, token: "a secret that is long"}]`)
	}
	cfg, err := config.Parse(nil, environ)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.ValidateService(); err != nil {
		t.Error(err)
	}
	if stop := time.Duration(c.StopTimeout) * time.Second; stop <= cfg.Kinesis.ShutdownTimeout || stop > 2*time.Minute {
		t.Errorf("ECS kills after %s; the drain may take %s, and Fargate waits for 2 minutes at most", stop, cfg.Kinesis.ShutdownTimeout)
	}
	if len(c.PortMappings) != 1 || !strings.HasSuffix(cfg.HTTP.Listen, ":9090") || c.PortMappings[0].ContainerPort != 9090 {
		t.Errorf("port %v, dredge listens at %s", c.PortMappings, cfg.HTTP.Listen)
	}
	if limit := cfg.Pipeline.MemoryLimit(); limit > 3<<30 {
		t.Errorf("a memory limit of %d bytes in a task of %s MiB", limit, task.Memory)
	}
}
