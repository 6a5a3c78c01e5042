package web

import (
	"context"
	"net/http"
	"time"

	"modelbucket/registry"
)

// share is what a request has of its tenant's ration; that of nil has no end.
type share struct {
	ration   *ration
	who      string
	stale    bool // it is time to ask for the limits
	reserved int  // events that are paid for, and not counted yet
}

// learn has the limits of the tenant read, if it is time, behind the request.
func (p *share) learn() {
	if p == nil || !p.stale {
		return
	}
	l, s := p.ration, p.ration.all
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking || time.Now().Before(l.again) {
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return // the next request tries again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		<-s.slots
		return
	}
	l.asking = true
	s.asking.Go(func() {
		ctx, cancel := context.WithTimeout(s.life, learnTime)
		defer cancel()
		_, err := s.registry.Limits(ctx, l.tenant)
		<-s.slots
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asking = false
		if err != nil { // what was known last goes on to count
			l.again = time.Now().Add(learnPause)
		}
	})
}

// owe takes events that were judged, or trained on, out of the ration, and tells how long
// the next have to wait.
func (p *share) owe(events int) (due, time.Duration) {
	if p == nil {
		return due{}, 0
	}
	counted := min(events, p.reserved)
	p.reserved -= counted
	l, now := p.ration, time.Now()
	limits := l.limits()
	l.mu.Lock()
	defer l.mu.Unlock()
	dues, n := l.dues(p.who, limits, false, true)
	spend(dues[:n], events-counted, now)
	return longest(dues[:n], now)
}

// settle gives back what was reserved and not spent. A request that was the caller's
// mistake costs what it may have: an answer from the bucket, that there is nothing.
func (p *share) settle(err error) {
	mistake := mistaken(err)
	if p == nil || p.reserved == 0 && !mistake {
		return
	}
	l, now := p.ration, time.Now()
	limits := l.limits()
	l.mu.Lock()
	defer l.mu.Unlock()
	dues, n := l.dues(p.who, limits, false, true)
	spend(dues[:n], -p.reserved, now)
	if mistake {
		dues, n = l.dues(p.who, limits, true, false)
		spend(dues[:n], missCost-1, now)
	}
}

// mistaken tells whether an error is the caller's mistake. Who is overtaken, or too fast,
// makes none when he tries again.
func mistaken(err error) bool {
	if err == nil {
		return false
	}
	switch status := ProblemOf(err).Status; status {
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusTooManyRequests:
		return false
	default:
		return status >= 400 && status < 500
	}
}

// paceBody slows a body down whose n bytes have come: it waits until more may, if there
// is anybody else who would wait for it.
func (c *call) paceBody(n int) error {
	if c.share == nil || n == 0 {
		return nil
	}
	l, now := c.share.ration, time.Now()
	limit := l.limits().Of(registry.LimitBodyRate)
	if limit < 0 || limit > 0 && !l.all.company(l.tenant, now) {
		return nil
	}
	l.mu.Lock()
	bytes := l.whole.bytes.of(limit)
	bytes.spend(int64(n), now)
	wait := bytes.wait(now)
	l.mu.Unlock()
	if wait == never {
		return l.all.tooMany(c, l.tenant, registry.LimitBodyRate, limit, longestRetry)
	}
	return pause(c.r.Context(), wait)
}

// pace is owe for a stream: it waits until the next events may be judged.
func (c *call) pace(events int) error {
	d, wait := c.share.owe(events)
	if wait < never {
		return pause(c.r.Context(), wait)
	}
	return c.share.ration.all.tooMany(c, c.share.ration.tenant, d.name, 0, longestRetry)
}
