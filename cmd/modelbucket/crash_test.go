package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// diary is what a client knows of its saves: which it wants, and which number the
// answer gave to each.
type diary struct {
	mu      sync.Mutex
	numbers map[string]registry.Number // by idempotency key; 0: no answer yet
}

// next is a save without an answer; "" when all have one.
func (d *diary) next(skip map[string]bool) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, n := range d.numbers {
		if n == 0 && !skip[key] {
			skip[key] = true
			return key
		}
	}
	return ""
}

func (d *diary) open() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, number := range d.numbers {
		if number == 0 {
			n++
		}
	}
	return n
}

// TestKilledNodes: nodes on a folder are killed again and again in the midst of saves,
// without a word; those on a server are in TestCrashPoints and TestSoak. What was acknowledged is there, what was not is there whole or not at all, a
// repeat with the same key never saves twice, and nothing needs repair.
func TestKilledNodes(t *testing.T) {
	const saves, writers = 150, 8
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	store := "dir:" + filepath.Join(t.TempDir(), "store")
	d := &diary{numbers: map[string]registry.Number{}}
	for i := range saves {
		d.numbers[fmt.Sprintf("save %d", i)] = 0
	}
	kills := 0
	for ; d.open() > 0 && kills < 4*saves; kills++ {
		n, err := startNode(t.TempDir(), "node", os.Environ(), "--store="+store, "--insecure", "--gc-interval=0")
		if err != nil {
			t.Fatal(err)
		}
		saveUntilKilled(t, n, d, writers, int64(1+random.IntN(20)))
	}
	if kills < 5 {
		t.Errorf("only %d nodes were killed", kills)
	}
	audit(t, store, d)
	t.Logf("%d saves through %d nodes, each killed", saves, kills)
}

// saveUntilKilled saves from several writers; the answer number acks is the node's last.
func saveUntilKilled(t *testing.T, n *testNode, d *diary, writers int, acks int64) {
	t.Helper()
	var answered atomic.Int64
	var kill sync.Once
	var wg sync.WaitGroup
	skip := map[string]bool{} // one writer for each save, by the diary's lock
	for range writers {
		wg.Go(func() {
			for {
				key := d.next(skip)
				if key == "" {
					return
				}
				number, err := save(t.Context(), n.URL, key)
				if err != nil {
					return // the node is gone
				}
				d.mu.Lock()
				d.numbers[key] = number
				d.mu.Unlock()
				if answered.Add(1) == acks {
					kill.Do(n.kill)
				}
			}
		})
	}
	wg.Wait()
	kill.Do(n.kill)
}

func save(ctx context.Context, url, key string) (registry.Number, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/tenants/acme/models/fraud/versions?filename=a", strings.NewReader("content of "+key))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Header.Set("Idempotency-Key", key)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("%s: %s", answer.Status, body)
	}
	var v registry.Version
	return v.Version, json.Unmarshal(body, &v)
}

// openRegistry opens the registry in a store, beside those of the nodes.
func openRegistry(t *testing.T, store string) *registry.Registry {
	t.Helper()
	bucket, err := blob.Open(t.Context(), store, blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// audit holds the diary against the bucket.
func audit(t *testing.T, store string, d *diary) {
	t.Helper()
	r := openRegistry(t, store)
	report, err := r.Check(t.Context(), registry.CheckOptions{Digests: true})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK {
		t.Errorf("problems: %+v", report.Problems)
	}
	if report.Versions != len(d.numbers) {
		t.Errorf("the bucket has %d versions, want %d", report.Versions, len(d.numbers))
	}
	given := map[registry.Number]string{}
	for key, n := range d.numbers {
		if other, twice := given[n]; twice {
			t.Errorf("version %d was given to %q and %q", n, key, other)
		}
		given[n] = key
		v, err := r.Resolve(t.Context(), registry.Ref{Tenant: "acme", Model: "fraud", Selector: registry.Selector{Number: n}})
		if err != nil {
			t.Errorf("%q was acknowledged as version %d: %v", key, n, err)
			continue
		}
		body, err := r.OpenFile(t.Context(), v, "a", blob.Range{})
		if err != nil {
			t.Error(err)
			continue
		}
		content, err := io.ReadAll(body)
		body.Close()
		if err != nil || string(content) != "content of "+key {
			t.Errorf("version %d: got %q, %v", n, content, err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
