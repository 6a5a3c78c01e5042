package main

import (
	"context"
	"math/rand/v2"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// The soak's lengths. The long form comes to 200 kills of nodes and 50 of the server.
func soakLength() (length, nodeLives, serverLives time.Duration) {
	if long() {
		return 30 * time.Minute, 8 * time.Second, 30 * time.Second
	}
	return 12 * time.Second, time.Second, 4 * time.Second
}

const (
	soakNodes   = 3
	soakWriters = 32
	soakModels  = 20
)

// weather is what goes wrong on the way to the store: a fifth of all calls for data.
func weather() (rules []blobtest.ProxyRule) {
	data := regexp.MustCompile(`acme`)
	for _, r := range []blobtest.ProxyRule{
		{Fault: blobtest.ResetBefore, Probability: 0.05}, {Fault: blobtest.CommitThenReset, Probability: 0.06},
		{Fault: blobtest.CommitThen500, Probability: 0.02}, {Fault: blobtest.CommitThen503, Probability: 0.02},
		{Fault: blobtest.Answer503, Probability: 0.03}, {Fault: blobtest.Answer500, Probability: 0.02},
		{Fault: blobtest.CommitLater, Probability: 0.02, Delay: 200 * time.Millisecond}, {Fault: blobtest.Twice, Probability: 0.01},
		{Fault: blobtest.CutBody, Probability: 0.02}, {Fault: blobtest.SlowAnswer, Probability: 0.01, Delay: 50 * time.Millisecond},
	} {
		r.URL = data
		rules = append(rules, r)
	}
	return rules
}

// TestSoak: three nodes on one bucket work for 32 writers while a fifth of the calls to
// the store fail, nodes are killed and started again, and so is the store's server. No
// answer contradicts another; and at the end all that was acknowledged is there, each
// save once, and nothing else.
func TestSoak(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	length, nodeLives, serverLives := soakLength()
	s := newSite(t, blobtest.StartVersityGW(t))
	proxy := blobtest.StartProxy(t, s.server.Endpoint, seed)
	w := newWorld()
	var nodes [soakNodes]*testNode
	start := func(i int) {
		var err error
		for range 20 { // the store may be away
			if nodes[i], err = startNode(t.TempDir(), "node", os.Environ(), s.through(proxy), "--insecure", "--gc-interval=2s", "--limit=uploads=unlimited"); err == nil {
				var c *client.Client // one for all: a node bounds the connections of an address
				if c, err = client.New(nodes[i].URL, client.Options{Tries: 1}); err != nil {
					t.Fatal(err)
				}
				w.nodes[i].Store(c)
				return
			}
		}
		t.Fatal(err)
	}
	for i := range nodes {
		start(i)
	}
	defer func() {
		for _, n := range nodes {
			n.kill()
		}
	}()
	if _, err := s.other.Train(t.Context(), training("acme", "edge"), client.BytesOf(demoEvents, detector.JSON)); err != nil {
		t.Fatal(err)
	}
	proxy.SetRules(weather()...)

	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer cancel()
	for i := range soakWriters {
		writers.Go(func() { w.work(ctx, t, i, seed) })
	}
	began := time.Now()
	nodeKills, serverKills := 0, 0
	nextNode, nextServer := nodeLives/2, serverLives/2
	for time.Since(began) < length && !t.Failed() {
		time.Sleep(20 * time.Millisecond)
		switch age := time.Since(began); {
		case age > nextServer:
			s.server.Kill()
			time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
			s.server.Restart(t)
			serverKills++
			nextServer = age + serverLives
		case age > nextNode:
			i := random.IntN(len(nodes))
			nodes[i].kill()
			start(i)
			nodeKills++
			nextNode = age + nodeLives
		}
	}
	w.stopping.Store(true)
	writers.Wait()
	took := time.Since(began)
	fired := 0
	for kind, n := range proxy.Fired() {
		if n == 0 {
			t.Errorf("%s never happened", kind)
		}
		fired += n
	}
	calls := proxy.Requests()
	proxy.SetRules()
	proxy.Wait()
	for _, n := range nodes {
		if err := n.stop(); err != nil {
			t.Errorf("a node ended with %v", err)
		}
	}
	torn := s.server.RemoveHalfWritten(t, s.server.Bucket(s.store))
	report, swept := s.sweep(t)
	w.audit(t, s, report)
	t.Logf("soak.audit_seconds %.0f", time.Since(began).Seconds()-took.Seconds())
	t.Logf("soak.seconds %.0f, soak.calls %d, soak.faults %d (%.0f %%)", took.Seconds(), calls, fired, 100*float64(fired)/float64(calls))
	t.Logf("soak.ops_per_s %.0f, soak.node_kills %d, soak.server_kills %d", float64(w.operations.Load())/took.Seconds(), nodeKills, serverKills)
	t.Logf("soak.unclear %d answers were unavailable, unknown or lost, and the request repeated", w.unclear.Load())
	t.Logf("retry.saves %d, of them %d repeated after their answer; retry.versions %d", len(w.saves), w.repeats.Load(), report.Versions+report.Deleted-1)
	t.Logf("soak.acknowledged %d, soak.acknowledged_lost %d, soak.collisions %d", len(w.saves), w.lost.Load(), w.collisions.Load())
	t.Logf("soak.swept %d uploads; soak.garbage %d after it; soak.left_by_server %d files of its own, half written when it was killed", swept.Uploads, report.Uploads+len(report.Problems), torn)
	if nodeKills == 0 || serverKills == 0 || w.unclear.Load()*100 < w.operations.Load() {
		t.Error("too little went wrong for this to prove anything")
	}
}

// world is what the clients know: of each model, what was acknowledged.
type world struct {
	nodes    [soakNodes]atomic.Pointer[client.Client]
	stopping atomic.Bool

	operations, unclear, repeats, lost, collisions atomic.Int64

	mu     sync.Mutex
	saves  []entry
	top    map[registry.Model]registry.Number // the highest acknowledged
	owner  map[string]string                  // by model:number
	gone   map[string]bool                    // the same; a deletion was sent
	alias  map[registry.Model]int64           // the highest acknowledged revision
	moved  map[string]bool                    // by model and revision
	closed map[string]bool                    // deletion acknowledged
}

// entry is an acknowledged save.
type entry struct {
	model  registry.Model
	number registry.Number
	key    string
}

func (s entry) ref() registry.Ref { return number("acme", s.model, s.number) }

func newWorld() *world {
	return &world{
		top: map[registry.Model]registry.Number{}, owner: map[string]string{}, gone: map[string]bool{},
		alias: map[registry.Model]int64{}, moved: map[string]bool{}, closed: map[string]bool{},
	}
}

// ask sends a request to one node after another until the answer leaves no doubt: nil,
// or a refusal.
func (w *world) ask(ctx context.Context, random *rand.Rand, f func(ctx context.Context, c *client.Client) error) error {
	w.operations.Add(1)
	for {
		c := w.nodes[random.IntN(soakNodes)].Load()
		patience, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := f(patience, c)
		cancel()
		switch end := endOf(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case end != endGone && end != "unavailable" && end != "outcome_unknown":
			return err
		}
		w.unclear.Add(1)
		time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
	}
}

// audit holds what was acknowledged against what is there.
func (w *world) audit(t *testing.T, s *site, report *registry.CheckReport) {
	t.Helper()
	var readers sync.WaitGroup
	slots := make(chan struct{}, 32)
	for _, saved := range w.saves {
		slots <- struct{}{}
		readers.Go(func() {
			defer func() { <-slots }()
			got, err := read(t.Context(), s.other, saved.ref())
			switch ref := saved.ref().String(); {
			case w.closed[ref] && endOf(err) != "version_deleted":
				t.Errorf("%s was deleted: got %v", ref, err)
			case w.gone[ref] && endOf(err) == "version_deleted":
			case err != nil || got != saved.key:
				w.lost.Add(1)
				t.Errorf("%s was acknowledged: got %q, %v", ref, got, err)
			}
		})
	}
	readers.Wait()
	if n := report.Versions + report.Deleted - 1; n != len(w.saves) { // without the detector
		w.collisions.Add(1)
		t.Errorf("%d saves made %d versions", len(w.saves), n)
	}
}
