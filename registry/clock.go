package registry

import (
	"context"
	"math/rand/v2"
	"time"
)

// now is the node's clock. Its wall time is for people only (created_at and the
// like); decisions use differences of its monotonic reading within one process.
func now() time.Time { return time.Now() }

// stamp is a time as it is kept in the bucket and shown.
func stamp() time.Time { return now().UTC().Truncate(time.Microsecond) }

// pause waits for a random time up to limit, or until the context is over.
func pause(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(rand.N(limit) + time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
