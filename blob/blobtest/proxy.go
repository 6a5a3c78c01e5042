package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a client and a real S3 server and breaks things as networks and
// servers do, on real sockets.
type Proxy struct {
	Endpoint string

	target    string
	transport *http.Transport
	stop      chan struct{}
	late      sync.WaitGroup

	mu      sync.Mutex
	random  *rand.Rand
	rules   []ProxyRule
	matched []int
	fired   map[ProxyFault]int
	total   int
}

// ProxyFault is a way in which a request goes wrong.
type ProxyFault string

const (
	Hang              ProxyFault = "hang"              // no answer, nothing forwarded
	ResetBefore       ProxyFault = "reset before"      // connection reset, nothing forwarded
	ResetInBody       ProxyFault = "reset in body"     // the same, in the midst of the request's body
	CommitThenReset   ProxyFault = "commit then reset" // done, and the answer lost
	CommitThenHang    ProxyFault = "commit then hang"  // done, and no answer
	CommitThen500     ProxyFault = "commit then 500"   // done, and denied
	CommitThen503     ProxyFault = "commit then 503"   // the same
	CommitLater       ProxyFault = "commit later"      // reset at once, done after Delay
	Twice             ProxyFault = "twice"             // done twice, the second answer counts
	Answer503         ProxyFault = "503"               // SlowDown, nothing forwarded
	Answer500         ProxyFault = "500"               // InternalError, nothing forwarded
	Answer403         ProxyFault = "403"               // AccessDenied, nothing forwarded
	Answer409         ProxyFault = "409"               // two conditional writes met: Amazon's way to say "again"
	SlowAnswer        ProxyFault = "slow answer"       // after Delay
	SlowBody          ProxyFault = "slow body"         // the answer's body comes in 1 KiB pieces, Delay apart
	CutBody           ProxyFault = "cut body"          // the answer's body breaks off
	ShortBody         ProxyFault = "short body"        // it is half, and its length says so
	WrongByte         ProxyFault = "wrong byte"        // right length, one byte wrong
	maxProxiedRequest            = 64 << 20            // bytes of a body
)

// ProxyRule says which requests go wrong, like Rule does for a bucket.
type ProxyRule struct {
	Fault       ProxyFault
	Method      string         // "": any
	URL         *regexp.Regexp // of "/bucket/key?query"; nil: any
	Nth         int            // counted from 1
	Probability float64
	Delay       time.Duration
	// Do, unless nil, is called when the fault strikes: where the request is forwarded,
	// then it is done, and in any case the client can't know yet how it ended.
	Do func()
}

// StartProxy starts one before the server at an endpoint. It ends with the test.
func StartProxy(t testing.TB, endpoint string, seed uint64, rules ...ProxyRule) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Endpoint: "http://" + l.Addr().String(), target: endpoint, stop: make(chan struct{}),
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		random:    rand.New(rand.NewPCG(seed, 0)), fired: map[ProxyFault]int{},
	}
	p.SetRules(rules...)
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("proxy: %v", err)
		}
	}()
	t.Cleanup(func() {
		close(p.stop)
		server.Close()
		<-ended
		p.late.Wait()
		p.transport.CloseIdleConnections()
	})
	return p
}

// SetRules replaces the rules, none heals the network; their counts begin at zero.
func (p *Proxy) SetRules(rules ...ProxyRule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules, p.matched = rules, make([]int, len(rules))
}

// Fired counts the faults so far.
func (p *Proxy) Fired() map[ProxyFault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.fired)
}

// Requests counts all requests so far.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

func (p *Proxy) choose(r *http.Request) ProxyRule {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total++
	for i, rule := range p.rules {
		if rule.Method != "" && rule.Method != r.Method || rule.URL != nil && !rule.URL.MatchString(r.URL.RequestURI()) {
			continue
		}
		p.matched[i]++
		if rule.Nth > 0 && rule.Nth != p.matched[i] || rule.Probability > 0 && p.random.Float64() >= rule.Probability {
			continue
		}
		p.fired[rule.Fault]++
		return rule
	}
	return ProxyRule{}
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rule := p.choose(r)
	strike := func() {
		if rule.Do != nil {
			rule.Do()
		}
	}
	switch rule.Fault {
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
	case Answer503:
		answerError(w, 503, "SlowDown")
		return
	case Answer500:
		answerError(w, 500, "InternalError")
		return
	case Answer403:
		answerError(w, 403, "AccessDenied")
		return
	case Answer409:
		answerError(w, 409, "ConditionalRequestConflict")
		return
	case SlowAnswer:
		p.wait(rule.Delay)
	case CommitLater:
		p.late.Go(func() {
			if p.wait(rule.Delay) {
				p.forward(r, body)
			}
		})
		reset(w)
	case Twice:
		p.forward(r, body)
	}
	answer, err := p.forward(r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	strike()
	switch rule.Fault {
	case CommitThenReset:
		reset(w)
	case CommitThenHang:
		p.hang(w, r)
	case CommitThen500:
		answerError(w, 500, "InternalError")
	case CommitThen503:
		answerError(w, 503, "ServiceUnavailable")
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

func answerError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>on purpose</Message></Error>`, code)
}
