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
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "dredge", versionText())
			return err
		},
	}
}

// versionText is what dredge version and dredge --version say.
func versionText() string {
	b := telemetry.ReadBuild()
	return fmt.Sprintf("%s revision %s %s", b.Version, b.Revision, b.Go)
}
