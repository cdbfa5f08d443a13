package file

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dredge/stream"
)

// partial is the ending of a file that is still being written.
const partial = ".partial"

// rotationTime is how the names of rotated files tell when they were begun.
const rotationTime = "20060102T150405.000Z"

// handle is an open file.
type handle interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

// opener is what output asks of the operating system; tests put a full disk in its place.
type opener interface {
	OpenFile(name string, flag int, mode fs.FileMode) (handle, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes a rename in dir durable.
	SyncDir(dir string) error
	Stdout() io.Writer
}

type osFiles struct{ stdout io.Writer }

func (osFiles) OpenFile(name string, flag int, mode fs.FileMode) (handle, error) {
	f, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }
func (osFiles) Remove(name string) error     { return os.Remove(name) }
func (o osFiles) Stdout() io.Writer          { return o.stdout }

func (osFiles) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// output writes blocks to the present file and begins a new one when it is time.
//
// A plain file without rotation is appended to under its own name. All others are written as <name>.partial and renamed when
// they are complete, so whoever picks up finished files never sees half of one. A crash leaves a .partial file behind; every
// row that was reported is in it.
type output struct {
	cfg     Config
	open    opener
	metrics *metrics
	codec   compressor

	file    handle // nil before the first block, and after a file was ended
	name    string
	size    int64 // what is in file for good
	opened  time.Time
	number  int
	out     int // bytes of the block that standard output has taken
	pending []byte
}

func newOutput(cfg Config, open opener, m *metrics) *output {
	return &output{cfg: cfg, open: open, metrics: m, codec: newCompressor(cfg.compression())}
}

// write writes one block. When it returns an error the file is as it was before, and the same block may be tried again.
func (o *output) write(block []byte) error {
	if o.pending == nil {
		data, err := o.codec.compress(block)
		if err != nil {
			return &stream.PermanentError{Err: fmt.Errorf("compressing rows: %w", err)}
		}
		o.pending = data
	}
	err := o.put(o.pending)
	if err != nil {
		return err
	}
	o.pending = nil
	return nil
}

func (o *output) put(data []byte) error {
	if o.cfg.Path == Stdout {
		return o.putStdout(data)
	}
	if o.file != nil && o.cfg.RotateBytes > 0 && o.size > 0 && o.size+int64(len(data)) > o.cfg.RotateBytes {
		if err := o.end(); err != nil {
			return err
		}
	}
	if err := o.rotateIfOld(); err != nil {
		return err
	}
	if o.file == nil {
		if err := o.begin(); err != nil {
			return err
		}
	}
	_, err := o.file.Write(data)
	if err == nil && o.cfg.Fsync == FsyncCommit {
		if err = o.file.Sync(); err != nil {
			// After a failed fsync the kernel may have dropped the pages and call them clean: a retry would report success.
			return &stream.PermanentError{Err: fmt.Errorf("forcing %q to the disk: %w", o.name, err)}
		}
	}
	if err != nil {
		// Part of the block may be there. It is taken back, so that no reader and no later block meets half a line.
		if back := o.file.Truncate(o.size); back != nil {
			return &stream.PermanentError{Err: fmt.Errorf("writing %q: %w; taking the torn block back: %w", o.name, err, back)}
		}
		return o.fault("writing", err)
	}
	o.size += int64(len(data))
	o.metrics.written.Add(float64(len(data)))
	return nil
}

// putStdout goes on where it stopped: what a pipe has taken cannot be taken back.
func (o *output) putStdout(data []byte) error {
	n, err := o.open.Stdout().Write(data[o.out:])
	o.out += n
	o.metrics.written.Add(float64(n))
	if err != nil {
		return o.fault("writing", err)
	}
	o.out = 0
	return nil
}

// begin opens the next file.
func (o *output) begin() error {
	if !o.cfg.rotates() && o.cfg.compression() == CompressionNone {
		return o.beginAppending()
	}
	name := o.cfg.Path
	if o.cfg.rotates() {
		o.number++
		stem, ext := splitExt(o.cfg.Path)
		name = fmt.Sprintf("%s-%s-%04d%s", stem, time.Now().UTC().Format(rotationTime), o.number, ext)
	} else if _, err := os.Lstat(name); err == nil {
		return &stream.PermanentError{Err: fmt.Errorf(
			"path: %q exists and is compressed, so it cannot be continued; remove it, write another path, or set rotate_age", name)}
	}
	f, err := o.open.OpenFile(name+partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &stream.PermanentError{Err: fmt.Errorf(
			"path: %q was left by a run that did not end; its rows are good: rename or remove it, or set rotate_age", name+partial)}
	}
	if err != nil {
		return o.fault("opening", err)
	}
	o.file, o.name, o.size, o.opened = f, name, 0, time.Now()
	return o.syncDir()
}

// syncDir makes the name of a file durable, where commits are.
func (o *output) syncDir() error {
	if o.cfg.Fsync != FsyncCommit {
		return nil
	}
	if err := o.open.SyncDir(filepath.Dir(o.name)); err != nil {
		return &stream.PermanentError{Err: fmt.Errorf("forcing the name of %q to the disk: %w", o.name, err)}
	}
	return nil
}

// beginAppending opens the file under its own name and cuts off the line that a crash left torn: it was never reported.
func (o *output) beginAppending() error {
	f, err := o.open.OpenFile(o.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return o.fault("opening", err)
	}
	size, err := wholeLines(f)
	if err != nil {
		return errors.Join(o.fault("reading", err), f.Close())
	}
	o.file, o.name, o.size, o.opened = f, o.cfg.Path, size, time.Now()
	return o.syncDir()
}

// wholeLines cuts f after its last newline, looking back over one large row at most, and returns its size.
func wholeLines(f handle) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, nil // a device or a pipe has no end to look at
	}
	const step, limit = 64 << 10, 64 << 20
	buf := make([]byte, step)
	for end := info.Size(); end > 0; {
		if info.Size()-end >= limit {
			return 0, fmt.Errorf("the last %d bytes hold no end of line; it is no file of JSON Lines", limit)
		}
		begin := max(0, end-step)
		if _, err := f.ReadAt(buf[:end-begin], begin); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:end-begin], '\n'); i >= 0 {
			size := begin + int64(i) + 1
			if size == info.Size() {
				return size, nil
			}
			return size, f.Truncate(size)
		}
		end = begin
	}
	return 0, f.Truncate(0)
}

func (o *output) rotateIfOld() error {
	if o.file == nil || o.cfg.RotateAge == 0 || time.Since(o.opened) < o.cfg.RotateAge || o.size == 0 {
		return nil
	}
	return o.end()
}

// end makes the present file complete: on the disk, and under its final name.
func (o *output) end() error {
	if o.file == nil {
		return nil
	}
	if o.cfg.Fsync == FsyncCommit {
		if err := o.file.Sync(); err != nil {
			return &stream.PermanentError{Err: fmt.Errorf("forcing %q to the disk: %w", o.name, err)}
		}
	}
	if err := o.file.Close(); err != nil {
		return &stream.PermanentError{Err: fmt.Errorf("closing %q: %w", o.name, err)}
	}
	o.file = nil
	if o.name == o.cfg.Path && o.cfg.compression() == CompressionNone {
		return nil // it has had its name from the start
	}
	if o.size == 0 {
		return o.fault("removing", o.open.Remove(o.name+partial))
	}
	o.metrics.rotations.Inc()
	if err := o.open.Rename(o.name+partial, o.name); err != nil {
		return &stream.PermanentError{Err: fmt.Errorf("renaming %q: %w", o.name+partial, err)}
	}
	return o.syncDir()
}

func (o *output) close() error { return o.end() }

// class is what an error means. Its text is a metric label.
type class string

const (
	classFull    class = "disk_full"
	classAgain   class = "transient"
	classPipe    class = "broken_pipe"
	classRefused class = "refused"
)

// classify decides whether a write may be tried again.
func classify(err error) class {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return classFull
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.ENOMEM):
		return classAgain
	case errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return classPipe
	}
	return classRefused
}

// fault says what was done to which file, and makes what no retry mends permanent. The fault of nil is nil.
func (o *output) fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	name, hint := o.cfg.Path, ""
	if name == Stdout {
		name = "standard output"
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "; create the directory, or write another path"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		hint = "; write a path that this user may write to"
	case errors.Is(err, syscall.EISDIR):
		hint = "; write a file in it"
	}
	err = fmt.Errorf("path: %s %q: %w%s", doing, name, err, hint)
	switch classify(err) {
	case classFull:
		// Whoever directed standard output to a full disk waits for an answer; a file of the service waits for room.
		if o.cfg.Path != Stdout {
			return err
		}
	case classAgain:
		return err
	case classPipe, classRefused:
	}
	return &stream.PermanentError{Err: err}
}

// splitExt cuts all endings off: rows.jsonl.gz is rows and .jsonl.gz.
func splitExt(path string) (stem, ext string) {
	dir, base := filepath.Split(path)
	name, rest, ok := strings.Cut(base, ".")
	if !ok || name == "" {
		return path, ""
	}
	return dir + name, "." + rest
}

// Written returns the files that an output of path has made, in order of their names: the file itself, those that rotation
// has named, and those that are being written or were left by a crash.
func Written(path string) ([]string, error) {
	stem, ext := splitExt(path)
	dir, base := filepath.Split(stem)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), partial)
		if name != base+ext && !rotatedName(name, base, ext) {
			continue
		}
		if !e.IsDir() {
			all = append(all, dir+e.Name())
		}
	}
	return all, nil
}

func rotatedName(name, base, ext string) bool {
	rest, ok := strings.CutPrefix(name, base+"-")
	rest, ends := strings.CutSuffix(rest, ext)
	when, number, cut := strings.Cut(rest, "-")
	if !ok || !ends || !cut {
		return false
	}
	_, badTime := time.Parse(rotationTime, when)
	_, badNumber := strconv.ParseUint(number, 10, 32)
	return badTime == nil && badNumber == nil
}

// compressor makes a block into one piece that can be read alone. What it returns is valid until the next call.
type compressor struct {
	kind Compression
	buf  bytes.Buffer
	gzip *gzip.Writer
	zstd *zstd.Encoder
	data []byte
}

func newCompressor(kind Compression) compressor { return compressor{kind: kind} }

func (c *compressor) compress(block []byte) ([]byte, error) {
	switch c.kind {
	case CompressionGzip:
		c.buf.Reset()
		if c.gzip == nil {
			c.gzip = gzip.NewWriter(&c.buf)
		} else {
			c.gzip.Reset(&c.buf)
		}
		if _, err := c.gzip.Write(block); err != nil {
			return nil, err
		}
		if err := c.gzip.Close(); err != nil {
			return nil, err
		}
		return c.buf.Bytes(), nil
	case CompressionZstd:
		if c.zstd == nil {
			var err error
			c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
			if err != nil {
				return nil, err
			}
		}
		c.data = c.zstd.EncodeAll(block, c.data[:0])
		return c.data, nil
	case CompressionAuto, CompressionNone:
	}
	return block, nil
}
