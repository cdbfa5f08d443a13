package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/druid"
	"dredge/row"
)

func newDruidCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "druid",
		Short: "Make and watch Druid's side: specs, supervisors, questions, reconciliation",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newDruidSpecCmd(), newDruidApplyCmd(), newDruidDiffCmd(), newDruidStatusCmd(), newDruidQueryCmd(), newDruidPricesCmd(), newDruidReconcileCmd())
	return cmd
}

// druidTables are the tables that the configuration fills, each with its topic.
func druidTables(c config.Config) ([]druid.Table, error) {
	if c.Sink.Type != config.SinkKafka {
		return nil, fmt.Errorf("sink.type: is %s, and a supervisor reads a Kafka topic; write kafka and the topic's name", c.Sink.Type)
	}
	k, names := c.Sink.Kafka, c.Druid.Datasources
	tables := []druid.Table{{Datasource: names.Raw, Topic: k.Topic, Columns: c.Rows.Columns(row.Raw)}}
	if k.MinuteTopic != "" {
		tables = append(tables, druid.Table{Datasource: names.Minute, Topic: k.MinuteTopic, Columns: c.Rows.Columns(row.Minute), Rollup: true})
	}
	if k.LateTopic != "" {
		tables = append(tables, druid.Table{Datasource: names.Late, Topic: k.LateTopic, Columns: c.Rows.Columns(row.Raw)})
	}
	return tables, nil
}

// druidSpec is a table and the spec of its supervisor.
type druidSpec struct {
	table druid.Table
	spec  json.RawMessage
}

func druidSpecs(c config.Config, only []string) ([]druidSpec, error) {
	tables, err := druidTables(c)
	if err != nil {
		return nil, err
	}
	var list []druidSpec
	names := make([]string, 0, len(tables))
	for _, t := range tables {
		names = append(names, t.Datasource)
		if len(only) > 0 && !slices.Contains(only, t.Datasource) {
			continue
		}
		b, err := json.MarshalIndent(druid.NewSupervisorSpec(c.Druid.Supervisor, c.Sink.Kafka.Brokers, t), "", "  ")
		if err != nil {
			return nil, err
		}
		list = append(list, druidSpec{t, b})
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("no datasource %q is configured; write one of %s", name, strings.Join(names, ", "))
		}
	}
	return list, nil
}

// withDruid loads the configuration and calls f with a client of its cluster.
func withDruid(path string, f func(c config.Config, client *druid.Client) error) error {
	c, err := config.Load(path, os.Environ())
	if err != nil {
		return err
	}
	client, err := druid.NewClient(c.Druid)
	if err != nil {
		return err
	}
	defer client.Close()
	return f(c, client)
}

func newDruidSpecCmd() *cobra.Command {
	var path string
	var compaction bool
	cmd := &cobra.Command{
		Use:   "spec -c FILE [DATASOURCE…]",
		Short: "Print the supervisor specs, made from the row catalogue; nothing is sent",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			specs, err := druidSpecs(c, args)
			if err != nil {
				return err
			}
			for _, s := range specs {
				text := s.spec
				if compaction {
					if text, err = json.MarshalIndent(druid.NewCompactionSpec(s.table), "", "  "); err != nil {
						return err
					}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
			}
			return nil
		},
	}
	addConfigFlag(cmd, &path)
	cmd.Flags().BoolVar(&compaction, "compaction", false, "print the automatic compaction of the tables instead")
	return cmd
}

func newDruidApplyCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "apply -c FILE [DATASOURCE…]",
		Short: "Make the supervisors what they should be; an unchanged one is left alone",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDruid(path, func(c config.Config, client *druid.Client) error {
				specs, err := druidSpecs(c, args)
				if err != nil {
					return err
				}
				for _, s := range specs {
					if err := applySpec(cmd.Context(), client, s, cmd.OutOrStdout()); err != nil {
						return fmt.Errorf("%s: %w", s.table.Datasource, err)
					}
				}
				return nil
			})
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

func applySpec(ctx context.Context, client *druid.Client, s druidSpec, out io.Writer) error {
	have, exists, err := client.SupervisorSpec(ctx, s.table.Datasource)
	if err != nil {
		return err
	}
	if exists {
		diff, err := druid.Diff(s.spec, have)
		if err != nil {
			return err
		}
		if len(diff) == 0 {
			fmt.Fprintf(out, "%s: unchanged\n", s.table.Datasource)
			return nil
		}
	}
	id, err := client.Apply(ctx, s.spec)
	if err != nil {
		return err
	}
	verb := "made"
	if exists {
		verb = "changed"
	}
	fmt.Fprintf(out, "%s: %s, reads topic %s\n", id, verb, s.table.Topic)
	return nil
}

func newDruidDiffCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "diff -c FILE [DATASOURCE…]",
		Short: "Say where Druid's supervisors differ from what they should be; exit code 1 if they do",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDruid(path, func(c config.Config, client *druid.Client) error {
				specs, err := druidSpecs(c, args)
				if err != nil {
					return err
				}
				n := 0
				for _, s := range specs {
					have, exists, err := client.SupervisorSpec(cmd.Context(), s.table.Datasource)
					if err != nil {
						return err
					}
					if !exists {
						n++
						fmt.Fprintf(cmd.OutOrStdout(), "%s: there is no such supervisor\n", s.table.Datasource)
						continue
					}
					diff, err := druid.Diff(s.spec, have)
					if err != nil {
						return err
					}
					for _, d := range diff {
						n++
						fmt.Fprintf(cmd.OutOrStdout(), "%s: %s: should be %s, is %s\n", s.table.Datasource, d.Path, cmp.Or(d.Want, "absent"), cmp.Or(d.Have, "absent"))
					}
				}
				if n > 0 {
					return &exitError{code: 1, err: fmt.Errorf("%d differences; `dredge druid apply` mends them", n)}
				}
				return nil
			})
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

func newDruidStatusCmd() *cobra.Command {
	var path string
	var asJSON bool
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "status -c FILE",
		Short: "Say how the tables are doing: supervisors, failed tasks, lag, rows not taken, segments; exit code 1 if something is wrong",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withDruid(path, func(c config.Config, client *druid.Client) error {
				tables, err := druidTables(c)
				if err != nil {
					return err
				}
				var list []druid.TableStatus
				problems := 0
				for _, t := range tables {
					s, err := client.TableStatus(cmd.Context(), t, time.Now().Add(-since))
					if err != nil {
						return fmt.Errorf("%s: %w", t.Datasource, err)
					}
					problems += len(s.Problems)
					list = append(list, s)
				}
				if asJSON {
					err = printJSON(cmd.OutOrStdout(), list)
				} else {
					err = printTableStatus(cmd.OutOrStdout(), list)
				}
				if err == nil && problems > 0 {
					err = &exitError{code: 1, err: fmt.Errorf("%d problems", problems)}
				}
				return err
			})
		},
	}
	addConfigFlag(cmd, &path)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&since, "since", time.Hour, "how far back failed tasks and refused rows are looked for")
	return cmd
}

func printTableStatus(out io.Writer, list []druid.TableStatus) error {
	rows := [][]string{{"DATASOURCE", "STATE", "LAG", "TASKS", "FAILED", "ROWS", "THROWN AWAY", "UNPARSEABLE", "SEGMENTS", "UNAVAILABLE"}}
	for _, s := range list {
		lag := "not known"
		if s.Reading {
			lag = number(s.Lag)
		}
		rows = append(rows, []string{
			s.Datasource, s.State, lag, number(int64(s.Tasks)), number(int64(s.FailedTasks)), number(s.Rows.Processed), number(s.Rows.ThrownAway),
			number(s.Rows.Unparseable), number(s.Segments), number(s.Unavailable),
		})
	}
	if err := printTable(out, rows); err != nil {
		return err
	}
	for _, s := range list {
		for _, p := range s.Problems {
			fmt.Fprintf(out, "%s: %s\n", s.Datasource, p)
		}
	}
	return nil
}

func newDruidQueryCmd() *cobra.Command {
	var path, app string
	var asJSON, show bool
	var span timeSpan
	limit := 50
	cmd := &cobra.Command{
		Use:   "query -c FILE [QUESTION]",
		Short: "Answer one of the shipped questions; without a name, list them",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			questions, err := druid.Questions()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				rows := make([][]string, 0, len(questions))
				for _, q := range questions {
					rows = append(rows, []string{q.Name, q.Doc})
				}
				return printTable(cmd.OutOrStdout(), rows)
			}
			i := slices.IndexFunc(questions, func(q druid.Question) bool { return q.Name == args[0] })
			if i < 0 {
				return fmt.Errorf("there is no question %q; `dredge druid query` lists them", args[0])
			}
			from, to, err := span.interval(time.Now())
			if err != nil {
				return err
			}
			ask := druid.Ask{From: from, To: to, App: app, Limit: limit}
			if show {
				c, err := config.Load(path, os.Environ())
				if err != nil {
					return err
				}
				if ask.Prices, err = druid.LoadPrices(c.Druid.Prices); err != nil {
					return fmt.Errorf("druid.prices: %w", err)
				}
				sql, _, err := questions[i].SQL(c.Druid.Datasources, ask)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), sql)
				}
				return err
			}
			return withDruid(path, func(c config.Config, client *druid.Client) error {
				if ask.Prices, err = druid.LoadPrices(c.Druid.Prices); err != nil {
					return fmt.Errorf("druid.prices: %w", err)
				}
				r, err := client.Ask(cmd.Context(), c.Druid.Datasources, questions[i], ask)
				if err != nil {
					return err
				}
				if err := printResult(cmd.OutOrStdout(), r, asJSON); err != nil || !questions[i].Priced {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "an estimate in %s with prices of %s; your bill knows discounts, tiers and what was not logged\n", ask.Prices.Currency, ask.Prices.Date)
				return nil
			})
		},
	}
	addConfigFlag(cmd, &path)
	span.flags(cmd)
	cmd.Flags().StringVar(&app, "app", "", "the application, for questions about one")
	cmd.Flags().IntVar(&limit, "limit", limit, "most rows of the answer")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object per row")
	cmd.Flags().BoolVar(&show, "sql", false, "print the query instead of sending it")
	return cmd
}

func newDruidPricesCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "prices [-c FILE]",
		Short: "Print the prices that estimates are made with, as a file to copy and change (druid.prices)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			text := []byte(druid.DefaultPrices())
			if c.Druid.Prices != "" {
				if text, err = os.ReadFile(c.Druid.Prices); err != nil {
					return fmt.Errorf("druid.prices: %w", err)
				}
			}
			if _, err := druid.ParsePrices(text); err != nil {
				return fmt.Errorf("druid.prices: %w", err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

func printResult(out io.Writer, r druid.Result, asJSON bool) error {
	if asJSON {
		for _, values := range r.Rows {
			object := make(map[string]any, len(values))
			for i, v := range values {
				object[r.Columns[i]] = v
			}
			b, err := json.Marshal(object)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s\n", b)
		}
		return nil
	}
	rows := [][]string{r.Columns}
	for _, values := range r.Rows {
		line := make([]string, len(values))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
			case float64:
				line[i] = strconv.FormatFloat(v, 'f', -1, 64)
				if v != math.Trunc(v) {
					line[i] = fmt.Sprintf("%.4f", v)
				}
			default:
				line[i] = fmt.Sprint(v)
			}
		}
		rows = append(rows, line)
	}
	return printTable(out, rows)
}
