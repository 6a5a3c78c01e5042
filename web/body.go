package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"time"
)

// A body has to come at bodyRate, and may pause for bodyPause. Only the waiting for it
// counts, so that a slow store does not make a caller look slow.
const (
	bodyRate  = 16 << 10 // bytes a second
	bodyPause = 10 * time.Second
)

// requestBody is a request's body with a limit on its size and on its slowness. Its
// errors are problems that put the blame where it belongs: a store that reads from it
// returns them as they are.
type requestBody struct {
	c       *call
	body    io.ReadCloser
	control *http.ResponseController
	limit   int64    // in bytes; negative: none
	patient bool     // it may pause for as long as it likes: events as they happen
	held    *holding // nil: nothing of it stays in memory
	factor  int64    // bytes of memory for each of the body
	n       int64    // read so far
	left    time.Duration
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
	if b.err = b.c.rights.still(); b.err != nil {
		return 0, b.err
	}
	if b.err = b.c.paceBody(n); b.err != nil {
		return 0, b.err
	}
	if b.held != nil {
		if b.err = b.held.reach(b.factor * b.n); b.err != nil {
			return 0, b.err
		}
	}
	switch {
	case b.limit >= 0 && b.n > b.limit:
		b.err = tooLarge(b.limit)
		return 0, b.err
	case err == io.EOF:
		b.err = io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded) && b.patient:
		b.err = problemf(codeUnavailable, "this node is stopping").hint("begin again behind the last event that was answered")
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

// wait reads once, for no longer than the time that is left. Waiting spends it, and
// bytes give it back.
func (b *requestBody) wait(p []byte) (int, error) {
	if b.patient {
		return b.body.Read(p)
	}
	began := time.Now()
	b.control.SetReadDeadline(began.Add(b.left)) // in-process there is none
	n, err := b.body.Read(p)
	earned := time.Duration(n) * time.Second / bodyRate
	b.left = min(bodyPause, b.left-time.Since(began)+earned)
	return n, err
}

// admitEncoding refuses what is packed: it would be kept as it came, under the name of
// what is in it, and nothing here unpacks what might be a bomb.
func admitEncoding(what string, h textproto.MIMEHeader) error {
	for _, name := range []string{"Content-Encoding", "Content-Transfer-Encoding"} {
		for _, encoding := range h.Values(name) {
			switch strings.ToLower(strings.TrimSpace(encoding)) {
			case "", "identity", "binary", "8bit", "7bit":
			default:
				return problemf(codeUnsupportedMedia, "the %s has the %s %s", what, name, shown(encoding)).hint("send it as it is")
			}
		}
	}
	return nil
}

func tooLarge(limit int64) *Problem {
	return problemf(codeTooLarge, "the body is larger than the %d bytes that it may have here", limit)
}

func tooSlow() *Problem {
	p := problemf(codeBadRequest, "the body came too slowly").
		hint("send at least %d bytes a second, and pause for no longer than %v", bodyRate, bodyPause)
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
