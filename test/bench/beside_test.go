package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// serveBeside runs what benchmarks measure against in a process of its own, so that its time is not counted: test, of this very program, which env
// = value tells that it is meant. It says "serving WHERE" first and ends when in ends, or the benchmark.
func serveBeside(b *testing.B, test, env, value string) (where string, in io.Writer) {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$") //nolint:gosec,noctx // this very program, ended in Cleanup
	cmd.Env = append(os.Environ(), env+"="+value)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		err := stdin.Close()
		_, _ = io.Copy(io.Discard, out) // a process that can't write doesn't end
		if err := errors.Join(err, cmd.Wait()); err != nil {
			b.Error(err)
		}
	})
	if _, err := fmt.Fscanf(out, "serving %s\n", &where); err != nil {
		b.Fatal(errors.Join(fmt.Errorf("%s did not start", test), err))
	}
	return where, stdin
}
