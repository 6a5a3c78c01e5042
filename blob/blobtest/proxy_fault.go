package blobtest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"
)

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.down.Load() {
		reset(w)
	}
	rule := p.choose(r)
	strike := func() {
		if rule.Do != nil {
			rule.Do()
		}
	}
	switch rule.Fault {
	case Refuse:
		strike()
		p.refuse(rule.Delay)
		reset(w)
	case ResetBefore:
		strike()
		reset(w)
	case ResetInBody:
		io.CopyN(io.Discard, r.Body, max(r.ContentLength/2, 0))
		strike()
		reset(w)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxProxiedRequest))
	if err != nil {
		panic(http.ErrAbortHandler) // the client broke off
	}
	switch rule.Fault {
	case Hang:
		strike()
		p.hang(w, r)
	case Answer503, Answer500, Answer403, Answer409:
		strike()
		rule.Fault.answer(w)
		return
	case SlowAnswer:
		p.wait(rule.Delay)
	case CommitLater, CommitTooLate:
		strike()
		p.begin(func() { p.forwardLate(r, body, rule) })
		reset(w)
	case Twice:
		p.forward(r, body)
	}
	answer, err := p.forward(r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if r.Method == http.MethodGet && r.URL.RawQuery == "" && answer.status == http.StatusOK {
		answer = p.asFirst(r.URL.Path, answer, rule.Fault == StaleBody)
	}
	strike()
	switch rule.Fault {
	case CommitThenReset:
		reset(w)
	case CommitThenHang:
		p.hang(w, r)
	case CommitThen500, CommitThen503:
		rule.Fault.answer(w)
	default:
		p.answer(w, answer, rule)
	}
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// forward sends the request as it came: its Host is part of the signature.
func (p *Proxy) forward(r *http.Request, body []byte) (answer, error) {
	request, err := http.NewRequest(r.Method, p.target+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header, request.Host = r.Header.Clone(), r.Host
	response, err := p.transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, data}, err
}

// forwardLate sends a request when its sender has given it up. That of CommitTooLate
// has a date on which no store accepts it any more.
func (p *Proxy) forwardLate(r *http.Request, body []byte, rule ProxyRule) {
	if !p.wait(rule.Delay) {
		return
	}
	if rule.Fault == CommitTooLate {
		r.Header.Set("X-Amz-Date", time.Now().UTC().Add(-16*time.Minute).Format("20060102T150405Z"))
	}
	answer, err := p.forward(r, body)
	if err == nil && rule.Fault == CommitTooLate {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.refused[answer.status]++
	}
}

// asFirst remembers the first answer to a GET, and returns it again where old is set.
func (p *Proxy) asFirst(path string, now answer, old bool) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, seen := p.first[path]
	switch {
	case !seen && len(now.body) <= maxRemembered:
		p.first[path] = answer{now.status, now.header.Clone(), bytes.Clone(now.body)}
	case seen && old:
		now = answer{first.status, first.header.Clone(), bytes.Clone(first.body)}
	}
	return now
}

// begin does something late. Wait may be called at any time, which a WaitGroup forbids.
func (p *Proxy) begin(f func()) {
	p.mu.Lock()
	p.late++
	p.mu.Unlock()
	go func() { // ends when f has done its work, or the test ends
		f()
		p.mu.Lock()
		p.late--
		p.landed.Broadcast()
		p.mu.Unlock()
	}()
}

// Wait returns when all that was to be done late is done.
func (p *Proxy) Wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.late > 0 {
		p.landed.Wait()
	}
}

// TooLate counts the answers to requests of CommitTooLate, by status.
func (p *Proxy) TooLate() map[int]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.refused)
}

func (p *Proxy) answer(w http.ResponseWriter, a answer, rule ProxyRule) {
	half := len(a.body) / 2
	switch rule.Fault {
	case ShortBody:
		a.body = a.body[:half]
		a.header.Set("Content-Length", strconv.Itoa(half))
	case WrongByte:
		if len(a.body) > 0 {
			a.body[half] ^= 1
		}
	}
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	switch rule.Fault {
	case CutBody:
		w.Write(a.body[:half])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case SlowBody:
		for rest := a.body; len(rest) > 0; {
			n := min(len(rest), 1<<10)
			w.Write(rest[:n])
			http.NewResponseController(w).Flush()
			if rest = rest[n:]; !p.wait(rule.Delay) {
				return
			}
		}
	default:
		w.Write(a.body)
	}
}

// refuse takes no connection for a while.
func (p *Proxy) refuse(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down.Swap(true) {
		p.pause = d
		p.listener.Close()
	}
}

func (p *Proxy) away() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pause
}

// wait pauses; false means that the test is over.
func (p *Proxy) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-p.stop:
		return false
	}
}

// hang says nothing until the client leaves or the test ends.
func (p *Proxy) hang(w http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.stop:
	}
	reset(w)
}

// reset breaks the connection as a machine does that has lost it. It does not return.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// answer is that of a store which says that it did not do what it was asked for.
func (f ProxyFault) answer(w http.ResponseWriter) {
	status, code := http.StatusInternalServerError, "InternalError"
	switch f {
	case Answer503:
		status, code = http.StatusServiceUnavailable, "SlowDown"
	case CommitThen503:
		status, code = http.StatusServiceUnavailable, "ServiceUnavailable"
	case Answer403:
		status, code = http.StatusForbidden, "AccessDenied"
	case Answer409:
		status, code = http.StatusConflict, "ConditionalRequestConflict"
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>on purpose</Message></Error>`, code)
}
