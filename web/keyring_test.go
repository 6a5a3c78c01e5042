package web_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web"
)

// cluster is some nodes over one store in memory, each with a line of its own to it.
type cluster struct {
	t      *testing.T
	memory *blob.Memory
	nodes  []*clusterNode
}

type clusterNode struct {
	*callers
	registry *registry.Registry
}

// newCluster starts nodes within a bubble of virtual time.
func newCluster(t *testing.T, nodes int, change func(*web.Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, memory: blob.NewMemory()}
	for range nodes {
		n := &clusterNode{callers: &callers{bucket: blobtest.NewFaulty(c.memory, 1), tokens: map[string]string{"root": token}}}
		var err error
		if n.registry, err = registry.Open(t.Context(), n.bucket, registry.Options{}); err != nil {
			t.Fatal(err)
		}
		o := web.Options{Registry: n.registry}
		if o.RootToken, err = n.registry.RootToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&o)
		}
		if n.server, err = web.New(o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			n.server.Close()
			n.bucket.Wait()
			if err := n.registry.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		c.nodes = append(c.nodes, n)
	}
	return c
}

// key makes a key by a node's own route, and hands it to all.
func (c *cluster) key(name string, k registry.NewKey) (id registry.KeyID) {
	c.t.Helper()
	key, secret, err := c.nodes[0].registry.CreateKey(c.t.Context(), k)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range c.nodes {
		n.tokens[name] = secret.Reveal()
	}
	return key.ID
}

// train makes a detector that all can ask.
func (c *cluster) train() {
	c.t.Helper()
	c.nodes[0].must(c.t, "root", "POST", "/v1/tenants/acme/models/fraud/train?n_estimators=3", "packet_count\n"+strings.Repeat("1\n2\n3\n", 20), http.StatusCreated, "Content-Type", "text/csv")
}

func (n *clusterNode) detect(who string) *httptest.ResponseRecorder {
	return n.ask(who, "POST", "/v1/tenants/acme/models/fraud/detect", oneEvent)
}

func (n *clusterNode) cutOff()    { n.bucket.SetRules(blobtest.Rule{Fault: blobtest.Before}) }
func (n *clusterNode) reconnect() { n.bucket.SetRules() }

// code is an answer's code, "" for a success.
func code(w *httptest.ResponseRecorder) string {
	_, rest, _ := strings.Cut(w.Body.String(), `"code":"`)
	code, _, _ := strings.Cut(rest, `"`)
	if w.Code < 300 {
		return ""
	}
	return fmt.Sprint(w.Code, " ", code)
}

// TestRevocation: a key that is used on three nodes all the time is revoked on the first.
// That one refuses it at once; the second, which reaches the store as well or badly as
// stores are reached, within 30 s; the third, which is cut off, scores with it for the
// grace and does nothing else, and refuses it when it is back.
func TestRevocation(t *testing.T) {
	trials := 30
	if os.Getenv("MODELBUCKET_TEST_LONG") == "1" {
		trials = 5000
	}
	lines := []struct {
		name string
		rule blobtest.Rule // of the second node's line
		dies bool          // the first one dies before it raises the epoch
	}{
		{name: "sound"},
		{name: "slow", rule: blobtest.Rule{Fault: blobtest.Slow, Delay: 3 * time.Second}},
		{name: "a third of the calls fails", rule: blobtest.Rule{Fault: blobtest.Before, Probability: 0.33}},
		{name: "a third of the answers is late", rule: blobtest.Rule{Fault: blobtest.Slow, Delay: 4500 * time.Millisecond, Probability: 0.33}},
		{name: "the revoker dies", dies: true},
		{name: "the revoker dies, slow", rule: blobtest.Rule{Fault: blobtest.Slow, Delay: 3 * time.Second}, dies: true},
	}
	for i, line := range lines {
		var worst, sum time.Duration
		for trial := range trials {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(uint64(i), uint64(trial)))
				took := revoke(t, random, line.rule, line.dies)
				worst, sum = max(worst, took), sum+took
			})
			if t.Failed() {
				t.Fatalf("%s, trial %d", line.name, trial)
			}
		}
		if limit := 30 * time.Second; worst > limit {
			t.Errorf("%s: revoked after %v", line.name, worst)
		}
		t.Logf("revoke.worst_s %.1f (mean %.1f) on another node, of %d; its line to the store: %s", worst.Seconds(), sum.Seconds()/float64(trials), trials, line.name)
	}
}

// revoke is one trial; it returns how long the second node took.
func revoke(t *testing.T, random *rand.Rand, rule blobtest.Rule, dies bool) (took time.Duration) {
	c := newCluster(t, 3, nil)
	first, second, third := c.nodes[0], c.nodes[1], c.nodes[2]
	c.train()
	id := c.key("w", registry.NewKey{Tenant: "acme", Role: registry.Writer})
	for _, n := range c.nodes {
		if w := n.detect("w"); w.Code != http.StatusOK {
			t.Fatalf("before: %d %s", w.Code, w.Body)
		}
	}
	pause := time.Duration(1+random.IntN(25_000)) * time.Millisecond
	use := func(n *clusterNode, span time.Duration) {
		for until := time.Now().Add(span); time.Now().Before(until); time.Sleep(pause) {
			if w := n.detect("w"); w.Code != http.StatusOK {
				t.Fatalf("in use: %d %s", w.Code, w.Body)
			}
		}
	}
	use(second, time.Duration(random.Int64N(int64(time.Minute))))
	use(third, time.Second)
	if rule.Fault != "" {
		second.bucket.SetRules(rule)
	}
	cut := time.Now()
	third.cutOff()
	if dies {
		first.bucket.SetRules(blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Put, Key: regexp.MustCompile(`_epoch`)})
	}
	first.must(t, "root", "DELETE", "/v1/tenants/acme/keys/"+string(id), "", http.StatusOK)
	revoked := time.Now()
	if w := first.detect("w"); w.Code != http.StatusUnauthorized {
		t.Fatalf("on the node that revoked it: %d %s", w.Code, w.Body)
	}

	var all sync.WaitGroup
	all.Go(func() { // the cut-off one
		const grace = 15 * time.Minute
		for ; time.Since(cut) < grace-30*time.Second; time.Sleep(20 * time.Second) {
			if w := third.detect("w"); w.Code != http.StatusOK {
				t.Errorf("cut off for %v: %s", time.Since(cut), code(w))
			}
			if time.Since(cut) < time.Minute {
				continue // it may not have noticed yet, and then the store's own absence refuses
			}
			for _, other := range []*httptest.ResponseRecorder{
				third.ask("w", "GET", "/v1/models", ""), third.ask("w", "POST", "/v1/tenants/acme/models/fraud/versions", "x", "Content-Type", "application/octet-stream"),
				third.ask("w", "POST", "/v1/tenants/acme/models/fraud/versions/1/unload", ""),
			} {
				if code(other) != "503 auth_unavailable" || other.Header().Get("Retry-After") == "" {
					t.Errorf("cut off for %v, it does something else: %s", time.Since(cut), code(other))
				}
			}
		}
		time.Sleep(time.Minute)
		if w := third.detect("w"); code(w) != "503 auth_unavailable" {
			t.Errorf("after the grace: %s", code(w))
		}
		third.reconnect()
		time.Sleep(2 * time.Second)
		third.detect("w")
		time.Sleep(2 * time.Second)
		if w := third.detect("w"); code(w) != "401 unauthenticated" {
			t.Errorf("back again: %s", code(w))
		}
	})
	for {
		if w := second.detect("w"); w.Code == http.StatusUnauthorized {
			break
		}
		took = time.Since(revoked)
		if took > time.Minute {
			t.Errorf("still taken after %v", took)
			break
		}
		time.Sleep(min(pause, 500*time.Millisecond))
	}
	all.Wait()
	return took
}

// A key that ended, as far as this node knows, is refused whether the store answers or
// not; one of which nothing is known is neither good nor bad; and the root token is always.
func TestKeysWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		n := c.nodes[0]
		c.train()
		end := time.Now().Add(time.Minute)
		for name, k := range map[string]registry.NewKey{
			"known": {Tenant: "acme", Role: registry.Scorer}, "unknown": {Tenant: "acme", Role: registry.Scorer}, "expires": {Tenant: "acme", Role: registry.Scorer, ExpiresAt: &end},
			"reader": {Tenant: "acme", Role: registry.Reader}, "revoked": {Tenant: "acme", Role: registry.Scorer},
		} {
			id := c.key(name, k)
			if name == "unknown" {
				continue
			}
			if w := n.ask(name, "GET", "/v1/detectors", ""); w.Code != http.StatusOK {
				t.Fatal(name, code(w))
			}
			if name == "revoked" {
				n.must(t, "root", "DELETE", "/v1/keys/"+string(id), "", http.StatusOK)
				n.detect(name)
			}
		}
		n.detect("known")
		n.tokens["wrong"] = forge(n.tokens["known"])
		n.cutOff()
		want := func(when string, wants map[string]string) {
			t.Helper()
			for who, want := range wants {
				if got := code(n.detect(who)); got != want {
					t.Errorf("%s, %s detects: %q, want %q", when, who, got, want)
				}
			}
		}
		time.Sleep(30 * time.Second)
		want("away", map[string]string{"known": "", "unknown": "503 auth_unavailable", "revoked": "401 unauthenticated", "wrong": "401 unauthenticated", "reader": "403 forbidden", "root": ""})
		time.Sleep(3 * time.Minute)
		want("away for minutes", map[string]string{"known": "", "unknown": "503 auth_unavailable", "expires": "401 unauthenticated", "revoked": "401 unauthenticated"})
		if w := n.ask("reader", "GET", "/v1/tenants/acme/models", ""); code(w) != "503 auth_unavailable" {
			t.Errorf("a reader reads: %s", code(w))
		}
		if w := n.ask("reader", "GET", "/v1/tenants/evil/models", ""); code(w) != "404 tenant_not_found" {
			t.Errorf("a reader reads what is another's: %s", code(w))
		}
		if w := n.ask("reader", "GET", "/v1/detectors", ""); w.Code != http.StatusOK {
			t.Errorf("a reader lists detectors: %s", code(w))
		}
		n.reconnect()
		time.Sleep(3 * time.Second)
		want("back", map[string]string{"known": "", "unknown": "", "expires": "401 unauthenticated", "revoked": "401 unauthenticated"})
		if w := n.ask("reader", "GET", "/v1/tenants/acme/models", ""); w.Code != http.StatusOK {
			t.Errorf("a reader reads: %s", code(w))
		}
	})
}

// Without a grace nothing works without the store.
func TestNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, func(o *web.Options) { o.AuthGrace = -1 })
		c.train()
		c.key("k", registry.NewKey{Tenant: "acme", Role: registry.Scorer})
		n := c.nodes[0]
		if w := n.detect("k"); w.Code != http.StatusOK {
			t.Fatal(code(w))
		}
		n.cutOff()
		time.Sleep(21 * time.Second)
		if w := n.detect("k"); code(w) != "503 auth_unavailable" {
			t.Errorf("without a grace: %s", code(w))
		}
	})
}

// A store that hangs keeps nobody waiting who may go on without it.
func TestHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.train()
		c.key("k", registry.NewKey{Tenant: "acme", Role: registry.Scorer})
		n := c.nodes[0]
		for range 2 {
			if w := n.detect("k"); w.Code != http.StatusOK {
				t.Fatal(code(w))
			}
		}
		time.Sleep(time.Second)
		n.bucket.SetRules(blobtest.Rule{Fault: blobtest.Slow, Delay: time.Hour})
		waited, slowest := 0, time.Duration(0)
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(100 * time.Millisecond) {
			asked := time.Now()
			if w := n.detect("k"); w.Code != http.StatusOK {
				t.Fatalf("after %v: %s", time.Since(began), code(w))
			}
			if took := time.Since(asked); took > 0 {
				waited++
				slowest = max(slowest, took)
			}
		}
		// One waits for the key, and one for the model's latest, in their turn.
		if slowest > 2*time.Second || waited > 5 {
			t.Errorf("%d waited, the longest %v", waited, slowest)
		}
	})
}

// A key that is known costs no call; to keep it known costs one in about fifteen seconds,
// and one in ten for all keys together; and its use is noted once an hour.
func TestKnownKeysCostNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		n := c.nodes[0]
		id := c.key("k", registry.NewKey{Tenant: "acme", Role: registry.Scorer})
		ask := func() {
			t.Helper()
			if w := n.ask("k", "GET", "/v1/detectors", ""); w.Code != http.StatusOK {
				t.Fatal(code(w))
			}
		}
		ask()
		ask()
		synctest.Wait()
		before := n.bucket.Calls()
		for range 10_000 {
			ask()
		}
		if calls := n.bucket.Calls() - before; calls != 0 {
			t.Errorf("10,000 requests made %d calls", calls)
		}
		first := lastUse(t, n, id)
		for began := time.Now(); time.Since(began) < time.Hour-time.Minute; time.Sleep(time.Second) {
			ask()
		}
		synctest.Wait()
		if calls := n.bucket.Calls() - before; calls > 3600/15+3600/9+50 {
			t.Errorf("an hour of requests made %d calls", calls)
		}
		if at := lastUse(t, n, id); !at.Equal(first) {
			t.Errorf("its use was noted at %v, and again at %v", first, at)
		}
		time.Sleep(2 * time.Minute)
		ask()
		ask()
		synctest.Wait()
		if at := lastUse(t, n, id); time.Since(at) > time.Second {
			t.Errorf("its use was noted at %v, it is %v", at, time.Now())
		}
		time.Sleep(time.Hour) // in which nobody asks
		before = n.bucket.Calls()
		time.Sleep(time.Hour)
		if calls := n.bucket.Calls() - before; calls != 0 {
			t.Errorf("an hour in which nobody asks made %d calls", calls)
		}
	})
}

func lastUse(t *testing.T, n *clusterNode, id registry.KeyID) time.Time {
	t.Helper()
	page, err := n.registry.Keys(t.Context(), registry.KeyQuery{Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range page.Keys {
		if k.ID == id && k.LastUsedAt != nil {
			return *k.LastUsedAt
		}
	}
	t.Fatalf("%s is not listed as used", id)
	return time.Time{}
}

// Who makes up keys does not load the store, nor keep others out.
func TestMadeUpKeysAreBudgeted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		n := c.nodes[0]
		elsewhere, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.key("good", registry.NewKey{Tenant: "acme", Role: registry.Scorer})
		before, refused := n.bucket.Calls(), 0
		ask := func(from, secret string) int {
			r := httptest.NewRequest("GET", "/v1/detectors", nil)
			r.Header.Set("Authorization", "Bearer "+secret)
			r.RemoteAddr = from
			w := httptest.NewRecorder()
			n.server.ServeHTTP(w, r)
			return w.Code
		}
		var same string
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
			_, secret, err := elsewhere.CreateKey(t.Context(), registry.NewKey{Role: registry.Admin})
			if err != nil {
				t.Fatal(err)
			}
			same = secret.Reveal()
			switch got := ask("192.0.2.1:1000", same); got {
			case http.StatusTooManyRequests:
				refused++
			case http.StatusUnauthorized:
			default:
				t.Fatal(got)
			}
		}
		if calls := n.bucket.Calls() - before; calls > 50+5*60+1 || refused < 5000 {
			t.Errorf("6,000 made-up keys made %d calls, %d were refused unseen", calls, refused)
		}
		if got := ask("198.51.100.1:1000", n.tokens["good"]); got != http.StatusOK {
			t.Errorf("a good key from elsewhere: %d", got)
		}
		if got := ask("192.0.2.1:1000", n.tokens["good"]); got != http.StatusOK {
			t.Errorf("a good key, known by now, from the same address: %d", got)
		}
		time.Sleep(time.Minute)
		before = n.bucket.Calls()
		for range 100 {
			if got := ask("192.0.2.1:1000", same); got != http.StatusUnauthorized {
				t.Fatal(got)
			}
		}
		if calls := n.bucket.Calls() - before; calls != 1 {
			t.Errorf("one made-up key a hundred times made %d calls", calls)
		}
	})
}

// Good keys are free, however many a node meets for the first time.
func TestGoodKeysAreNotBudgeted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		for i := range 500 {
			c.key(fmt.Sprint(i), registry.NewKey{Tenant: "acme", Role: registry.Scorer})
		}
		for i := range 500 {
			if w := c.nodes[0].ask(fmt.Sprint(i), "GET", "/v1/detectors", ""); w.Code != http.StatusOK {
				t.Fatalf("key %d: %s", i, code(w))
			}
		}
	})
}

// A damaged record of a key is the trouble of that key alone.
func TestDamagedKeyRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		n := c.nodes[0]
		bad, good := c.key("bad", registry.NewKey{Tenant: "acme", Role: registry.Scorer}), c.key("good", registry.NewKey{Tenant: "acme", Role: registry.Scorer})
		if _, err := c.memory.Put(t.Context(), "_system/keys/"+string(bad)+".json", strings.NewReader("{}"), blob.PutOptions{Size: 2}); err != nil {
			t.Fatal(err)
		}
		w := n.ask("bad", "GET", "/v1/detectors", "")
		if code(w) != "503 auth_unavailable" || strings.Contains(w.Body.String(), "_system") {
			t.Errorf("a damaged key: %d %s", w.Code, w.Body)
		}
		if w := n.ask("good", "GET", "/v1/detectors", ""); w.Code != http.StatusOK {
			t.Errorf("%s beside it: %s", good, code(w))
		}
	})
}

// Keys are made, used, revoked and forgotten at once, by many.
func TestKeysAtOnce(t *testing.T) {
	c := newCallers(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				made := c.ask("admin of acme", "POST", "/v1/tenants/acme/keys", `{"role":"scorer"}`)
				_, rest, _ := strings.Cut(made.Body.String(), `"token":"`)
				secret, _, ok := strings.Cut(rest, `"`)
				if !ok {
					t.Errorf("made: %d %s", made.Code, made.Body)
					return
				}
				ask := func() int {
					r := httptest.NewRequest("GET", "/v1/detectors", nil)
					r.Header.Set("Authorization", "Bearer "+secret)
					w := httptest.NewRecorder()
					c.server.ServeHTTP(w, r)
					return w.Code
				}
				var use sync.WaitGroup
				for range 4 {
					use.Go(func() {
						if got := ask(); got != http.StatusOK && got != http.StatusUnauthorized {
							t.Errorf("used: %d", got)
						}
					})
				}
				if (i+j)%2 == 0 {
					use.Wait()
				}
				if w := c.ask("admin of acme", "DELETE", "/v1/tenants/acme/keys/"+secret[5:15], ""); w.Code != http.StatusOK {
					t.Errorf("revoked: %d %s", w.Code, w.Body)
				}
				if got := ask(); got != http.StatusUnauthorized {
					t.Errorf("used after it was revoked here: %d", got)
				}
				use.Wait()
			}
		})
	}
	all.Wait()
}

var errOfTheStore = errors.New("endpoint https://secret-endpoint.example/bucket: dial tcp 10.9.8.7:9000")

// Nothing that a caller is told when the store fails speaks of it, or of keys.
func TestKeyErrorsAreSilent(t *testing.T) {
	c := newCallers(t)
	elsewhere, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := elsewhere.CreateKey(t.Context(), registry.NewKey{Role: registry.Admin})
	if err != nil {
		t.Fatal(err)
	}
	c.tokens["new"] = secret.Reveal()
	c.bucket.SetRules(blobtest.Rule{Fault: blobtest.Before, Err: fmt.Errorf("%w: %w", blob.ErrUnavailable, errOfTheStore)})
	w := c.ask("new", "GET", "/v1/models", "")
	if code(w) != "503 auth_unavailable" || strings.Contains(w.Body.String(), "secret-endpoint") || strings.Contains(w.Body.String(), "_system") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
