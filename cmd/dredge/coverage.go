package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dredge/internal/page"
)

func newCoverageCmd() *cobra.Command {
	var (
		a      localRequest
		asJSON bool
		all    bool
	)
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "Show what flow logs come in, what they lack, and which interfaces are silent",
		Long: `Ask the dredge that runs on this machine (GET /api/coverage, /api/unknowns) what it hears: per log group when and how much, its format's missing
fields and SKIPDATA; per VPC how many interfaces are known and heard; interfaces whose flows are logged and do not come; and the
addresses that could not be named, with the remedy.

A worker knows log groups of its own shards only. Sightings of interfaces are shared through identity.logs; without one, a worker that
does not read all shards calls interfaces silent that others hear. The exit code is 3 when a log group is quiet for 15 minutes or rejects
lines, or when an interface is silent.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r coverageReport
			for path, into := range map[string]any{"/api/coverage": &r.Coverage, "/api/unknowns": &r.Unknowns} {
				body, err := a.ask(cmd.Context(), http.MethodGet, path)
				if err != nil {
					return fmt.Errorf("coverage: %w", err)
				}
				if err := json.Unmarshal(body, into); err != nil {
					return fmt.Errorf("coverage: answer of %s: %w", path, err)
				}
			}
			show := func() error { return r.print(cmd.OutOrStdout(), all) }
			if asJSON {
				show = func() error { return printJSON(cmd.OutOrStdout(), r) }
			}
			if err := show(); err != nil {
				return err
			}
			if !r.well() {
				return &exitError{code: 3}
			}
			return nil
		},
	}
	a.flags(cmd, 15*time.Second)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "print whole lists, not only their first ten")
	return cmd
}

// coverageReport is what dredge coverage prints.
type coverageReport struct {
	Coverage page.Coverage `json:"coverage"`
	Unknowns page.Unknowns `json:"unknowns"`
}

// well says whether everything that is expected comes and is understood.
func (r *coverageReport) well() bool {
	for _, g := range r.Coverage.LogGroups {
		if g.Rejected > 0 || r.Coverage.Now.Sub(g.Last) > quietAfter {
			return false
		}
	}
	return r.Coverage.SilentTotal == 0
}

// firstOf is how much of a list is printed without --all.
const firstOf = 10

func (r *coverageReport) print(out io.Writer, all bool) error {
	c := &r.Coverage
	limit := firstOf
	if all {
		limit = math.MaxInt
	}
	ago := func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return c.Now.Sub(*t).Round(time.Second).String() + " ago"
	}
	groups := [][]string{{"LOG GROUP", "ACCOUNT", "LAST", "LINES", "REJECTED", "NODATA", "SKIPDATA", "MISSING FIELDS"}}
	for _, g := range c.LogGroups {
		groups = append(groups, []string{
			cmp.Or(g.Name, "(no log group)"), dash(g.Account), ago(&g.Last), number(g.Lines), number(g.Rejected), number(g.NoData), number(g.SkipData), lacks(g),
		})
	}
	networks := [][]string{{"VPC", "ACCOUNT", "INTERFACES", "HEARD", "SILENT", "LAST"}}
	for _, n := range c.Networks {
		networks = append(networks, []string{dash(n.VPC), dash(n.Account), strconv.Itoa(n.Interfaces), strconv.Itoa(n.Heard), strconv.Itoa(n.Silent), ago(n.Last)})
	}
	silent := [][]string{{"SILENT INTERFACE", "ADDRESS", "VPC", "APP", "KIND", "LAST"}}
	for _, s := range c.Silent {
		silent = append(silent, []string{s.Interface, s.Address, dash(s.VPC), dash(s.App), dash(s.Kind), ago(s.Last)})
	}
	unknowns := [][]string{{"UNNAMED", "VPC", "BYTES", "REASON", "REMEDY"}}
	for _, u := range r.Unknowns.Addresses {
		unknowns = append(unknowns, []string{u.Address, dash(u.VPC), number(u.Bytes), u.Reason, u.Remedy})
	}
	for _, t := range []struct {
		rows  [][]string
		none  string
		total int
	}{
		{groups, "no log group was heard of", len(c.LogGroups)},
		{networks, "no interface is known: is there a source of identity?", len(c.Networks)},
		{silent, "no interface is silent that should be heard", c.SilentTotal},
		{unknowns, "every address of the last minutes was named", len(r.Unknowns.Addresses)},
	} {
		if err := printList(out, t.rows, t.none, t.total, limit); err != nil {
			return err
		}
	}
	return nil
}

// printList writes the heading and at most limit rows, and how many of total are left out.
func printList(out io.Writer, rows [][]string, none string, total, limit int) error {
	if len(rows) == 1 {
		_, err := fmt.Fprintf(out, "%s\n\n", none)
		return err
	}
	shown := min(len(rows)-1, limit)
	if err := printTable(out, rows[:1+shown]); err != nil {
		return err
	}
	if shown < total {
		fmt.Fprintf(out, "… and %d more\n", total-shown)
	}
	fmt.Fprintln(out)
	return nil
}

// lacks says what a log group's format does not have.
func lacks(g page.LogGroup) string {
	if g.Format == "" {
		return "no format: write a rule in pipeline.formats"
	}
	names := make([]string, 0, len(g.Missing))
	for _, m := range g.Missing {
		names = append(names, m.Field)
	}
	return cmp.Or(strings.Join(names, ","), "none")
}

func dash(s string) string { return cmp.Or(s, "-") }
