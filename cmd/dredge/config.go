package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dredge/config"
)

// addConfigFlag adds -c; DREDGE_CONFIG names the file where no flag can be given.
func addConfigFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", os.Getenv("DREDGE_CONFIG"), "config file (YAML); DREDGE_* variables override single keys")
}

// loadService reads the configuration of a service. The error says where it was looked for.
func loadService(path string) (config.Config, error) {
	c, err := config.Load(path, os.Environ())
	if err != nil {
		return c, err
	}
	err = c.ValidateService()
	switch {
	case err == nil:
		return c, nil
	case path == "":
		return c, fmt.Errorf("there is no -c FILE, and the defaults with DREDGE_* variables do not make a service (docs/tutorial.md has a file to begin with):\n%w", err)
	default:
		return c, fmt.Errorf("config %s:\n%w", path, err)
	}
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
