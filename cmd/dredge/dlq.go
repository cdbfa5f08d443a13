package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/consumer/text"
	"dredge/sink"
	"dredge/sink/file"
	"dredge/sink/kafka"
)

func newDLQCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List dead letters, and run them through the pipeline again",
		Long: `dlq reads the dead letters of the configuration (dead_letter.type), or the files that are named. A letter is a
line or a payload that could not become rows, with the partition, position and index that it had; docs/sinks.md
has its form.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newDLQListCmd(), newDLQReplayCmd())
	return cmd
}

// letterChoice says which letters are meant.
type letterChoice struct {
	config  string
	reasons []string
	since   string
}

func (l *letterChoice) flags(cmd *cobra.Command) {
	addConfigFlag(cmd, &l.config)
	cmd.Flags().StringSliceVar(&l.reasons, "reason", nil, "only letters with one of these reasons")
	cmd.Flags().StringVar(&l.since, "since", "", "only letters not older: RFC 3339, Unix seconds or milliseconds, or how long ago (90m, 24h)")
}

// deadLetter is a letter and when it was written.
type deadLetter struct {
	sink.Letter
	At time.Time
}

// each calls f with the chosen letters, and says how many lines were none.
func (l *letterChoice) each(ctx context.Context, c config.Config, files []string, f func(deadLetter) error) (unreadable int, err error) {
	since := time.Time{}
	if l.since != "" {
		if since, err = parseWhen("since", l.since, time.Now()); err != nil {
			return 0, err
		}
	}
	take := func(line []byte) error {
		letter, at, err := sink.ParseLetter(line)
		if err != nil {
			unreadable++
			return nil //nolint:nilerr // it is counted, and costs no other letter
		}
		if at.Before(since) || len(l.reasons) > 0 && !slices.Contains(l.reasons, letter.Reason) {
			return nil
		}
		return f(deadLetter{letter, at})
	}
	if len(files) == 0 {
		switch c.DeadLetter.Type {
		case config.DeadLetterKafka:
			return unreadable, kafka.ReadLetters(ctx, c.Sink.Kafka, zerolog.Nop(), mskKeys(c.AWS), take)
		case config.DeadLetterFile:
			if files, err = letterFiles(c.DeadLetter.File.Path); err != nil {
				return 0, err
			}
		default:
			return 0, errors.New("dead_letter.type: is none, so there are no letters; name files of letters, or a configuration that has some with -c")
		}
	}
	for _, path := range files {
		if err := readLines(path, take); err != nil {
			return unreadable, err
		}
	}
	return unreadable, nil
}

// letterFiles are the files that dead_letter.file has made.
func letterFiles(path string) ([]string, error) {
	if path == file.Stdout {
		return nil, errors.New("dead_letter.file.path: is standard output; name the file that you sent it to")
	}
	all, err := file.Written(path)
	if err != nil {
		return nil, fmt.Errorf("dead_letter.file.path: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("dead_letter.file.path: there is no %q yet: nothing was dead-lettered", path)
	}
	return all, nil
}

// readLines calls f with each line of a file, which may be compressed.
func readLines(path string, f func([]byte) error) error {
	raw, err := os.Open(path)
	if err != nil {
		return err
	}
	defer raw.Close()
	in, err := text.Decompressed(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, sink.MaxLetterLine)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := f(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func newDLQListCmd() *cobra.Command {
	var choice letterChoice
	var asJSON, count bool
	cmd := &cobra.Command{
		Use:   "list [-c FILE] [FILE…]",
		Short: "Show dead letters, or how many there are of each reason",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(choice.config, os.Environ())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			table := [][]string{{"TIME", "REASON", "PARTITION", "POSITION", "INDEX", "LOG GROUP", "SIZE", "DETAIL"}}
			reasons := map[string]int64{}
			unreadable, err := choice.each(cmd.Context(), c, args, func(l deadLetter) error {
				reasons[l.Reason]++
				switch {
				case count:
				case asJSON:
					_, err := out.Write(append(sink.AppendLetter(nil, l.Letter, l.At, len(l.Data)), '\n'))
					return err
				default:
					table = append(table, []string{
						l.At.UTC().Format(time.RFC3339), l.Reason, l.Partition, string(l.Letter.At), number(int64(l.Index)), l.LogGroup, number(int64(l.Size)), l.Detail,
					})
				}
				return nil
			})
			if err != nil {
				return err
			}
			if count {
				table = [][]string{{"REASON", "LETTERS"}}
				for _, r := range slices.Sorted(maps.Keys(reasons)) {
					table = append(table, []string{r, number(reasons[r])})
				}
			}
			if !asJSON || count {
				if err := printTable(out, table); err != nil {
					return err
				}
			}
			if unreadable > 0 {
				return &exitError{code: 1, err: fmt.Errorf("%d lines are no dead letters", unreadable)}
			}
			return nil
		},
	}
	choice.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the letters as they are, as JSON Lines")
	cmd.Flags().BoolVar(&count, "count", false, "count them by reason")
	return cmd
}
