package blobtest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
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
	down      atomic.Bool // no connection is taken

	mu       sync.Mutex
	listener net.Listener
	late     int               // requests that are still to be done
	landed   *sync.Cond        // late has become less; by mu
	first    map[string]answer // of GETs of an object, for StaleBody
	pause    time.Duration     // for which it is closed
	refused  map[int]int       // answers to CommitTooLate, by status
	random   *rand.Rand
	rules    []ProxyRule
	matched  []int
	fired    map[ProxyFault]int
	total    int
}

// ProxyFault is a way in which a request goes wrong.
type ProxyFault string

const (
	Refuse            ProxyFault = "refuse"            // connection reset, and none is taken for Delay
	Hang              ProxyFault = "hang"              // no answer, nothing forwarded
	ResetBefore       ProxyFault = "reset before"      // connection reset, nothing forwarded
	ResetInBody       ProxyFault = "reset in body"     // the same, in the midst of the request's body
	CommitThenReset   ProxyFault = "commit then reset" // done, and the answer lost
	CommitThenHang    ProxyFault = "commit then hang"  // done, and no answer
	CommitThen500     ProxyFault = "commit then 500"   // done, and denied
	CommitThen503     ProxyFault = "commit then 503"   // the same
	CommitLater       ProxyFault = "commit later"      // reset at once, done after Delay
	CommitTooLate     ProxyFault = "commit too late"   // reset at once; after Delay it is sent as if it were 16 minutes old
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
	StaleBody         ProxyFault = "stale body"        // GET of an object: as it was when first read
	maxProxiedRequest            = 64 << 20            // bytes of a body
	maxRemembered                = 16 << 10            // the same, of an answer for StaleBody
)

// ProxyRule says which requests go wrong, like Rule does for a bucket.
type ProxyRule struct {
	Fault       ProxyFault
	Method      string         // "": any
	URL         *regexp.Regexp // of "/bucket/key?query"; nil: any
	Writes      bool           // none that only reads
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
		Endpoint: "http://" + l.Addr().String(), target: endpoint, stop: make(chan struct{}), listener: l,
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		random:    rand.New(rand.NewPCG(seed, 0)), fired: map[ProxyFault]int{}, first: map[string]answer{}, refused: map[int]int{},
	}
	p.landed = sync.NewCond(&p.mu)
	p.SetRules(rules...)
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := p.serve(server); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("proxy: %v", err)
		}
	}()
	t.Cleanup(func() {
		close(p.stop)
		server.Close()
		<-ended
		p.Wait()
		p.transport.CloseIdleConnections()
	})
	return p
}

// serve goes on under the same address when Refuse has closed it for a while.
func (p *Proxy) serve(server *http.Server) error {
	address := p.listener.Addr().String()
	for l := p.listener; ; {
		err := server.Serve(l)
		if !p.down.Load() || errors.Is(err, http.ErrServerClosed) {
			return err
		}
		if !p.wait(p.away()) {
			return http.ErrServerClosed
		}
		if l, err = net.Listen("tcp", address); err != nil {
			return err
		}
		p.mu.Lock()
		p.listener = l
		p.mu.Unlock()
		p.down.Store(false)
	}
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
		if rule.Writes && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
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
