package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/spf13/cobra"

	"dredge/consumer/columns"
	"dredge/consumer/text"
	"dredge/flowlog"
	"dredge/flowlog/envelope"
)

func newParseCmd() *cobra.Command {
	format := "default"
	cmd := &cobra.Command{
		Use:   "parse [--format FORMAT] [FILE…]",
		Short: "Print flow-log lines as typed JSON",
		Long: `parse reads flow logs and prints one JSON object per record, in the order of the input. NODATA and
SKIPDATA records are printed too.

It reads files, or standard input when none or - is named: lines with or without a header, gzip, zstd, CloudWatch
subscription messages, Firehose's shapes, JSON records; and Parquet, of which line 2 is the first row.

Keys are AWS's field names with underscores; "-" is null; integers are numbers; ids and addresses are text.
A line that can't be decoded is reported on standard error as FILE:LINE: REASON, and the others are still
printed; the exit code is then 1. LINE is the line of a text file, or the number of the message in an envelope.`,
		Example: `  dredge parse flows.log.gz
  aws s3 cp s3://bucket/key.log.gz - | dredge parse
  dredge parse --format '${version} ${vpc-id} ${srcaddr} ${dstaddr} ${bytes} ${start} ${end}' flows.txt`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			p := parser{
				decoder: flowlog.NewDecoder(),
				// Inflating is bounded by memory, not by the size of the file: the reader streams.
				reader: envelope.NewReader(math.MaxInt64, flowlog.MaxLine),
				out:    bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10),
				errs:   cmd.ErrOrStderr(),
				fixed:  cmd.Flags().Changed("format"),
			}
			if _, err := flowlog.ParseFormat(format); err != nil {
				return fmt.Errorf("--format: %w", err)
			}
			var err error
			if p.chooser, err = flowlog.NewChooser(flowlog.Rules{Default: format}); err != nil {
				return err
			}
			if len(args) == 0 {
				args = []string{"-"}
			}
			for _, name := range args {
				if err := p.file(cmd.Context(), name, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if err := p.out.Flush(); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if p.bad {
				return &exitError{code: 1}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", format,
		"log format as AWS has it, or default, or transit-gateway; without it a header line in the input decides")
	return cmd
}

// parser prints the records of files.
type parser struct {
	decoder *flowlog.Decoder
	reader  *envelope.Reader
	chooser *flowlog.Chooser
	batch   flowlog.Batch
	out     *bufio.Writer
	errs    io.Writer
	// fixed says that the format was given, so header lines do not count.
	fixed bool
	// bad says that something was reported.
	bad  bool
	json []byte
}

// file prints the records of one file. What is wrong with the file is reported; only output that can't be written, and
// the end of ctx, are errors.
func (p *parser) file(ctx context.Context, name string, stdin io.Reader) error {
	src := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			if pe, ok := errors.AsType[*fs.PathError](err); ok {
				err = pe.Err
			}
			return p.report("%s: open: %v\n", name, err)
		}
		defer f.Close()
		src = f
	}
	plain, err := uncompressed(src)
	if err != nil {
		return p.report("%s: %v\n", name, err)
	}
	defer plain.Close()
	p.reader.ResetReader(plain)
	for n := 0; p.reader.Next(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.line(name); err != nil {
			return err
		}
	}
	if err := p.reader.Err(); err != nil {
		return p.report("%s: %v\n", name, err)
	}
	return nil
}

// uncompressed undoes zstd, and makes lines of the columns of a Parquet file. gzip is left to the reader of envelopes, which tells
// exactly what is wrong with it.
func uncompressed(src io.Reader) (io.ReadCloser, error) {
	if f, ok := src.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && columns.Is(f) {
			return columns.Text(f, info.Size())
		}
	}
	in := bufio.NewReaderSize(src, 64<<10)
	if head, _ := in.Peek(len(gzipMagic)); string(head) == gzipMagic {
		return io.NopCloser(in), nil
	}
	return text.Decompressed(in)
}

const gzipMagic = "\x1f\x8b"

// line prints the reader's present line or reports it.
func (p *parser) line(name string) error {
	r := p.reader
	switch {
	case r.Kind() == envelope.KindMalformed:
		return p.report("%s:%d: %s: a JSON object that is neither a message nor a record: %.80q\n", name, r.Number(), envelope.FaultBadJSON, r.Line())
	case r.TooLong():
		return p.report("%s:%d: %s: %d bytes, want at most %d\n", name, r.Number(), flowlog.ReasonTooLong, r.Size(), flowlog.MaxLine)
	}
	format, _ := p.chooser.Choose("", "", "")
	if h := r.Header(); h != nil && (!p.fixed || r.Kind() == envelope.KindRecord) {
		var err error
		if format, err = p.chooser.Header(h); err != nil {
			return p.report("%s:%d: header: %v\n", name, r.Number(), err)
		}
	}
	p.batch.Reset()
	if reason := p.decoder.Append(&p.batch, format, r.Line(), 0, 0); reason != flowlog.ReasonNone {
		return p.report("%s:%d: %v\n", name, r.Number(), flowlog.Explain(format, r.Line()))
	}
	p.json = append(flowlog.AppendJSON(p.json[:0], &p.batch.Records[0]), '\n')
	if _, err := p.out.Write(p.json); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// report says what was rejected, after the records before it: so both come in order on a terminal.
func (p *parser) report(format string, args ...any) error {
	p.bad = true
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := fmt.Fprintf(p.errs, format, args...); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
