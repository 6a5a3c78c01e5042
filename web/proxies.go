package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the networks whose word on a caller's address is taken.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(a) })
}

// client is the address that a request comes from; the zero value where there is none,
// as in-process. X-Forwarded-For counts only as far as trusted proxies wrote it: each
// appends whom it was called by, so it is read from its end, and the first that is no
// proxy of ours is the caller. What stands before may be invented. The header Forwarded
// is not read.
func (p proxies) client(r *http.Request) netip.Addr {
	caller := parseAddress(r.RemoteAddr)
	if !p.trust(caller) {
		return caller
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a := parseAddress(strings.TrimSpace(hop))
		if !a.IsValid() {
			break // a proxy that tells no address is the last whose address is known
		}
		if caller = a; !p.trust(a) {
			break
		}
	}
	return caller
}

// parseAddress reads an address with or without a port; the zero value is none. An IPv4
// address that is written as IPv6 is the same as the other, and zones are dropped.
func parseAddress(s string) netip.Addr {
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}
		}
		a = withPort.Addr()
	}
	return a.Unmap().WithZone("")
}
