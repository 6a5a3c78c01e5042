package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// balancer does what any load balancer does: it asks each backend for its health, sends
// requests to those that are well, in turn, and where a connection can't even be made,
// to the next one. Where none is well it trusts its own eyes no more, and tries all.
type balancer struct {
	proxy http.Handler
	next  atomic.Int64

	mu       sync.Mutex
	backends []*url.URL
	well     map[*url.URL]bool
}

const healthInterval = 50 * time.Millisecond

func newBalancer() *balancer {
	b := &balancer{well: map[*url.URL]bool{}}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	b.proxy = &httputil.ReverseProxy{
		Rewrite:   func(*httputil.ProxyRequest) {},
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return b.send(transport, r) }),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	return b
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (b *balancer) send(transport http.RoundTripper, r *http.Request) (*http.Response, error) {
	err := errors.New("no backend is there")
	chosen := b.chosen(false)
	if len(chosen) == 0 {
		chosen = b.chosen(true)
	}
	for _, backend := range chosen {
		var answer *http.Response
		r.URL.Scheme, r.URL.Host = backend.Scheme, backend.Host
		answer, err = transport.RoundTrip(r)
		if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
			return answer, err
		}
	}
	return nil, err
}

// chosen are the backends that are well, or all, another one first each time.
func (b *balancer) chosen(all bool) (chosen []*url.URL) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := int(b.next.Add(1))
	for i := range b.backends {
		if u := b.backends[(first+i)%len(b.backends)]; all || b.well[u] {
			chosen = append(chosen, u)
		}
	}
	return chosen
}

// replace puts a backend in the place of another, or of none.
func (b *balancer) replace(old *url.URL, with string) (*url.URL, error) {
	u, err := url.Parse(with)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var others []*url.URL
	for _, o := range b.backends {
		if o != old {
			others = append(others, o)
		}
	}
	b.backends = append(others, u)
	return u, nil
}

// watch asks for the backends' health until ctx is over.
func (b *balancer) watch(ctx context.Context) {
	for ctx.Err() == nil {
		b.mu.Lock()
		backends := append([]*url.URL(nil), b.backends...)
		b.mu.Unlock()
		for _, u := range backends {
			ready := false
			if r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+"/readyz", nil); err == nil {
				if answer, err := http.DefaultClient.Do(r); err == nil {
					ready = answer.StatusCode == http.StatusOK
					answer.Body.Close()
				}
			}
			b.mu.Lock()
			b.well[u] = ready
			b.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(healthInterval):
		}
	}
}

// TestRollingRestart: three nodes behind a balancer are restarted one by one, again and
// again, while clients that never repeat a request score, read and save. None of their
// requests fails.
func TestRollingRestart(t *testing.T) {
	requests, rounds := int64(4000), 1
	if long() {
		requests, rounds = 100_000, 5
	}
	server := blobtest.StartVersityGW(t)
	store := server.NewBucket(t)
	b := newBalancer()
	var nodes [3]*testNode
	var backends [3]*url.URL
	start := func(i int) {
		n, err := startNode(t.TempDir(), "node", os.Environ(), "--store="+store, "--insecure", "--gc-interval=5s", "--drain=500ms")
		if err == nil {
			nodes[i] = n
			backends[i], err = b.replace(backends[i], n.URL)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range nodes {
		start(i)
	}
	defer func() {
		for _, n := range nodes {
			n.kill()
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { b.watch(ctx) })
	front := httptest.NewServer(b.proxy)
	defer front.Close()
	c := caller(t, front.URL)
	for len(b.chosen(false)) < len(nodes) {
		time.Sleep(healthInterval)
	}
	if _, err := c.Train(t.Context(), training("acme", "edge"), client.BytesOf(demoEvents, detector.JSON)); err != nil {
		t.Fatal(err)
	}

	var done, failed, restarts, saved atomic.Int64
	for i := range 8 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			for ctx.Err() == nil && (done.Load() < requests || restarts.Load() < int64(3*rounds)) {
				if err := rolling(t.Context(), c, random, &saved); err != nil {
					failed.Add(1)
					t.Errorf("request %d: %v", done.Load(), err)
				}
				done.Add(1)
			}
		})
	}
	for range rounds {
		for i := range nodes {
			if err := nodes[i].stop(); err != nil {
				t.Errorf("node %d ended with %v", i, err)
			}
			start(i)
			restarts.Add(1)
			for len(b.chosen(false)) < len(nodes) && !t.Failed() {
				time.Sleep(healthInterval)
			}
		}
	}
	for done.Load() < requests && !t.Failed() {
		time.Sleep(healthInterval)
	}
	cancel()
	running.Wait()
	var last registry.Number
	for v, err := range c.Versions(t.Context(), "acme", "fraud", client.VersionList{}) {
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, v.Version)
	}
	if int64(last) != saved.Load() {
		t.Errorf("%d saves made %d versions", saved.Load(), last)
	}
	t.Logf("rolling.requests %d, rolling.restarts %d, rolling.saves %d, rolling.failed %d", done.Load(), restarts.Load(), saved.Load(), failed.Load())
}

// rolling is one request.
func rolling(ctx context.Context, c *client.Client, random *rand.Rand, saved *atomic.Int64) error {
	switch n := random.IntN(20); {
	case n == 0:
		n := saved.Add(1)
		_, err := c.Publish(ctx, client.Publication{Tenant: "acme", Model: "fraud"}, file("a", fmt.Sprint(n)))
		return err
	case n < 6:
		_, err := c.Version(ctx, registry.Ref{Tenant: "acme", Model: "edge"})
		return err
	case n < 8:
		body, err := c.Open(ctx, number("acme", "edge", 1), "model.joblib")
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, body)
		return errors.Join(err, body.Close())
	}
	return detect(ctx, c, "acme")
}
