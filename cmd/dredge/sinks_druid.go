package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	cluster "dredge/druid"
	"dredge/internal/blob"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink/druid"
)

// addDruid makes the sink that submits tasks, and its client.
func (out *outputs) addDruid(c config.Config, enc druid.Encoder, minute *encode.Minute, leases druid.Leases, log zerolog.Logger, reg prometheus.Registerer) error {
	deps, err := druidDeps(c, out, log, reg)
	if err != nil {
		return err
	}
	deps.Encoder, deps.Minute, deps.Leases = enc, minute, leases
	s, err := druid.New(c.Sink.Druid, deps)
	if err != nil {
		return fmt.Errorf("sink.druid: %w", err)
	}
	out.add(s.Close)
	out.sink, out.describe = s, s.Describe()
	letterCheck := out.check
	out.check = func(ctx context.Context) error {
		err := s.Check(ctx)
		if err != nil {
			err = fmt.Errorf("sink.druid: %w", err)
		}
		return errors.Join(err, letterCheck(ctx))
	}
	return nil
}

// druidDeps makes what every way into Druid by tasks needs: the client, the tables, the place of objects. out closes them.
func druidDeps(c config.Config, out *outputs, log zerolog.Logger, reg prometheus.Registerer) (druid.Deps, error) {
	client, err := cluster.NewClient(c.Druid)
	if err != nil {
		return druid.Deps{}, err
	}
	out.add(func() error { client.Close(); return nil })
	deps := druid.Deps{
		Cluster: client, Registry: reg, Log: log,
		Raw:         cluster.Table{Datasource: c.Druid.Datasources.Raw, Columns: c.Rows.Columns(row.Raw)},
		Application: strings.Join([]string{c.Kinesis.Application, c.AWS.Region, streamNames(c.Kinesis)}, "/"),
	}
	if c.Sink.Druid.Minute {
		deps.Rolled = cluster.Table{Datasource: c.Druid.Datasources.Minute, Columns: c.Rows.Columns(row.Minute), Rollup: true}
	}
	if c.Sink.Druid.Late {
		deps.Late = cluster.Table{Datasource: c.Druid.Datasources.Late, Columns: c.Rows.Columns(row.Raw)}
	}
	if c.Sink.Druid.Objects != "" {
		bucket, err := blob.New(c.Sink.Druid.Objects)
		if err != nil {
			return druid.Deps{}, fmt.Errorf("sink.druid.objects: %w", err)
		}
		out.add(bucket.Close)
		deps.Objects = bucket
	}
	return deps, nil
}
