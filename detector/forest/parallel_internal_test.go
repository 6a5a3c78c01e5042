package forest

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Of four processors, as many as a context allows work at one moment, and no more.
func TestLimitProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for limit := 1; limit <= 5; limit++ {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var working atomic.Int64
				release := make(chan struct{})
				done := make(chan error)
				go func() {
					done <- inParallel(LimitProcessors(t.Context(), limit), 100, func() (func(int), func()) {
						working.Add(1)
						return func(int) { <-release }, func() { working.Add(-1) }
					})
				}()
				synctest.Wait() // all stand still in their work
				if n := int(working.Load()); n != min(limit, 4) {
					t.Errorf("%d goroutines work", n)
				}
				close(release)
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
