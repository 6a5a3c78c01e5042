package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// InProcess carries requests by calling a handler. Bodies stream both ways through
// pipes, nothing is kept in between; what the handler sees and the caller gets is as
// over HTTP/1.1, with no network under it. Each request runs in a goroutine of its own,
// which ends with the handler; closing the answer's body or the request's context tells
// the handler that nobody is waiting any more.
func InProcess(h http.Handler) http.RoundTripper { return &inProcess{h} }

type inProcess struct{ handler http.Handler }

func (t *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	hr := r.Clone(ctx)
	hr.RequestURI = r.URL.RequestURI()
	hr.RemoteAddr = "in-process"
	hr.Proto, hr.ProtoMajor, hr.ProtoMinor = "HTTP/1.1", 1, 1
	if hr.Host == "" {
		hr.Host = r.URL.Host
	}
	hr.Header.Del("Expect")
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		hr.Body, hr.ContentLength = http.NoBody, 0
	case r.ContentLength == 0:
		hr.ContentLength = -1 // a client's request says so of an unknown length
	}
	body, pipe := io.Pipe()
	w := &pipeWriter{header: http.Header{}, pipe: pipe, begun: make(chan struct{}), mute: r.Method == http.MethodHead}
	unblock := context.AfterFunc(ctx, func() {
		hr.Body.Close()
		pipe.CloseWithError(context.Cause(ctx))
	})
	go func() {
		defer cancel()
		defer hr.Body.Close()
		defer unblock()
		pipe.CloseWithError(w.run(t.handler, hr))
	}()
	select {
	case <-w.begun:
	case <-ctx.Done():
		select {
		case <-w.begun: // both: the handler was quick
		default:
			return nil, context.Cause(ctx)
		}
	}
	if w.failed != nil {
		return nil, w.failed
	}
	answer := &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &pipeBody{body, cancel}, ContentLength: -1, Request: r,
	}
	return answer, nil
}

// pipeBody tells the handler when the caller has had enough.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *pipeBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// pipeWriter is the handler's ResponseWriter.
type pipeWriter struct {
	header http.Header
	pipe   *io.PipeWriter
	mute   bool // HEAD: the body goes nowhere
	once   sync.Once
	begun  chan struct{} // closed when the fields below are set
	status int
	sent   http.Header
	failed error
}

var errAborted = errors.New("the answer was broken off")

// run calls the handler. Its error ends the answer's body.
func (w *pipeWriter) run(h http.Handler, r *http.Request) (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			if recovered != http.ErrAbortHandler {
				panic(recovered)
			}
			w.begin(0, errAborted)
			err = io.ErrUnexpectedEOF
		}
	}()
	h.ServeHTTP(w, r)
	w.begin(http.StatusOK, nil)
	return nil
}

func (w *pipeWriter) begin(status int, err error) {
	w.once.Do(func() {
		w.status, w.failed, w.sent = status, err, w.header.Clone()
		close(w.begun)
	})
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	if status >= 200 {
		w.begin(status, nil)
	}
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.begin(http.StatusOK, nil)
	if w.mute {
		return len(p), nil
	}
	return w.pipe.Write(p)
}

// What http.ResponseController asks for: a pipe has no buffers, no half-duplex and no
// slow peers.
func (w *pipeWriter) FlushError() error                { w.begin(http.StatusOK, nil); return nil }
func (w *pipeWriter) EnableFullDuplex() error          { return nil }
func (w *pipeWriter) SetReadDeadline(time.Time) error  { return nil }
func (w *pipeWriter) SetWriteDeadline(time.Time) error { return nil }

// ownBody is a request's body that remembers its own failure, so that it is not taken
// for one of the line.
type ownBody struct {
	io.ReadCloser
	err atomic.Pointer[error]
}

func (b *ownBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.err.CompareAndSwap(nil, &err)
	}
	return n, err
}
