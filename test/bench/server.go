package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"dredge/internal/awsfake"
	"dredge/internal/flowgen"
)

const (
	topicName  = "flows_raw"
	shardCount = 4
)

// workload lies in the past, so that the gate has nothing to wait for, and within the retention of identity.
func workload(o options, mix string) (*flowgen.Bulk, error) {
	cfg := flowgen.DefaultBulkConfig(time.Unix(o.end, 0).UTC(), o.lines)
	cfg.Addresses = o.addresses
	if mix == "random" {
		cfg.Mix = flowgen.RandomInterface
	}
	return flowgen.NewBulk(cfg)
}

// addresses is what the server process tells its parent.
type addresses struct{ AWS, Kafka, Control string }

// serve is the other process: the fake AWS, the broker, and a control endpoint that makes and fills streams on demand, so
// that nothing of the making of the workload falls into a measurement.
func serve(ctx context.Context, o options) error {
	var mixes []string
	var bulks []*flowgen.Bulk
	for mix := range strings.SplitSeq(o.mixes, ",") {
		bulk, err := workload(o, mix)
		if err != nil {
			return err
		}
		mixes, bulks = append(mixes, mix), append(bulks, bulk)
	}
	payloads := map[string][]flowgen.Payload{}
	made := make(chan struct{})
	go func() {
		defer close(made)
		for i, mix := range mixes {
			for p := range bulks[i].All() {
				payloads[mix] = append(payloads[mix], p)
			}
		}
	}()
	defer func() { <-made }()
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
	mux := http.NewServeMux()
	mux.HandleFunc("GET /prepared", func(http.ResponseWriter, *http.Request) { <-made })
	mux.HandleFunc("POST /stream", func(w http.ResponseWriter, r *http.Request) {
		if err := srv.Kinesis().CreateStream(r.FormValue("name"), shardCount); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /fill", func(w http.ResponseWriter, r *http.Request) {
		<-made
		for _, p := range payloads[r.FormValue("mix")] {
			if _, _, err := srv.Kinesis().Put(r.FormValue("name"), p.PartitionKey, p.Data); err != nil {
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
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control endpoint: %w", err)
	}
	return nil
}
