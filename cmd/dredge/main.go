// Command dredge reads AWS VPC flow logs from Kinesis, names both ends of every flow as they were when it happened, and writes
// the rows to Kafka for Apache Druid, or to files. One file per subcommand; run.go wires the service.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(execute())
}

// execute runs the command line and returns the exit code. The first SIGINT or SIGTERM ends the context, which drains; the second
// ends the process the hard way, because from then on nothing catches it.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := newRootCmd().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := 1
	if exit, ok := errors.AsType[*exitError](err); ok {
		code, err = exit.code, exit.err
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dredge:", err)
	}
	return code
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "dredge",
		Short: "AWS flow logs with both ends named as they were when the flow happened",
		Long: `dredge reads AWS VPC flow logs from Kinesis shards, names both ends of every flow as they were
when the flow happened, and lands the rows in Apache Druid through Kafka.

Try it:   dredge demo
Look at a file of flow logs:   dredge parse FILE      dredge replay --identity EVENTS.jsonl FILE
Run it:   dredge check -c dredge.yaml && dredge run -c dredge.yaml`,
		Version:       versionText(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetVersionTemplate("dredge {{.Version}}\n")
	root.AddCommand(
		newRunCmd(),
		newDemoCmd(),
		newReplayCmd(),
		newParseCmd(),
		newGatherCmd(),
		newBackfillCmd(),
		newSonarCmd(),
		newLookupCmd(),
		newExplainCmd(),
		newCheckCmd(),
		newConfigCmd(),
		newGenerateCmd(),
		newDruidCmd(),
		newDLQCmd(),
		newLeasesCmd(newAWSClients),
		newDrainCmd(),
		newReloadCmd(),
		newCoverageCmd(),
		newNamesCmd(),
		newDocsCmd(),
		newVersionCmd(),
	)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; `%s --help` lists the flags", err, cmd.CommandPath())
	})
	sayUsage(root)
	return root
}

// sayUsage has every command below root say how it is written when its arguments do not fit.
func sayUsage(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		sayUsage(cmd)
		if fits := cmd.Args; fits != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if err := fits(cmd, args); err != nil {
					return fmt.Errorf("%w; write `%s`", err, cmd.UseLine())
				}
				return nil
			}
		}
	}
}
