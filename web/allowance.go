package web

import (
	"net/netip"
	"time"
)

// What may be spent on looking for keys that do not exist, so that who makes up ids does
// not load the store: so many at once, and so many a second for good. Looking for one
// that exists is free.
const (
	lookupsAtOnce        = 100 // of a node
	lookupsASecond       = 20
	callerLookupsAtOnce  = 50 // of one address
	callerLookupsASecond = 5
)

// allowance is a token bucket: what is left of it at a time.
type allowance struct {
	left float64
	at   time.Time
}

// refill adds what has come since, and tells whether there is one to take.
func (a *allowance) refill(now time.Time, aSecond, most float64) bool {
	a.left = min(most, a.left+max(0, now.Sub(a.at).Seconds())*aSecond)
	a.at = now
	return a.left >= 1
}

// allowances are a node's own and those of its callers. An address of which nothing is
// known has all of its own.
type allowances struct {
	node    allowance
	callers map[netip.Addr]*allowance
}

func newAllowances() *allowances {
	return &allowances{allowance{left: lookupsAtOnce, at: time.Now()}, map[netip.Addr]*allowance{}}
}

func (s *allowances) take(caller netip.Addr, now time.Time) bool {
	own := s.callers[caller]
	if own == nil {
		own = &allowance{callerLookupsAtOnce, now}
		remember(s.callers, caller, own)
	}
	both := own.refill(now, callerLookupsASecond, callerLookupsAtOnce)
	both = s.node.refill(now, lookupsASecond, lookupsAtOnce) && both
	if both {
		own.left--
		s.node.left--
	}
	return both
}

func (s *allowances) give(caller netip.Addr) {
	s.node.left++
	if own := s.callers[caller]; own != nil {
		own.left++
	}
}

// remember puts a value into a map that never has more than maxRemembered: if need be, any
// other goes.
func remember[K comparable, V any](m map[K]V, key K, value V) {
	if _, there := m[key]; !there && len(m) >= maxRemembered {
		for other := range m {
			delete(m, other)
			break
		}
	}
	m[key] = value
}
