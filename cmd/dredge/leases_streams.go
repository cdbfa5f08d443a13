package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/leaseadmin"
)

// streamNames names an application's streams for people.
func streamNames(c kinesis.Config) string {
	var names []string
	for _, s := range c.AllStreams() {
		names = append(names, s.String())
	}
	return strings.Join(names, ", ")
}

// leaseStreams are the streams of an application by their name in lease keys: "" in single-stream mode, else
// account:stream:epoch.
type leaseStreams map[string]leaseStream

// leaseStream is one of them.
type leaseStream struct {
	leaseadmin.Stream
	// lasting names the stream for a sink that keeps positions: see kinesis.LastingName.
	lasting func(context.Context) (string, error)
}

// newLeaseStreams takes the streams from the flag, else from the config. None is fine: what only a stream can tell is left
// out. Of several streams it asks Kinesis for what their lease keys are made of.
func newLeaseStreams(ctx context.Context, c config.Config, flag string, clients awsClients) (leaseStreams, error) {
	if flag != "" {
		c.Kinesis.Streams, c.Kinesis.StreamName, c.Kinesis.StreamARN = nil, flag, ""
		if strings.HasPrefix(flag, "arn:") {
			c.Kinesis.StreamName, c.Kinesis.StreamARN = "", flag
		}
	}
	out := leaseStreams{}
	for _, s := range c.Kinesis.AllStreams() {
		if s.StreamName == "" && s.StreamARN == "" {
			continue
		}
		api, err := clients.stream(s)
		if err != nil {
			return nil, err
		}
		name := ""
		if len(c.Kinesis.Streams) > 0 {
			if name, err = streamKey(ctx, api, s); err != nil {
				return nil, err
			}
		}
		out[name] = leaseStream{
			Stream:  leaseadmin.Stream{API: api, Name: s.StreamName, ARN: s.StreamARN},
			lasting: func(ctx context.Context) (string, error) { return kinesis.LastingName(ctx, api, s) },
		}
	}
	return out, nil
}

// streamKey is what KCL's multi-stream mode calls a stream in lease keys.
func streamKey(ctx context.Context, api kinesis.API, s kinesis.StreamConfig) (string, error) {
	in := &awskinesis.DescribeStreamSummaryInput{StreamName: &s.StreamName}
	if s.StreamARN != "" {
		in = &awskinesis.DescribeStreamSummaryInput{StreamARN: &s.StreamARN}
	}
	out, err := api.DescribeStreamSummary(ctx, in)
	if err != nil {
		return "", fmt.Errorf("describe stream %s: %w", s, err)
	}
	d := out.StreamDescriptionSummary
	a, err := arn.Parse(aws.ToString(d.StreamARN))
	if err != nil || d.StreamCreationTimestamp == nil {
		return "", fmt.Errorf("describe stream %s: the answer has no ARN or no time of creation", s)
	}
	return a.AccountID + ":" + aws.ToString(d.StreamName) + ":" + strconv.FormatInt(d.StreamCreationTimestamp.Unix(), 10), nil
}
