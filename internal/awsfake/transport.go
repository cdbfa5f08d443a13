package awsfake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"syscall"
)

// errInProcessReset is what a client of Transport gets where a socket would be reset. It wraps ECONNRESET, which SDKs retry.
var errInProcessReset = fmt.Errorf("awsfake: %w", syscall.ECONNRESET)

// Transport is a way to the server without sockets, for use inside a synctest bubble or where ports are unwanted. An
// ordinary request runs on the caller's goroutine; an event stream runs on one of its own, which ends when the answer's
// body is closed, the request's context ends, or the server is closed. Any host in the URL is accepted.
func (s *Server) Transport() http.RoundTripper { return inProcess{s} }

type inProcess struct{ server *Server }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Header.Get("X-Amz-Target") == "Kinesis_20131202.SubscribeToShard" || bytes.HasSuffix([]byte(r.URL.Path), []byte("/operation/SubscribeToShard")) {
		return t.stream(r)
	}
	w := &recorder{header: http.Header{}}
	if err := t.server.serve(w, r); err != nil {
		if cause := r.Context().Err(); cause != nil {
			return nil, cause
		}
		if w.status == 0 {
			return nil, errInProcessReset
		}
		return w.response(r, io.NopCloser(io.MultiReader(&w.body, brokenReader{})), contentLength(w.header)), nil
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.response(r, io.NopCloser(&w.body), int64(w.body.Len())), nil
}

// contentLength is the announced length, or -1.
func contentLength(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// recorder keeps an answer in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

func (w *recorder) response(r *http.Request, body io.ReadCloser, length int64) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: body, ContentLength: length, Request: r,
	}
}

// stream serves r on a goroutine whose writes the caller reads.
func (t inProcess) stream(r *http.Request) (*http.Response, error) {
	// The body is read before RoundTrip returns, since the caller may reuse it then.
	var sent bytes.Buffer
	if r.Body != nil {
		if _, err := sent.ReadFrom(r.Body); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	unhook := context.AfterFunc(t.server.ctx, cancel)
	inner := r.Clone(ctx)
	inner.Body = io.NopCloser(&sent)
	pr, pw := io.Pipe()
	w := &pipeRecorder{recorder: recorder{header: http.Header{}}, pipe: pw, started: make(chan struct{})}
	var ended sync.WaitGroup
	var failed error
	ended.Go(func() {
		defer cancel()
		defer unhook()
		// Closing the reader unblocks a write that nobody reads any more.
		defer context.AfterFunc(ctx, func() { _ = pr.CloseWithError(context.Cause(ctx)) })()
		failed = t.server.serve(w, inner)
		w.start()
		if failed != nil {
			_ = pw.CloseWithError(io.ErrUnexpectedEOF)
			return
		}
		_ = pw.Close()
	})
	<-w.started
	if w.status == 0 {
		ended.Wait()
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		return nil, errInProcessReset
	}
	body := &streamBody{PipeReader: pr, cancel: cancel, ended: &ended}
	return w.response(r, body, -1), nil
}

// pipeRecorder lets the caller read while the handler writes.
type pipeRecorder struct {
	recorder
	pipe    *io.PipeWriter
	once    sync.Once
	started chan struct{}
}

func (w *pipeRecorder) start() { w.once.Do(func() { close(w.started) }) }

func (w *pipeRecorder) WriteHeader(status int) {
	w.recorder.WriteHeader(status)
	w.start()
}

func (w *pipeRecorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush implements http.Flusher; a pipe holds nothing back.
func (w *pipeRecorder) Flush() {}

type streamBody struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  *sync.WaitGroup
}

// Close ends the stream and waits for its goroutine.
func (b *streamBody) Close() error {
	b.cancel()
	err := b.PipeReader.Close()
	b.ended.Wait()
	return err
}
