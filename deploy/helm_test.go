package deploy

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"dredge/config"
)

// helmFuncs are the functions that the chart uses, as Helm defines them. A template that uses another does not parse here.
func helmFuncs(chart *template.Template) template.FuncMap {
	toYaml := func(v any) (string, error) {
		b, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(b), "\n"), err
	}
	indent := func(n int, s string) string {
		pad := strings.Repeat(" ", n)
		return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
	}
	return template.FuncMap{
		"quote":  func(v any) string { return strconv.Quote(fmt.Sprint(v)) },
		"indent": indent, "nindent": func(n int, s string) string { return "\n" + indent(n, s) },
		"toJson":    func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
		"toYaml":    toYaml,
		"sha256sum": func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) },
		"include": func(name string, data any) (string, error) {
			var out strings.Builder
			err := chart.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"fail": func(why string) (string, error) { return "", errors.New(why) },
		"required": func(why string, v any) (any, error) {
			if v == nil || v == "" {
				return nil, errors.New(why)
			}
			return v, nil
		},
		"regexFind": func(pattern, s string) string { return regexp.MustCompile(pattern).FindString(s) },
		"dig": func(first, second, missing string, from map[string]any) any {
			if v := at(from, first)[second]; v != nil {
				return v
			}
			return missing
		},
	}
}

// execute runs the chart's templates with values, and returns the text of each file.
func execute(t *testing.T, values map[string]any, namespace, release string) (map[string]string, error) {
	t.Helper()
	chart := template.New("chart").Option("missingkey=zero")
	chart.Funcs(helmFuncs(chart))
	chart, err := chart.ParseGlob("helm/dredge/templates/*")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, tmpl := range chart.Templates() {
		if !strings.HasSuffix(tmpl.Name(), ".yaml") {
			continue
		}
		var text strings.Builder
		if err := tmpl.Execute(&text, map[string]any{"Values": values, "Release": map[string]any{"Namespace": namespace, "Name": release}}); err != nil {
			return nil, err
		}
		texts[tmpl.Name()] = text.String()
	}
	return texts, nil
}

// render returns the documents that the chart makes of values, by kind and name.
func render(t *testing.T, values map[string]any, namespace string) map[string]any {
	t.Helper()
	return renderRelease(t, values, namespace, "dredge")
}

// renderRelease is render for a release that is called otherwise.
func renderRelease(t *testing.T, values map[string]any, namespace, release string) map[string]any {
	t.Helper()
	texts, err := execute(t, values, namespace, release)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for file, text := range texts {
		if strings.Contains(text, "<no value>") {
			t.Errorf("%s names a value that is none:\n%s", file, text)
		}
		collect(t, out, file, text)
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

// The chart with its own values is the plain manifests, which other tests hold to Kubernetes' rules. Here the templates are run by Go's own template engine,
// which is Helm's; `make helm` asks helm itself.
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
	// With KEDA an upgrade of the chart leaves the number of workers alone; kubectl applies KEDA's object apart.
	plainSpec := at(want["Deployment dredge"], "spec")
	if _, ok := at(got["Deployment dredge"], "spec")["replicas"]; ok || plainSpec["replicas"] == nil {
		t.Errorf("replicas: the chart sets them although KEDA does, or the manifest does not: %v", plainSpec["replicas"])
	}
	delete(plainSpec, "replicas")
	// kubectl applies the manifests once in a cluster; the chart may be installed several times.
	for _, kind := range []string{"ClusterRole", "ClusterRoleBinding"} {
		doc := at(got[kind+" dredge:dredge:dredge"])
		if doc == nil {
			t.Fatalf("the chart makes no %s of its namespace and release", kind)
		}
		at(doc, "metadata")["name"] = "dredge"
		if kind == "ClusterRoleBinding" {
			at(doc, "roleRef")["name"] = "dredge"
		}
		got[kind+" dredge"] = doc
		delete(got, kind+" dredge:dredge:dredge")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the plain manifests and the chart (-manifests +chart):\n%s", diff)
	}
}

// What a cluster asks for beyond the chart's own values: the files of deploy/helm/values, one for each way to run it.
func TestHelmChartExamples(t *testing.T) {
	files, err := filepath.Glob("helm/values/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			var over map[string]any
			if err := yaml.Unmarshal(read(t, file), &over); err != nil {
				t.Fatal(err)
			}
			values := chartValues(t)
			merge(values, over)
			got := render(t, values, "net")
			text, _ := at(got["ConfigMap dredge"], "data")["dredge.yaml"].(string)
			c, err := config.Parse([]byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			pod := at(got["Deployment dredge"], "spec", "template", "spec")
			shown := fmt.Sprint(pod)
			_, port, err := net.SplitHostPort(c.HTTP.Listen)
			if err != nil || !strings.Contains(shown, "containerPort:"+port) {
				t.Errorf("listens on %s, and the pod on %s", c.HTTP.Listen, shown)
			}
			// Each file that the configuration names is mounted.
			for _, path := range regexp.MustCompile(`/secrets/[^/\s]+`).FindAllString(text, -1) {
				if !strings.Contains(shown, "mountPath:"+path+" ") {
					t.Errorf("%s is not mounted: %s", path, shown)
				}
			}
			if https := c.HTTP.TLS.CertFile != ""; strings.Count(shown, "scheme:HTTPS") != map[bool]int{true: 3}[https] {
				t.Errorf("TLS is %t: %s", https, shown)
			}
			if k, ok := got["ScaledObject dredge"]; ok {
				scheme := map[bool]string{true: "https", false: "http"}[c.HTTP.TLS.CertFile != ""]
				if want := scheme + "://dredge.net.svc:" + port + "/scale"; !strings.Contains(fmt.Sprint(k), "url:"+want+" ") {
					t.Errorf("KEDA does not ask %s: %v", want, k)
				}
				if _, ok := got["TriggerAuthentication dredge"]; ok != (len(c.HTTP.Auth) > 0) {
					t.Errorf("KEDA logs in: %t, and has to: %t", ok, len(c.HTTP.Auth) > 0)
				}
			}
		})
	}
	t.Run("two autoscalers", func(t *testing.T) {
		values := chartValues(t)
		at(values, "hpa")["enabled"] = true
		if _, err := execute(t, values, "net", "dredge"); err == nil || !strings.Contains(err.Error(), "hpa.enabled: false") {
			t.Errorf("KEDA and HPA together: %v", err)
		}
	})
}

// merge lays values over others as Helm does: tables are merged, lists and the rest replaced.
func merge(into, over map[string]any) {
	for key, v := range over {
		if table, ok := v.(map[string]any); ok {
			if below, ok := into[key].(map[string]any); ok {
				merge(below, table)
				continue
			}
		}
		into[key] = v
	}
}

func TestHelmChartFollowsItsValues(t *testing.T) {
	values := chartValues(t)
	at(values, "keda")["enabled"] = false
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
	subjects := fmt.Sprint(got["ClusterRoleBinding dredge:net:dredge"])
	if !strings.Contains(subjects, "namespace:net") {
		t.Errorf("binding %s", subjects)
	}
	var chart struct{ APIVersion, Name, Version string }
	if err := yaml.Unmarshal(read(t, "helm/dredge/Chart.yaml"), &chart); err != nil || chart.Name != "dredge" || chart.Version == "" {
		t.Errorf("Chart.yaml %+v, %v", chart, err)
	}
}

// Helm refuses to install what another release owns: releases in one cluster share no name of the cluster's own kinds.
func TestHelmReleasesShareNothingOfTheCluster(t *testing.T) {
	of := map[string]string{}
	for _, r := range []struct{ namespace, release string }{{"dredge", "dredge"}, {"dredge", "west"}, {"west", "dredge"}, {"net-a", "b"}, {"net", "a-b"}} {
		n := 0
		for name, doc := range renderRelease(t, chartValues(t), r.namespace, r.release) {
			if namespace, _ := at(doc, "metadata")["namespace"].(string); namespace != "" {
				if namespace != r.namespace {
					t.Errorf("%s of %s is in namespace %s", name, r.namespace, namespace)
				}
				continue
			}
			n++
			who := r.namespace + "/" + r.release
			if other, taken := of[name]; taken {
				t.Errorf("%s is made by %s and by %s", name, other, who)
			}
			of[name] = who
			if kind, _, _ := strings.Cut(name, " "); kind == "ClusterRoleBinding" {
				if role := at(doc, "roleRef")["name"]; role != at(doc, "metadata")["name"] {
					t.Errorf("%s binds the role %v", name, role)
				}
			}
		}
		if n != 2 {
			t.Errorf("%d of the cluster's own objects, want a role and its binding", n)
		}
	}
}
