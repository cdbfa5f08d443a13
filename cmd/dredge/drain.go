package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"dredge/config"
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
		_ = json.NewEncoder(w).Encode(map[string]any{"drained": true, "seconds": time.Since(start).Seconds()}) // the client went away; there is nobody to tell
	case <-r.Context().Done():
	}
}

func newDrainCmd() *cobra.Command {
	var (
		path, url string
		timeout   time.Duration
	)
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Make the dredge on this machine hand its leases over and wait until it has",
		Long: `Ask the dredge that runs on this machine (POST /drain) to flush, checkpoint and release all its leases, and wait until it has. The
process stays, unready, until it is stopped. It is meant for preStop hooks; SIGTERM does the same and then ends the process.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				c, err := config.Load(path, os.Environ())
				if err != nil {
					return err
				}
				if url, err = localURL(c.HTTP.Listen); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return postDrain(ctx, strings.TrimSuffix(url, "/")+"/drain", cmd.OutOrStdout())
		},
	}
	addConfigFlag(cmd, &path)
	cmd.Flags().StringVar(&url, "url", "", "address of the running dredge (default: http.listen of the config, on loopback)")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	return cmd
}

// localURL is where this machine reaches a server that listens on listen.
func localURL(listen string) (string, error) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return "", fmt.Errorf("http.listen: %q does not tell a port to ask; write --url http://127.0.0.1:PORT", listen)
	}
	host, _, _ := net.SplitHostPort(listen) // it was split above
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

func postDrain(ctx context.Context, url string, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return fmt.Errorf("--url %q: %w", url, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("drain: the leases were not all given up in time; see /readyz: %w", err)
	}
	if err != nil {
		return fmt.Errorf("drain: %w; does dredge run on this machine with that http.listen?", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("drain: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	fmt.Fprint(out, string(body))
	return nil
}
