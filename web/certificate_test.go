package web_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/web"
)

// pair is a certificate and its key, as PEM.
type pair struct{ cert, key []byte }

// newPair makes a certificate for localhost that vouches for itself.
func newPair(t testing.TB, serial int64) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), crypto.Signer(key))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})}
}

// write puts a pair, or one half of it, where a node looks for it.
func write(t testing.TB, folder string, p pair) {
	t.Helper()
	for name, content := range map[string][]byte{"cert.pem": p.cert, "key.pem": p.key} {
		if content == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func load(t testing.TB, folder string, log *slog.Logger) *web.Certificate {
	t.Helper()
	c, err := web.LoadCertificate(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"), log)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A renewed certificate is taken by the next connection, a second later at most; what
// cannot be used is not, whatever lies there meanwhile.
func TestCertificateRenewed(t *testing.T) {
	first, second, third := newPair(t, 1), newPair(t, 2), newPair(t, 3)
	synctest.Test(t, func(t *testing.T) {
		folder, log := t.TempDir(), &lockedBuffer{}
		write(t, folder, first)
		certificate := load(t, folder, slog.New(slog.NewJSONHandler(log, nil)))
		bubbled(t, func(o *web.Options) { o.Certificate = certificate }, func(t *testing.T, p *pipes) {
			// serial asks over a new connection, and tells whose certificate it was.
			serial := func() string {
				t.Helper()
				transport := &http.Transport{
					DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
					DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial() },
				}
				request, err := http.NewRequestWithContext(t.Context(), "GET", "https://localhost/healthz", nil)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := transport.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if got := answer.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
					t.Errorf("Strict-Transport-Security is %q", got)
				}
				if answer.Proto != "HTTP/1.1" || answer.TLS.Version != tls.VersionTLS13 {
					t.Errorf("%s over TLS %x", answer.Proto, answer.TLS.Version)
				}
				return answer.TLS.PeerCertificates[0].SerialNumber.String()
			}
			for _, step := range []struct {
				name string
				do   func()
				want string
			}{
				{"at first", func() {}, "1"},
				{"only the certificate is new", func() { write(t, folder, pair{cert: second.cert}) }, "1"},
				{"and its key", func() { write(t, folder, pair{key: second.key}) }, "2"},
				{"a certificate that is cut", func() { write(t, folder, pair{cert: third.cert[:100]}) }, "2"},
				{"none at all", func() {
					if err := os.Remove(filepath.Join(folder, "cert.pem")); err != nil {
						t.Fatal(err)
					}
				}, "2"},
				{"a third", func() { write(t, folder, third) }, "3"},
			} {
				step.do()
				time.Sleep(2 * time.Second)
				if got := serial(); got != step.want {
					t.Errorf("%s: certificate %s, want %s", step.name, got, step.want)
				}
				serial() // says no more
			}
		})
		if n := strings.Count(log.String(), "cannot be used"); n != 3 {
			t.Errorf("%d complaints, want 3, one for each state: %s", n, log)
		}
		if n := strings.Count(log.String(), "was renewed"); n != 2 {
			t.Errorf("%d renewals told, want 2: %s", n, log)
		}
		if strings.Contains(log.String(), "PRIVATE") {
			t.Errorf("the log has a key: %s", log)
		}
	})
}

// The files are not looked at for each connection.
func TestCertificateIsNotReadEachTime(t *testing.T) {
	p := newPair(t, 1)
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		write(t, folder, p)
		config := load(t, folder, slog.New(slog.DiscardHandler)).TLS()
		time.Sleep(time.Minute)
		if _, err := config.GetCertificate(nil); err != nil {
			t.Fatal(err)
		}
		write(t, folder, newPair(t, 2))
		for _, row := range []struct {
			after time.Duration
			want  int64
		}{{0, 1}, {900 * time.Millisecond, 1}, {200 * time.Millisecond, 2}} {
			time.Sleep(row.after)
			c, err := config.GetCertificate(nil)
			if err != nil || c.Leaf.SerialNumber.Int64() != row.want {
				t.Errorf("after %v: %v, %v; want %d", row.after, c.Leaf.SerialNumber, err, row.want)
			}
		}
	})
}

func TestCertificateFirst(t *testing.T) {
	folder := t.TempDir()
	a, b := newPair(t, 1), newPair(t, 2)
	for name, p := range map[string]pair{"another's key": {a.cert, b.key}, "no key": {a.cert, []byte("x")}, "no certificate": {[]byte("x"), a.key}} {
		write(t, folder, p)
		_, err := web.LoadCertificate(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"), slog.New(slog.DiscardHandler))
		if err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := web.LoadCertificate(filepath.Join(folder, "none"), filepath.Join(folder, "key.pem"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a certificate that is not there: no error")
	}
}

// What TLS does not allow is refused by it: old versions, plain HTTP; and HTTP/2 is not
// offered.
func TestTLS(t *testing.T) {
	folder := t.TempDir()
	p := newPair(t, 1)
	write(t, folder, p)
	n := serve(t, func(o *web.Options) { o.Certificate = load(t, folder, slog.New(slog.DiscardHandler)) })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.cert)
	for _, row := range []struct {
		name   string
		config *tls.Config
		ok     bool
	}{
		{"1.3", &tls.Config{}, true},
		{"1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"HTTP/2 alone", &tls.Config{NextProtos: []string{"h2"}}, false},
	} {
		row.config.RootCAs, row.config.ServerName = roots, "localhost"
		conn, err := tls.Dial("tcp", n.addr, row.config)
		if (err == nil) != row.ok {
			t.Errorf("%s: %v", row.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
	if answer := n.raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.0 400 ") {
		t.Errorf("plain HTTP is answered %q", answer)
	}
	plain := serve(t, nil)
	if h := plain.get("/healthz").Header.Get("Strict-Transport-Security"); h != "" {
		t.Errorf("over plain HTTP: Strict-Transport-Security is %q", h)
	}
	if h := plain.get("/healthz", "X-Forwarded-Proto", "https").Header.Get("Strict-Transport-Security"); h != "" {
		t.Errorf("over plain HTTP, as it says for TLS: Strict-Transport-Security is %q", h)
	}
}

// Who shakes hands slowly is sent away like who sends a slow header.
func TestSlowHandshake(t *testing.T) {
	first := newPair(t, 1)
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		write(t, folder, first)
		certificate := load(t, folder, slog.New(slog.DiscardHandler))
		bubbled(t, func(o *web.Options) { o.Certificate = certificate }, func(t *testing.T, p *pipes) {
			conn, err := p.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			began := time.Now()
			go fmt.Fprint(conn, "\x16\x03\x01")
			var got bytes.Buffer
			got.ReadFrom(conn)
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("it was kept for %v", took)
			}
		})
	})
}
