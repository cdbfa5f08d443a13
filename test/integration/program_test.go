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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// build returns the path of a freshly built binary.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "dredge")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/dredge")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// dredge is a command that has credentials for the emulators and, of all settings in the environment, only those of env.
func dredge(t *testing.T, binary string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DREDGE_") || strings.HasPrefix(v, "AWS_")
	})
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID=AKIDINTEGRATION", "AWS_SECRET_ACCESS_KEY=integration", "AWS_REGION=us-east-1")
	cmd.Env = append(cmd.Env, env...)
	return cmd
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
