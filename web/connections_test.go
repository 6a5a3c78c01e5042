package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"modelbucket/web"
)

// from opens a connection whose own address is this one.
func (n *node) from(address string) net.Conn {
	n.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.DialContext(n.t.Context(), "tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// answered tells whether a connection gets an answer, or was closed.
func answered(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return false
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode == 200
}

// A node keeps so many connections open and no more, in all and of one address; what
// is beyond is closed at once, and when one goes, another may come.
func TestConnectionLimits(t *testing.T) {
	n := serve(t, func(o *web.Options) {
		o.MaxConnections, o.MaxConnectionsPerAddress = 7, 3
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	})
	open := func(address string, want bool) net.Conn {
		t.Helper()
		conn := n.from(address)
		if got := answered(t, conn); got != want {
			t.Errorf("a connection from %s: answered %v, want %v", address, got, want)
		}
		return conn
	}
	first := open("127.0.0.1", true)
	open("127.0.0.1", true)
	open("127.0.0.1", true)
	open("127.0.0.1", false)
	open("127.0.0.1", false)
	open("127.0.0.2", true)
	for range 3 { // 7 in all
		open("127.0.0.9", true)
	}
	open("127.0.0.9", false)
	open("127.0.0.3", false)
	first.Close()
	waitUntil(t, "the connection is gone", func() bool {
		conn := n.from("127.0.0.9")
		if answered(t, conn) {
			return true
		}
		conn.Close()
		return false
	})
	open("127.0.0.1", false) // all are taken again
}

// The figures tell of connections that were refused, and open ones are counted back.
func TestConnectionMetrics(t *testing.T) {
	n := serve(t, func(o *web.Options) { o.MaxConnectionsPerAddress = 2 })
	for range 2 {
		answered(t, n.from("127.0.0.5"))
	}
	for range 5 {
		if answered(t, n.from("127.0.0.5")) {
			t.Error("a third connection was answered")
		}
	}
	body := string(n.get("/metrics").must(t, 200, nil).body)
	for _, want := range []string{`modelbucket_connections_refused_total{limit="address"} 5`, `modelbucket_connections 3`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

// waitUntil tries until it is so; a test that never sees it fails by the suite's limit.
func waitUntil(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after 20 s: %s", what)
		}
	}
}

// Whose request it was is told by the connection, and by X-Forwarded-For as far as
// trusted proxies wrote it.
func TestTrustedProxies(t *testing.T) {
	n := serve(t, func(o *web.Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	})
	for i, row := range []struct {
		from    string
		headers []string
		want    string
	}{
		{"127.0.0.1", nil, "127.0.0.1"},
		{"127.0.0.1", []string{"X-Forwarded-For: 1.2.3.4"}, "127.0.0.1"},
		{"127.0.0.3", []string{"X-Forwarded-For: 1.2.3.4", "X-Real-IP: 1.2.3.4", "Forwarded: for=1.2.3.4", "X-Forwarded-Host: evil", "True-Client-IP: 1.2.3.4"}, "127.0.0.3"},
		{"127.0.0.2", nil, "127.0.0.2"},
		{"127.0.0.2", []string{"X-Forwarded-For: 1.2.3.4"}, "1.2.3.4"},
		{"127.0.0.2", []string{"X-Forwarded-For: 9.9.9.9, 1.2.3.4"}, "1.2.3.4"},
		{"127.0.0.2", []string{"X-Forwarded-For: 1.2.3.4, 10.1.2.3"}, "1.2.3.4"},
		{"127.0.0.2", []string{"X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 10.0.0.1"}, "1.2.3.4"},
		{"127.0.0.2", []string{"X-Forwarded-For: 10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"127.0.0.2", []string{"X-Forwarded-For: 1.2.3.4:5678"}, "1.2.3.4"},
		{"127.0.0.2", []string{"X-Forwarded-For: [2001:dead::1]:443, 2001:db8::1"}, "2001:dead::1"},
		{"127.0.0.2", []string{"X-Forwarded-For: ::ffff:1.2.3.4"}, "1.2.3.4"},
		{"127.0.0.2", []string{"X-Forwarded-For: fe80::1%eth0"}, "fe80::1"},
		{"127.0.0.2", []string{"X-Forwarded-For: 1.2.3.4, unknown"}, "127.0.0.2"},
		{"127.0.0.2", []string{"X-Forwarded-For: 1.2.3.4, evil\x01, 10.0.0.1"}, "10.0.0.1"},
		{"127.0.0.2", []string{"X-Forwarded-For: "}, "127.0.0.2"},
		{"127.0.0.2", []string{"X-Forwarded-For: ,,,"}, "127.0.0.2"},
		{"127.0.0.2", []string{"X-Forwarded-For: " + strings.Repeat("1.2.3.4,", 1500) + "5.6.7.8"}, "5.6.7.8"},
		{"127.0.0.2", []string{"Forwarded: for=1.2.3.4"}, "127.0.0.2"},
	} {
		id := fmt.Sprintf("proxy-request-%d", i)
		conn := n.from(row.from)
		fmt.Fprintf(conn, "GET /v1/tenants HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %s\r\nConnection: close\r\n", id)
		for _, header := range row.headers {
			fmt.Fprintf(conn, "%s\r\n", header)
		}
		io.WriteString(conn, "\r\n")
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.Join(row.headers, ""), "\x01") {
			continue // refused before it is a request of ours
		}
		line := logLine(t, n, id)
		if want := fmt.Sprintf(`"client":"%s"`, row.want); !strings.Contains(line, want) {
			t.Errorf("from %s with %.80q: the log has %s, want %s", row.from, row.headers, line, want)
		}
	}
}

// logLine is what the log says of a request.
func logLine(t *testing.T, n *node, id string) (found string) {
	t.Helper()
	waitUntil(t, "the log tells of "+id, func() bool {
		for line := range strings.Lines(n.log.String()) {
			if strings.Contains(line, `"request":"`+id+`"`) {
				found = line
			}
		}
		return found != ""
	})
	return found
}
