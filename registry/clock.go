package registry

import (
	"context"
	"math/rand/v2"
	"time"
)

// now is the node's clock. Its wall time is for people only (created_at and the
// like); decisions use differences of its readings within one process.
func now() time.Time { return time.Now() }

// since is how long ago t was, by the clock that has gone on for longer: the monotonic
// one stands still while a machine sleeps, and the wall clock may be set back.
func since(t time.Time) time.Duration {
	n := now()
	return max(n.Sub(t), n.Round(0).Sub(t.Round(0)))
}

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
