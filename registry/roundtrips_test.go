package registry_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// trips makes every call to the bucket last one second of virtual time, so that the
// time that something took is the number of round trips that followed one another.
type trips struct {
	blob.Bucket
	mu    sync.Mutex
	calls []string
}

func (b *trips) call(what, key string) {
	b.mu.Lock()
	b.calls = append(b.calls, fmt.Sprintf("%s %s", what, key))
	b.mu.Unlock()
	time.Sleep(time.Second)
}

func (b *trips) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Object, error) {
	b.call("get", key)
	return b.Bucket.Get(ctx, key, r)
}

func (b *trips) Stat(ctx context.Context, key string) (blob.Object, error) {
	b.call("stat", key)
	return b.Bucket.Stat(ctx, key)
}

func (b *trips) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	b.call("list", o.Prefix)
	return b.Bucket.List(ctx, o)
}

func (b *trips) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	b.call("put", key)
	return b.Bucket.Put(ctx, key, body, o)
}

func TestRoundTrips(t *testing.T) {
	tests := []struct {
		name  string
		limit int // one after another
		do    func(t *testing.T, r *registry.Registry)
	}{
		{"first publish", 6, func(t *testing.T, r *registry.Registry) {
			mustPublish(t, r, registry.Publication{Model: "new", Tenant: acme}, "x")
		}},
		{"publish", 6, func(t *testing.T, r *registry.Registry) { mustPublish(t, r, registry.Publication{}, "x") }},
		{"publish with label and key", 7, func(t *testing.T, r *registry.Registry) {
			mustPublish(t, r, registry.Publication{Label: "new", Key: "new"}, "x")
		}},
		{"latest, cold", 3, func(t *testing.T, r *registry.Registry) { resolve(t, r, "acme/fraud") }},
		{"number, cold", 2, func(t *testing.T, r *registry.Registry) { resolve(t, r, "acme/fraud:3") }},
		{"label, cold", 3, func(t *testing.T, r *registry.Registry) { resolve(t, r, "acme/fraud:v2") }},
		{"alias, cold", 3, func(t *testing.T, r *registry.Registry) { resolve(t, r, "acme/fraud@champion") }},
		{"first page of versions", 4, func(t *testing.T, r *registry.Registry) {
			if _, err := r.Versions(t.Context(), acme, fraud, registry.VersionQuery{}); err != nil {
				t.Fatal(err)
			}
		}},
		{"first page of models", 2, func(t *testing.T, r *registry.Registry) {
			if _, err := r.Models(t.Context(), acme, registry.ModelQuery{}); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket := &trips{Bucket: blob.NewMemory()}
				setUp := open(t, bucket.Bucket)
				for i := range 5 {
					mustPublish(t, setUp, registry.Publication{Label: label(i), Aliases: []registry.Alias{"champion"}}, "x")
				}
				if err := setUp.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				r := open(t, bucket)
				bucket.calls = nil
				began := time.Now()
				test.do(t, r)
				took := int(time.Since(began) / time.Second)
				synctest.Wait()
				bucket.mu.Lock()
				defer bucket.mu.Unlock()
				t.Logf("%d round trips one after another, at most %d promised; %d calls", took, test.limit, len(bucket.calls))
				if took > test.limit {
					t.Errorf("calls: %q", bucket.calls)
				}
			})
		})
	}
}

func resolve(t *testing.T, r *registry.Registry, name string) *registry.Version {
	t.Helper()
	v, err := r.Resolve(t.Context(), ref(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
