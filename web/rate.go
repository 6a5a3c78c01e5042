package web

import (
	"time"

	"modelbucket/registry"
)

// rate lets so much pass in a second, and a second's worth of it at once. It keeps one
// time: when all that passed would have passed, had it come evenly (the generic cell rate
// algorithm, ITU-T I.371). What costs more than there is makes a debt, which those behind
// it wait for.
type rate struct {
	limit registry.Limit // a second; what passed before it changed is forgotten
	even  time.Time
	back  time.Time // when the last who was refused was told to come again
}

// burst is how much may pass at once: what passes evenly in this time.
const burst = time.Second

// never is the wait for what nobody may have.
const never = 1 << 62

// of makes the rate one of this limit.
func (r *rate) of(limit registry.Limit) *rate {
	if limit != r.limit {
		*r = rate{limit: limit}
	}
	return r
}

// wait is how long it takes until one more may pass.
func (r *rate) wait(now time.Time) time.Duration {
	switch {
	case r.limit < 0:
		return 0
	case r.limit == 0:
		return never
	}
	return max(0, r.even.Add(r.cost(1)-burst).Sub(now))
}

// spend lets n pass.
func (r *rate) spend(n int64, now time.Time) {
	if r.limit <= 0 {
		return
	}
	if r.even.Before(now) {
		r.even = now
	}
	r.even = r.even.Add(r.cost(n))
}

func (r *rate) cost(n int64) time.Duration {
	return time.Duration(float64(n) / float64(r.limit) * float64(time.Second))
}

// The least and the most that somebody is told to wait, and the time between two who are
// refused one after the other: who is told the same would come at the same time.
const (
	shortestRetry = time.Second
	longestRetry  = time.Minute
	retryStep     = 20 * time.Millisecond
)

// retry is when one who has to wait should come again: behind those who were told before.
func (r *rate) retry(wait time.Duration, now time.Time) time.Duration {
	if wait >= longestRetry {
		return longestRetry
	}
	next := now.Add(wait)
	if r.back.After(next) {
		next = r.back
	}
	if end := now.Add(longestRetry); next.After(end) {
		next = end
	}
	r.back = next.Add(max(retryStep, r.cost(1)))
	return max(shortestRetry, next.Sub(now))
}
