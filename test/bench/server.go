package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"dredge/internal/awsfake"
	"dredge/internal/flowgen"
)

const (
	streamName = "flows"
	topicName  = "flows_raw"
	shardCount = 4
)

// end is the newest time of the workload: in the past, so that its own clock decides nothing.
func workloadEnd() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

func workload(o options) (*flowgen.Bulk, error) {
	cfg := flowgen.DefaultBulkConfig(workloadEnd(), o.lines)
	cfg.Addresses = o.addresses
	if o.mix == "random" {
		cfg.Mix = flowgen.RandomInterface
	}
	return flowgen.NewBulk(cfg)
}

// addresses is what the server process tells its parent.
type addresses struct{ AWS, Kafka, Control string }

// serve is the other process: the fake AWS, the broker, and a control endpoint that fills the stream on demand, so that
// nothing of the making of the workload falls into a measurement.
func serve(ctx context.Context, o options) error {
	bulk, err := workload(o)
	if err != nil {
		return err
	}
	var payloads []flowgen.Payload
	for p := range bulk.All() {
		payloads = append(payloads, p)
	}
	srv := awsfake.New(awsfake.Config{})
	if err := srv.Listen(ctx, "127.0.0.1:0"); err != nil {
		return err
	}
	defer srv.Close() //nolint:errcheck // the process ends
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, topicName))
	if err != nil {
		return err
	}
	defer broker.Close()
	if err := srv.Kinesis().CreateStream(streamName, shardCount); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fill", func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range payloads {
			if _, _, err := srv.Kinesis().Put(streamName, p.PartitionKey, p.Data); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
	})
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- control.Serve(ln) }()
	if err := json.NewEncoder(os.Stdout).Encode(addresses{srv.URL(), broker.ListenAddrs()[0], "http://" + ln.Addr().String()}); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return fmt.Errorf("control endpoint: %w", err)
	case <-ctx.Done():
	}
	_ = control.Close()
	<-failed
	return nil
}
