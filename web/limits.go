package web

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modelbucket/registry"
)

// What a tenant, and each of its keys, may ask a node for in a second. A request that
// comes too early waits for its time if that is near, and is refused else, before its
// body was read or the bucket was asked. Refusals cost little, and those of a caller who
// does not wait are held back, so that he gets no more of them than of answers.
const (
	soon       = 100 * time.Millisecond // a request waits for its time
	freely     = 20                     // refusals of one tenant that are told at once, a second
	holdTime   = time.Second            // the others are held back
	maxHeld    = 1024                   // so many; of the rest the connection is closed
	logPause   = 10 * time.Second       // between two refusals of a tenant that stand in the log
	learnPause = time.Second            // after limits could not be read
	learnTime  = 10 * time.Second       // that reading them may take
	maxRation  = 10_000                 // tenants, and keys of each, that are remembered
	eventBytes = 100                    // of a body are taken for an event until it is counted
	missCost   = 10                     // requests that one counts for which was the caller's mistake
	company    = time.Second            // a tenant is alone after so long without another's requests
)

// rations are what the tenants of a node have left.
type rations struct {
	registry *registry.Registry
	refused  *prometheus.CounterVec
	delayed  *prometheus.CounterVec
	held     atomic.Int64
	slots    chan struct{} // of limits being read
	asking   sync.WaitGroup
	life     context.Context
	end      context.CancelFunc

	mu      sync.Mutex // guards all below
	tenants map[registry.Tenant]*ration
	last    registry.Tenant // who was seen last
	seen    time.Time       // when that was
	mixed   time.Time       // when one was seen soon after another
}

// ration is what a tenant has left.
type ration struct {
	tenant registry.Tenant
	all    *rations

	mu     sync.Mutex // guards all below
	whole  rates
	keys   map[string]*rates // by the name of who calls
	told   rate              // refusals told at once
	logged time.Time
	asking bool      // for limits
	again  time.Time // not to be asked for before
}

// rates are those of a tenant, or of one key.
type rates struct{ requests, events, bytes rate }

func newRations(r *registry.Registry) *rations {
	s := &rations{
		registry: r, tenants: map[registry.Tenant]*ration{}, slots: make(chan struct{}, 16),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelbucket_limited_total", Help: "Requests refused because of a limit on their tenant or key.",
		}, []string{"limit"}),
		delayed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelbucket_delayed_total", Help: "Requests that waited for a moment because of a limit on their tenant or key.",
		}, []string{"limit"}),
	}
	for _, name := range registry.LimitNames() { // so that each can be seen to be 0
		s.refused.WithLabelValues(string(name))
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// close ends what goes on behind requests, and waits for it.
func (s *rations) close() {
	s.mu.Lock() // a request that goes on until now asks for nothing more
	s.end()
	s.mu.Unlock()
	s.asking.Wait()
}

// of is a tenant's ration.
func (s *rations) of(t registry.Tenant) *ration {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.tenants[t]
	if l == nil {
		if len(s.tenants) >= maxRation {
			clear(s.tenants) // what they owe is forgiven
		}
		l = &ration{tenant: t, all: s, keys: map[string]*rates{}}
		s.tenants[t] = l
	}
	return l
}

// company tells whether other tenants than this one are served, too.
func (s *rations) company(t registry.Tenant, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t != s.last && now.Sub(s.seen) < company {
		s.mixed = now
	}
	s.last, s.seen = t, now
	return now.Sub(s.mixed) < company
}

// limits are the tenant's, as far as the node knows them.
func (l *ration) limits() registry.Limits {
	limits, _ := l.all.registry.KnownLimits(l.tenant)
	return limits
}

// key is what a key has left; l.mu is held.
func (l *ration) key(name string) *rates {
	k := l.keys[name]
	if k == nil {
		if len(l.keys) >= maxRation {
			clear(l.keys)
		}
		k = new(rates)
		l.keys[name] = k
	}
	return k
}

// A due is a rate that bounds a request.
type due struct {
	name registry.LimitName
	rate *rate
}

// dues are the rates that bound requests, or events, of a key. l.mu is held.
func (l *ration) dues(who string, limits registry.Limits, requests, events bool) (dues [4]due, n int) {
	add := func(name registry.LimitName, of func() *rate) {
		if limit := limits.Of(name); limit >= 0 {
			dues[n] = due{name, of().of(limit)}
			n++
		}
	}
	if requests {
		add(registry.LimitRequests, func() *rate { return &l.whole.requests })
		add(registry.LimitKeyRequests, func() *rate { return &l.key(who).requests })
	}
	if events {
		add(registry.LimitEvents, func() *rate { return &l.whole.events })
		add(registry.LimitKeyEvents, func() *rate { return &l.key(who).events })
	}
	return dues, n
}

// longest is the due that one has to wait for longest, and how long.
func longest(dues []due, now time.Time) (longest due, wait time.Duration) {
	for _, d := range dues {
		if w := d.rate.wait(now); w > wait {
			longest, wait = d, w
		}
	}
	return longest, wait
}

// spend takes n out of each.
func spend(dues []due, n int, now time.Time) {
	for _, d := range dues {
		d.rate.spend(int64(n), now)
	}
}

// ration lets a request in when its time has come.
func (s *Server) ration(c *call, route Route) error {
	if route.spared(c.who) {
		return nil
	}
	l := s.rations.of(c.worker())
	limits, fresh := s.registry.KnownLimits(l.tenant)
	c.share = &share{ration: l, who: c.who.Name, stale: !fresh && l.tenant != ""}
	now := time.Now()
	s.rations.company(l.tenant, now)
	l.mu.Lock()
	events := route.body == eventBody || route.Permission == Train
	dues, n := l.dues(c.who.Name, limits, true, events)
	longest, wait := longest(dues[:n], now)
	if wait > soon {
		p, hold := s.rations.refuse(c, l, longest, wait, now)
		l.mu.Unlock()
		if hold {
			defer s.rations.held.Add(-1)
			if err := pause(c.r.Context(), holdTime); err != nil {
				return err
			}
		}
		return p
	}
	dues, n = l.dues(c.who.Name, limits, true, false)
	spend(dues[:n], 1, now)
	if length := c.r.ContentLength; events && length > 0 {
		c.share.reserved = int(min(length/eventBytes, maxEvents))
		dues, n = l.dues(c.who.Name, limits, false, true)
		spend(dues[:n], c.share.reserved, now)
	}
	l.mu.Unlock()
	if wait == 0 {
		return nil
	}
	s.rations.delayed.WithLabelValues(string(longest.name)).Inc()
	return pause(c.r.Context(), wait)
}

// spared tells whether a request costs its tenant nothing: an operator's who looks after
// the tenant, and must be heard most of all when it has used up what it has.
func (r Route) spared(p Principal) bool {
	switch r.Permission {
	case Public:
		return true
	case TenantRead, TenantAdmin, TenantList, KeyAdmin, KeyOperator, AuditRead, AuditOperator, Collect, MetricsRead:
		return p.Tenant == ""
	}
	return false
}

// refuse is the answer to a request that came too early, and whether it is to be held
// back: it counts as held then. l.mu is held.
func (s *rations) refuse(c *call, l *ration, d due, wait time.Duration, now time.Time) (p *Problem, hold bool) {
	s.refused.WithLabelValues(string(d.name)).Inc()
	retry := d.rate.retry(wait, now)
	if c.w.quiet = now.Sub(l.logged) < logPause; !c.w.quiet {
		l.logged = now
	}
	if told := l.told.of(freely); told.wait(now) == 0 {
		told.spend(1, now)
	} else if s.held.Add(1) <= maxHeld {
		hold, retry = true, max(shortestRetry, retry-holdTime)
	} else {
		s.held.Add(-1)
		c.w.Header().Set("Connection", "close")
	}
	return s.tooMany(c, l.tenant, d.name, d.rate.limit, retry), hold
}

// tooMany says which limit it was, and when to come again.
func (s *rations) tooMany(c *call, t registry.Tenant, name registry.LimitName, limit registry.Limit, retry time.Duration) *Problem {
	who, what := "tenant "+string(t), "send this node %v requests a second"
	if name == registry.LimitKeyRequests || name == registry.LimitKeyEvents || t == "" {
		who = c.who.Name
	}
	if name == registry.LimitEvents || name == registry.LimitKeyEvents {
		what = "have this node judge or train on %v events a second"
	}
	seconds := strconv.Itoa(int(math.Ceil(retry.Seconds())))
	p := problemf(codeTooManyRequests, "%s may "+what+", and has (%s)", who, limit, name)
	if limit == 0 {
		p = problemf(codeTooManyRequests, "%s may do nothing of this kind (%s is 0)", who, name)
	}
	return p.hint("come again after %s s, or have an operator raise %s of tenant %s", seconds, name, t).set("Retry-After", seconds)
}

// pause waits, unless the context ends.
func pause(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a limit: %w", ctx.Err())
	}
}

// uploadLimit is how large an upload or training of the tenant may be, in bytes, with
// what may stand beside the files. One that announces more is refused. Nothing is asked:
// after registry.Begin, which reads limits, it may be another.
func (s *Server) uploadLimit(c *call, beside int64) (int64, error) {
	limit := s.options.MaxUpload
	if most := s.registry.KnownLimit(c.worker(), registry.LimitUploadBytes); most >= 0 {
		limit = min(limit, most)
	}
	if limit += beside; c.r.ContentLength > limit {
		return 0, tooLarge(limit)
	}
	return limit, nil
}
