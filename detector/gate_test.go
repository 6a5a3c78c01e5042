package detector_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/detector"
	"modelbucket/registry"
)

// TestGateHolds: many tenants with work of many weights; never more than the capacity,
// nobody more than a share, nothing left at the end.
func TestGateHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity, share = 100, 75
		g := detector.NewGate(detector.GateOptions{Work: "works", Capacity: capacity, Queue: 20, Wait: time.Second})
		var mu sync.Mutex
		held, of, most := int64(0), map[registry.Tenant]int64{}, int64(0)
		done, many, busy, left := 0, 0, 0, 0
		add := func(tenant registry.Tenant, n int64) {
			mu.Lock()
			defer mu.Unlock()
			held, of[tenant] = held+n, of[tenant]+n
			most = max(most, held)
			if held > capacity || of[tenant] > share {
				t.Errorf("%d are held, %d of them by %s", held, of[tenant], tenant)
			}
		}
		var all sync.WaitGroup
		for i := range 500 {
			random := rand.New(rand.NewPCG(3, uint64(i)))
			all.Go(func() {
				for range 20 {
					tenant := registry.Tenant(fmt.Sprint("t", random.IntN(5)))
					weight := 1 + random.Int64N(90)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(1500))*time.Millisecond)
					err := g.Enter(ctx, tenant, weight)
					cancel()
					mu.Lock()
					switch {
					case err == nil:
						done++
					case errors.Is(err, detector.ErrTooMany):
						many++
					case errors.Is(err, detector.ErrBusy):
						busy++
					case errors.Is(err, context.DeadlineExceeded):
						left++
					default:
						t.Error(err)
					}
					mu.Unlock()
					if err != nil {
						time.Sleep(100 * time.Millisecond)
						continue
					}
					add(tenant, g.Weigh(weight))
					time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
					if g.Grow(tenant, 1) == nil {
						add(tenant, 1)
						add(tenant, -1)
						g.Leave(tenant, 1)
					}
					add(tenant, -g.Weigh(weight))
					g.Leave(tenant, weight)
				}
			})
		}
		all.Wait()
		if s := g.Stats(); s.Held != 0 || s.Waiting != 0 {
			t.Errorf("at the end %+v", s)
		}
		if done == 0 || many == 0 || busy == 0 || left == 0 {
			t.Errorf("%d done, %d too many, %d busy, %d gave up: each has to happen", done, many, busy, left)
		}
		t.Logf("%d let in, %d too many of one tenant, %d refused as busy, %d gave up; at most %d of %d held", done, many, busy, left, most, capacity)
	})
}

// TestGateIsFair: one tenant has a thousand waiting. Another finds room at once, and when
// there is none it comes next.
func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detector.NewGate(detector.GateOptions{Work: "works", Capacity: 4, Queue: 1000, Wait: time.Hour})
		enter := func(tenant registry.Tenant) time.Duration {
			began := time.Now()
			if err := g.Enter(t.Context(), tenant, 1); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				enter("storm")
				time.Sleep(time.Second)
				g.Leave("storm", 1)
			})
		}
		synctest.Wait()
		for range 3 { // each finds the quarter that is not the storm's
			if waited := enter("calm"); waited != 0 {
				t.Errorf("waited %v at the quarter that the storm can't have", waited)
			}
			g.Leave("calm", 1)
		}
		if waited := enter("calm"); waited != 0 {
			t.Errorf("the first waited %v", waited)
		}
		time.Sleep(time.Millisecond)
		// Beyond it, the next to end makes room for who holds less.
		if waited := enter("calm"); waited > time.Second {
			t.Errorf("waited %v, the works take 1 s", waited)
		}
		for range 2 {
			g.Leave("calm", 1)
		}
		all.Wait()
	})
}
