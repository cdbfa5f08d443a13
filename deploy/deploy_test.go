package deploy

import (
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"dredge/config"
	"dredge/flowlog"
	"dredge/internal/flowgen"
	"dredge/row"
)

const root = ".."

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// metrics returns the labels of every metric in the generated reference.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	lines := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(read(t, root+"/docs/reference/metrics.md")), -1)
	if len(lines) < 20 {
		t.Fatalf("docs/reference/metrics.md names only %d metrics", len(lines))
	}
	out := map[string][]string{}
	for _, l := range lines {
		out[l[1]] = strings.FieldsFunc(l[2], func(r rune) bool { return strings.ContainsRune("`, ", r) })
	}
	return out
}

var (
	matchers   = regexp.MustCompile(`\{([^}]*)\}`)
	matched    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	ranges     = regexp.MustCompile(`\[[^\]]*\]|\boffset \d+[smhd]`)
	identifier = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// mentions returns the metrics and the labels that a PromQL expression names.
func mentions(expr string) (names, labels []string) {
	for _, m := range matchers.FindAllStringSubmatch(expr, -1) {
		for _, l := range matched.FindAllStringSubmatch(m[1], -1) {
			labels = append(labels, l[1])
		}
	}
	expr = ranges.ReplaceAllString(matchers.ReplaceAllString(expr, ""), "")
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.FieldsFunc(g[1], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	expr = grouping.ReplaceAllString(expr, "")
	for _, word := range identifier.FindAllString(expr, -1) {
		if function := strings.HasSuffix(word, "("); !function && !slices.Contains([]string{"or", "and", "unless", "bool"}, strings.TrimSpace(word)) {
			names = append(names, strings.TrimSpace(word))
		}
	}
	return names, labels
}

func TestMentions(t *testing.T) {
	names, labels := mentions(`histogram_quantile(0.5, sum by (le, x) (rate(a_bucket{job="b", k!~"c|d"}[$__rate_interval]))) or on (i) vector(0) - e_total offset 15m`)
	if !slices.Equal(names, []string{"a_bucket", "e_total"}) || !slices.Equal(labels, []string{"job", "k", "le", "x", "i"}) {
		t.Errorf("metrics %q, labels %q", names, labels)
	}
}

// Every metric and label that a dashboard asks for exists.
func TestDashboardsAskForWhatExists(t *testing.T) {
	known := metrics(t)
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboards", err)
	}
	for _, file := range files {
		var dashboard struct {
			Panels []struct {
				Title      string
				Type       string
				Datasource struct{ UID string }
				Targets    []struct {
					Expr    string
					Builder struct{ Query string }
				}
			}
		}
		if err := json.Unmarshal(read(t, file), &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, p := range dashboard.Panels {
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s: panel %q asks nothing", file, p.Title)
			}
			for _, target := range p.Targets {
				if p.Datasource.UID == "druid" {
					checkSQL(t, file+": panel "+p.Title, target.Builder.Query)
					continue
				}
				checkExpr(t, known, file+": panel "+p.Title, target.Expr)
			}
		}
	}
}

var (
	quoted = regexp.MustCompile(`'[^']*'|"flows_1m"|\$\{?\w+\}?`)
	alias  = regexp.MustCompile(`\bAS "?(\w+)"?`)
	word   = regexp.MustCompile(`\b[a-z][a-z0-9_]*\b`)
)

// checkSQL wants every name in a question to Druid to be a column of the rolled-up rows, or one that the question makes.
func checkSQL(t *testing.T, where, sql string) {
	t.Helper()
	if !strings.Contains(sql, `"flows_1m"`) {
		t.Errorf("%s: %q does not ask flows_1m", where, sql)
	}
	columns := []string{"e9"} // of 1e9
	for _, c := range row.Of(row.Minute) {
		columns = append(columns, c.Name)
	}
	for _, m := range alias.FindAllStringSubmatch(sql, -1) {
		columns = append(columns, m[1])
	}
	for _, name := range word.FindAllString(quoted.ReplaceAllString(sql, ""), -1) {
		if !slices.Contains(columns, name) {
			t.Errorf("%s: flows_1m has no column %s", where, name)
		}
	}
}

func checkExpr(t *testing.T, known map[string][]string, where, expr string) {
	t.Helper()
	names, labels := mentions(expr)
	if len(names) == 0 {
		t.Errorf("%s: no metric in %q", where, expr)
	}
	allowed := []string{"le", "job", "instance"}
	for _, name := range names {
		if name == "up" || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_") {
			continue
		}
		own, ok := known[name]
		if !ok {
			own, ok = known[suffix.ReplaceAllString(name, "")]
		}
		if !ok {
			t.Errorf("%s: there is no metric %s", where, name)
		}
		allowed = append(allowed, own...)
	}
	for _, label := range labels {
		if !slices.Contains(allowed, label) {
			t.Errorf("%s: no metric in %q has the label %s", where, expr, label)
		}
	}
}

func composeProject(t *testing.T) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: dir, ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "docker-compose.yml")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// The compose file is valid, mounts files that exist, and opens no port to other machines.
func TestCompose(t *testing.T) {
	project := composeProject(t)
	for name, s := range project.Services {
		for _, p := range s.Ports {
			if ip := net.ParseIP(p.HostIP); ip == nil || !ip.IsLoopback() {
				t.Errorf("%s: port %s is bound to %q, not to loopback", name, p.Published, p.HostIP)
			}
		}
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if rel, err := filepath.Rel(project.WorkingDir, v.Source); err != nil || !filepath.IsLocal(rel) {
				t.Errorf("%s mounts %s, which is outside the repository", name, v.Source)
			}
		}
		if s.Build == nil && !regexp.MustCompile(`:v?\d`).MatchString(s.Image) {
			t.Errorf("%s: image %q has no version", name, s.Image)
		}
	}
}

// What the containers of dredge are told to do is understood, and fits together.
func TestComposeCommands(t *testing.T) {
	project := composeProject(t)
	ours := 0
	for name, s := range project.Services {
		if s.Build == nil {
			continue
		}
		ours++
		words := slices.IndexFunc(s.Command, func(arg string) bool { return strings.HasPrefix(arg, "-") })
		flags := commandFlags(t, strings.Join(s.Command[:words], " "))
		for _, arg := range s.Command[words:] {
			if strings.HasPrefix(arg, "-") && !slices.Contains(flags, arg) {
				t.Errorf("%s: dredge %s has no flag %s; it has %q", name, s.Command[0], arg, flags)
			}
		}
	}
	if ours == 0 {
		t.Fatal("no service of the compose file is ours")
	}

	run, generate := project.Services["dredge"], project.Services["generate"]
	c, err := config.Load(source(t, run, flag(t, run, "-c")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ValidateService(); err != nil {
		t.Error(err)
	}
	for _, address := range append([]string{c.AWS.KinesisEndpoint, c.AWS.DynamoDBEndpoint, c.Druid.Overlord, c.Druid.Broker, flag(t, generate, "--endpoint")}, c.Sink.Kafka.Brokers...) {
		wantService(t, project, address)
	}
	if got := flag(t, generate, "--stream"); got != c.Kinesis.StreamName {
		t.Errorf("generate writes the stream %q, run reads %q", got, c.Kinesis.StreamName)
	}
	if got := flag(t, generate, "--identity-out"); got != c.Identity.File.Path {
		t.Errorf("generate writes identity to %q, run reads %q", got, c.Identity.File.Path)
	}
	wantRules(t, c.Pipeline.Formats.Rules)
	topics := strings.Join(project.Services["topics"].Entrypoint, " ")
	for _, topic := range []string{c.Sink.Kafka.Topic, c.Sink.Kafka.MinuteTopic} {
		if !slices.Contains(strings.FieldsFunc(topics, func(r rune) bool { return r == ' ' || r == ';' }), topic) {
			t.Errorf("run writes the topic %q; made is %q", topic, topics)
		}
	}

	var prometheus struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, "prometheus/prometheus.yml"), &prometheus); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := prometheus.ScrapeConfigs[0].StaticConfigs[0].Targets, []string{"dredge:" + port}; !slices.Equal(got, want) {
		t.Errorf("Prometheus scrapes %q; dredge listens at %q", got, want)
	}
}

// wantRules fails the test unless the rules are those of the simulated estate: lines of a log group without a rule are rejected.
func wantRules(t *testing.T, rules []flowlog.Rule) {
	t.Helper()
	sim, err := flowgen.New(flowgen.DefaultConfig(time.Unix(1_800_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, map[string]string{}
	for _, r := range rules {
		got[r.LogGroup] = r.Format
	}
	for group, layout := range sim.LogGroups() {
		want[group] = layout.String()
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("rules of the compose file (-simulated +configured):\n%s", d)
	}
}

// commandFlags returns the flags of a subcommand, from the generated reference.
func commandFlags(t *testing.T, name string) []string {
	t.Helper()
	_, section, ok := strings.Cut(string(read(t, root+"/docs/reference/cli.md")), "\n## dredge "+name+"\n")
	if !ok {
		t.Fatalf("docs/reference/cli.md has no command %s", name)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var flags []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:(-\w), |    )(--[\w-]+)`).FindAllStringSubmatch(section, -1) {
		flags = append(flags, m[1], m[2])
	}
	return flags
}

// flag returns the value that a service's command line gives to a flag.
func flag(t *testing.T, s types.ServiceConfig, name string) string {
	t.Helper()
	i := slices.Index(s.Command, name)
	if i < 0 || i+1 == len(s.Command) {
		t.Fatalf("%s: no %s in %q", s.Name, name, s.Command)
	}
	return s.Command[i+1]
}

// source returns the file of the repository that is mounted at a path of a service.
func source(t *testing.T, s types.ServiceConfig, path string) string {
	t.Helper()
	for _, v := range s.Volumes {
		if v.Target == path {
			return v.Source
		}
	}
	t.Fatalf("%s: nothing is mounted at %s", s.Name, path)
	return ""
}

// wantService fails the test unless the address, a URL or host:port, names a service of the project.
func wantService(t *testing.T, project *types.Project, address string) {
	t.Helper()
	host := address
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		host = u.Host
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		t.Errorf("address %q: %v", address, err)
	}
	if _, ok := project.Services[name]; !ok {
		t.Errorf("address %q names no service", address)
	}
}
