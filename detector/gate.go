package detector

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"modelbucket/registry"
)

// GateOptions bound one kind of work.
type GateOptions struct {
	Work     string        // what it is, for errors: "uploads"
	Capacity int64         // what may be under way together: bytes, or a count
	Queue    int           // how many of one tenant may wait; of all, four times as many
	Wait     time.Duration // how long one may wait
	// Share is what a tenant may hold (nil: three quarters of Capacity); negative: any.
	Share func(registry.Tenant) int64
}

// Gate lets work of one kind in, up to a capacity, and shares that among tenants.
//
// One tenant may hold three quarters of it, so that another always finds some. What
// does not fit waits, each tenant in a queue of its own; when there is room the tenant
// that holds least comes first, so that a thousand requests of one keep nobody else
// waiting for longer than the next of them takes. Nobody waits for ever, and no queue
// grows without end: that work is refused.
type Gate struct {
	o     GateOptions
	share int64 // that one tenant may hold, where Options do not say

	mu      sync.Mutex
	held    int64
	waiting int
	lines   map[registry.Tenant]*line // of tenants that hold or wait
	turn    []*line                   // those in which somebody waits; who was served goes to the end
}

// line is a tenant at a gate.
type line struct {
	tenant registry.Tenant
	held   int64
	queue  []*waiter
}

type waiter struct {
	weight int64
	in     chan struct{} // closed when it is let in
}

// NewGate makes a gate.
func NewGate(o GateOptions) *Gate {
	return &Gate{o: o, share: max(1, o.Capacity*3/4), lines: map[registry.Tenant]*line{}}
}

// Weigh is what a gate counts for work of this weight: more than one tenant's share
// would never fit.
func (g *Gate) Weigh(weight int64) int64 { return min(max(weight, 1), g.share) }

// Enter waits until work of a tenant may begin; Leave, with the same arguments, tells
// its end. It refuses with ErrTooMany where the tenant itself is the reason, with
// ErrBusy where others are, and with ctx's error.
func (g *Gate) Enter(ctx context.Context, t registry.Tenant, weight int64) error {
	weight = g.Weigh(weight)
	g.mu.Lock()
	l := g.line(t)
	if g.take(l, weight) {
		g.mu.Unlock()
		return nil
	}
	if weight > g.shareOf(l) {
		err := fmt.Errorf("%w: tenant %s may have %d %s at once here", ErrTooMany, t, g.shareOf(l), g.o.Work)
		g.forget(l)
		g.mu.Unlock()
		return err
	}
	if len(l.queue) >= g.o.Queue || g.waiting >= 4*g.o.Queue {
		err := g.refused(l, len(l.queue) >= g.o.Queue, "and as many wait as may")
		g.forget(l)
		g.mu.Unlock()
		return err
	}
	w := &waiter{weight, make(chan struct{})}
	if l.queue = append(l.queue, w); len(l.queue) == 1 {
		g.turn = append(g.turn, l)
	}
	g.waiting++
	g.admit()
	g.mu.Unlock()

	timer := time.NewTimer(g.o.Wait)
	defer timer.Stop()
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in: // at the last moment
		return nil
	default:
	}
	g.quit(l, w)
	err := ctx.Err()
	if err == nil {
		err = g.refused(l, l.held+weight > g.shareOf(l), fmt.Sprintf("and nothing of it ended within %v", g.o.Wait))
	} else {
		err = fmt.Errorf("wait for a turn among %s: %w", g.o.Work, err)
	}
	g.forget(l)
	g.admit()
	return err
}

// TryEnter enters if it need not wait.
func (g *Gate) TryEnter(t registry.Tenant, weight int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.line(t)
	defer g.forget(l)
	return g.take(l, g.Weigh(weight))
}

// Grow adds to the weight of work that is under way, at once or not at all.
func (g *Gate) Grow(t registry.Tenant, weight int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[t]
	if l == nil || l.held+weight > g.shareOf(l) || g.held+weight > g.o.Capacity {
		return g.refused(l, l != nil && l.held+weight > g.shareOf(l), "and there is no room for more")
	}
	l.held += weight
	g.held += weight
	return nil
}

// Leave tells that work has ended.
func (g *Gate) Leave(t registry.Tenant, weight int64) {
	weight = g.Weigh(weight)
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[t]
	l.held -= weight
	g.held -= weight
	g.forget(l)
	g.admit()
}

// Held is what a tenant holds.
func (g *Gate) Held(t registry.Tenant) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.lines[t]; l != nil {
		return l.held
	}
	return 0
}

// GateStats is what a gate holds.
type GateStats struct {
	Held, Capacity int64
	Waiting        int
}

// Stats is a snapshot.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GateStats{g.held, g.o.Capacity, g.waiting}
}

// line is a tenant's, made if need be. From here on g.mu is held.
func (g *Gate) line(t registry.Tenant) *line {
	l := g.lines[t]
	if l == nil {
		l = &line{tenant: t}
		g.lines[t] = l
	}
	return l
}

// shareOf is what a tenant may hold.
func (g *Gate) shareOf(l *line) int64 {
	if g.o.Share == nil {
		return g.share
	}
	if share := g.o.Share(l.tenant); share >= 0 {
		return share
	}
	return g.o.Capacity
}

// take lets work in at once if it fits and nobody is to come before it.
func (g *Gate) take(l *line, weight int64) bool {
	if len(l.queue) > 0 || l.held+weight > g.shareOf(l) || g.held+weight > g.o.Capacity || !g.nobodyBefore(l) {
		return false
	}
	l.held += weight
	g.held += weight
	return true
}

// nobodyBefore tells whether no other tenant waits that holds less and is only short of
// room: what is free is for that one.
func (g *Gate) nobodyBefore(l *line) bool {
	for _, other := range g.turn {
		if other.held <= l.held && other.held+other.queue[0].weight <= g.shareOf(other) {
			return false
		}
	}
	return true
}

// refused is the error of work that is turned away.
func (g *Gate) refused(l *line, itself bool, why string) error {
	if itself {
		return fmt.Errorf("%w: %s of tenant %s take all that one tenant may have here, %s", ErrTooMany, g.o.Work, l.tenant, why)
	}
	return fmt.Errorf("%w: %s take all that this node has for them, %s", ErrBusy, g.o.Work, why)
}

// admit lets in who fits: of the tenants below their share the one that holds least. If
// that one does not fit, nobody passes it by.
func (g *Gate) admit() {
	for {
		best := -1
		for i, l := range g.turn {
			if l.held+l.queue[0].weight <= g.shareOf(l) && (best < 0 || l.held < g.turn[best].held) {
				best = i
			}
		}
		if best < 0 || g.held+g.turn[best].queue[0].weight > g.o.Capacity {
			return
		}
		l := g.turn[best]
		w := l.queue[0]
		l.held += w.weight
		g.held += w.weight
		g.quit(l, w)
		if len(l.queue) > 0 { // to the end: of equals another comes first
			g.turn = append(slices.Delete(g.turn, best, best+1), l)
		}
		close(w.in)
	}
}

// quit takes a waiter out of its queue.
func (g *Gate) quit(l *line, w *waiter) {
	i := slices.Index(l.queue, w)
	l.queue = slices.Delete(l.queue, i, i+1)
	g.waiting--
	if len(l.queue) == 0 {
		i := slices.Index(g.turn, l)
		g.turn = slices.Delete(g.turn, i, i+1)
	}
}

// forget drops a tenant that neither holds nor waits.
func (g *Gate) forget(l *line) {
	if l.held == 0 && len(l.queue) == 0 {
		delete(g.lines, l.tenant)
	}
}
