// Package blob keeps objects under a URL: a directory (file:///var/lib/dredge) or a prefix of an S3 bucket
// (s3://bucket/prefix?region=eu-west-1). Writes appear whole or not at all, reads and listings are bounded. It knows nothing of
// what the objects hold.
package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
)

// The errors that callers tell apart. Compare with errors.Is.
var (
	// ErrNotExist: there is no such object.
	ErrNotExist = fs.ErrNotExist
	// ErrExist: Create found the object there already.
	ErrExist = fs.ErrExist
	// ErrTooLarge: the object or listing is larger than the caller wants to hold.
	ErrTooLarge = errors.New("larger than the bound")
)

// MaxList is the largest number of objects that one List returns.
const MaxList = 100_000

// Info is what a listing tells of one object.
type Info struct {
	Key  string
	Size int64
	// Version differs whenever the object was written again.
	Version string
	// Modified is when the object was written, by the store's clock.
	Modified time.Time
}

// Bucket is one place for objects. It is safe for concurrent use.
type Bucket struct {
	url *url.URL
	// dir is the folder of a file URL, else empty.
	dir string

	mu     sync.Mutex
	bucket *blob.Bucket // opened at its first use
}

// New returns the bucket at rawURL. Nothing is opened, created or called before its first use.
func New(rawURL string) (*Bucket, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	b := &Bucket{url: u}
	if u.Scheme == "file" {
		b.dir = filepath.Clean(u.Path)
	}
	return b, nil
}

// open returns the driver's bucket. A directory is created when it is missing.
func (b *Bucket) open(ctx context.Context) (*blob.Bucket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bucket != nil {
		return b.bucket, nil
	}
	if b.dir != "" {
		// Temporary files stand beside their targets, so that the last step is a rename within one file system.
		opened, err := fileblob.OpenBucket(b.dir, &fileblob.Options{
			CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite, DirFileMode: 0o750,
		})
		if err != nil {
			return nil, fmt.Errorf("opening directory %q: %w", b.dir, err)
		}
		b.bucket = opened
		return opened, nil
	}
	bare := *b.url
	bare.Path = ""
	var opener s3blob.URLOpener
	opened, err := opener.OpenBucketURL(ctx, &bare)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", b.url.Redacted(), err)
	}
	if prefix := strings.Trim(b.url.Path, "/"); prefix != "" {
		opened = blob.PrefixedBucket(opened, prefix+"/")
	}
	b.bucket = opened
	return opened, nil
}

// CheckURL says what is wrong with rawURL, without opening it.
func CheckURL(rawURL string) error {
	_, err := parse(rawURL)
	return err
}

func parse(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL; write file:///a/directory or s3://bucket/prefix", rawURL)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
		return u, nil
	case u.Scheme == "file":
		return nil, fmt.Errorf("%q names no absolute directory; write file:///a/directory", rawURL)
	case u.Scheme == "s3" && u.Host != "":
		return u, nil
	}
	return nil, fmt.Errorf("%q names no store; write file:///a/directory or s3://bucket/prefix", rawURL)
}

// Read returns the whole object. It returns ErrNotExist, or ErrTooLarge without reading an object of more than limit bytes.
func (b *Bucket) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	bucket, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	r, err := bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, wrap("reading", key, err)
	}
	defer r.Close() //nolint:errcheck // nothing was written
	if r.Size() > limit {
		return nil, fmt.Errorf("reading object %q of %d bytes: %w of %d", key, r.Size(), ErrTooLarge, limit)
	}
	data := make([]byte, r.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, wrap("reading", key, err)
	}
	return data, nil
}

// Write makes data the object's content, whatever was there. Readers see the old content or the new one, never a part.
func (b *Bucket) Write(ctx context.Context, key string, data []byte) error {
	return b.put(ctx, key, false, data)
}

// Create is Write for an object that must not exist; it returns ErrExist when it does. Of several at once one succeeds.
func (b *Bucket) Create(ctx context.Context, key string, data []byte) error {
	if b.dir != "" {
		return b.link(key, data)
	}
	return b.put(ctx, key, true, data)
}

func (b *Bucket) put(ctx context.Context, key string, once bool, data []byte) error {
	bucket, err := b.open(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream", IfNotExist: once})
	if err != nil {
		return wrap("writing", key, err)
	}
	if _, err := w.Write(data); err != nil {
		cancel() // an ended context makes Close drop what was written
		_ = w.Close()
		return wrap("writing", key, err)
	}
	if err := w.Close(); err != nil {
		return wrap("writing", key, err)
	}
	return nil
}

// link is Create in a directory: a hard link fails when its target exists, which a rename does not.
func (b *Bucket) link(key string, data []byte) error {
	path := filepath.Join(b.dir, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return wrap("creating", key, err)
	}
	temp := path + "." + strconv.FormatInt(time.Now().UnixNano(), 36) + strconv.Itoa(os.Getpid()) + tempSuffix
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return wrap("creating", key, err)
	}
	defer os.Remove(temp) //nolint:errcheck // a left-over temporary file is no object
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return wrap("creating", key, err)
	}
	if err := os.Link(temp, path); err != nil {
		return wrap("creating", key, err)
	}
	return nil
}

// tempSuffix marks files that are not objects yet.
const tempSuffix = ".tmp"

// List returns the objects whose keys begin with prefix, in order of key; prefix ends in a slash or is empty.
func (b *Bucket) List(ctx context.Context, prefix string) ([]Info, error) {
	bucket, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	var out []Info
	it := bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, wrap("listing", prefix, err)
		}
		if strings.HasSuffix(o.Key, tempSuffix) {
			continue
		}
		if len(out) == MaxList {
			return nil, fmt.Errorf("listing %q: more than %d objects: %w", prefix, MaxList, ErrTooLarge)
		}
		out = append(out, Info{
			Key: o.Key, Size: o.Size, Modified: o.ModTime,
			Version: fmt.Sprintf("%d/%d/%x", o.ModTime.UnixNano(), o.Size, o.MD5),
		})
	}
}

// Delete removes the object; that it is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	bucket, err := b.open(ctx)
	if err != nil {
		return err
	}
	if err := bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return wrap("deleting", key, err)
	}
	return nil
}

// Close gives the connections back.
func (b *Bucket) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bucket == nil {
		return nil
	}
	return b.bucket.Close()
}

func wrap(doing, key string, err error) error {
	code := gcerrors.Code(err)
	switch {
	case code == gcerrors.NotFound, errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s object %q: %w", doing, key, ErrNotExist)
	case code == gcerrors.FailedPrecondition, code == gcerrors.AlreadyExists, errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s object %q: %w", doing, key, ErrExist)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, bytes.ErrTooLarge):
		return fmt.Errorf("%s object %q: ended early: %w", doing, key, err)
	}
	return fmt.Errorf("%s object %q: %w", doing, key, err)
}
