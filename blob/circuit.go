package blob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// circuit keeps calls from a store that does not answer, and retries from one that
// answers badly.
type circuit struct {
	log *slog.Logger

	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // no call before; zero: closed
	budget   float64   // retries that may still be made
}

const (
	circuitFailures = 20
	circuitPause    = time.Second
	answerTime      = 15 * time.Second
	probeTime       = 4 * time.Second // for a call that finds out whether the store is back
	budgetShare     = 0.1             // of the calls that succeed may be retries
	budgetMost      = 100             // saved up in good times
)

// enter lets a call pass, or fails it at once; limit is how long it may take to answer.
// While the circuit is open one call a second passes, whatever became of the one before:
// that one may hang for long in a connection that is dead, when the store is back on new
// ones.
func (c *circuit) enter() (limit time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case c.until.IsZero():
		return answerTime, nil
	case now.Before(c.until):
		return 0, fmt.Errorf("%w: %w: %d calls in a row have failed, and the next try is due within %v", ErrUnavailable, ErrNotSent, c.failures, circuitPause)
	}
	c.until = now.Add(circuitPause)
	return probeTime, nil
}

// leave learns from the result of a call that enter let pass.
func (c *circuit) leave(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled): // tells nothing
	case failed(err):
		c.failures++
		if c.failures >= circuitFailures {
			if c.until.IsZero() {
				c.log.Warn("the store does not answer; calls fail at once until it does", "failures", c.failures, "err", err)
			}
			c.until = time.Now().Add(circuitPause)
		}
	default:
		if !c.until.IsZero() {
			c.log.Info("the store answers again", "failures", c.failures)
		}
		c.failures, c.until = 0, time.Time{}
		c.budget = min(c.budget+budgetShare, budgetMost)
	}
}

// failed: the store did not answer, or not in time.
func failed(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// spend takes a retry from the budget, if there is one.
func (c *circuit) spend() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.budget < 1 {
		return false
	}
	c.budget--
	return true
}
