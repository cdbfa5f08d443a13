package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// drainer lets a request end the worker's work before the process ends.
type drainer struct {
	drained chan struct{} // closed when the worker has ended

	mu    sync.Mutex
	asked bool
	stop  context.CancelFunc
}

func newDrainer() *drainer { return &drainer{drained: make(chan struct{})} }

// begin says how the work is stopped.
func (d *drainer) begin(stop context.CancelFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop = stop
	if d.asked {
		stop()
	}
}

func (d *drainer) ask() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = true
	if d.stop != nil {
		d.stop()
	}
}

func (d *drainer) wasAsked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// ServeHTTP asks for the drain and answers when all leases were given up. The process stays, unready, until it is told to end,
// so that whatever supervises it does not start it again.
func (d *drainer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	d.ask()
	w.Header().Set("Content-Type", "application/json")
	select {
	case <-d.drained:
		writeAnswer(w, map[string]any{"drained": true, "seconds": time.Since(start).Seconds()})
	case <-r.Context().Done():
	}
}

func writeAnswer(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(v) // the client went away; there is nobody to tell
}

func newDrainCmd() *cobra.Command {
	var a localRequest
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Make the dredge on this machine hand its leases over and wait until it has",
		Long: `Ask the dredge that runs on this machine (POST /drain) to flush, checkpoint and release all its leases, and wait until it has. The
process stays, unready, until it is stopped. It is meant for preStop hooks; SIGTERM does the same and then ends the process.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := a.ask(cmd.Context(), http.MethodPost, "/drain")
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("drain: the leases were not all given up in time; see /readyz: %w", err)
			}
			if err != nil {
				return fmt.Errorf("drain: %w", err)
			}
			fmt.Fprint(cmd.OutOrStdout(), string(body))
			return nil
		},
	}
	a.flags(cmd, time.Minute)
	return cmd
}
