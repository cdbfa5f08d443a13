package geo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"
)

// origin is one file or URL and how it stood when it was last read.
type origin struct {
	path string // or URL
	max  int64

	info           fs.FileInfo
	etag, modified string
	next           time.Time // of a URL: when to ask again
}

// errUnchanged: there is nothing new to read.
var errUnchanged = errors.New("unchanged")

const fetchTimeout = 30 * time.Second

// read returns the content, errUnchanged when it is the one that was read last, or an *Error.
func (o *origin) read(ctx context.Context, client *http.Client) ([]byte, error) {
	if isURL(o.path) {
		return o.fetch(ctx, client)
	}
	f, err := os.Open(o.path)
	if err != nil {
		o.info = nil
		return nil, refuse(Unreadable, "%w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, refuse(Unreadable, "%w", err)
	case !info.Mode().IsRegular():
		return nil, refuse(Unreadable, "%s is no regular file", o.path)
	case o.info != nil && os.SameFile(o.info, info) && o.info.Size() == info.Size() && o.info.ModTime().Equal(info.ModTime()):
		return nil, errUnchanged
	}
	// Remembered before reading: what is written meanwhile is a change at the next look.
	o.info = info
	return limited(f, o.max, o.path)
}

func limited(r io.Reader, limit int64, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, refuse(Unreadable, "reading %s: %w", name, err)
	case int64(len(data)) > limit:
		return nil, refuse(TooLarge, "%s has more than %d bytes", name, limit)
	}
	return data, nil
}

// fetch asks for the URL's content unless it is the one that was accepted last.
func (o *origin) fetch(ctx context.Context, client *http.Client) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.path, http.NoBody)
	if err != nil {
		return nil, refuse(Unreadable, "%w", err)
	}
	if o.etag != "" {
		req.Header.Set("If-None-Match", o.etag)
	}
	if o.modified != "" {
		req.Header.Set("If-Modified-Since", o.modified)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, refuse(Unreadable, "%w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, errUnchanged
	default:
		return nil, refuse(Unreadable, "asking %s: status %s", o.path, resp.Status)
	}
	data, err := limited(resp.Body, o.max, o.path)
	if err != nil {
		return nil, err
	}
	o.etag, o.modified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	return data, nil
}

// forget makes the next read return the content again.
func (o *origin) forget() { o.etag, o.modified = "", "" }

// wrap puts the path before an error that does not name it.
func (o *origin) wrap(err error) error {
	if strings.Contains(err.Error(), o.path) {
		return err
	}
	return fmt.Errorf("%s: %w", o.path, err)
}
