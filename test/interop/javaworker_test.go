//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// javaWorker is one process around Amazon's KCL. What it was given stands in its log.
type javaWorker struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan error
}

// mode2x is the mode of a worker built with version 2 of the library, which has no other.
const mode2x = "2x"

// startJava runs a worker of the application "interop"; more are further arguments of KclWorker.
func startJava(t *testing.T, name, endpoint, stream, mode string, more ...string) *javaWorker {
	t.Helper()
	home := os.Getenv("DREDGE_KCL_WORKER")
	if home == "" {
		t.Fatal("DREDGE_KCL_WORKER is not set; run make interop")
	}
	version := "3.5.1"
	if mode == mode2x {
		version = "2.7.2"
	}
	home = filepath.Join(home, version, "target")
	dir := t.TempDir()
	w := &javaWorker{name: name, log: filepath.Join(dir, name+".log"), done: make(chan error, 1)}
	args := []string{
		"-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=" + cmp.Or(os.Getenv("DREDGE_KCL_LOG"), "warn"), "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", home + "/kcl-worker.jar:" + home + "/lib/*", "KclWorker",
		"--endpoint", endpoint, "--stream", stream, "--app", "interop", "--worker", name, "--log", w.log, "--mode", mode,
	}
	w.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "java", append(args, more...)...)
	out, err := os.Create(filepath.Join(dir, name+".stderr"))
	if err != nil {
		t.Fatal(err)
	}
	w.cmd.Stdout, w.cmd.Stderr = out, out
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.done <- w.cmd.Wait()
		out.Close()
	}()
	t.Cleanup(func() {
		w.signal(syscall.SIGKILL)
		<-w.done //nolint:errcheck // that it was killed
		if t.Failed() {
			data, _ := os.ReadFile(out.Name())
			t.Logf("last output of %s:\n%s", name, tail(data, 6000))
		}
	})
	return w
}

func (w *javaWorker) signal(s syscall.Signal) {
	if err := w.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(err)
	}
}

// wait waits for the process to end and leaves its verdict for Cleanup.
func (w *javaWorker) wait(t *testing.T, limit time.Duration) {
	t.Helper()
	select {
	case err := <-w.done:
		w.done <- err
	case <-time.After(limit):
		t.Fatalf("%s did not end within %s", w.name, limit)
	}
}

// delivery is one record as a worker got it.
type delivery struct{ shard, sequence, sub, data string }

func (w *javaWorker) deliveries(t *testing.T) []delivery {
	t.Helper()
	out, _ := w.delivered(t)
	return out
}

// delivered reads the log; a line that a kill cut off is ignored.
func (w *javaWorker) delivered(t *testing.T) (out []delivery, events []string) {
	t.Helper()
	data, err := os.ReadFile(w.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
		data = data[:i+1]
	} else {
		data = nil
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 5 && f[0] == "record" {
			out = append(out, delivery{shard: f[1], sequence: f[2], sub: f[3], data: f[4]})
			continue
		}
		events = append(events, lines.Text())
	}
	return out, events
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return b
}
