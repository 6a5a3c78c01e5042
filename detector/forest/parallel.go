package forest

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// helpers counts the goroutines that help a caller of this package. It is one number
// for the process, so that many callers at once do not want more than there are
// processors; nothing but time depends on it.
var helpers atomic.Int32

type processorsKey struct{}

// LimitProcessors makes a context under which one call of this package keeps at most n
// processors busy; without it, all there are.
func LimitProcessors(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, processorsKey{}, n)
}

func processors(ctx context.Context) int {
	if n, limited := ctx.Value(processorsKey{}).(int); limited {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// inParallel calls work(0) … work(n-1), on the caller's goroutine and on processors that
// no other call uses; start makes the work of one goroutine, and what is to be done
// after it. It returns when all are done, or ctx's error.
func inParallel(ctx context.Context, n int, start func() (work func(int), end func())) error {
	var next atomic.Int64
	run := func() {
		work, end := start()
		defer end()
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			work(i)
		}
	}
	var all sync.WaitGroup
	for free := min(n, processors(ctx)) - 1; free > 0; free-- {
		if int(helpers.Add(1)) >= runtime.GOMAXPROCS(0) {
			helpers.Add(-1)
			break
		}
		all.Go(func() {
			defer helpers.Add(-1)
			run()
		})
	}
	run()
	all.Wait()
	return ctx.Err()
}
