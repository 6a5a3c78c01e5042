package registrytest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// Options choose what a run is made of; the zero value is ready for use.
type Options struct {
	// Requests is how many the clients make in all (0: 200).
	Requests int
	// Mutant, unless nil, is what all nodes are.
	Mutant *Mutant
	// Linearizable also searches for a linearization (linear.go).
	Linearizable bool
	// Artifact, unless nil, is what a save of this name holds; else some text.
	Artifact func(save string) Artifact
	// Scoring, unless nil, is what a node does with the versions of its registry.
	Scoring func(*registry.Registry) Scoring
	// Log, unless nil, is told of each call to the bucket as it ends.
	Log func(string)
}

// Artifact is the file of a version and what is said of it.
type Artifact struct {
	Name    registry.FileName
	Content string
	Facts   registry.Facts
}

// Scoring uses versions. Score says which version ref stood for, the content that it
// scored with, and how long ago that was asked.
type Scoring struct {
	Score func(ctx context.Context, ref registry.Ref) (n registry.Number, content string, age time.Duration, err error)
	Close func()
}

// Result is what a run was and what is wrong with it.
type Result struct {
	Seed       uint64
	Trace      uint64 // digest of all calls to the bucket: when, whose, which, how they ended
	Requests   int
	Calls      int // to the bucket
	Unknown    int // requests of which the client did not learn the outcome
	Repeated   int // requests that repeat another
	Scored     int // requests for which a version was used
	Searched   int // histories for which a linearization was found
	Fired      map[string]int
	Violations []Violation
	History    []string
}

// Run lets the clients of one seed work, and checks what came of it.
func Run(t *testing.T, seed uint64, o Options) (result Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if o.Requests == 0 {
			o.Requests = 200
		}
		r := newRun(seed, o)
		if err := r.work(); err != nil {
			r.violated("run", "%v", err)
		}
		result = r.result(seed)
	})
	return result
}

// run is a run under way.
type run struct {
	*world
	options Options
	history *history
	seed    uint64
	random  *rand.Rand // of what is no client's and no node's
	tempo   tempo
	mood    mood

	nodesMu sync.Mutex
	nodes   []*node
	every   []*node // the dead ones too
}

func newRun(seed uint64, o Options) *run {
	w := newWorld(seed)
	w.log, w.scoring = o.Log, o.Scoring
	r := &run{world: w, options: o, history: newHistory(w), seed: seed, random: rand.New(rand.NewPCG(seed, 2))}
	w.rate = []float64{0, 0.05, 0.1, 0.2, 0.4}[r.random.IntN(5)]
	w.flips = r.random.IntN(2) == 0
	r.mood = []mood{calm, calm, calm, calm, crowd, crowd, storm, storm}[r.random.IntN(8)]
	r.tempo = tempo{
		short: []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 2 * time.Second}[r.random.IntN(3)],
		long:  []time.Duration{time.Minute, 6 * time.Hour, 30 * time.Hour, 5 * 24 * time.Hour}[r.random.IntN(4)],
		share: 0.04,
	}
	return r
}

// source is the chance of one part of a run: none depends on how much another drew.
func (r *run) source(stream int) *rand.Rand {
	return rand.New(rand.NewPCG(r.seed, uint64(stream)))
}

func (r *run) work() error {
	var door func(blob.Bucket) blob.Bucket
	if r.options.Mutant != nil {
		door = r.options.Mutant.door
	}
	var failed error
	go func() {
		defer r.end()
		failed = r.clients(door)
	}()
	r.schedule()
	if failed != nil {
		return failed
	}
	return r.check()
}

// clients starts nodes, clients, collectors and fate, and waits for all of them.
func (r *run) clients(door func(blob.Bucket) blob.Bucket) error {
	for i := range 2 + r.random.IntN(4) {
		n, err := r.start(i, r.source(100+i), door)
		if err != nil {
			return err
		}
		r.nodes, r.every = append(r.nodes, n), append(r.every, n)
	}
	var clients, others sync.WaitGroup
	count := 3 + r.random.IntN(4)
	for i := range count {
		c := &client{index: i, history: r.history, random: r.source(200 + i), pick: r.pick, tempo: r.tempo, mood: r.mood, artifact: r.options.Artifact}
		clients.Go(func() { c.work(r.options.Requests / count) })
	}
	over, stop := context.WithCancel(context.Background())
	defer stop()
	var failed error
	others.Go(func() { failed = r.fate(over, door) })
	for i := range 2 {
		others.Go(func() { r.collector(over, i) })
	}
	clients.Wait()
	stop()
	others.Wait()
	for _, n := range r.every {
		if n.scoring.Close != nil {
			n.scoring.Close()
		}
		if err := n.Close(context.Background()); err != nil {
			return err
		}
	}
	return failed
}

func (r *run) pick(random *rand.Rand) *node {
	r.nodesMu.Lock()
	defer r.nodesMu.Unlock()
	return r.nodes[random.IntN(len(r.nodes))]
}

// wait is false when the run is over first.
func wait(over context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-over.Done():
		return false
	}
}

// fate kills nodes and starts others in their place, and lets some stand still.
func (r *run) fate(over context.Context, door func(blob.Bucket) blob.Bucket) error {
	random := r.source(300)
	pause := tempo{short: 400 * (r.tempo.short + 5*time.Millisecond), long: r.tempo.long, share: 0.1}
	for k := 0; wait(over, pause.pause(random)); k++ {
		old := r.pick(random)
		if random.IntN(3) == 0 {
			r.history.fate("node frozen")
			old.freeze(tempo{short: 10 * time.Second, long: 3 * time.Hour, share: 0.3}.pause(random))
			continue
		}
		fresh, err := r.start(len(r.every), r.source(400+k), door)
		if err != nil {
			return err
		}
		r.nodesMu.Lock()
		for i, n := range r.nodes {
			if n == old {
				r.nodes[i] = fresh
			}
		}
		r.every = append(r.every, fresh)
		r.nodesMu.Unlock()
		old.kill()
		r.history.fate("node killed")
	}
	return nil
}

// collector sweeps now and then. What it could not do is left to the next pass.
func (r *run) collector(over context.Context, i int) {
	random := r.source(500 + i)
	pause := tempo{short: r.tempo.long / 4, long: r.tempo.long, share: 0.2}
	for pass := 1; wait(over, pause.pause(random)); pass++ {
		n := r.pick(random)
		report, err := n.Collect(behalf(context.Background(), fmt.Sprintf("collector %d, pass %d", i, pass)), registry.CollectOptions{})
		if errors.Is(err, registry.ErrCorrupt) {
			r.violated("damage", "collector %d, pass %d: %v", i, pass, err)
		} else if err != nil {
			r.history.fate("collection broken off")
		}
		for what, count := range map[string]int{
			"upload condemned": report.Condemned, "upload collected": report.Uploads,
			"version collected": report.Versions, "key forgotten": report.Operations,
			"alias taken back": report.Aliases,
		} {
			if count > 0 {
				r.history.fate(what)
			}
		}
	}
}

// fate writes down what happened beside the requests.
func (h *history) fate(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.world.fates[what]++
}

func (r *run) result(seed uint64) Result {
	result := Result{
		Seed: seed, Trace: r.trace.Sum64(), Requests: len(r.history.events), Calls: r.calls, Searched: r.searched,
		Fired: maps.Clone(r.fired), Violations: r.violations,
	}
	for what, n := range r.fates {
		result.Fired[what] += n
	}
	for _, e := range r.history.events {
		result.History = append(result.History, e.String())
		if e.outcome == unknown {
			result.Unknown++
		}
		if e.kind == opDetect && e.outcome == done {
			result.Scored++
		}
		if e.save != nil && e.save.attempts[0] != e {
			result.Repeated++
		}
	}
	return result
}
