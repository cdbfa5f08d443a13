package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Each file in testdata/bad holds one mistake; the words that the error must contain stand in its first line after "# ".
func TestEveryMistakeIsNamed(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(data), "\n")
			_, err = Parse(data, nil)
			if err == nil {
				t.Fatal("accepted")
			}
			for want := range strings.SplitSeq(strings.TrimPrefix(first, "# "), " | ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestEnvironmentOverridesTheFile(t *testing.T) {
	c, err := Parse([]byte("http: {listen: 127.0.0.1:1}\n"), []string{"DREDGE_HTTP_LISTEN=127.0.0.1:2", "DREDGE_HTTP_DEBUG=false", "PATH=/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP.Listen != "127.0.0.1:2" || c.HTTP.Debug {
		t.Errorf("http = %+v", c.HTTP)
	}
	_, err = Parse(nil, []string{"DREDGE_HTTP_LISTN=x"})
	if err == nil || !strings.Contains(err.Error(), `did you mean "DREDGE_HTTP_LISTEN"`) {
		t.Errorf("misspelt variable: %v", err)
	}
}

// What the YAML library would read as something else without a word.
func TestValuesAreNotChangedSilently(t *testing.T) {
	f := func(yaml, env, want string) {
		t.Helper()
		var environ []string
		if env != "" {
			environ = []string{env}
		}
		_, err := Parse([]byte(yaml), environ)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s%s: %v, want %q", yaml, env, err, want)
		}
	}
	const timestamp = "write one like 2026-01-31T00:00:00Z"
	f("kinesis: {max_leases: 1.5}", "", `line 1: kinesis.max_leases: "1.5" is no whole number; write one`)
	f("kinesis: {max_leases: -1.5}", "", `"-1.5" is no whole number`)
	f("kinesis:\n  max_leases: '1.5'\n", "", `line 2: kinesis.max_leases: "1.5" is no`)
	f("kinesis: {reads_per_second: .nan}", "", `kinesis.reads_per_second: ".nan" is no number`)
	f("kinesis: {initial_timestamp: yesterday}", "", `kinesis.initial_timestamp: "yesterday" is no time; `+timestamp)
	f("kinesis: {initial_timestamp: 2026-01-31T00:00:00}", "", `"2026-01-31T00:00:00" is no time; `+timestamp)
	f("kinesis: {initial_timestamp: 5}", "", `kinesis.initial_timestamp: "5" is no time; `+timestamp)
	f("kinesis: {streams: [{initial_timestamp: yesterday}]}", "", `kinesis.streams[0]`)
	f("sink: {file: {path: rows.jsonl, minute_path: m.jsonl}}\ndead_letter: {type: file, file: {path: m.jsonl}}", "", `dead_letter.file.path: "m.jsonl" is sink.file.minute_path too; write another file`)
	f("aws: {kinesis_endpoint: 'http://user:hunter2@kinesis:4566'}", "", "aws.kinesis_endpoint: an address holds no user or password; the default chain has AWS's credentials")
	f("", "DREDGE_KINESIS_MAX_LEASES=1.5", `environment DREDGE_KINESIS_MAX_LEASES: "1.5" is no whole number`)
	f("", "DREDGE_KINESIS_INITIAL_TIMESTAMP=yesterday", `environment DREDGE_KINESIS_INITIAL_TIMESTAMP: "yesterday" is no time; `+timestamp)
	f("", "DREDGE_KINESIS_READS_PER_SECOND=.inf", `".inf" is no number`)
	f("", "DREDGE_SINK_KAFKA_BROKERS=[", `environment DREDGE_SINK_KAFKA_BROKERS: `)
}

// A service called dredge in the same namespace, and one that begins with it.
func TestVariablesOfKubernetesServicesAreNoSettings(t *testing.T) {
	links := []string{
		"DREDGE_SERVICE_HOST=10.0.0.1", "DREDGE_SERVICE_PORT=9090", "DREDGE_SERVICE_PORT_HTTP=9090", "DREDGE_PORT=tcp://10.0.0.1:9090",
		"DREDGE_PORT_9090_TCP=tcp://10.0.0.1:9090", "DREDGE_PORT_9090_TCP_PROTO=tcp", "DREDGE_PORT_9090_TCP_PORT=9090", "DREDGE_PORT_9090_TCP_ADDR=10.0.0.1",
		"DREDGE_SONAR_SERVICE_HOST=10.0.0.2", "DREDGE_SONAR_PORT=udp://10.0.0.2:9090", "DREDGE_SONAR_PORT_53_UDP_ADDR=10.0.0.2",
	}
	if _, err := Parse(nil, links); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"DREDGE_PORT=9090", "DREDGE_HTTP_PORT=9090", "DREDGE_SERVICE=10.0.0.1"} {
		if _, err := Parse(nil, []string{wrong}); err == nil || !strings.Contains(err.Error(), "no such setting") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// A variable that is there and empty is what a template leaves of a value that nobody gave.
func TestEmptyEnvironmentKeepsTheFile(t *testing.T) {
	c, err := Parse([]byte("kinesis: {application: a, stream_name: s, failover_time: 20s, max_leases: 7, initial_position: AT_TIMESTAMP, initial_timestamp: 2026-01-31}"),
		[]string{"DREDGE_KINESIS_FAILOVER_TIME=", "DREDGE_KINESIS_MAX_LEASES= ", "DREDGE_SINK_KAFKA_BROKERS=", "DREDGE_KINESIS_INITIAL_TIMESTAMP=", "DREDGE_KINESIS_READS_PER_SECOND=1.5"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Kinesis.FailoverTime.Seconds() != 20 || c.Kinesis.MaxLeases != 7 || len(c.Sink.Kafka.Brokers) == 0 || c.Kinesis.ReadsPerSecond != 1.5 || c.Kinesis.InitialTimestamp.IsZero() {
		t.Errorf("kinesis %+v, brokers %q", c.Kinesis, c.Sink.Kafka.Brokers)
	}
}

func TestEnvironmentNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, f := range leaves(reflect.TypeFor[Config](), "") {
		name := EnvName(f.path)
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s share %s", f.path, other, name)
		}
		seen[name] = f.path
	}
}

// What dredge config prints is a config file that gives the same configuration again.
func TestDumpLoadsBack(t *testing.T) {
	for _, path := range examples(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(data, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var dump bytes.Buffer
		if err := c.WriteYAML(&dump); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(dump.Bytes(), nil)
		if err != nil {
			t.Fatalf("%s: dump does not load: %v\n%s", path, err, dump.String())
		}
		if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../docs/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no example configs: %v", err)
	}
	return files
}

func TestSectionsKeepDefaultsOfKeysNotWritten(t *testing.T) {
	c, err := Parse([]byte("http:\n  listen: 127.0.0.1:7\nlog:\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.HTTP.Debug || c.Log.Level != "info" {
		t.Errorf("defaults lost: %+v", c)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "http: {listen: x}", "a: &a [*a]", "- 1", "log: {level: [}", "? {}\n: x", "http: &h\n  listen: 127.0.0.1:1\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = Parse(data, nil) // must not panic
	})
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// A disk that is full is no configuration.
func TestDumpSaysThatItCouldNotBeWritten(t *testing.T) {
	full := errors.New("no space left on device")
	if err := Default().WriteYAML(brokenWriter{full}); !errors.Is(err, full) {
		t.Errorf("WriteYAML = %v", err)
	}
}

func TestSecretsAreMaskedInTheDump(t *testing.T) {
	c, err := Parse([]byte("sink: {kafka: {sasl: {mechanism: PLAIN, username: u, password: hunter2}}}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := c.WriteYAML(&dump); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(dump.String(), "hunter2") || !strings.Contains(dump.String(), "REDACTED") {
		t.Errorf("dump shows the password:\n%s", dump.String())
	}
}
