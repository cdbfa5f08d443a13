package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/internal/telemetry"
	"dredge/metadata/ec2"
	"dredge/metadata/idlog"
	"dredge/metadata/kube"
	"dredge/sink/kafka"
)

// recorder registers with reg and remembers what was registered, because a vector without children shows nothing when gathered.
type recorder struct {
	*prometheus.Registry
	seen []prometheus.Collector
}

func (r *recorder) Register(c prometheus.Collector) error {
	r.seen = append(r.seen, c)
	return r.Registry.Register(c)
}

func (r *recorder) MustRegister(cs ...prometheus.Collector) {
	r.seen = append(r.seen, cs...)
	r.Registry.MustRegister(cs...)
}

// describeMetrics builds the whole service with every kind of sink, which starts nothing, and reads what it registered.
func describeMetrics() ([]metric, error) {
	seen := map[string]metric{}
	dir, err := os.MkdirTemp("", "dredge-docs-")
	if err != nil {
		return nil, fmt.Errorf("describe metrics: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder; nothing depends on it
	kubeconfig, edges := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "edges.yaml")
	for path, text := range map[string]string{kubeconfig: anyCluster, edges: "{version: 1, default: deny}"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("describe metrics: %w", err)
		}
	}
	for _, sink := range []struct {
		kind string
		mode kafka.Mode
	}{{config.SinkKafka, kafka.AtLeastOnce}, {config.SinkKafka, kafka.ExactlyOnce}, {config.SinkDruid, kafka.AtLeastOnce}, {config.SinkFile, kafka.AtLeastOnce}} {
		c := config.Default()
		c.Sink.Kafka.Mode = sink.mode
		c.Kinesis.Application, c.Kinesis.StreamName = "dredge", "flows"
		c.Identity.File.Path = "events.jsonl"
		c.Identity.EC2.Accounts = []ec2.Account{{ID: "123456789012", Regions: []string{"us-east-1"}}}
		c.Identity.ECS.Accounts = c.Identity.EC2.Accounts
		c.Identity.Geo.IPRanges = "ip-ranges.json"
		c.Identity.Kube.Clusters = []kube.Cluster{{Name: "prod", Kubeconfig: kubeconfig, VPC: "vpc-0a1b2c3d", Account: "123456789012", Region: "us-east-1"}}
		c.Segmentation.File = edges
		c.Identity.Logs = []idlog.Config{{URL: "file:///var/lib/dredge/identity"}}
		c.Sink.Kafka.MinuteTopic = "flows_1m"
		c.Druid.Overlord, c.Sink.Druid.Objects, c.Sink.Druid.Minute = "http://druid.invalid:8888", "s3://bucket/batches", true
		c.Sink.Type, c.Sink.File.MinutePath, c.Sink.File.LatePath = sink.kind, "rows_1m.jsonl", "rows_late.jsonl"
		c.DeadLetter.Type, c.DeadLetter.File.Path = config.DeadLetterFile, "dead.jsonl"
		if sink.mode == kafka.AtLeastOnce { // S3 is not read in the other mode
			c.S3.LedgerTable, c.S3.MouthfulQueue, c.S3.Gather.Queue = "ledger", "https://sqs.invalid/1/mouthfuls", "https://sqs.invalid/1/files"
		}
		c.HTTP.Listen = ""
		reg := &recorder{Registry: telemetry.NewRegistry()}
		svc, err := newService(c, clientsFrom(aws.Config{Region: "us-east-1"}, c.AWS, c.Kinesis.FailoverTime), zerolog.Nop(), reg)
		if err != nil {
			return nil, fmt.Errorf("build the service with sink %s: %w", sink.kind, err)
		}
		if err := svc.close(); err != nil {
			return nil, err
		}
		for _, collector := range reg.seen {
			for _, d := range describe(collector) {
				if m, ok := parseDesc(d.String()); ok && strings.HasPrefix(m.name, "dredge_") {
					seen[m.name] = m
				}
			}
		}
	}
	seen["dredge_build_info"] = metric{"dredge_build_info", "Always 1; the labels say what is running.", "`version`, `revision`, `go`"}
	list := make([]metric, 0, len(seen))
	for _, m := range seen {
		list = append(list, m)
	}
	return list, nil
}

// anyCluster is a kubeconfig that names a cluster which nobody calls.
const anyCluster = `{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: a, context: {cluster: a}}]}`

func describe(c prometheus.Collector) []*prometheus.Desc {
	ch := make(chan *prometheus.Desc, 1024)
	c.Describe(ch)
	close(ch)
	var out []*prometheus.Desc
	for d := range ch {
		out = append(out, d)
	}
	return out
}

// parseDesc reads a Desc by its text: the library has no other door.
func parseDesc(text string) (metric, bool) {
	m := regexp.MustCompile(`fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`).FindStringSubmatch(text)
	if m == nil {
		return metric{}, false
	}
	var labels []string
	for l := range strings.SplitSeq(m[3], ",") {
		if l != "" {
			labels = append(labels, "`"+l+"`")
		}
	}
	return metric{name: m[1], help: strings.ReplaceAll(m[2], `\"`, `"`), labels: strings.Join(labels, ", ")}, true
}
