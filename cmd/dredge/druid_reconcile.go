package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/druid"
	"dredge/sink/kafka"
)

func newDruidReconcileCmd() *cobra.Command {
	var path string
	var asJSON, sent bool
	var span timeSpan
	cmd := &cobra.Command{
		Use:   "reconcile -c FILE --from T --to T",
		Short: "Compare the tables hour by hour: rows that came twice, roll-up against raw rows, with --sent what was sent against what is there; exit code 1 if they disagree",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, to, err := span.interval(time.Now())
			if err != nil {
				return err
			}
			return withDruid(path, func(c config.Config, client *druid.Client) error {
				hours, err := client.Reconcile(cmd.Context(), c.Druid.Datasources, from, to)
				if err == nil && sent {
					hours, err = withSent(cmd.Context(), c, hours, from, to)
				}
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(cmd.OutOrStdout(), hours)
				} else {
					err = printHours(cmd.OutOrStdout(), hours)
				}
				if err != nil {
					return err
				}
				faults := 0
				for _, h := range hours {
					for _, f := range h.Faults() {
						faults++
						fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", h.Hour.Format(time.RFC3339), f)
					}
				}
				if faults > 0 {
					return &exitError{code: 1, err: fmt.Errorf("%d disagreements", faults)}
				}
				return nil
			})
		},
	}
	addConfigFlag(cmd, &path)
	span.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&sent, "sent", false, "read the topics of that time, too, and compare what was committed there with what the tables have")
	return cmd
}

// withSent adds to hours what the topics hold of them.
func withSent(ctx context.Context, c config.Config, hours []druid.Hour, from, to time.Time) ([]druid.Hour, error) {
	if c.Sink.Type != config.SinkKafka {
		return nil, fmt.Errorf("--sent: needs sink.type: kafka, and it is %q; tasks are compared with their batches before their positions are kept", c.Sink.Type)
	}
	counted, err := kafka.SentRows(ctx, c.Sink.Kafka, zerolog.Nop(), mskKeys(c.AWS), from, to)
	if err != nil {
		return nil, err
	}
	sent := make(map[time.Time]druid.Sent, len(counted))
	for at, n := range counted {
		sent[at] = druid.Sent(n)
	}
	return druid.Compare(hours, sent, c.Sink.Kafka.MinuteTopic != ""), nil
}

func printHours(out io.Writer, hours []druid.Hour) error {
	rows := [][]string{{"HOUR", "RAW ROWS", "ROW IDS", "LATE ROWS", "ROLLED-UP ROWS IN", "COUNTED BYTES", "ROLLED-UP BYTES"}}
	if len(hours) > 0 && hours[0].Sent != nil {
		rows[0] = append(rows[0], "SENT RAW", "SENT LATE", "SENT ROLLED-UP IN")
	}
	for _, h := range hours {
		in, sum := "-", "-"
		if h.RowsIn >= 0 {
			in, sum = number(h.RowsIn), number(h.MinuteBytes)
		}
		rows = append(rows, []string{h.Hour.Format(time.RFC3339), number(h.Raw), number(h.Distinct), number(h.Late), in, number(h.Bytes), sum})
		if s := h.Sent; s != nil {
			rows[len(rows)-1] = append(rows[len(rows)-1], number(s.Raw), number(s.Late), number(max(s.RowsIn, 0)))
		}
	}
	return printTable(out, rows)
}
