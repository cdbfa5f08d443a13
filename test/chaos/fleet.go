package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"dredge/test/internal/trial"
)

// worker is one dredge process. Without Kafka its rows come out of its standard output: what it wrote before a kill is in the pipe and is
// counted.
type worker struct {
	id    string
	cmd   *exec.Cmd
	log   string        // its file
	ended chan struct{} // closed when the process has ended and all it wrote was counted
}

// fleet starts workers.
type fleet struct {
	plan    plan
	url     string
	ledger  *ledger
	config  string // the workers' configuration file; empty when their rows go to standard output
	readers errgroup.Group
	started int
}

// start starts a process under a new id: a restarted worker must not take its predecessor's leases for its own.
func (f *fleet) start(ctx context.Context) (*worker, error) {
	f.started++
	w := &worker{id: fmt.Sprintf("dredge-chaos-%d", f.started), ended: make(chan struct{})}
	w.cmd = exec.CommandContext(ctx, f.plan.binary, "run")
	w.cmd.Env = trial.Environment(
		"DREDGE_AWS_KINESIS_ENDPOINT="+f.url, "DREDGE_AWS_DYNAMODB_ENDPOINT="+f.url,
		"DREDGE_KINESIS_APPLICATION="+application, "DREDGE_KINESIS_STREAM_NAME="+streamName,
		"DREDGE_KINESIS_WORKER_ID="+w.id, "DREDGE_KINESIS_FAILOVER_TIME="+f.plan.failover.String(),
		"DREDGE_KINESIS_SHARD_SYNC_INTERVAL=5s",
	)
	if f.config != "" {
		w.cmd.Args = append(w.cmd.Args, "-c", f.config)
		w.cmd.Env = append(w.cmd.Env, "DREDGE_HTTP_LISTEN=127.0.0.1:0", "DREDGE_SINK_KAFKA_CLIENT_ID="+w.id)
	} else {
		w.cmd.Env = append(w.cmd.Env, "DREDGE_HTTP_LISTEN=", "DREDGE_SINK_TYPE=file", "DREDGE_SINK_FILE_PATH=-",
			// Rows wait for as long as a renewal takes to come round before they are written, so that a kill always finds some that are not.
			"DREDGE_SINK_FILE_FLUSH_INTERVAL="+(f.plan.failover/3).String(), "DREDGE_SINK_FILE_BLOCK_BYTES=16777216")
	}
	w.log = filepath.Join(f.plan.logs, filepath.Base(f.plan.binary)+"-"+w.id+".log")
	log, err := os.Create(w.log)
	if err != nil {
		return nil, err
	}
	w.cmd.Stderr = log
	rows, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	f.readers.Go(func() error {
		defer close(w.ended)
		err := f.ledger.read(rows)
		_ = w.cmd.Wait() // it was killed, mostly
		return errors.Join(err, log.Close())
	})
	return w, nil
}

func (w *worker) signal(s syscall.Signal) error { return w.cmd.Process.Signal(s) }

// alive says whether the process has not ended by itself.
func (w *worker) alive() bool {
	select {
	case <-w.ended:
		return false
	default:
		return true
	}
}
