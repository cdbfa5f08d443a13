package main

import (
	"os"

	"github.com/spf13/cobra"

	"dredge/config"
)

// addConfigFlag adds -c; DREDGE_CONFIG names the file where no flag can be given.
func addConfigFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", os.Getenv("DREDGE_CONFIG"), "config file (YAML); DREDGE_* variables override single keys")
}

func newConfigCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration: defaults, file and environment; secrets masked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			return c.WriteYAML(cmd.OutOrStdout())
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}
