package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// A body has to make progress: progressBytes within progressTime of waiting for it.
// Only the waiting counts, so that a slow store does not make a caller look slow.
const (
	progressBytes = 160 << 10
	progressTime  = 10 * time.Second
)

// requestBody is a request's body with a limit on its size and on its slowness. Its
// errors are problems that put the blame where it belongs: a store that reads from it
// returns them as they are.
type requestBody struct {
	body    io.ReadCloser
	control *http.ResponseController
	limit   int64 // in bytes; negative: none
	patient bool  // it may pause for as long as it likes: events as they happen
	n       int64 // read so far
	since   int64 // n when the present stretch of progress began
	waited  time.Duration
	err     error
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.limit >= 0 && int64(len(p)) > b.limit-b.n+1 {
		p = p[:b.limit-b.n+1] // one byte beyond tells that there is more
	}
	n, err := b.wait(p)
	b.n += int64(n)
	switch {
	case b.limit >= 0 && b.n > b.limit:
		b.err = tooLarge(b.limit)
		return 0, b.err
	case err == io.EOF:
		b.err = io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.err = tooSlow()
	case err != nil:
		b.err = problemf(codeBadRequest, "the body broke off after %d bytes", b.n).hint("nothing was saved: send it again, whole")
	}
	if b.err != nil {
		b.control.SetReadDeadline(time.Time{}) // the connection outlives the body
	}
	return n, b.err
}

// wait reads once, for no longer than what is left of the time for progress.
func (b *requestBody) wait(p []byte) (int, error) {
	if b.patient {
		return b.body.Read(p)
	}
	began := time.Now()
	b.control.SetReadDeadline(began.Add(progressTime - b.waited)) // in-process there is none
	n, err := b.body.Read(p)
	b.waited += time.Since(began)
	if b.n+int64(n)-b.since >= progressBytes {
		b.since, b.waited = b.n+int64(n), 0
	}
	return n, err
}

func (b *requestBody) Close() error { return b.body.Close() }

func tooLarge(limit int64) *Problem {
	return problemf(codeTooLarge, "the body is larger than the %d bytes that it may have here", limit)
}

func tooSlow() *Problem {
	p := problemf(codeBadRequest, "the body came too slowly: less than %d bytes within %v", progressBytes, progressTime)
	p.Status, p.Title = http.StatusRequestTimeout, "Body too slow"
	return p
}

// readAll reads a small body whole.
func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	return data, nil
}
