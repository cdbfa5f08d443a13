package kinesis

import (
	"fmt"
	"strings"
	"time"

	"dredge/consumer/kinesis/lease"
)

// StreamConfig is one of several streams of an application.
type StreamConfig struct {
	// StreamName is the name of the Kinesis stream; leave it empty when stream_arn is given.
	StreamName string `yaml:"stream_name"`
	// StreamARN is the ARN of the Kinesis stream, needed to read a stream of another account; leave it empty when stream_name is given.
	StreamARN string `yaml:"stream_arn"`
	// RoleARN is the IAM role to assume for reading this stream; empty means the process's own credentials.
	RoleARN string `yaml:"role_arn"`
	// InitialPosition is where to start while the stream has no leases: TRIM_HORIZON, LATEST or AT_TIMESTAMP; empty means the application's.
	InitialPosition string `yaml:"initial_position"`
	// InitialTimestamp is the start for AT_TIMESTAMP, in RFC 3339; every worker of the application must be given the same.
	InitialTimestamp time.Time `yaml:"initial_timestamp"`
	// Reader says how this stream's shards are read: polling or fan_out; empty means the application's.
	Reader string `yaml:"reader"`
	// ConsumerName is the stream consumer that fan_out reads as, registered when it is missing; empty means the application's.
	ConsumerName string `yaml:"consumer_name"`
	// ConsumerARN is an existing stream consumer for fan_out to read as, in place of consumer_name; nothing is registered then.
	ConsumerARN string `yaml:"consumer_arn"`
}

// label names the stream for people.
func (s StreamConfig) label() string {
	if s.StreamARN != "" {
		return s.StreamARN
	}
	return s.StreamName
}

// String names the stream for people.
func (s StreamConfig) String() string { return s.label() }

// AllStreams returns the streams of the application, one or several, with their settings filled in.
func (c Config) AllStreams() []StreamConfig { return c.streams() }

// streams returns all streams with their settings filled in.
func (c Config) streams() []StreamConfig {
	if len(c.Streams) == 0 {
		return []StreamConfig{{
			StreamName: c.StreamName, StreamARN: c.StreamARN, RoleARN: c.RoleARN, InitialPosition: c.InitialPosition, InitialTimestamp: c.InitialTimestamp,
			Reader: c.Reader, ConsumerName: c.ConsumerName, ConsumerARN: c.ConsumerARN,
		}}
	}
	out := make([]StreamConfig, len(c.Streams))
	for i, s := range c.Streams {
		if s.InitialPosition == "" {
			s.InitialPosition, s.InitialTimestamp = c.InitialPosition, c.InitialTimestamp
		}
		if s.Reader == "" {
			s.Reader = c.Reader
		}
		if s.Reader == ReaderFanOut && s.ConsumerName == "" && s.ConsumerARN == "" {
			s.ConsumerName = c.ConsumerName
		}
		out[i] = s
	}
	return out
}

func (c Config) validateStreams() []error {
	if len(c.Streams) == 0 {
		return append(validateStream("", c.StreamName, c.StreamARN), c.streams()[0].validateReader("")...)
	}
	var errs []error
	for _, one := range []struct{ key, value string }{{"stream_name", c.StreamName}, {"stream_arn", c.StreamARN}, {"role_arn", c.RoleARN}, {"consumer_arn", c.ConsumerARN}} {
		if one.value != "" {
			errs = append(errs, fmt.Errorf("%s: %q is given beside streams; write it into the list, or leave streams out", one.key, one.value))
		}
	}
	seen := map[string]int{}
	for i, s := range c.Streams {
		at := fmt.Sprintf("streams[%d].", i)
		errs = append(errs, validateStream(at, s.StreamName, s.StreamARN)...)
		errs = append(errs, c.streams()[i].validateReader(at)...)
		if s.InitialPosition != "" || !s.InitialTimestamp.IsZero() {
			errs = append(errs, validatePosition(at, s.InitialPosition, s.InitialTimestamp)...)
		}
		if first, ok := seen[s.label()]; ok && s.label() != "" {
			errs = append(errs, fmt.Errorf("streams[%d]: %q stands at streams[%d] already; write each stream once", i, s.label(), first))
		}
		seen[s.label()] = i
	}
	return errs
}

func validateStream(at, name, streamARN string) []error {
	switch {
	case name == "" && streamARN == "":
		return []error{fmt.Errorf(`%sstream_name: "" is empty; write the stream's name, or its ARN as stream_arn`, at)}
	case name != "" && streamARN != "":
		return []error{fmt.Errorf("%sstream_arn: %q is given beside stream_name %q; write only one of them", at, streamARN, name)}
	case name != "" && !isName(name, 128):
		return []error{fmt.Errorf("%sstream_name: %q is no name of a stream; write up to 128 of a-z, A-Z, 0-9, dot, dash and underscore, or its ARN as stream_arn", at, name)}
	}
	return nil
}

// isName says whether s is made of what AWS allows in names of streams and tables.
func isName(s string, longest int) bool {
	return len(s) <= longest && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}

func validatePosition(at, position string, timestamp time.Time) []error {
	switch position {
	case lease.TrimHorizon, lease.Latest:
		if !timestamp.IsZero() {
			return []error{fmt.Errorf("%sinitial_timestamp: %s has no meaning with initial_position %s; write AT_TIMESTAMP, or leave it out", at, timestamp.Format(time.RFC3339), position)}
		}
	case lease.AtTimestamp:
		if timestamp.IsZero() {
			return []error{fmt.Errorf("%sinitial_timestamp: is missing; AT_TIMESTAMP needs a time like 2026-01-31T00:00:00Z", at)}
		}
	default:
		return []error{fmt.Errorf("%sinitial_position: %q is unknown; write TRIM_HORIZON, LATEST or AT_TIMESTAMP", at, position)}
	}
	return nil
}

func (s StreamConfig) validateReader(at string) (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(at+format, args...)) }
	switch s.Reader {
	case ReaderFanOut:
		if s.ConsumerName != "" && s.ConsumerARN != "" {
			fault("consumer_arn: %q is given beside consumer_name %q; write only one of them", s.ConsumerARN, s.ConsumerName)
		}
		if s.ConsumerARN != "" && !strings.Contains(s.ConsumerARN, "/consumer/") {
			fault("consumer_arn: %q is not the ARN of a stream consumer; it looks like arn:aws:kinesis:REGION:ACCOUNT:stream/STREAM/consumer/NAME:NUMBER", s.ConsumerARN)
		}
	case ReaderPolling:
		for key, value := range map[string]string{"consumer_name": s.ConsumerName, "consumer_arn": s.ConsumerARN} {
			if value != "" {
				fault("%s: %q has no meaning with reader %s; write reader: fan_out, or leave it out", key, value, s.Reader)
			}
		}
	default:
		fault("reader: %q is unknown; write polling or fan_out", s.Reader)
	}
	return errs
}
