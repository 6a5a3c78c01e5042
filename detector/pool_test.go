package detector_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
)

// pooling runs a test of a pool with n versions of one detector, in virtual time. room
// is the budget, in detectors.
func pooling(t *testing.T, n int, room float64, f func(*store, *detector.Pool, []*registry.Version)) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{})
		var versions []*registry.Version
		for range n {
			versions = append(versions, s.publish(trained.Facts(), file{detector.ArtifactName, bytesOf(t, trained)}))
		}
		d, err := detector.Load(t.Context(), s.Registry, versions[0])
		if err != nil {
			t.Fatal(err)
		}
		p := detector.NewPool(s.Registry, detector.PoolOptions{Bytes: int64(room * float64(d.Bytes()))})
		defer p.Close()
		f(s, p, versions)
	})
}

// get takes a detector out of the pool.
func get(t *testing.T, p *detector.Pool, v *registry.Version) (release func()) {
	t.Helper()
	d, release, err := p.Get(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	if d.Version() != v.Version {
		t.Errorf("got version %d, want %d", d.Version(), v.Version)
	}
	return release
}

// loaded lists the versions in memory.
func loaded(p *detector.Pool) string {
	var numbers []registry.Number
	for _, l := range p.List() {
		numbers = append(numbers, l.Version)
	}
	return fmt.Sprint(numbers)
}

// artifacts are the requests for files.
var artifacts = regexp.MustCompile(`model\.joblib$`)

// TestPoolLoadsOnce: a thousand first requests are one load.
func TestPoolLoadsOnce(t *testing.T) {
	pooling(t, 1, 2, func(s *store, p *detector.Pool, v []*registry.Version) {
		s.bucket.SetRules(blobtest.Rule{Fault: blobtest.Slow, Delay: time.Second, Key: artifacts})
		calls := s.bucket.Calls()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { get(s.T, p, v[0])() })
		}
		all.Wait()
		if n := s.bucket.Calls() - calls; n != 2 { // what the tenant asks of signatures, and the file
			t.Errorf("%d calls of the bucket, want 2", n)
		}
		s.T.Logf("1,000 first requests at once: %d calls of the bucket, %d load", s.bucket.Calls()-calls, p.Stats().Loads)
		get(s.T, p, v[0])()
		stats := p.Stats()
		if stats.Loads != 1 || stats.Shared != 999 || stats.Hits != 1 || stats.Detectors != 1 || stats.InUse != 0 || stats.Failures != 0 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// TestPoolFirstAskerLeaves: the load goes on, for others and for later.
func TestPoolFirstAskerLeaves(t *testing.T) {
	pooling(t, 1, 2, func(s *store, p *detector.Pool, v []*registry.Version) {
		s.bucket.SetRules(blobtest.Rule{Fault: blobtest.Slow, Delay: time.Minute / 4, Key: artifacts})
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := p.Get(ctx, v[0]); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first got %v, want %v", err, context.DeadlineExceeded)
			}
		})
		synctest.Wait()
		all.Go(func() { get(s.T, p, v[0])() })
		all.Wait()
		if stats := p.Stats(); stats.Loads != 1 || stats.Failures != 0 || stats.InUse != 0 {
			t.Errorf("stats %+v", stats)
		}
		p.Unload(v[0])
		if _, _, err := p.Get(ctx, v[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		time.Sleep(time.Minute)
		if got := loaded(p); got != "[1]" {
			t.Errorf("all left, and %s is loaded, want [1]", got)
		}
	})
}

// TestPoolEvicts: the detector used last longest ago leaves first, and the budget holds.
func TestPoolEvicts(t *testing.T) {
	pooling(t, 4, 2.9, func(s *store, p *detector.Pool, v []*registry.Version) {
		use := func(want string, i int) {
			t.Helper()
			release := get(s.T, p, v[i])
			release()
			release() // once more does nothing
			if got := loaded(p); got != want {
				t.Errorf("after version %d %s is loaded, want %s", i+1, got, want)
			}
			stats := p.Stats()
			one := p.List()[0].Bytes
			if stats.Bytes != int64(stats.Detectors)*one || stats.Bytes > stats.Budget || stats.InUse != 0 {
				t.Errorf("stats %+v, %d bytes each", stats, one)
			}
		}
		use("[1]", 0)
		use("[1 2]", 1)
		use("[1 2]", 0)
		use("[1 3]", 2)
		use("[3 4]", 3)
		use("[3 4]", 2)
		use("[1 3]", 0)
		if stats := p.Stats(); stats.Evictions != 3 || stats.Loads != 5 || stats.Hits != 2 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// TestPoolInUse: a detector in use stays, and stays counted; others wait for room.
func TestPoolInUse(t *testing.T) {
	pooling(t, 3, 2.9, func(s *store, p *detector.Pool, v []*registry.Version) {
		first, second := get(s.T, p, v[0]), get(s.T, p, v[1])
		_, _, err := p.Get(s.Context(), v[2])
		if !errors.Is(err, detector.ErrNoRoom) || loaded(p) != "[1 2]" {
			t.Errorf("a third of two: %v, and %s is loaded", err, loaded(p))
		}
		var all sync.WaitGroup
		all.Go(func() { get(s.T, p, v[2])() })
		synctest.Wait()
		if stats := p.Stats(); stats.Detectors != 2 || stats.InUse != 2 {
			t.Errorf("while one waits: %+v", stats)
		}
		first()
		all.Wait()
		if got := loaded(p); got != "[2 3]" {
			t.Errorf("%s is loaded, want [2 3]", got)
		}

		// What is unloaded in use is counted until it is let go of.
		if !p.Unload(v[1]) || p.Unload(v[1]) {
			t.Error("unloading twice should work once")
		}
		if stats := p.Stats(); loaded(p) != "[3]" || stats.Detectors != 2 || stats.InUse != 1 {
			t.Errorf("%s is loaded; stats %+v", loaded(p), stats)
		}
		second()
		if stats := p.Stats(); stats.Detectors != 1 || stats.Bytes != p.List()[0].Bytes {
			t.Errorf("after the last use: %+v", stats)
		}
		p.Unload(v[2])
		if stats := p.Stats(); stats.Detectors != 0 || stats.Bytes != 0 {
			t.Errorf("after all: %+v", stats)
		}
	})
}

func TestPoolTooLarge(t *testing.T) {
	pooling(t, 1, 0.9, func(s *store, p *detector.Pool, v []*registry.Version) {
		if _, _, err := p.Get(s.Context(), v[0]); !errors.Is(err, detector.ErrTooLarge) {
			t.Errorf("got %v, want %v", err, detector.ErrTooLarge)
		}
	})
}

// TestPoolFailures: a load that failed stands for a second, and no longer.
func TestPoolFailures(t *testing.T) {
	pooling(t, 1, 2, func(s *store, p *detector.Pool, v []*registry.Version) {
		opaque := s.opaque("other")
		if _, _, err := p.Get(s.Context(), opaque); !errors.Is(err, detector.ErrNotADetector) {
			t.Errorf("opaque: got %v, want %v", err, detector.ErrNotADetector)
		}
		s.bucket.SetRules(blobtest.Rule{Fault: blobtest.Before, Key: artifacts})
		calls := s.bucket.Calls()
		for range 100 {
			if _, _, err := p.Get(s.Context(), v[0]); !errors.Is(err, blob.ErrUnavailable) {
				t.Errorf("got %v, want %v", err, blob.ErrUnavailable)
			}
		}
		if n := s.bucket.Calls() - calls; n != 2 {
			t.Errorf("%d calls of a bucket that is away, want 2", n)
		}
		s.back()
		time.Sleep(time.Second)
		get(s.T, p, v[0])()
		if stats := p.Stats(); stats.Failures != 2 || stats.Loads != 3 || stats.Detectors != 1 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// TestPoolAway: a loaded detector needs no bucket.
func TestPoolAway(t *testing.T) {
	pooling(t, 1, 2, func(s *store, p *detector.Pool, v []*registry.Version) {
		get(s.T, p, v[0])()
		s.away()
		time.Sleep(time.Hour)
		d, release, err := p.Get(s.Context(), v[0])
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if n := len(scoresOf(s.T, d, sample(t), detector.CSV)); n != 1000 {
			t.Errorf("%d scores", n)
		}
	})
}

// TestPoolSlow: a load has a time of its own, and Close ends it.
func TestPoolSlow(t *testing.T) {
	pooling(t, 1, 2, func(s *store, p *detector.Pool, v []*registry.Version) {
		s.hung()
		began := time.Now()
		if _, _, err := p.Get(s.Context(), v[0]); !errors.Is(err, blob.ErrUnavailable) || time.Since(began) != 30*time.Second {
			t.Errorf("after %s got %v, want %v", time.Since(began), err, blob.ErrUnavailable)
		}
		time.Sleep(time.Second)
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := p.Get(s.Context(), v[0]); !errors.Is(err, detector.ErrClosed) {
				t.Errorf("got %v, want %v", err, detector.ErrClosed)
			}
		})
		synctest.Wait()
		began = time.Now()
		p.Close()
		all.Wait()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("closed after %s", waited)
		}
		if _, _, err := p.Get(s.Context(), v[0]); !errors.Is(err, detector.ErrClosed) {
			t.Errorf("after Close: got %v, want %v", err, detector.ErrClosed)
		}
	})
}

// TestPoolList: what is told of a loaded detector.
func TestPoolList(t *testing.T) {
	pooling(t, 1, 2, func(s *store, p *detector.Pool, v []*registry.Version) {
		began := time.Now()
		release := get(s.T, p, v[0])
		time.Sleep(time.Second)
		get(s.T, p, v[0])()
		l := p.List()[0]
		if l.Tenant != tenant || l.Model != model || l.ID != v[0].ID || l.Label != nil || l.InUse != 1 || !l.LoadedAt.Equal(began) || !l.UsedAt.Equal(began.Add(time.Second)) {
			t.Errorf("got %+v", l)
		}
		release()
	})
}

// TestPoolUnderFire: many askers, versions, failures and a pool that is too small. No
// wrong detector, never over the budget, nothing left in use.
func TestPoolUnderFire(t *testing.T) {
	pooling(t, 12, 4.5, func(s *store, p *detector.Pool, v []*registry.Version) {
		s.bucket.SetRules(
			blobtest.Rule{Fault: blobtest.Before, Key: artifacts, Probability: 0.1},
			blobtest.Rule{Fault: blobtest.Flip, Key: artifacts, Probability: 0.1},
			blobtest.Rule{Fault: blobtest.Slow, Key: artifacts, Probability: 0.3, Delay: 20 * time.Millisecond},
		)
		var all sync.WaitGroup
		for asker := range 16 {
			all.Go(func() {
				for i := range 100 {
					want := v[(asker*7+i*i)%len(v)]
					ctx, cancel := context.WithTimeout(s.Context(), time.Duration(i%5+1)*10*time.Millisecond)
					d, release, err := p.Get(ctx, want)
					cancel()
					switch {
					case err == nil && d.Version() != want.Version:
						t.Errorf("got version %d, want %d", d.Version(), want.Version)
					case err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, blob.ErrUnavailable) && !errors.Is(err, registry.ErrCorrupt):
						t.Errorf("got %v", err)
					}
					if stats := p.Stats(); stats.Bytes > stats.Budget {
						t.Errorf("over the budget: %+v", stats)
					}
					if i%9 == 0 {
						p.Unload(want)
					}
					time.Sleep(time.Millisecond)
					if err == nil {
						release()
					}
				}
			})
		}
		all.Wait()
		time.Sleep(time.Minute)
		stats := p.Stats()
		var bytes int64
		for _, l := range p.List() {
			bytes += l.Bytes
		}
		if stats.InUse != 0 || stats.Bytes != bytes || stats.Failures == 0 || stats.Evictions == 0 || stats.Hits == 0 || stats.Shared == 0 {
			t.Errorf("stats %+v; %d bytes are listed", stats, bytes)
		}
	})
}
