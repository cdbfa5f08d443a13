// Package trial is what experiments with real dredge processes have in common: how they are run, what is built for them, in which
// environment the processes live, and how a report ends.
package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Main runs an experiment, which an interrupt ends, and exits with 1 when it failed.
func Main(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

// Build makes a dredge in dir and returns its path. A tag, when not empty, names a build that is wrong on purpose.
func Build(ctx context.Context, dir, tag string) (binary string, err error) {
	binary = filepath.Join(dir, "dredge")
	args := []string{"build"}
	if tag != "" {
		binary = filepath.Join(dir, tag)
		args = append(args, "-tags", tag)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", binary, "./cmd/dredge")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build dredge (run this in the root of the repository): %w", err), errors.New(string(out)))
	}
	return binary, nil
}

// Environment is that of a dredge process: of this one's, all but the settings of dredge and AWS; credentials for a fake; and more.
func Environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DREDGE_") || strings.HasPrefix(v, "AWS_") })
	env = append(env, "AWS_ACCESS_KEY_ID=chaos", "AWS_SECRET_ACCESS_KEY=chaos", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
	return append(env, more...)
}

// Finish prints a report, writes it to a file unless that is empty, and removes dir, the folder of the processes' logs. When the experiment
// failed, dir stays and the error says where it is.
func Finish(report, file, dir string, verdict error) error {
	fmt.Print(report)
	if file != "" {
		if err := os.WriteFile(file, []byte(report), 0o600); err != nil {
			return err
		}
	}
	if verdict != nil {
		return fmt.Errorf("%w; logs of the processes are in %s", verdict, dir)
	}
	return os.RemoveAll(dir)
}
