package deploy

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"dredge/config"
)

// helmFuncs are the functions that the chart uses, as Helm defines them. A template that uses another does not parse here.
func helmFuncs(t *testing.T) template.FuncMap {
	return template.FuncMap{
		"quote": strconv.Quote,
		"indent": func(n int, s string) string {
			pad := strings.Repeat(" ", n)
			return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
		},
		"toJson": func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
		"toYaml": func(v any) (string, error) {
			b, err := yaml.Marshal(v)
			return strings.TrimSuffix(string(b), "\n"), err
		},
		"sha256sum": func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) },
	}
}

// render runs the chart's templates with values, and returns the documents by kind and name.
func render(t *testing.T, values map[string]any, namespace string) map[string]any {
	t.Helper()
	files, err := filepath.Glob("helm/dredge/templates/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no templates", err)
	}
	out := map[string]any{}
	for _, file := range files {
		tmpl, err := template.New(file).Option("missingkey=error").Funcs(helmFuncs(t)).Parse(string(read(t, file)))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := tmpl.Execute(&text, map[string]any{"Values": values, "Release": map[string]any{"Namespace": namespace, "Name": "dredge"}}); err != nil {
			t.Fatal(err)
		}
		collect(t, out, file, text.String())
	}
	return out
}

func collect(t *testing.T, out map[string]any, file, text string) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var doc map[string]any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, text)
		}
		if doc == nil {
			continue
		}
		meta, _ := doc["metadata"].(map[string]any)
		out[fmt.Sprintf("%v %v", doc["kind"], meta["name"])] = doc
	}
}

func chartValues(t *testing.T) map[string]any {
	t.Helper()
	var values map[string]any
	if err := yaml.Unmarshal(read(t, "helm/dredge/values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// at returns what lies below doc at a path.
func at(doc any, path ...string) map[string]any {
	for _, key := range path {
		m, _ := doc.(map[string]any)
		doc = m[key]
	}
	m, _ := doc.(map[string]any)
	return m
}

// The chart with its own values is the plain manifests, which other tests hold to Kubernetes' rules. There is no helm here: the templates
// use few functions of it, and are run by Go's own template engine, which is Helm's.
func TestHelmChartIsThePlainManifests(t *testing.T) {
	want := map[string]any{}
	for _, pattern := range []string{"kubernetes/*.yaml", "kubernetes/keda/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Base(file) != "namespace.yaml" { // helm makes it with --create-namespace
				collect(t, want, file, string(read(t, file)))
			}
		}
	}
	got := render(t, chartValues(t), "dredge")
	// The configuration is a text in both; what counts is what it says. A checksum of it is the chart's own.
	for _, docs := range []map[string]any{want, got} {
		data := at(docs["ConfigMap dredge"], "data")
		text, _ := data["dredge.yaml"].(string)
		c, err := config.Parse([]byte(text), nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		var all strings.Builder
		if err := c.WriteYAML(&all); err != nil {
			t.Fatal(err)
		}
		data["dredge.yaml"] = all.String()
	}
	annotations := at(got["Deployment dredge"], "spec", "template", "metadata", "annotations")
	if sum, _ := annotations["checksum/config"].(string); len(sum) != 64 {
		t.Errorf("checksum/config is %q", sum)
	}
	delete(annotations, "checksum/config")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the plain manifests and the chart (-manifests +chart):\n%s", diff)
	}
}

func TestHelmChartFollowsItsValues(t *testing.T) {
	values := chartValues(t)
	values["keda"] = map[string]any{"enabled": false}
	values["replicas"] = 5
	values["image"] = map[string]any{"repository": "example.com/d", "tag": "v9"}
	got := render(t, values, "net")
	if _, ok := got["ScaledObject dredge"]; ok {
		t.Error("KEDA's object is there although keda.enabled is false")
	}
	if n := at(got["Deployment dredge"], "spec")["replicas"]; fmt.Sprint(n) != "5" {
		t.Errorf("%v replicas", n)
	}
	text := fmt.Sprint(got["Deployment dredge"])
	if !strings.Contains(text, "example.com/d:v9") || !strings.Contains(text, "namespace:net") {
		t.Errorf("deployment %s", text)
	}
	subjects := fmt.Sprint(got["ClusterRoleBinding dredge"])
	if !strings.Contains(subjects, "namespace:net") {
		t.Errorf("binding %s", subjects)
	}
	var chart struct{ APIVersion, Name, Version string }
	if err := yaml.Unmarshal(read(t, "helm/dredge/Chart.yaml"), &chart); err != nil || chart.Name != "dredge" || chart.Version == "" {
		t.Errorf("Chart.yaml %+v, %v", chart, err)
	}
}
