package kafka

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"dredge/internal/secret"
)

func TestDefaultConfigIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want %q", err, want)
		}
	}
	f(func(c *Config) { c.Brokers = nil }, "brokers: the list is empty")
	f(func(c *Config) { c.Brokers = []string{"kafka-0"} }, `brokers: "kafka-0" has no port; write host:port`)
	f(func(c *Config) { c.Brokers = []string{"kafka-0:"} }, `brokers: "kafka-0:" has no port; write host:port`)
	f(func(c *Config) { c.Brokers = []string{"kafka-0:9092", "kafka-1:90920"} }, `brokers: "kafka-1:90920" has no port up to 65535; write host:port`)
	f(func(c *Config) { c.Brokers = []string{"kafka-0:http"} }, `has no port up to 65535`)
	f(func(c *Config) { c.Brokers = []string{"http://kafka-0:9092"} }, `brokers: "http://kafka-0:9092" has no port; write host:port`)
	f(func(c *Config) { c.Topic = "" }, `topic: "" is no topic name`)
	f(func(c *Config) { c.Topic = "flows raw" }, `topic: "flows raw" is no topic name`)
	f(func(c *Config) { c.Partitions = 0 }, "partitions: 0 is below 1")
	f(func(c *Config) { c.Replication = 0 }, "replication: 0 is below 1")
	f(func(c *Config) { c.Compression = "brotli" }, `compression: "brotli" is unknown; write none, snappy, lz4 or zstd`)
	f(func(c *Config) { c.Linger = time.Minute }, "linger: 1m0s is out of range")
	f(func(c *Config) { c.BatchMaxBytes = 100 }, "batch_max_bytes: 100 is out of range")
	f(func(c *Config) { c.BufferBytes = 1 }, "buffer_bytes: 1 is out of range")
	f(func(c *Config) { c.PartitionBy = "eni" }, `partition_by: "eni" is unknown; write app_pair or none`)
	f(func(c *Config) { c.PairSpread = 0 }, "pair_spread: 0 is below 1")
	f(func(c *Config) { c.RecordKey, c.PartitionBy = true, PartitionByNone }, "record_key: true needs partition_by app_pair")
	f(func(c *Config) { c.RecordTime = "now" }, `record_time: "now" is unknown; write start, end or produce`)
	f(func(c *Config) { c.RecordTimeMaxAge = -1 }, "record_time_max_age: -1ns is negative")
	f(func(c *Config) { c.DialTimeout = 0 }, "dial_timeout: 0s must be positive")
	f(func(c *Config) { c.RetryBackoff = 0 }, "retry_backoff: 0s must be positive")
	f(func(c *Config) { c.TLS.Enabled, c.TLS.CertFile = true, "x.pem" }, "tls.cert_file: needs tls.key_file")
	f(func(c *Config) { c.TLS.CAFile = "x.pem" }, "tls.enabled: false, but other tls keys are set")
	f(func(c *Config) { c.SASL.Mechanism = "GSSAPI" }, `sasl.mechanism: "GSSAPI" is unknown`)
	f(func(c *Config) { c.SASL.Username = "u" }, "sasl.mechanism: empty, but other sasl keys are set")
	f(func(c *Config) { c.SASL.Mechanism = "PLAIN" }, "sasl.username: empty")
	f(func(c *Config) { c.SASL = SASLConfig{Mechanism: "PLAIN", Username: "u"} }, "sasl.password_file: write one of")
	f(func(c *Config) { c.DeadLetter.Topic = c.Topic }, `dead_letter.topic: "flows_raw" is topic too; write another`)
	f(func(c *Config) { c.DeadLetter.MaxDataBytes = 1 << 20 }, "dead_letter.max_data_bytes: 1048576 is out of range")

	// All faults at once.
	c := DefaultConfig()
	c.Brokers, c.Partitions, c.Compression = nil, 0, "x"
	if n := strings.Count(c.Validate().Error(), "\n"); n != 2 {
		t.Errorf("%d faults reported, want 3:\n%v", n+1, c.Validate())
	}
}

// However it is printed, a password stays secret.
func TestSecretIsNeverPrinted(t *testing.T) {
	c := DefaultConfig()
	c.SASL = SASLConfig{Mechanism: "PLAIN", Username: "u", Password: "hunter2"}
	asYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		string(asYAML), string(asJSON), fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), fmt.Sprintf("%q %x", c.SASL.Password, c.SASL.Password),
	} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("the password is in %s", text)
		}
		if !strings.Contains(text, "[REDACTED]") {
			t.Errorf("nothing shows that a password is set: %s", text)
		}
	}
	if got := fmt.Sprint(secret.Text("")); got != "" {
		t.Errorf("an empty secret prints %q", got)
	}
	var back Config
	if err := yaml.Unmarshal([]byte("sasl:\n  password: hunter2\n"), &back); err != nil || back.SASL.Password != "hunter2" {
		t.Errorf("reading a password = %v", err)
	}
}
