package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// settled is all of the system's own that an empty bucket has once a node has started.
var settled = []string{"_system/format.json", "_system/root_token.json"}

// ofSettled are the calls for these.
var ofSettled = regexp.MustCompile(`_system(/|%2F)(format|root_token)\.json`)

// meeting lets several nodes find that there is none of these objects before any of them
// writes one.
type meeting struct {
	mu      sync.Mutex
	missing int
	all     chan struct{} // closed once all are here
}

// meetings are rules, one set for the proxy of each node. A node that is gone is not
// waited for.
func meetings(nodes int, gone <-chan struct{}) (rules []blobtest.ProxyRule) {
	for _, key := range settled {
		m := &meeting{missing: nodes, all: make(chan struct{})}
		rules = append(rules, blobtest.ProxyRule{
			Fault: blobtest.SlowAnswer, Method: "GET", Nth: 1, URL: regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(key), "/", "(/|%2F)")),
			Do: func() { m.join(gone) },
		})
	}
	return rules
}

func (m *meeting) join(gone <-chan struct{}) {
	m.mu.Lock()
	if m.missing--; m.missing == 0 {
		close(m.all)
	}
	m.mu.Unlock()
	select {
	case <-m.all:
	case <-gone:
	}
}

// TestCrashedFirstStart: the first node on an empty bucket is killed at each call of its
// start in turn, alone, and at each that writes what stays, beside another that has found
// nothing either. Whatever it was:
// the next start succeeds, at most one root token was made and all take it, what is saved
// is there, and the collector leaves nothing that nobody needs.
func TestCrashedFirstStart(t *testing.T) {
	onServers(t, func(t *testing.T, server *blobtest.Server) {
		var points, untold atomic.Int64
		var names []string
		var jobs []firstStart
		for _, when := range kills() {
			names = append(names, "alone/"+string(when))
			jobs = append(jobs, firstStart{rule: blobtest.ProxyRule{Fault: when, Writes: !long()}})
			for round := range 4 { // which of the two is first is left to chance
				names = append(names, fmt.Sprintf("beside another/%s/%d", when, round))
				jobs = append(jobs, firstStart{rule: blobtest.ProxyRule{Fault: when, Writes: true, URL: ofSettled}, beside: true})
			}
		}
		atOnce(t, 3, names, func(t *testing.T, i int) {
			f := jobs[i]
			f.server, f.proxy = server, blobtest.StartProxy(t, server.Endpoint, 1)
			for struck := true; struck && !t.Failed(); {
				f.rule.Nth++
				if struck = f.run(t); struck {
					points.Add(1)
				}
				if f.untold {
					untold.Add(1)
				}
				if t.Failed() {
					t.Errorf("killed at call %d", f.rule.Nth)
				}
			}
			t.Logf("%d calls", f.rule.Nth-1)
			if f.beside && f.rule.Nth-1 != len(settled) {
				t.Errorf("it wrote %d objects that stay, want %d", f.rule.Nth-1, len(settled))
			}
		})
		t.Logf("crash.start_points %d; %d of them after the root token was made and before it was told", points.Load(), untold.Load())
		if points.Load() < 40 || untold.Load() == 0 {
			t.Errorf("only %d points, %d of them with a token that nobody was told", points.Load(), untold.Load())
		}
	})
}

// firstStart is a node that is killed while it starts on an empty bucket.
type firstStart struct {
	server *blobtest.Server
	proxy  *blobtest.Proxy
	rule   blobtest.ProxyRule
	beside bool

	untold bool // the root token that it made was never told
}

// run is false if the node was ready before the call at which it was to be killed.
func (f *firstStart) run(t *testing.T) (struck bool) {
	s := &site{server: f.server, store: f.server.NewBucket(t)}
	folder := t.TempDir()
	launch := func(name string, env []string, store string) *testNode {
		n, err := launchNode(folder, name, env, store, "--gc-interval=0")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var hit atomic.Bool
	process, ended := make(chan *os.Process, 1), make(chan struct{})
	rule := f.rule
	rule.Do = func() {
		hit.Store(true)
		(<-process).Kill()
		<-ended
	}
	rules := []blobtest.ProxyRule{rule}
	if f.beside {
		rules = append(meetings(2, ended), rule)
	}
	f.proxy.SetRules(rules...)
	first := launch("first", os.Environ(), s.through(f.proxy))
	process <- first.process.Process
	go func() { first.process.Wait(); close(ended) }()
	var up []*testNode
	if f.beside {
		proxy := blobtest.StartProxy(t, s.server.Endpoint, 1, rules[:len(rules)-1]...)
		up = append(up, launch("beside", os.Environ(), s.through(proxy)))
	}
	err := first.ready()
	if struck = hit.Load(); struck == (err == nil) {
		t.Errorf("killed: %v, and yet %v", struck, err)
	}
	again := launch("again", os.Environ(), "--store="+s.store)
	up = append(up, again)
	var told []string
	for _, n := range up {
		if err := n.ready(); err != nil {
			t.Error(err)
		}
		if n.RootToken != "" {
			told = append(told, n.RootToken)
		}
	}
	if err == nil && first.RootToken != "" {
		told = append(told, first.RootToken)
	}
	if f.untold = len(told) == 0; f.untold {
		// It was made, and died with its maker: a new one is given to all nodes.
		const given = "the operator's own root token"
		n := launch("given", append(os.Environ(), "MODELBUCKET_ROOT_TOKEN="+given), "--store="+s.store)
		if err := n.ready(); err != nil || !struck {
			t.Errorf("nobody was told a root token: killed: %v, %v", struck, err)
		}
		told = []string{given}
		defer n.stop()
		s.save(t, told[0], n)
	} else {
		s.save(t, told[0], up...)
	}
	if len(told) != 1 {
		t.Errorf("%d root tokens were made", len(told))
	}
	for _, n := range up {
		if err := n.stop(); err != nil {
			t.Errorf("a node that was there ended with %v", err)
		}
	}
	first.process.Process.Kill()
	<-ended
	s.wantSettled(t, true)
	return struck
}

// save saves a version on each node, with the one root token, and wants all of them to be
// seen on each.
func (s *site) save(t *testing.T, token string, nodes ...*testNode) {
	t.Helper()
	var clients []*client.Client
	for i, n := range nodes {
		c, err := client.New(n.URL, client.Options{Token: token, Tries: 1})
		if err != nil {
			t.Fatal(err)
		}
		v, err := c.Publish(t.Context(), client.Publication{Tenant: "acme", Model: "fraud"}, file("a", "content"))
		if err != nil || v.Version != registry.Number(i+1) {
			t.Fatalf("save on node %d: %+v, %v", i, v, err)
		}
		clients = append(clients, c)
	}
	for _, c := range clients {
		if lines := inventory(t, c, "acme"); len(lines) != len(nodes) {
			t.Errorf("%d versions were saved, and there are %q", len(nodes), lines)
		}
	}
}

// wantSettled: the bucket is sound, and has nothing of the system's own that nobody needs.
func (s *site) wantSettled(t *testing.T, swept bool) {
	t.Helper()
	var err error
	if s.bucket, err = blob.Open(t.Context(), s.store, blob.Options{}); err != nil {
		t.Fatal(err)
	}
	s.check(t, "")
	if swept {
		s.sweep(t)
	}
	page, err := s.bucket.List(t.Context(), blob.ListOptions{Prefix: "_system/"})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, o := range page.Objects {
		left = append(left, o.Key)
	}
	if diff := cmp.Diff(settled, left); diff != "" {
		t.Errorf("what is left of the system's (-want +got):\n%s", diff)
	}
}

// TestFirstStartsMeet: several nodes start on an empty bucket, and each finds nothing there
// before any of them has written anything. One of them makes the root token, and all take it.
func TestFirstStartsMeet(t *testing.T) {
	onServers(t, func(t *testing.T, server *blobtest.Server) {
		const nodes = 3
		s := &site{server: server, store: server.NewBucket(t)}
		rules := meetings(nodes, nil)
		var up []*testNode
		var told []string
		for i := range nodes {
			proxy := blobtest.StartProxy(t, server.Endpoint, uint64(i), rules...)
			n, err := launchNode(t.TempDir(), "node", os.Environ(), s.through(proxy), "--gc-interval=0")
			if err != nil {
				t.Fatal(err)
			}
			defer n.kill()
			up = append(up, n)
		}
		for _, n := range up {
			if err := n.ready(); err != nil {
				t.Fatal(err)
			}
			if n.RootToken != "" {
				told = append(told, n.RootToken)
			}
		}
		if len(told) != 1 {
			t.Fatalf("%d root tokens were made", len(told))
		}
		s.save(t, told[0], up...)
		s.wantSettled(t, false)
	})
}
