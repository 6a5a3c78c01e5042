package detector_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/detector"
	"modelbucket/registry"
)

// shared is pooling for two tenants: n versions of the one, of which the other has a
// copy of the first. share is what the one may hold, in detectors; negative: any.
func shared(t *testing.T, n int, room, share float64, f func(s *store, p *detector.Pool, v []*registry.Version, other *registry.Version)) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{})
		var versions []*registry.Version
		for range n {
			versions = append(versions, s.publish(trained.Facts(), file{detector.ArtifactName, bytesOf(t, trained)}))
		}
		other, err := s.Copy(t.Context(), versions[0].Ref(), registry.Publication{Tenant: "bolt", Model: model})
		if err != nil {
			t.Fatal(err)
		}
		d, err := detector.Load(t.Context(), s.Registry, other)
		if err != nil {
			t.Fatal(err)
		}
		bytes := func(detectors float64) int64 { return int64(detectors * float64(d.Bytes())) }
		p := detector.NewPool(s.Registry, detector.PoolOptions{Bytes: bytes(room), Share: func(t registry.Tenant) int64 {
			if t == tenant {
				return bytes(share)
			}
			return -1
		}})
		defer p.Close()
		f(s, p, versions, other)
	})
}

// TestPoolShare: a tenant makes room for its own detectors where it has a share, and waits
// for its own only; nobody else notices.
func TestPoolShare(t *testing.T) {
	shared(t, 3, 10.1, 2.1, func(s *store, p *detector.Pool, v []*registry.Version, other *registry.Version) {
		get(s.T, p, other)()
		for _, v := range v {
			get(s.T, p, v)()
		}
		if got := loaded(p); got != "[2 3 1]" {
			t.Errorf("%s is loaded, want the last two and the other tenant's", got)
		}
		if held := p.Held(tenant); held != 2*p.Held("bolt") || held == 0 {
			t.Errorf("%d bytes are held", held)
		}
		two, three := get(s.T, p, v[1]), get(s.T, p, v[2])
		if _, _, err := p.Get(s.Context(), v[0]); !errors.Is(err, detector.ErrTooMany) {
			t.Errorf("a third of two in use: %v, want %v", err, detector.ErrTooMany)
		}
		var all sync.WaitGroup
		all.Go(func() { get(s.T, p, v[0])() })
		synctest.Wait()
		two()
		all.Wait()
		three()
		for _, v := range v {
			p.Unload(v)
		}
		if held, stats := p.Held(tenant), p.Stats(); held != 0 || stats.Bytes != p.Held("bolt") || stats.Detectors != 1 {
			t.Errorf("at the end %d bytes, %+v", held, stats)
		}
	})
	shared(t, 1, 10, 0.9, func(s *store, p *detector.Pool, v []*registry.Version, other *registry.Version) {
		if _, _, err := p.Get(s.Context(), v[0]); !errors.Is(err, detector.ErrTooLarge) {
			t.Errorf("one that is larger than the share: %v, want %v", err, detector.ErrTooLarge)
		}
		get(s.T, p, other)()
	})
}

// TestPoolIsFair: a tenant that goes through more detectors than fit drives out its own,
// and not the one that another asks for now and then.
func TestPoolIsFair(t *testing.T) {
	shared(t, 8, 4.1, -1, func(s *store, p *detector.Pool, v []*registry.Version, other *registry.Version) {
		get(s.T, p, other)()
		for range 5 {
			for _, v := range v {
				get(s.T, p, v)()
			}
			before := p.Stats().Loads
			get(s.T, p, other)()
			if p.Stats().Loads != before {
				t.Fatal("the other tenant's detector was driven out")
			}
		}
		if stats := p.Stats(); stats.Loads != 41 || stats.Detectors != 4 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// TestGateShare: a share that is told for each tenant, and changes.
func TestGateShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var share atomic.Int64
		share.Store(2)
		g := detector.NewGate(detector.GateOptions{Work: "works", Capacity: 100, Queue: 10, Wait: 10 * time.Second, Share: func(t registry.Tenant) int64 {
			if t == tenant {
				return share.Load()
			}
			return -1
		}})
		for range 50 {
			if err := g.Enter(t.Context(), "bolt", 1); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := g.Enter(t.Context(), tenant, 1); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		all.Go(func() {
			began := time.Now()
			if err := g.Enter(t.Context(), tenant, 1); err != nil || time.Since(began) != 3*time.Second {
				t.Errorf("a third: %v after %v", err, time.Since(began))
			}
		})
		time.Sleep(3 * time.Second)
		g.Leave(tenant, 1)
		all.Wait()
		began := time.Now()
		if err := g.Enter(t.Context(), tenant, 1); !errors.Is(err, detector.ErrTooMany) || time.Since(began) != 10*time.Second {
			t.Errorf("one that nobody makes room for: %v after %v", err, time.Since(began))
		}
		share.Store(3)
		if err := g.Enter(t.Context(), tenant, 1); err != nil {
			t.Error(err)
		}
		share.Store(0)
		began = time.Now()
		if err := g.Enter(t.Context(), tenant, 1); !errors.Is(err, detector.ErrTooMany) || time.Since(began) != 0 {
			t.Errorf("where there may be none: %v after %v", err, time.Since(began))
		}
		if held := fmt.Sprint(g.Held(tenant), g.Held("bolt"), g.Held("none")); held != "3 50 0" {
			t.Errorf("held are %s", held)
		}
	})
}
