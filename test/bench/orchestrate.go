package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/metadata/event"
)

// variant is one thing that is measured: a subject, and for dredge with what settings.
type variant struct {
	name, role string
	binary     string // of dredge; "" for the yardsticks
	codec      string
	columns    string // column sets beyond core
}

// cell is where the results of all variants may be compared.
type cell struct{ mix, sink string }

// bench is one run of the whole comparison.
type bench struct {
	o        options
	dir      string
	self     string
	identity string
	variants []variant
	taskset  string // "" when the machine has none
	at       addresses
	results  map[cell]map[string][]result
}

const allColumns = "lineage, endpoint, evidence, network, tags"

// orchestrate measures every variant in every cell, interleaved, and prints the tables. Processes that it started have ended
// when it returns.
func orchestrate(ctx context.Context, o options) error {
	mixes, err := list(o.mixes, "one", "random")
	if err != nil {
		return fmt.Errorf("-mixes: %w", err)
	}
	sinks, err := list(o.sinks, "kafka", "none")
	if err != nil {
		return fmt.Errorf("-sinks: %w", err)
	}
	if o.codecs {
		sinks = []string{"kafka"}
	}
	if o.end == 0 {
		o.end = time.Now().Add(-time.Hour).Truncate(time.Hour).Unix()
	}
	b := &bench{o: o, results: map[cell]map[string][]result{}}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	b.taskset, _ = exec.LookPath("taskset")
	if b.dir, err = os.MkdirTemp(o.temp, "dredge-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir) //nolint:errcheck // a temporary directory
	if b.variants, err = b.choose(ctx); err != nil {
		return err
	}
	b.printHead(os.Stdout)
	server, err := b.start(ctx, 0, nil, b.self, b.flags(o, "server")...)
	if err != nil {
		return err
	}
	defer server.end()
	if err := json.NewDecoder(server.out).Decode(&b.at); err != nil {
		return server.fault(fmt.Errorf("start the server: %w", err))
	}
	for _, sink := range sinks {
		if err := b.measureSink(ctx, sink, mixes); err != nil {
			return err
		}
	}
	return nil
}

// measureSink measures everything that goes into one sink. Every dredge is started once, because loading a million addresses
// takes longer than a measurement; while another subject is measured it idles.
func (b *bench) measureSink(ctx context.Context, sink string, mixes []string) error {
	services := map[string]*dredge{}
	for _, v := range b.variants {
		if v.binary == "" {
			continue
		}
		d, err := b.startDredge(ctx, v, sink)
		if err != nil {
			return fmt.Errorf("start %s: %w", v.name, err)
		}
		defer d.p.end()
		services[v.name] = d
	}
	for _, mix := range mixes {
		c := cell{mix, sink}
		b.results[c] = map[string][]result{}
		for run := range b.o.runs {
			for _, v := range b.variants {
				r, err := b.measure(ctx, c, v, services[v.name], run)
				if err != nil {
					return fmt.Errorf("measure %s, mix %s, sink %s: %w", v.name, mix, sink, err)
				}
				fmt.Fprintf(os.Stderr, "%s %s %s run %d: %.2f s cpu in %.1f s, %.0f rows per cpu-second\n", mix, sink, v.name, run+1, r.CPU, r.Seconds, r.perSecond())
				b.results[c][v.name] = append(b.results[c][v.name], r)
			}
		}
		b.printCell(os.Stdout, c)
	}
	return nil
}

// choose says what is measured, builds dredge and writes its identity file when it is among that.
func (b *bench) choose(ctx context.Context) ([]variant, error) {
	subjects, err := list(b.o.subjects, "dredge", "core", "other", "bare", "naive")
	if err != nil {
		return nil, fmt.Errorf("-subjects: %w", err)
	}
	if b.o.codecs {
		subjects = []string{"dredge"}
	}
	var out []variant
	built := cmp.Or(b.o.binary, filepath.Join(b.dir, "dredge"))
	for _, s := range subjects {
		v := variant{name: s, role: s, codec: b.o.codec}
		switch s {
		case "dredge":
			v.binary, v.columns = built, allColumns
		case "core":
			v.binary = built
		case "other":
			if v.binary, v.columns = b.o.other, allColumns; v.binary == "" {
				return nil, errors.New("-subjects: other: write -other PATH, a dredge binary to compare with")
			}
		}
		out = append(out, v)
	}
	if b.o.codecs {
		v := out[0]
		out = nil
		for _, codec := range []string{"none", "snappy", "lz4", "zstd"} {
			v.name, v.codec = codec, codec
			out = append(out, v)
		}
	}
	needs := false
	for _, v := range out {
		needs = needs || v.binary != ""
	}
	if !needs {
		return out, nil
	}
	if b.o.binary == "" {
		build := exec.CommandContext(ctx, "go", "build", "-o", built, "dredge/cmd/dredge")
		if text, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build dredge: %w\n%s", err, text)
		}
	}
	b.identity = filepath.Join(b.dir, "identity.jsonl")
	return out, b.writeIdentity()
}

func (b *bench) writeIdentity() error {
	bulk, err := workload(b.o, "one") // identity is the same in all mixes
	if err != nil {
		return err
	}
	f, err := os.Create(b.identity)
	if err != nil {
		return err
	}
	defer f.Close() // Flush reports what was not written
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for e := range bulk.Events() {
		if line, err = event.Append(line[:0], e); err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return w.Flush()
}

// measure lets one subject turn the workload of c into rows once.
func (b *bench) measure(ctx context.Context, c cell, v variant, service *dredge, run int) (r result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.o.limit, fmt.Errorf("not done after %s (-limit)", b.o.limit))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}()
	before, err := rowsAt(ctx, b.at.Kafka)
	if err != nil {
		return r, err
	}
	if service != nil {
		r, err = service.measure(ctx, c, run)
	} else {
		r, err = b.yardstick(ctx, c, v, run)
	}
	if err != nil {
		return r, err
	}
	if r.Rows != int64(b.o.lines) {
		return r, fmt.Errorf("%d rows of %d lines", r.Rows, b.o.lines)
	}
	if c.sink != "kafka" {
		return r, nil
	}
	after, err := rowsAt(ctx, b.at.Kafka)
	if err == nil && after-before != int64(b.o.lines) {
		err = fmt.Errorf("the broker has %d new rows of %d lines", after-before, b.o.lines)
	}
	return r, err
}

func (b *bench) flags(o options, role string) []string {
	return []string{
		"-role", role, "-lines", strconv.Itoa(o.lines), "-addresses", strconv.Itoa(o.addresses), "-mixes", o.mixes, "-mix", o.mix,
		"-end", strconv.FormatInt(o.end, 10), "-codec", o.codec, "-stream", o.stream, "-aws", o.aws, "-kafka", o.kafka,
	}
}

// yardstick measures a subject that is part of this program.
func (b *bench) yardstick(ctx context.Context, c cell, v variant, run int) (result, error) {
	var r result
	o := b.o
	o.mix, o.codec, o.aws = c.mix, v.codec, b.at.AWS
	if c.sink == "kafka" {
		o.kafka = b.at.Kafka
	}
	o.stream = fmt.Sprintf("%s-%s-%s-%d", v.name, c.mix, c.sink, run)
	if err := b.control(ctx, "POST", "stream", url.Values{"name": {o.stream}}); err != nil {
		return r, err
	}
	p, err := b.start(ctx, 1, nil, b.self, b.flags(o, v.role)...)
	if err != nil {
		return r, err
	}
	defer p.end()
	var word string
	if _, err := fmt.Fscanln(p.out, &word); err != nil || word != "ready" {
		return r, p.fault(fmt.Errorf("said %q instead of ready: %w", word, err))
	}
	if err := b.control(ctx, "POST", "fill", url.Values{"name": {o.stream}, "mix": {c.mix}}); err != nil {
		return r, err
	}
	begin := time.Now()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		return r, p.fault(err)
	}
	if err := json.NewDecoder(p.out).Decode(&r); err != nil {
		return r, p.fault(err)
	}
	r.Seconds = time.Since(begin).Seconds()
	return r, nil
}

// control asks something of the server. A fill returns when all of it can be read.
func (b *bench) control(ctx context.Context, method, what string, args url.Values) error {
	if _, err := ask(ctx, method, b.at.Control+"/"+what+"?"+args.Encode()); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func ask(ctx context.Context, method, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept-Encoding", "identity") // compressing its metrics is no part of the subject's job
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() // read to its end
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", resp.Status, text)
	}
	return string(text), err
}

// rowsAt is the sum of the topic's end offsets.
func rowsAt(ctx context.Context, broker string) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topicName)
	if err != nil {
		return 0, err
	}
	var n int64
	ends.Each(func(l kadm.ListedOffset) {
		n += l.Offset
		err = cmp.Or(err, l.Err)
	})
	return n, err
}

// process is a child with its streams. What it writes to standard error is kept for the case that it fails.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.Reader
	stderr *os.File
}

// start runs name on one core, with its output to be read.
func (b *bench) start(ctx context.Context, core int, env []string, name string, args ...string) (*process, error) {
	return b.startTo(ctx, nil, core, env, name, args...)
}

// startTo has the output go to out, if it is not nil.
func (b *bench) startTo(ctx context.Context, out *os.File, core int, env []string, name string, args ...string) (*process, error) {
	if b.taskset != "" {
		args = append([]string{"-c", strconv.Itoa(core), name}, args...)
		name = b.taskset
	}
	p := &process{cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), env...)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if out != nil {
		p.cmd.Stdout, p.out = out, strings.NewReader("")
	} else if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if p.stderr, err = os.CreateTemp(b.dir, "stderr-"); err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// end interrupts the process and waits for it. How it ends is of no interest: what counts was read before.
func (p *process) end() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.in.Close()
	_, _ = io.Copy(io.Discard, p.out)
	_ = p.cmd.Wait()
	_ = p.stderr.Close()
}

// fault adds to err what the process last said.
func (p *process) fault(err error) error {
	text, _ := os.ReadFile(p.stderr.Name())
	if len(text) > 4000 {
		text = text[len(text)-4000:]
	}
	return fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(text)))
}
