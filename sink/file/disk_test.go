package file

import (
	"context"
	"io"
	"io/fs"
	"sync"
)

// disk is the operating system's files with a fault on request: err is what the next writes give after half of their bytes.
type disk struct {
	osFiles
	mu      sync.Mutex
	err     error
	syncErr error
	met     chan struct{}
	syncs   int
}

func (d *disk) OpenFile(name string, flag int, mode fs.FileMode) (handle, error) {
	h, err := d.osFiles.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	return &diskFile{handle: h, d: d}, nil
}

type diskFile struct {
	handle
	d *disk
}

func (f *diskFile) Write(p []byte) (int, error) { return f.d.write(f.handle, p) }

func (d *disk) write(to io.Writer, p []byte) (int, error) {
	d.mu.Lock()
	err, met := d.err, d.met
	if err != nil && met != nil {
		close(met)
		d.met = nil
	}
	d.mu.Unlock()
	if err != nil {
		n, _ := to.Write(p[:len(p)/2])
		return n, err
	}
	return to.Write(p)
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.syncs++
	if f.d.syncErr != nil {
		return f.d.syncErr
	}
	return f.handle.Sync()
}

// Stdout is a pipe with the same faults.
func (d *disk) Stdout() io.Writer { return diskPipe{d} }

type diskPipe struct{ d *disk }

func (p diskPipe) Write(b []byte) (int, error) { return p.d.write(p.d.stdout, b) }

type diskFault struct {
	d   *disk
	met chan struct{}
}

func (d *disk) fail(err error) diskFault {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.met = err, make(chan struct{})
	return diskFault{d, d.met}
}

func (f diskFault) Mend() {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.err, f.d.met = nil, nil
}

func (f diskFault) Await(ctx context.Context) error {
	select {
	case <-f.met:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
