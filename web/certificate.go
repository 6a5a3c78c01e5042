package web

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how long a certificate is used before its files are looked at
// again.
const certificateCheck = time.Second

// Certificate is one that lies in files and may be renewed there: the next handshake
// takes the new one. While what the files hold cannot be used, as in the moment between
// the writing of one and of the other, the last good one goes on.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]fileState // of the files that current, or the last complaint, came from
	checked time.Time
}

// fileState tells a file from what it was before.
type fileState struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads a certificate and its key, both PEM, the certificate's own first
// and then its chain. A renewal and a failing one are logged.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now()}
	var err error
	if c.seen, err = c.look(); err != nil {
		return nil, err
	}
	if c.current, err = c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS is a configuration that serves the certificate: TLS 1.2 and 1.3, HTTP/1.1.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		c.renew()
	}
	return c.current, nil
}

// renew reads the files if they are others than before. A complaint is made once for
// each state of them.
func (c *Certificate) renew() {
	now, err := c.look()
	if err == nil && now == c.seen {
		return
	}
	fresh := (*tls.Certificate)(nil)
	if err == nil {
		fresh, err = c.read()
	}
	if err != nil {
		if now != c.seen {
			c.log.Error("the certificate's files cannot be used; the one from before goes on", "err", err, "until", c.current.Leaf.NotAfter)
		}
		c.seen = now
		return
	}
	c.current, c.seen = fresh, now
	c.log.Info("the certificate was renewed", "until", fresh.Leaf.NotAfter)
}

// look is the state of both files; the zero value if one of them is not there.
func (c *Certificate) look() (states [2]fileState, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return [2]fileState{}, fmt.Errorf("look at certificate: %w", err)
		}
		states[i] = fileState{info.ModTime(), info.Size()}
	}
	return states, nil
}

func (c *Certificate) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", c.certFile, err)
	}
	return &pair, nil
}
