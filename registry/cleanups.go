package registry

import (
	"context"
	"fmt"
	"sync"
)

// cleanups are what outlives its request, at most so many at work at once. Unlike a
// WaitGroup it may be waited for while more is begun: a request that is broken off when
// its node stops cleans up as well.
type cleanups struct {
	slots chan struct{}

	mu      sync.Mutex
	running int
	idle    chan struct{} // closed when running falls to 0
}

func newCleanups(atOnce int) *cleanups { return &cleanups{slots: make(chan struct{}, atOnce)} }

func (c *cleanups) begin(f func()) {
	c.mu.Lock()
	if c.running++; c.running == 1 {
		c.idle = make(chan struct{})
	}
	c.mu.Unlock()
	go func() {
		c.slots <- struct{}{}
		f()
		<-c.slots
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running--; c.running == 0 {
			close(c.idle)
		}
	}()
}

// wait returns when nothing is running.
func (c *cleanups) wait(ctx context.Context) error {
	c.mu.Lock()
	running, idle := c.running, c.idle
	c.mu.Unlock()
	if running == 0 {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d cleanups under way: %w", running, ctx.Err())
	}
}
