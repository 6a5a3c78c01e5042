package blob

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	shortestWait = 50 * time.Millisecond
	longestWait  = 2 * time.Second
)

// wait pauses between try and the next one, for a random time up to a limit that
// doubles with each try (full jitter), or until the context is over.
func wait(ctx context.Context, try int) error {
	limit := longestWait
	if try < 6 {
		limit = min(limit, shortestWait<<(try-1))
	}
	t := time.NewTimer(rand.N(limit))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
