package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"dredge/internal/telemetry"
)

func newVersionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print what this binary was built from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := telemetry.ReadBuild()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dredge %s revision %s %s\n", b.Version, b.Revision, b.Go)
			return err
		},
	}
}
