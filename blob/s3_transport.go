package blob

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	dialTime   = 5 * time.Second
	stallTime  = time.Minute      // without a byte in either direction
	readTime   = 10 * time.Second // until what only reads is answered
	joinTime   = 15 * time.Minute // the same while parts are joined: some servers copy them
	idleTime   = 90 * time.Second
	idleConns  = 256 // kept for the next call; more may be in use
	wireBuffer = 64 << 10
)

// s3Transport has a limit for each way of waiting. No limit is set on a whole
// transfer: a large one may take hours as long as bytes flow.
//
// readTime and Retry's answerTime are two things. This one gives up a connection, which
// may be dead where the store is well, so that Retry asks again on another: one read that
// hangs is answered after all. That one gives up the call, after all its tries, for who
// waits for it; so it is longer, and holds for what must not be asked twice too.
type s3Transport struct{ reads, writes, joins *http.Transport }

func newTransport(secure bool) s3Transport {
	return s3Transport{
		reads:  limited(secure, stallTime, readTime),
		writes: limited(secure, stallTime, stallTime),
		joins:  limited(secure, joinTime, joinTime),
	}
}

func (t s3Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return t.reads.RoundTrip(r)
	case r.Method == http.MethodPost && r.URL.Query().Has("uploadId"):
		return t.joins.RoundTrip(r)
	}
	return t.writes.RoundTrip(r)
}

// limited ends what stalls, and what has no answer in time once it is sent.
func limited(secure bool, stall, answer time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &stallingConn{c, stall}, nil
		},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  answer,
		IdleConnTimeout:        idleTime,
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idleConns,
		MaxResponseHeaderBytes: 1 << 20,
		WriteBufferSize:        wireBuffer,
		ReadBufferSize:         wireBuffer,
		DisableCompression:     true, // bytes come as they were stored
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true) // one connection for all calls is slower, and one stall holds up all
	if secure {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return t
}

// stallingConn ends a connection on which nothing moves. A write puts off the read's
// end too, for the answer is waited for while the request is still going out.
type stallingConn struct {
	net.Conn
	limit time.Duration
}

func (c *stallingConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *stallingConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
