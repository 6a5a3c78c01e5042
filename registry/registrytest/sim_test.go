package registrytest_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modelbucket/registry/registrytest"
)

var (
	firstSeed   = flag.Uint64("sim.first", 0, "the first seed of TestSimulation")
	seeds       = flag.Int("sim.seeds", 0, "how many seeds TestSimulation runs (0: 100, or 15 under the race detector)")
	history     = flag.Bool("sim.history", false, "print all requests and calls of the seeds")
	mutantSeeds = flag.Int("sim.mutantseeds", 300, "how many seeds each mutant of TestMutants has to be caught in")
	mutantName  = flag.String("sim.mutant", "", "only mutants whose names hold this")
)

// inShards runs f for so many seeds, on all processors, and lets nobody wait for others.
func inShards(t *testing.T, first uint64, count int, f func(t *testing.T, seed uint64)) {
	shards := min(runtime.GOMAXPROCS(0), count)
	t.Run("seeds", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for i := shard; i < count; i += shards {
					f(t, first+uint64(i))
				}
			})
		}
	})
}

// figures add up what runs were.
type figures struct {
	mu                                        sync.Mutex
	seeds, requests, calls, unknown, repeated int
	searched, violations                      int
	fired                                     map[string]int
}

func (f *figures) add(r registrytest.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seeds++
	f.requests += r.Requests
	f.calls += r.Calls
	f.unknown += r.Unknown
	f.repeated += r.Repeated
	f.searched += r.Searched
	f.violations += len(r.Violations)
	for what, n := range r.Fired {
		f.fired[what] += n
	}
}

// Nothing that a client is told is wrong, whatever goes wrong.
func TestSimulation(t *testing.T) {
	began := time.Now()
	if *seeds == 0 && underRace {
		*seeds = 15
	} else if *seeds == 0 {
		*seeds = 100
	}
	f := &figures{fired: map[string]int{}}
	inShards(t, *firstSeed, *seeds, func(t *testing.T, seed uint64) {
		o := registrytest.Options{Linearizable: true}
		if *history {
			o.Log = func(call string) { t.Log(call) }
		}
		r := registrytest.Run(t, seed, o)
		f.add(r)
		if *history || len(r.Violations) > 0 {
			t.Logf("seed %d:\n%s", seed, strings.Join(r.History, "\n"))
		}
		for _, v := range r.Violations {
			t.Errorf("seed %d: %s", seed, v)
		}
	})
	t.Logf("sim.seeds %d  sim.ops %d  sim.calls %d  sim.violations %d  sim.wall %v", f.seeds, f.requests, f.calls, f.violations, time.Since(began).Round(time.Second))
	t.Logf("outcome unknown %d, repeated %d, histories with a linearization %d", f.unknown, f.repeated, f.searched)
	for _, what := range slices.Sorted(maps.Keys(f.fired)) {
		t.Logf("%8d %s", f.fired[what], what)
	}
	if *seeds < 100 {
		return // so few need not have met everything
	}
	if f.unknown*100 < f.requests || f.repeated*100 < f.requests {
		t.Errorf("of %d requests only %d were unknown and %d repeated: that proves little", f.requests, f.unknown, f.repeated)
	}
	for _, what := range []string{
		"put not sent", "put before", "put lost", "put slow", "put late", "put twice", "put resent",
		"delete not sent", "delete before", "delete lost", "delete slow", "delete late", "delete twice", "delete resent",
		"get not sent", "get before", "get lost", "get slow", "get cut", "get flip",
		"stat not sent", "stat before", "stat lost", "stat slow",
		"list not sent", "list before", "list lost", "list slow", "list later page", "left behind",
		"node killed", "node frozen", "collection broken off",
		"upload condemned", "upload collected", "version collected", "key forgotten", "alias taken back",
	} {
		if f.fired[what] == 0 {
			t.Errorf("never met: %s", what)
		}
	}
}

// The same seed is the same run, call by call.
func TestSameSeedSameRun(t *testing.T) {
	count := 20
	if underRace {
		count = 4
	}
	inShards(t, 0, count, func(t *testing.T, seed uint64) {
		first := registrytest.Run(t, seed, registrytest.Options{})
		again := registrytest.Run(t, seed, registrytest.Options{})
		if again.Trace != first.Trace || again.Calls != first.Calls {
			t.Errorf("seed %d: trace %x of %d calls, and then %x of %d", seed, first.Trace, first.Calls, again.Trace, again.Calls)
		}
	})
}

// Whoever breaks a rule is caught. The log says by which checks.
func TestMutants(t *testing.T) {
	if underRace {
		t.Skip("the mutants are run without the race detector")
	}
	type verdict struct {
		seed   int
		name   string
		checks map[string]int
	}
	var mu sync.Mutex
	var caught []verdict
	total := 0
	t.Run("mutants", func(t *testing.T) {
		for _, m := range registrytest.Mutants() {
			if !strings.Contains(m.Name, *mutantName) {
				continue
			}
			total++
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				for seed := range *mutantSeeds {
					r := registrytest.Run(t, uint64(seed), registrytest.Options{Mutant: &m, Linearizable: true})
					if len(r.Violations) == 0 {
						continue
					}
					v := verdict{seed, m.Name, map[string]int{}}
					for _, violation := range r.Violations {
						v.checks[violation.Check]++
					}
					mu.Lock()
					defer mu.Unlock()
					caught = append(caught, v)
					return
				}
				t.Errorf("not caught in %d seeds", *mutantSeeds)
			})
		}
	})
	slices.SortFunc(caught, func(a, b verdict) int { return cmp.Or(cmp.Compare(a.seed, b.seed), strings.Compare(a.name, b.name)) })
	for _, v := range caught {
		t.Logf("seed %3d  %s: %s", v.seed, v.name, strings.Join(slices.Sorted(maps.Keys(v.checks)), ", "))
	}
	t.Logf("mutants.caught %d of %d", len(caught), total)
}
