package web

import (
	"net"
	"net/netip"
	"sync"
)

// The most connections that a node keeps open, where Options say nothing: in all, and
// from one address. A network of IPv6 (/64) is one address, for whoever has one address
// of it has them all.
const (
	maxConnections    = 10_000
	maxConnectionsPer = 256
)

// connections is a listener that hands out no more connections than it may. What is
// beyond is closed at once: it must not wait in the way of others.
type connections struct {
	net.Listener
	most, each int
	proxies    proxies // bring many callers each, and count for the sum alone
	metrics    *Metrics

	mu   sync.Mutex
	open int
	from map[netip.Addr]int
}

func (l *connections) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		conn.Close() // nothing was said on it yet
	}
}

// admit counts a connection, or is nil if there are too many.
func (l *connections) admit(conn net.Conn) net.Conn {
	from := network(parseAddress(conn.RemoteAddr().String()))
	counted := from.IsValid() && !l.proxies.trust(parseAddress(conn.RemoteAddr().String()))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.open >= l.most:
		l.metrics.refusedConnections.WithLabelValues("all").Inc()
		return nil
	case counted && l.from[from] >= l.each:
		l.metrics.refusedConnections.WithLabelValues("address").Inc()
		return nil
	}
	l.open++
	if counted {
		l.from[from]++
	}
	l.metrics.connections.Inc()
	return &connection{Conn: conn, leave: sync.OnceFunc(func() { l.leave(from, counted) })}
}

func (l *connections) leave(from netip.Addr, counted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if counted {
		if l.from[from]--; l.from[from] == 0 {
			delete(l.from, from)
		}
	}
	l.metrics.connections.Dec()
}

// network is what counts as one address.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// connection is one that is counted until it is closed.
type connection struct {
	net.Conn
	leave func()
}

func (c *connection) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// CloseWrite lets net/http say that nothing more will come, and wait a moment, before it
// closes: what was sent last would be lost where bytes of a refused body arrive meanwhile.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
