//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDemo runs `dredge demo` as a person would, looks at its page with a browser and at its metrics with Prometheus, and ends it
// with Ctrl-C. The demo's own verdict counts: it compares every row with the truth.
func TestDemo(t *testing.T) {
	demo := startDemo(t)
	prom := startPrometheus(t, demo.url)
	t.Run("Page", func(t *testing.T) { testPage(t, demo.url) })
	t.Run("Metrics", func(t *testing.T) { testMetrics(t, demo.url) })
	t.Run("Dashboard", func(t *testing.T) { testDashboard(t, prom) })
	t.Run("Verdict", func(t *testing.T) {
		if err := demo.interrupt(); err != nil {
			t.Errorf("the demo ended with %v:\n%s", err, demo.output())
		}
		if want := "The books balance, every line arrived once, and no name was wrong."; !strings.Contains(demo.output(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, demo.output())
		}
	})
}

// program is a process whose output can be read while it runs.
type program struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, once done is closed

	mu  sync.Mutex
	out bytes.Buffer
}

// start runs the command and returns what the first group of announces matches in its output. The program is ended when the
// test ends.
func start(t *testing.T, announces *regexp.Regexp, cmd *exec.Cmd) (*program, string) {
	t.Helper()
	p := &program{cmd: cmd, done: make(chan struct{})}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.out.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			if m := announces.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
		}
		r.CloseWithError(lines.Err())
	})
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
		_ = w.Close()
		reading.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		<-p.done
	})
	select {
	case what := <-found:
		return p, what
	case <-p.done:
		t.Fatalf("%s ended with %v:\n%s", cmd.Path, p.err, p.output())
	case <-time.After(time.Minute):
		t.Fatalf("%s did not announce %s:\n%s", cmd.Path, announces, p.output())
	}
	return nil, ""
}

// output is what the program has written so far.
func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// interrupt is Ctrl-C, and waits for the end.
func (p *program) interrupt() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	<-p.done
	return p.err
}

type demo struct {
	*program
	url string // ends with a slash
}

func startDemo(t *testing.T) demo {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "dredge")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/dredge")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), binary, "demo", "--verbose", "--addr", "127.0.0.1:0")
	p, url := start(t, regexp.MustCompile(`page: (http://127\.0\.0\.1:\d+/)`), cmd)
	return demo{p, url}
}
