package web

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelbucket/registry"
)

// TestRate: in any second no more pass than a second's worth and those that were there at
// its beginning; and who comes when he was told to is let in, however many were told.
func TestRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 5000).Draw(t, "limit")
		var r rate
		r.of(registry.Limit(limit))
		now := time.Unix(1e9, 0)
		var passed []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "callers") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)/limit*2).Draw(t, "pause")))
			if r.wait(now) == 0 {
				r.spend(1, now)
				passed = append(passed, now)
			}
		}
		for i := range passed {
			n := 0
			for _, at := range passed[i:] {
				if at.Sub(passed[i]) < time.Second {
					n++
				}
			}
			if int64(n) > 2*limit {
				t.Fatalf("%d of %d pass in a second", n, limit)
			}
		}

		r = rate{limit: registry.Limit(limit)}
		for r.wait(now) == 0 {
			r.spend(1, now)
		}
		var back []time.Time
		for range min(300, 50*limit) { // as many as need not come later than longestRetry
			wait := r.retry(r.wait(now), now)
			if wait < shortestRetry || wait > longestRetry {
				t.Fatalf("told to come after %v", wait)
			}
			back = append(back, now.Add(time.Duration(math.Ceil(wait.Seconds()))*time.Second))
		}
		slices.SortFunc(back, time.Time.Compare)
		for i, at := range back {
			if wait := r.wait(at); wait != 0 {
				t.Fatalf("caller %d of %d came when he was told to, and has to wait %v", i, len(back), wait)
			}
			r.spend(1, at)
		}
	})
}
