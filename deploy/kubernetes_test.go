package deploy

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/internal/httpd"
)

// The structures hold what the manifests use of the Kubernetes API; a field that is none of theirs, or misspelt, is an error.
type (
	meta struct {
		Name, Namespace     string
		Labels, Annotations map[string]string
	}
	selector struct {
		MatchLabels      map[string]string `yaml:"matchLabels"`
		MatchExpressions []struct {
			Key, Operator string
			Values        []string
		} `yaml:"matchExpressions"`
	}
	object[Spec any] struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
		Spec       Spec
	}
	probe struct {
		HTTPGet          struct{ Path, Port string } `yaml:"httpGet"`
		PeriodSeconds    int                         `yaml:"periodSeconds"`
		TimeoutSeconds   int                         `yaml:"timeoutSeconds"`
		FailureThreshold int                         `yaml:"failureThreshold"`
	}
	container struct {
		Name, Image string
		Args        []string
		Ports       []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		StartupProbe   probe `yaml:"startupProbe"`
		LivenessProbe  probe `yaml:"livenessProbe"`
		ReadinessProbe probe `yaml:"readinessProbe"`
		Lifecycle      struct {
			PreStop struct {
				Exec struct{ Command []string }
			} `yaml:"preStop"`
		}
		Resources       struct{ Requests, Limits map[string]string }
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct{ Drop []string }
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	deployment struct {
		Replicas                int
		MinReadySeconds         int `yaml:"minReadySeconds"`
		ProgressDeadlineSeconds int `yaml:"progressDeadlineSeconds"`
		Selector                selector
		Strategy                struct {
			Type          string
			RollingUpdate map[string]int `yaml:"rollingUpdate"`
		}
		Template struct {
			Metadata meta
			Spec     struct {
				ServiceAccountName            string `yaml:"serviceAccountName"`
				EnableServiceLinks            *bool  `yaml:"enableServiceLinks"`
				TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
				SecurityContext               struct {
					RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
					RunAsUser      int                   `yaml:"runAsUser"`
					RunAsGroup     int                   `yaml:"runAsGroup"`
					SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
				} `yaml:"securityContext"`
				TopologySpreadConstraints []struct {
					MaxSkew           int      `yaml:"maxSkew"`
					TopologyKey       string   `yaml:"topologyKey"`
					WhenUnsatisfiable string   `yaml:"whenUnsatisfiable"`
					LabelSelector     selector `yaml:"labelSelector"`
				} `yaml:"topologySpreadConstraints"`
				Containers []container
				Volumes    []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
				}
			}
		}
	}
	service struct {
		PublishNotReadyAddresses bool `yaml:"publishNotReadyAddresses"`
		Selector                 map[string]string
		Ports                    []struct {
			Name       string
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
	}
	disruption struct {
		MaxUnavailable             int    `yaml:"maxUnavailable"`
		UnhealthyPodEvictionPolicy string `yaml:"unhealthyPodEvictionPolicy"`
		Selector                   selector
	}
	networkPolicy struct {
		PodSelector selector `yaml:"podSelector"`
		PolicyTypes []string `yaml:"policyTypes"`
		Ingress     []struct {
			From []struct {
				NamespaceSelector selector `yaml:"namespaceSelector"`
			}
			Ports []struct{ Port, Protocol string }
		}
	}
	scaledObject struct {
		ScaleTargetRef  struct{ Name string } `yaml:"scaleTargetRef"`
		MinReplicaCount int                   `yaml:"minReplicaCount"`
		MaxReplicaCount int                   `yaml:"maxReplicaCount"`
		PollingInterval int                   `yaml:"pollingInterval"`
		Fallback        struct {
			FailureThreshold int `yaml:"failureThreshold"`
			Replicas         int
			Behavior         string
		}
		Advanced struct {
			HorizontalPodAutoscalerConfig struct {
				Behavior struct {
					ScaleUp struct {
						StabilizationWindowSeconds int `yaml:"stabilizationWindowSeconds"`
					} `yaml:"scaleUp"`
					ScaleDown struct {
						StabilizationWindowSeconds int `yaml:"stabilizationWindowSeconds"`
						Policies                   []struct {
							Type          string
							Value         int
							PeriodSeconds int `yaml:"periodSeconds"`
						}
					} `yaml:"scaleDown"`
				}
			} `yaml:"horizontalPodAutoscalerConfig"`
		}
		Triggers []struct {
			Type       string
			MetricType string `yaml:"metricType"`
			Metadata   map[string]string
		}
	}
	configMap struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
		Data       map[string]string
	}
	plain struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
	}
	role struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
		Rules      []struct {
			APIGroups []string `yaml:"apiGroups"`
			Resources []string
			Verbs     []string
		}
	}
	binding struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
		RoleRef    struct {
			APIGroup string `yaml:"apiGroup"`
			Kind     string
			Name     string
		} `yaml:"roleRef"`
		Subjects []struct{ Kind, Name, Namespace string }
	}
)

// manifests are the objects of deploy/kubernetes.
type manifests struct {
	namespace, account plain
	config             configMap
	deployment         object[deployment]
	service            object[service]
	disruption         object[disruption]
	network            object[networkPolicy]
	scaled             object[scaledObject]
	role               role
	binding            binding
}

func kubernetes(t *testing.T) *manifests {
	t.Helper()
	m := &manifests{}
	targets := map[string]any{
		"v1 Namespace": &m.namespace, "v1 ServiceAccount": &m.account, "v1 ConfigMap": &m.config, "apps/v1 Deployment": &m.deployment,
		"v1 Service": &m.service, "policy/v1 PodDisruptionBudget": &m.disruption, "networking.k8s.io/v1 NetworkPolicy": &m.network,
		"keda.sh/v1alpha1 ScaledObject": &m.scaled, "rbac.authorization.k8s.io/v1 ClusterRole": &m.role,
		"rbac.authorization.k8s.io/v1 ClusterRoleBinding": &m.binding,
	}
	var files []string
	for _, pattern := range []string{"kubernetes/*.yaml", "kubernetes/keda/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		for doc := range bytes.SplitSeq(read(t, file), []byte("\n---\n")) {
			var head plain
			if err := yaml.Unmarshal(doc, &head); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			kind := head.APIVersion + " " + head.Kind
			target, ok := targets[kind]
			if !ok {
				t.Fatalf("%s: %q is none of the kinds known here, or comes twice", file, kind)
			}
			delete(targets, kind)
			if err := yaml.UnmarshalWithOptions(doc, target, yaml.Strict()); err != nil {
				t.Errorf("%s: %s: %v", file, kind, err)
			}
		}
	}
	for kind := range targets {
		t.Errorf("there is no %s", kind)
	}
	return m
}

// The objects find each other: by name, namespace, labels and port.
func TestKubernetesFitsTogether(t *testing.T) {
	m := kubernetes(t)
	pod := m.deployment.Spec.Template
	namespace := m.namespace.Metadata.Name
	for what, o := range map[string]meta{
		"service account": m.account.Metadata, "config map": m.config.Metadata, "deployment": m.deployment.Metadata, "service": m.service.Metadata,
		"disruption budget": m.disruption.Metadata, "network policy": m.network.Metadata, "scaled object": m.scaled.Metadata,
	} {
		if o.Namespace != namespace {
			t.Errorf("%s is in namespace %q, not in %q", what, o.Namespace, namespace)
		}
	}
	selectors := map[string]map[string]string{
		"deployment": m.deployment.Spec.Selector.MatchLabels, "service": m.service.Spec.Selector,
		"disruption budget": m.disruption.Spec.Selector.MatchLabels, "network policy": m.network.Spec.PodSelector.MatchLabels,
	}
	for _, c := range pod.Spec.TopologySpreadConstraints {
		selectors["spread over "+c.TopologyKey] = c.LabelSelector.MatchLabels
	}
	for what, s := range selectors {
		if d := cmp.Diff(pod.Metadata.Labels, s); d != "" {
			t.Errorf("%s does not select the pods: %s", what, d)
		}
	}
	c := pod.Spec.Containers[0]
	port := c.Ports[0]
	if p := m.service.Spec.Ports[0]; p.TargetPort != port.Name || p.Port != port.ContainerPort {
		t.Errorf("service port %+v, container port %+v", p, port)
	}
	if p := m.network.Spec.Ingress[0].Ports[0]; p.Port != port.Name {
		t.Errorf("network policy admits port %q", p.Port)
	}
	for what, got := range map[string]string{
		"pod": pod.Spec.ServiceAccountName, "cluster role binding": m.binding.Subjects[0].Name, "its role": m.binding.RoleRef.Name,
	} {
		if got != m.account.Metadata.Name {
			t.Errorf("%s names %q", what, got)
		}
	}
	if m.binding.Subjects[0].Namespace != namespace || m.role.Metadata.Name != m.binding.RoleRef.Name {
		t.Errorf("the cluster role is bound to %+v", m.binding)
	}
	if !strings.HasPrefix(m.account.Metadata.Annotations["eks.amazonaws.com/role-arn"], "arn:aws:iam::") {
		t.Error("the service account has no role")
	}
	if pod.Spec.Volumes[0].ConfigMap.Name != m.config.Metadata.Name || pod.Spec.Volumes[0].Name != c.VolumeMounts[0].Name {
		t.Error("the pod does not mount the config map")
	}

	k := m.scaled.Spec
	want := "http://" + m.service.Metadata.Name + "." + namespace + ".svc:" + strconv.Itoa(port.ContainerPort) + "/scale"
	if got := k.Triggers[0].Metadata["url"]; k.ScaleTargetRef.Name != m.deployment.Metadata.Name || got != want {
		t.Errorf("KEDA scales %q by %q, want %q", k.ScaleTargetRef.Name, got, want)
	}
	if m.disruption.Spec.MaxUnavailable != 1 || k.MinReplicaCount < 2 || m.deployment.Spec.Replicas < 2 {
		t.Error("a drained node may stop everything")
	}
	code := string(read(t, root+"/cmd/dredge/service.go")) + string(read(t, root+"/cmd/dredge/scale.go"))
	if field := k.Triggers[0].Metadata["valueLocation"]; !strings.Contains(code, `json:"`+field+`"`) || !strings.Contains(code, `"GET /scale"`) {
		t.Errorf("GET /scale does not answer %q", field)
	}
}

// The pod may do nothing that it need not.
func TestKubernetesPodIsConfined(t *testing.T) {
	pod := kubernetes(t).deployment.Spec.Template.Spec
	c := pod.Containers[0]
	if links := pod.EnableServiceLinks; links == nil || *links {
		t.Error("the pod gets variables of each service of its namespace; those of one called dredge look like settings")
	}
	if s := pod.SecurityContext; !s.RunAsNonRoot || s.RunAsUser == 0 || s.SeccompProfile.Type != "RuntimeDefault" {
		t.Errorf("pod: %+v", s)
	}
	s := c.SecurityContext
	if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("container: %+v", s)
	}
	if strings.HasSuffix(c.Image, ":latest") || !strings.Contains(c.Image, ":") {
		t.Errorf("image %q has no version", c.Image)
	}
}

// dredge accepts the configuration, the pod has the room and the time that it asks for, and answers every probe.
func TestKubernetesRunsDredge(t *testing.T) {
	m := kubernetes(t)
	pod := m.deployment.Spec.Template.Spec
	c := pod.Containers[0]
	file := filepath.Join(t.TempDir(), "dredge.yaml")
	if err := os.WriteFile(file, []byte(m.config.Data["dredge.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.ValidateService(); err != nil {
		t.Error(err)
	}
	host, port, err := net.SplitHostPort(cfg.HTTP.Listen)
	if err != nil || host != "0.0.0.0" || port != strconv.Itoa(c.Ports[0].ContainerPort) {
		t.Errorf("dredge listens at %q, the container's port is %d", cfg.HTTP.Listen, c.Ports[0].ContainerPort)
	}

	preStop := c.Lifecycle.PreStop.Exec.Command
	if preStop[0] != "dredge" {
		t.Errorf("preStop runs %q", preStop)
	}
	for _, args := range [][]string{c.Args, preStop[1:]} {
		flags := commandFlags(t, args[0])
		for _, arg := range args[1:] {
			if strings.HasPrefix(arg, "-") && !slices.Contains(flags, arg) {
				t.Errorf("dredge %s has no flag %s", args[0], arg)
			}
		}
		if i := slices.Index(args, "-c"); i < 0 || args[i+1] != c.VolumeMounts[0].MountPath+"/dredge.yaml" {
			t.Errorf("%q does not read the config map at %s", args, c.VolumeMounts[0].MountPath)
		}
	}
	grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second
	drain, err := time.ParseDuration(preStop[slices.Index(preStop, "--timeout")+1])
	if err != nil || drain <= cfg.Kinesis.ShutdownTimeout || grace < drain+10*time.Second {
		t.Errorf("shutdown_timeout %s, drain's time-out %s, grace period %s: each must be greater than the one before", cfg.Kinesis.ShutdownTimeout, drain, grace)
	}
	memory, ok := strings.CutSuffix(c.Resources.Limits["memory"], "Gi")
	gib, err := strconv.Atoi(memory)
	if !ok || err != nil || int64(gib)<<30 < 2*cfg.Pipeline.MemoryLimit() || c.Resources.Requests["memory"] != c.Resources.Limits["memory"] {
		t.Errorf("memory %v, the pipeline alone may take %d MiB", c.Resources, cfg.Pipeline.MemoryLimit()>>20)
	}

	server := serve(t)
	for what, p := range map[string]probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if p.HTTPGet.Port != c.Ports[0].Name {
			t.Errorf("the %s probe asks port %q", what, p.HTTPGet.Port)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server+p.HTTPGet.Path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // its status is all that a probe looks at
		if resp.StatusCode != http.StatusOK {
			t.Errorf("the %s probe is answered %s", what, resp.Status)
		}
	}
}

// serve starts dredge's HTTP server and returns its URL.
func serve(t *testing.T) string {
	t.Helper()
	cfg := httpd.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	s, err := httpd.New(cfg, httpd.Deps{Gatherer: prometheus.NewRegistry(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	address, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + address.String()
}

// The Terraform example makes what the manifests name, and grants the permissions that the documents list: none less, none more.
func TestTerraform(t *testing.T) {
	var all strings.Builder
	files, err := filepath.Glob("terraform/*.tf")
	if err != nil || len(files) == 0 {
		t.Fatal("no Terraform files", err)
	}
	for _, f := range files {
		text := read(t, f)
		if bytes.Count(text, []byte("{")) != bytes.Count(text, []byte("}")) {
			t.Errorf("%s: braces are not balanced", f)
		}
		all.Write(text)
	}
	declared := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^variable "(\w+)"`).FindAllStringSubmatch(all.String(), -1) {
		declared[m[1]] = true
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\bvar\.(\w+)`).FindAllStringSubmatch(all.String(), -1) {
		used[m[1]] = true
	}
	if d := cmp.Diff(declared, used); d != "" {
		t.Errorf("variables (-declared +used): %s", d)
	}

	action := regexp.MustCompile(`\b(?:kinesis|dynamodb|ec2|ecs|sqs|sts|kms):[A-Z]\w+`)
	granted := action.FindAllString(string(read(t, "terraform/worker.tf")), -1)
	var documented []string
	for _, file := range []string{"/docs/consumer.md", "/docs/sources.md"} {
		for line := range strings.SplitSeq(string(read(t, root+file)), "\n") {
			if strings.HasPrefix(line, "| `") { // the tables of permissions
				documented = append(documented, action.FindAllString(line, -1)...)
			}
		}
	}
	// What the example does not need, with the reason.
	beyond := map[string]string{
		"dynamodb:CreateTable": "Terraform makes the table", "dynamodb:TagResource": "Terraform makes the table", "dynamodb:UpdateContinuousBackups": "Terraform makes the table",
		"dynamodb:Query": "the index of KCL 3.x, which this table does not have", "sts:AssumeRoleWithWebIdentity": "how a pod gets the role, not what it may do",
	}
	for _, a := range documented {
		if !slices.Contains(granted, a) && beyond[a] == "" {
			t.Errorf("the role may not %s, which the documents list", a)
		}
	}
	for _, a := range granted {
		if !slices.Contains(documented, a) && beyond[a] == "" {
			t.Errorf("the role may %s, for which the documents give no reason", a)
		}
	}

	defaults := map[string]string{}
	for _, block := range strings.Split("\n"+string(read(t, "terraform/variables.tf")), "\nvariable ")[1:] {
		name := strings.Trim(strings.Fields(block)[0], `"`)
		if m := regexp.MustCompile(`(?s)\n  default += (\[.*?\]|\S+)\n`).FindStringSubmatch(block); m != nil {
			defaults[name] = strings.Join(strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune("[]\", \n", r) }), " ")
		}
	}
	file := filepath.Join(t.TempDir(), "dredge.yaml")
	m := kubernetes(t)
	if err := os.WriteFile(file, []byte(m.config.Data["dredge.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	rule := cfg.Pipeline.Formats.Rules[0]
	for name, want := range map[string]string{
		"application": cfg.Kinesis.Application, "stream_name": cfg.Kinesis.StreamName, "log_group": rule.LogGroup, "fields": rule.Format, "namespace": m.namespace.Metadata.Name,
	} {
		if defaults[name] != want {
			t.Errorf("Terraform's %s is %q, the config map's %q", name, defaults[name], want)
		}
	}
}
