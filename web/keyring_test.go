package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
		synctest.Wait()
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
		before := n.asked.keys.Load()
		for range 10_000 {
			ask()
		}
		if calls := n.asked.keys.Load() - before; calls != 0 {
			t.Errorf("10,000 requests made %d calls", calls)
		}
		first := lastUse(t, n, id)
		before = n.asked.keys.Load()
		for began := time.Now(); time.Since(began) < time.Hour-time.Minute; time.Sleep(time.Second) {
			ask()
		}
		synctest.Wait()
		if calls := n.asked.keys.Load() - before; calls > 3600/15+3600/9+50 {
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
		before = n.asked.keys.Load()
		time.Sleep(time.Hour)
		if calls := n.asked.keys.Load() - before; calls != 0 {
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
		before, refused := n.asked.keys.Load(), 0
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
		if calls := n.asked.keys.Load() - before; calls > 50+5*60+1 || refused < 5000 {
			t.Errorf("6,000 made-up keys made %d calls, %d were refused unseen", calls, refused)
		}
		if got := ask("198.51.100.1:1000", n.tokens["good"]); got != http.StatusOK {
			t.Errorf("a good key from elsewhere: %d", got)
		}
		if got := ask("192.0.2.1:1000", n.tokens["good"]); got != http.StatusOK {
			t.Errorf("a good key, known by now, from the same address: %d", got)
		}
		time.Sleep(time.Minute)
		before = n.asked.keys.Load()
		for range 100 {
			if got := ask("192.0.2.1:1000", same); got != http.StatusUnauthorized {
				t.Fatal(got)
			}
		}
		if calls := n.asked.keys.Load() - before; calls != 1 {
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
