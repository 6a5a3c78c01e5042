package registrytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// node is a process with a registry of its own. What it remembers ends with it, and so
// do its requests.
type node struct {
	index int
	world *world
	page  int // a listing gives at most so many entries
	*registry.Registry
	scoring Scoring

	mu     sync.Mutex
	random *rand.Rand
	dead   bool
	frozen time.Time

	// Its clock: wrong by shift, and drift too fast.
	shift time.Duration
	drift float64
}

// start opens a registry, as often as it takes: how a node starts is no part of a run.
func (w *world) start(index int, random *rand.Rand, door func(blob.Bucket) blob.Bucket) (*node, error) {
	n := &node{
		index: index, world: w, random: random, page: 5 + random.IntN(30),
		shift: time.Duration(random.Int64N(int64(28*time.Hour))) - 14*time.Hour, drift: random.Float64()/5 - 0.1,
	}
	var bucket blob.Bucket = n
	if door != nil {
		bucket = door(bucket)
	}
	ctx := behalf(context.Background(), "start")
	for try := 1; ; try++ {
		r, err := registry.Open(ctx, bucket, registry.Options{Now: n.now, Random: n.draw})
		if err == nil {
			n.Registry = r
			if w.scoring != nil {
				n.scoring = w.scoring(r)
			}
			return n, nil
		}
		if try == 100 {
			return nil, err
		}
	}
}

func (n *node) now() time.Time {
	passed := time.Since(n.world.began)
	return n.world.began.Add(n.shift + passed + time.Duration(n.drift*float64(passed)))
}

func (n *node) draw() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random.Uint64()
}

func (n *node) kill() {
	n.mu.Lock()
	n.dead = true
	n.mu.Unlock()
	n.world.nudge()
}

func (n *node) killed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead
}

func (n *node) freeze(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = time.Now().Add(d)
}

func (n *node) frozenUntil() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.frozen
}

type clientKey struct{}

// behalf marks the calls of a context as somebody's.
func behalf(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// Below is the node's way to the bucket.

func (n *node) call(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.killed() {
		return errKilled
	}
	c.node = n
	c.client, _ = ctx.Value(clientKey{}).(string)
	c.depth = strings.Count(fmt.Sprint(ctx), ".With")
	return n.world.park(ctx, c)
}

func (n *node) String() string { return "simulated" }

func (n *node) Get(ctx context.Context, key string, part blob.Range) (io.ReadCloser, blob.Object, error) {
	var data []byte
	var o blob.Object
	var bodyErr error
	err := n.call(ctx, &call{
		kind: blobtest.Get, key: key, what: partName(part),
		do: func() error {
			body, found, err := n.world.store.Get(context.Background(), key, part)
			if err != nil {
				return err
			}
			o = found
			data, err = io.ReadAll(body)
			return err
		},
		spoil: func(f fault) error {
			switch {
			case len(data) == 0:
				return errUnclear
			case f == cut:
				data, bodyErr = data[:len(data)/2], io.ErrUnexpectedEOF
			default:
				data[len(data)/2] ^= 1
			}
			return nil
		},
	})
	if err != nil {
		return nil, blob.Object{}, err
	}
	var body io.Reader = bytes.NewReader(data)
	if bodyErr != nil {
		body = io.MultiReader(body, failing{fmt.Errorf("%w: %w", blob.ErrUnavailable, bodyErr)})
	}
	return io.NopCloser(body), o, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func partName(r blob.Range) string {
	if r == (blob.Range{}) {
		return ""
	}
	return fmt.Sprintf("%d+%d", r.Offset, r.Length)
}

func (n *node) Stat(ctx context.Context, key string) (o blob.Object, err error) {
	var found blob.Object
	err = n.call(ctx, &call{kind: blobtest.Stat, key: key, do: func() (err error) {
		found, err = n.world.store.Stat(context.Background(), key)
		return err
	}})
	if err != nil {
		return blob.Object{}, err
	}
	return found, nil
}

func (n *node) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return blob.Object{}, err
	}
	what := "plain"
	switch {
	case o.IfAbsent:
		what = "if absent"
	case o.IfMatch != "":
		what = "if match"
	}
	var answered bool
	var stored blob.Object
	err = n.call(ctx, &call{kind: blobtest.Put, key: key, what: what, change: true, do: func() error {
		object, err := n.world.store.Put(context.Background(), key, bytes.NewReader(data), o)
		if err == nil && !answered {
			answered, stored = true, object
		}
		return err
	}})
	if err != nil {
		return blob.Object{}, err
	}
	return stored, nil
}

func (n *node) Delete(ctx context.Context, key string) error {
	return n.call(ctx, &call{kind: blobtest.Delete, key: key, change: true, do: func() error {
		return n.world.store.Delete(context.Background(), key)
	}})
}

func (n *node) AbortUploads(ctx context.Context, key string) error {
	return n.call(ctx, &call{kind: blobtest.AbortUploads, key: key, do: func() error { return nil }})
}

// List is cut into small pages, so that most listings take several calls. It is torn: of
// what was added between the call and its turn it shows any part.
func (n *node) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	if o.Limit <= 0 || o.Limit > n.page {
		o.Limit = n.page
	}
	what := fmt.Sprintf("%s %d", o.Delimiter, o.Limit)
	if o.StartAfter != "" {
		what += " after " + o.StartAfter
	}
	var earlier, page blob.Page
	err := n.call(ctx, &call{
		kind: blobtest.List, key: o.Prefix, what: what, single: o.Limit == 1,
		first: func() { earlier, _ = n.world.store.List(context.Background(), o) },
		do: func() (err error) {
			page, err = n.world.store.List(context.Background(), o)
			page.Objects = slices.DeleteFunc(page.Objects, func(added blob.Object) bool {
				if !strings.Contains(added.Key, "/_versions/") || o.Limit == 1 {
					return false
				}
				there := slices.ContainsFunc(earlier.Objects, func(o blob.Object) bool { return o.Key == added.Key })
				return !there && len(earlier.Objects) < o.Limit && n.world.random.IntN(2) == 0
			})
			return err
		},
	})
	if err != nil {
		return blob.Page{}, err
	}
	return page, nil
}
