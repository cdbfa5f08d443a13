package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// dredge is the real binary, running as a service of its own application. A measurement is its own CPU time from the moment
// in which it is idle until the last row is delivered.
type dredge struct {
	*bench
	v            variant
	sink, stream string
	url          string
	p            *process
	last         map[string]float64
}

// configuration has everything on; what is not written here is at its default, apart from failover_time: a machine that is
// taken away for seconds would lose its leases, and the measurement would be one of reading twice.
func (d *dredge) configuration() string {
	sink := "{type: file, file: {path: \"-\"}}" // standard output, which is /dev/null
	if d.sink == "kafka" {
		sink = fmt.Sprintf("{type: kafka, kafka: {brokers: [%q], topic: %s, compression: %q, record_key: true}}", d.at.Kafka, topicName, d.v.codec)
	}
	return fmt.Sprintf(`
log: {level: info, format: json}
http: {listen: %q}
aws: {region: us-east-1, kinesis_endpoint: %q, dynamodb_endpoint: %q}
kinesis: {application: %s, stream_name: %s, failover_time: 60s, take_interval: 1s}
identity: {file: {path: %q}, start_timeout: 1h}
rows: {column_sets: [%s]}
sink: %s
`, strings.TrimPrefix(d.url, "http://"), d.at.AWS, d.at.AWS, d.stream, d.stream, d.identity, d.v.columns, sink)
}

// startDredge returns when the service has loaded identity and owns all shards.
func (b *bench) startDredge(ctx context.Context, v variant, sink string) (*dredge, error) {
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	d := &dredge{bench: b, v: v, sink: sink, stream: v.name + "-" + sink, url: "http://" + addr}
	if err := b.control(ctx, http.MethodPost, "stream", url.Values{"name": {d.stream}}); err != nil {
		return nil, err
	}
	path := filepath.Join(b.dir, d.stream+".yaml")
	if err := os.WriteFile(path, []byte(d.configuration()), 0o600); err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close() // the child has its own
	env := []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"}
	begin := time.Now()
	if d.p, err = b.startTo(ctx, null, 1, env, v.binary, "run", "-c", path); err != nil {
		return nil, err
	}
	pid := d.p.cmd.Process.Pid // taskset replaces itself by the program
	cpu := 0.0
	err = await(ctx, 500*time.Millisecond, func() (done bool, err error) {
		if cpu, err = cpuOf(pid); err != nil {
			return false, err
		}
		m, err := d.metrics(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // not listening yet
		}
		d.last = m
		return m["dredge_kinesis_leases_owned"] == shardCount && m["dredge_metadata_tenures"] >= float64(4*b.o.addresses), nil
	})
	if err == nil {
		err = b.control(ctx, http.MethodGet, "prepared", nil)
	}
	if err != nil {
		err = d.p.fault(fmt.Errorf("wait until it is ready: %w", err))
		d.p.end()
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%s loaded identity: %.1f s cpu in %.1f s, %d MB\n", d.stream, cpu, time.Since(begin).Seconds(), peakOf(pid))
	return d, nil
}

func (d *dredge) measure(ctx context.Context, c cell, run int) (r result, err error) {
	pid := d.p.cmd.Process.Pid
	// The peak of what comes, not of the loading of identity. A kernel that refuses this shows the larger figure.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	base := d.last
	before, err := cpuOf(pid)
	if err != nil {
		return r, err
	}
	begin := time.Now()
	profiled := d.profile(ctx, c, run)
	if err := d.control(ctx, http.MethodPost, "fill", url.Values{"name": {d.stream}, "mix": {c.mix}}); err != nil {
		return r, err
	}
	// Being asked costs the service processor time, and on a busy machine the clock runs on: it is asked seldom.
	err = await(ctx, time.Second, func() (bool, error) {
		m, err := d.metrics(ctx)
		if err != nil {
			return false, err
		}
		after, err := cpuOf(pid)
		if err != nil {
			return false, err
		}
		d.last = m
		since := func(series string) int64 { return int64(m[series] - base[series]) }
		r = result{
			Rows: since("dredge_pipeline_delivered_lines_total"), CPU: after - before, Seconds: time.Since(begin).Seconds(), PeakMB: peakOf(pid),
			RowBytes: since("dredge_sink_kafka_encoded_bytes_total") + since("dredge_sink_file_encoded_bytes_total"),
		}
		for _, end := range []string{"src", "dst"} {
			for _, grade := range []string{"confirmed", "covered"} {
				r.Named += since(fmt.Sprintf("dredge_pipeline_ends_total{end=%q,grade=%q}", end, grade))
			}
		}
		if n := since("dredge_pipeline_lines_total"); n > int64(d.o.lines) {
			return false, fmt.Errorf("%d lines of %d: something was read twice", n, d.o.lines)
		}
		return r.Rows >= int64(d.o.lines), nil
	})
	if err != nil {
		return r, d.p.fault(fmt.Errorf("after %d of %d lines: %w", r.Rows, d.o.lines, err))
	}
	return r, <-profiled
}

// metrics returns every series of /metrics; those with labels also summed up under the bare name.
func (d *dredge) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := ask(ctx, http.MethodGet, d.url+"/metrics")
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), " ")
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		out[series] += v
		if name, _, labels := strings.Cut(series, "{"); labels {
			out[name] += v
		}
	}
	return out, lines.Err()
}

// profile takes a CPU profile of the first measurement in a cell when one is asked for; the channel gets what came of it.
func (d *dredge) profile(ctx context.Context, c cell, run int) <-chan error {
	done := make(chan error, 1)
	if d.o.profile == "" || run > 0 {
		done <- nil
		return done
	}
	go func() {
		text, err := ask(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", d.url, d.o.profileSeconds))
		if err == nil {
			err = os.WriteFile(filepath.Join(d.o.profile, d.v.name+"-"+c.mix+"-"+c.sink+".pprof"), []byte(text), 0o600)
		}
		done <- err
	}()
	return done
}

// await asks again and again until done says yes.
func await(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if yes, err := done(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// cpuOf is the user and system time of a process in seconds.
func cpuOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), ") ") // the command's name may hold blanks
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is not as expected")
	}
	if fields[0] == "Z" {
		return 0, errors.New("the process has ended")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	return float64(user+system) / ticks, errors.Join(err1, err2)
}

// peakOf is the largest resident size of a process in MB, 0 when it cannot be read.
func peakOf(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n / 1024
}
