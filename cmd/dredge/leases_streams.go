package main

import (
	"strings"

	"dredge/config"
	"dredge/consumer/kinesis/leaseadmin"
)

// leaseStreams are the streams of an application by their name in lease keys: "" in single-stream mode, else
// account:stream:epoch.
type leaseStreams map[string]leaseadmin.Stream

// newLeaseStreams takes the streams from the flag, else from the config. None is fine: what only a stream can tell is left out.
func newLeaseStreams(c config.Config, flag string, clients awsClients) leaseStreams {
	name, arn := c.Kinesis.StreamName, c.Kinesis.StreamARN
	if flag != "" {
		name, arn = flag, ""
		if strings.HasPrefix(flag, "arn:") {
			name, arn = "", flag
		}
	}
	if name+arn == "" {
		return leaseStreams{}
	}
	return leaseStreams{"": {API: clients.kinesis, Name: name, ARN: arn}}
}
