package registry

import (
	"context"
	"sync"
)

// A turn lets the publishers of one node to one model commit one after another, and
// share what they saw of the log. It is a courtesy that saves lost tries; nothing
// relies on it, as other nodes commit at the same time.
type turn struct {
	users int           // guarded by Registry.mu
	token chan struct{} // held by who commits

	mu  sync.Mutex
	top Number // the log has this number for certain
}

func (r *Registry) takeTurn(s series) *turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.turns[s]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		r.turns[s] = t
	}
	t.users++
	return t
}

func (r *Registry) leaveTurn(s series, t *turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(r.turns, s)
	}
}

func (t *turn) seen() Number {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.top
}

func (t *turn) saw(n Number) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.top = max(t.top, n)
}

func (t *turn) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // else luck would decide, of the two that are ready
	}
	select {
	case t.token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) release() { <-t.token }
