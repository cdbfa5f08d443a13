package druid

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Config is one Druid cluster and what dredge keeps in it.
type Config struct {
	// Overlord is the address of the overlord, or of a router, which also serves Broker: http://host:8888.
	Overlord string `yaml:"overlord"`
	// Broker is the address that SQL is sent to; empty takes Overlord.
	Broker string `yaml:"broker"`
	// Username and PasswordFile are for basic authentication; the file holds the password alone.
	Username string `yaml:"username"`
	// PasswordFile is the file that holds the password of Username.
	PasswordFile string `yaml:"password_file"`
	// CA is a PEM file with the authorities to trust for https; empty trusts the system's.
	CA string `yaml:"ca"`
	// Timeout bounds one request.
	Timeout time.Duration `yaml:"timeout"`
	// Datasources are the names of the tables.
	Datasources Datasources `yaml:"datasources"`
	// Prices is a YAML file of what data on its way costs, for `dredge druid query cost…`; empty takes the one that is built in (`dredge druid prices` prints it).
	Prices string `yaml:"prices"`
	// Supervisor shapes the supervisors that read the topics into the tables.
	Supervisor SupervisorConfig `yaml:"supervisor"`
}

// Datasources are the names of the tables that dredge fills.
type Datasources struct {
	// Raw has one row per flow-log record; it is kept for days.
	Raw string `yaml:"raw"`
	// Minute has rows rolled up by application and minute; it is kept long.
	Minute string `yaml:"minute"`
	// Late has raw rows that came later than rows.late_after.
	Late string `yaml:"late"`
}

// SupervisorConfig shapes a Kafka supervisor.
type SupervisorConfig struct {
	// Brokers are the bootstrap servers as Druid reaches them; empty takes sink.kafka.brokers.
	Brokers []string `yaml:"brokers"`
	// TaskCount is the number of reading tasks; a supervisor needs twice as many task slots times Replicas, because the tasks before
	// are still publishing.
	TaskCount int `yaml:"task_count"`
	// Replicas is how many tasks read the same partitions; 2 keeps rows queryable when a task dies.
	Replicas int `yaml:"replicas"`
	// TaskDuration is how long a task reads before it publishes its segments; at least one minute, since tasks of less fail at once.
	TaskDuration time.Duration `yaml:"task_duration"`
	// ConsumerProperties go to Druid's Kafka consumer, for TLS and SASL; secrets belong into Druid's dynamic config provider.
	ConsumerProperties map[string]string `yaml:"consumer_properties"`
}

// DefaultConfig has names and sizes; the address is the user's.
func DefaultConfig() Config {
	return Config{
		Timeout:     30 * time.Second,
		Datasources: Datasources{Raw: "flows_raw", Minute: "flows_1m", Late: "flows_late"},
		Supervisor:  SupervisorConfig{TaskCount: 1, Replicas: 1, TaskDuration: time.Hour},
	}
}

// datasourceName is what Druid takes in a URL and in SQL without surprises.
var datasourceName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,127}$`)

// Validate reports every fault. An empty Overlord is none: nothing then talks to Druid.
func (c Config) Validate() error {
	var errs []error
	address := func(key, text string) {
		if text == "" {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("%s: %q is no address; write http://host:port or https://host:port", key, text))
		} else if u.User != nil {
			errs = append(errs, fmt.Errorf("%s: an address holds no user or password; write username and password_file", key))
		}
	}
	address("overlord", c.Overlord)
	address("broker", c.Broker)
	if c.Broker != "" && c.Overlord == "" {
		errs = append(errs, errors.New("overlord: is empty although broker is set; write the overlord's or the router's address"))
	}
	if (c.Username == "") != (c.PasswordFile == "") {
		errs = append(errs, errors.New("username: and password_file belong together; write both or neither"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout: %s is not above 0; write for example 30s", c.Timeout))
	}
	for _, d := range []struct{ key, name string }{{"raw", c.Datasources.Raw}, {"minute", c.Datasources.Minute}, {"late", c.Datasources.Late}} {
		if !datasourceName.MatchString(d.name) {
			errs = append(errs, fmt.Errorf("datasources.%s: %q is no name for a datasource; write a letter, then letters, digits, _ . -", d.key, d.name))
		}
	}
	if d := c.Datasources; d.Raw == d.Minute || d.Raw == d.Late || d.Minute == d.Late {
		errs = append(errs, errors.New("datasources: two have one name; write three different ones"))
	}
	s := c.Supervisor
	if s.TaskCount < 1 {
		errs = append(errs, fmt.Errorf("supervisor.task_count: %d is less than 1", s.TaskCount))
	}
	if s.Replicas < 1 {
		errs = append(errs, fmt.Errorf("supervisor.replicas: %d is less than 1", s.Replicas))
	}
	if s.TaskDuration < time.Minute || s.TaskDuration%time.Second != 0 {
		errs = append(errs, fmt.Errorf("supervisor.task_duration: %s is less than a minute or not in whole seconds; every task of less fails at once", s.TaskDuration))
	}
	for k := range s.ConsumerProperties {
		if secret := strings.ToLower(k); strings.Contains(secret, "password") || strings.Contains(secret, "jaas") {
			errs = append(errs, fmt.Errorf("supervisor.consumer_properties.%s: a spec is stored and shown in clear; give secrets through druid.dynamic.config.provider", k))
		}
	}
	return errors.Join(errs...)
}

// tlsConfig is how an https address is talked to.
func (c Config) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("druid.ca: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("druid.ca: %s holds no PEM certificate", c.CA)
	}
	return conf, nil
}

func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("druid.password_file: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}
