package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"dredge/internal/page"
)

// process is the dredge under watch. Its rows come on its standard output.
type process struct {
	cmd  *exec.Cmd
	url  string
	log  *os.File
	done chan error

	reading sync.WaitGroup
	mu      sync.Mutex
	rows    int64
	twice   int64
	seen    map[uint64]struct{} // of row ids
}

// retention is as short as it may be, so that an hour sees several turns of it.
const retention = "10m"

func startDredge(ctx context.Context, p plan, w *world, dir string) (*process, error) {
	formats := []map[string]string{}
	for group, layout := range w.sim.LogGroups() {
		formats = append(formats, map[string]string{"log_group": group, "format": layout.String()})
	}
	config := map[string]any{
		"log":      map[string]any{"format": "json"},
		"http":     map[string]any{"listen": "127.0.0.1:0"},
		"aws":      map[string]any{"region": w.aws.Region(), "kinesis_endpoint": w.aws.URL(), "dynamodb_endpoint": w.aws.URL()},
		"kinesis":  map[string]any{"application": "soak", "stream_name": stream, "failover_time": "60s", "take_interval": "2s"},
		"pipeline": map[string]any{"hold": "5s", "memory_budget": "128MiB", "formats": map[string]any{"rules": formats}},
		"identity": map[string]any{
			"file": map[string]any{"path": filepath.Join(dir, "events.jsonl"), "poll_interval": "200ms"}, "store": map[string]any{"retention": retention},
		},
		"sink": map[string]any{"type": "file", "file": map[string]any{"path": "-"}},
	}
	text, err := json.Marshal(config) // which is YAML, too
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "dredge.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	d := &process{done: make(chan error, 1), seen: map[uint64]struct{}{}}
	if d.log, err = os.Create(filepath.Join(dir, "dredge.log")); err != nil {
		return nil, err
	}
	d.cmd = exec.Command(p.binary, "run", "-c", file) //nolint:gosec,noctx // the program under test; it is ended by SIGTERM, not by a context
	d.cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=soak", "AWS_SECRET_ACCESS_KEY=soak")
	d.cmd.Stderr = d.log
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w; make build first", p.binary, err)
	}
	d.reading.Go(func() { d.read(out) })
	go func() {
		d.reading.Wait()
		d.done <- d.cmd.Wait()
	}()
	return d, d.awaitURL(ctx)
}

// read counts rows, and those that came again.
func (d *process) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	seed := maphash.MakeSeed()
	key := []byte(`"row_id":"`)
	for lines.Scan() {
		_, id, _ := bytes.Cut(lines.Bytes(), key)
		id, _, _ = bytes.Cut(id, []byte{'"'})
		sum := maphash.Bytes(seed, id)
		d.mu.Lock()
		d.rows++
		if _, again := d.seen[sum]; again {
			d.twice++
		}
		d.seen[sum] = struct{}{}
		d.mu.Unlock()
	}
}

func (d *process) counts() (rows, twice int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rows, d.twice
}

// awaitURL waits until the log says where the process listens.
func (d *process) awaitURL(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * time.Minute)
	for {
		text, err := os.ReadFile(d.log.Name())
		if err != nil {
			return err
		}
		if _, after, ok := strings.Cut(string(text), `"url":"`); ok {
			d.url, _, _ = strings.Cut(after, `"`)
			return nil
		}
		select {
		case <-tick.C:
		case err := <-d.done:
			return fmt.Errorf("dredge ended at once (%w):\n%s", err, text)
		case <-limit:
			return fmt.Errorf("dredge does not say where it listens:\n%s", text)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *process) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func (d *process) status(ctx context.Context) (s page.Status, err error) {
	body, err := d.get(ctx, "api/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// end stops the process as an operator does, and returns what it gave.
func (d *process) end() (rows, twice int64, err error) {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case err = <-d.done:
	case <-time.After(time.Minute):
		_ = d.cmd.Process.Kill() // as above
		err = errors.Join(errors.New("did not end within a minute of SIGTERM"), <-d.done)
	}
	rows, twice = d.counts()
	return rows, twice, err
}
