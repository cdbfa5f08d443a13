package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dredge/internal/flowgen"
	"dredge/metadata/event"

	"github.com/klauspost/compress/gzip"
)

// jsonLines writes lines to a file that may be absent.
type jsonLines struct {
	file *os.File
	out  *bufio.Writer
	buf  []byte
}

// createLines opens path; an empty one gives a writer that writes nothing.
func createLines(path string) (*jsonLines, error) {
	if path == "" {
		return &jsonLines{out: bufio.NewWriter(io.Discard)}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create file: %w", err)
	}
	return &jsonLines{file: file, out: bufio.NewWriterSize(file, 64<<10)}, nil
}

func (j *jsonLines) event(e *event.Event) error {
	var err error
	if j.buf, err = event.Append(j.buf[:0], e); err != nil {
		return err
	}
	_, err = j.out.Write(j.buf)
	return err
}

// truthLine is one line of truth.jsonl.
type truthLine struct {
	LogGroup  string `json:"log_group"`
	Interface string `json:"interface_id"`
	Src       string `json:"src_ip"`
	Dst       string `json:"dst_ip"`
	SrcPort   uint16 `json:"src_port"`
	DstPort   uint16 `json:"dst_port"`
	Protocol  uint8  `json:"protocol"`
	Reject    bool   `json:"reject,omitempty"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	First     int64  `json:"first_packet"`
	Last      int64  `json:"last_packet"`
	Packets   int64  `json:"packets"`
	Bytes     int64  `json:"bytes"`
	SrcApp    string `json:"src_app,omitempty"`
	DstApp    string `json:"dst_app,omitempty"`
	SrcOwner  string `json:"src_owner,omitempty"`
	DstOwner  string `json:"dst_owner,omitempty"`
	Counted   bool   `json:"counted,omitempty"`
	Flow      uint64 `json:"flow"`
}

func (j *jsonLines) truth(group string, list []flowgen.Expected) error {
	if j.file == nil {
		return nil
	}
	enc := json.NewEncoder(j.out)
	for i := range list {
		e := &list[i]
		if e.Status != "OK" {
			continue
		}
		err := enc.Encode(truthLine{
			LogGroup: group, Interface: e.Interface, Src: e.Src.String(), Dst: e.Dst.String(), SrcPort: e.SrcPort, DstPort: e.DstPort,
			Protocol: e.Protocol, Reject: e.Reject, Start: e.Start, End: e.End, First: e.First, Last: e.Last, Packets: e.Packets,
			Bytes: e.Bytes, SrcApp: e.SrcApp, DstApp: e.DstApp, SrcOwner: e.SrcOwner, DstOwner: e.DstOwner, Counted: e.Counted, Flow: e.Flow,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// close writes what is left. A file that can't be written is an error even when the simulation went well.
func (j *jsonLines) close() error {
	err := j.out.Flush()
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
	}
	return err
}

// flowFile is the flow log of one log group.
type flowFile struct {
	*jsonLines
	zip *gzip.Writer
}

func createFlowFile(dir, group, header string, compress bool) (*flowFile, error) {
	name := "flows-" + group[strings.LastIndexByte(group, '/')+1:] + ".log"
	if compress {
		name += ".gz"
	}
	lines, err := createLines(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	f := &flowFile{jsonLines: lines}
	if compress {
		f.zip = gzip.NewWriter(lines.file)
		lines.out.Reset(f.zip)
	}
	_, err = fmt.Fprintln(f.out, header)
	return f, err
}

func (f *flowFile) close() error {
	if f.zip == nil {
		return f.jsonLines.close()
	}
	return errors.Join(f.out.Flush(), f.zip.Close(), f.file.Close())
}

// toFiles simulates up to end and writes everything that has arrived by then.
func (f *generateFlags) toFiles(ctx context.Context, sim *flowgen.Sim, end time.Time, progress io.Writer) (err error) {
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	path := func(set, name string) string {
		if set != "" {
			return set
		}
		return filepath.Join(f.out, name)
	}
	var closers []func() error
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
	}()
	events, err := createLines(path(f.identityOut, "events.jsonl"))
	if err != nil {
		return err
	}
	closers = append(closers, events.close)
	truth, err := createLines(path(f.truthOut, "truth.jsonl"))
	if err != nil {
		return err
	}
	closers = append(closers, truth.close)
	files := map[string]*flowFile{}
	for group, layout := range sim.LogGroups() {
		file, err := createFlowFile(f.out, group, layout.String(), f.gzip)
		if err != nil {
			return err
		}
		closers = append(closers, file.close)
		files[group] = file
	}
	lines, told := 0, 0
	for it := range sim.Until(end) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if it.Event != nil {
			told++
			if err := events.event(it.Event); err != nil {
				return fmt.Errorf("write events: %w", err)
			}
			continue
		}
		lines += it.Payload.Lines
		if _, err := files[it.Payload.LogGroup].out.Write(it.Payload.Data); err != nil {
			return fmt.Errorf("write flow log: %w", err)
		}
		if err := truth.truth(it.Payload.LogGroup, it.Payload.Truth); err != nil {
			return fmt.Errorf("write truth: %w", err)
		}
	}
	if f.policy == "hindsight" {
		list, err := sim.Hindsight()
		if err != nil {
			return err
		}
		for i := range list {
			if err := events.event(&list[i]); err != nil {
				return fmt.Errorf("write events: %w", err)
			}
		}
		told = len(list)
	}
	fmt.Fprintf(progress, "wrote %d flow-log lines of %d log groups and %d identity events to %s\n", lines, len(files), told, f.out)
	return nil
}
