package registry_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

const (
	raceNodes   = 3
	raceWriters = 32
	raceSaves   = 2000
)

// save is one save as its client saw it; stamps come from one counter.
type save struct {
	number         registry.Number
	key            string
	called, answer int64
}

// race lets 3 nodes × 32 writers make 2,000 versions of one model, while others watch
// that latest never goes back. node opens the i-th node's view of the one bucket.
// Writers repeat what fails, on the next node, with the same idempotency key if keyed.
func race(t *testing.T, node func(i int) blob.Bucket, keyed bool) {
	nodes := make([]*registry.Registry, raceNodes)
	for i := range nodes {
		nodes[i] = open(t, node(i))
	}
	var clock, next, repeats atomic.Int64
	saves := make([]save, raceSaves)
	ctx, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for _, r := range nodes {
		readers.Go(func() { watchLatest(ctx, t, r) })
	}
	began := time.Now()
	for w := range raceNodes * raceWriters {
		writers.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= raceSaves {
					return
				}
				s := &saves[i]
				p := registry.Publication{}
				if keyed {
					s.key = fmt.Sprintf("save %d", i)
					p.Key = s.key
				}
				s.called = clock.Add(1)
				for try := w; ; try++ {
					v, err := publish(ctx, nodes[try%raceNodes], p, fmt.Sprintf("content %d", i))
					if err == nil {
						s.number, s.answer = v.Version, clock.Add(1)
						break
					}
					if !keyed || try-w > 100 {
						t.Errorf("save %d: %v", i, err)
						return
					}
					repeats.Add(1)
				}
			}
		})
	}
	writers.Wait()
	took := time.Since(began)
	stop()
	readers.Wait()
	if t.Failed() {
		return
	}
	checkSaves(t, saves)
	t.Logf("%d saves from %d nodes × %d writers in %v: %.0f/s, %d repeated", raceSaves, raceNodes, raceWriters, took.Round(time.Millisecond), raceSaves/took.Seconds(), repeats.Load())
}

func watchLatest(ctx context.Context, t *testing.T, r *registry.Registry) {
	for last := registry.Number(0); ctx.Err() == nil; {
		v, err := r.Resolve(ctx, registry.Ref{Tenant: acme, Model: fraud})
		if err != nil {
			continue // nothing saved yet, or a fault
		}
		if v.Version < last {
			t.Errorf("latest went back from %d to %d", last, v.Version)
			return
		}
		last = v.Version
	}
}

// checkSaves: the numbers are 1 to n, each once, and whoever was answered before
// another began has the lower one.
func checkSaves(t *testing.T, saves []save) {
	t.Helper()
	byNumber := make([]*save, len(saves)+1)
	for i := range saves {
		n := saves[i].number
		if n < 1 || int(n) > len(saves) {
			t.Fatalf("save %d got number %d of %d", i, n, len(saves))
		}
		if byNumber[n] != nil {
			t.Fatalf("number %d was given twice", n)
		}
		byNumber[n] = &saves[i]
	}
	var latestCall int64
	for n, s := range byNumber[1:] {
		if s.answer < latestCall {
			t.Fatalf("version %d was acknowledged before a lower number was asked for", n+1)
		}
		latestCall = max(latestCall, s.called)
	}
}

// checkFound: every save that was acknowledged is in the bucket, as a fresh node sees it.
func checkFound(t *testing.T, bucket blob.Bucket) {
	t.Helper()
	r := open(t, bucket)
	report := wantClean(t, r)
	if report.Versions != raceSaves {
		t.Errorf("the bucket has %d versions, want %d", report.Versions, raceSaves)
	}
	v, err := r.Resolve(t.Context(), registry.Ref{Tenant: acme, Model: fraud})
	if err != nil || v.Version != raceSaves {
		t.Errorf("latest: got %v, %v; want %d", v, err, raceSaves)
	}
}

func TestManyWriters(t *testing.T) {
	for name, newBucket := range stores() {
		t.Run(name, func(t *testing.T) {
			bucket := newBucket(t)
			race(t, func(int) blob.Bucket { return bucket }, false)
			checkFound(t, bucket)
		})
	}
}

// The same with 10 % of the calls failing: before the store is asked, with the answer
// lost, or as a time-out whose request lands later.
func TestManyWritersWithFaults(t *testing.T) {
	for name, newBucket := range stores() {
		t.Run(name, func(t *testing.T) {
			bucket := newBucket(t)
			var faulty []*blobtest.Faulty
			race(t, func(i int) blob.Bucket {
				f := blobtest.NewFaulty(bucket, uint64(i),
					blobtest.Rule{Fault: blobtest.Before, Probability: 0.04},
					blobtest.Rule{Fault: blobtest.Late, Probability: 0.03, Delay: 20 * time.Millisecond},
					blobtest.Rule{Fault: blobtest.Lost, Probability: 0.03},
				)
				faulty = append(faulty, f)
				return f
			}, true)
			fired := map[string]int{}
			for _, f := range faulty {
				f.SetRules()
				f.Wait()
				for kind, n := range f.Fired() {
					fired[kind] += n
				}
			}
			for _, kind := range []string{"put before", "put lost", "put late", "get before", "list before", "delete lost"} {
				if fired[kind] == 0 {
					t.Errorf("no fault %q fired: %v", kind, fired)
				}
			}
			checkFound(t, bucket)
			t.Logf("faults: %v", fired)
		})
	}
}

// stores are the stores that promises are held against. MinIO is among them where
// blobtest.MinIOVariable asks for it.
func stores() map[string]func(testing.TB) blob.Bucket {
	return map[string]func(testing.TB) blob.Bucket{
		"memory":    func(testing.TB) blob.Bucket { return blob.NewMemory() },
		"dir":       func(t testing.TB) blob.Bucket { return openStore(t, "dir:"+t.TempDir()) },
		"versitygw": func(t testing.TB) blob.Bucket { return openStore(t, blobtest.StartVersityGW(t).NewBucket(t)) },
		"minio":     func(t testing.TB) blob.Bucket { return openStore(t, blobtest.StartMinIO(t).NewBucket(t)) },
	}
}

func openStore(t testing.TB, store string) blob.Bucket {
	t.Helper()
	b, err := blob.Open(t.Context(), store, blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A model's only version comes while latest is asked for, before each of its calls in
// turn: the answer is that version, or that there is none.
func TestLatestWhileOneComes(t *testing.T) {
	for nth := 1; ; nth++ {
		bucket := &hooked{Bucket: blob.NewMemory()}
		r, other := open(t, bucket), open(t, bucket.Bucket)
		mustPublish(t, other, registry.Publication{}, "deleted")
		mustDelete(t, other, "acme/fraud:1")
		calls := 0
		bucket.before = func(string, string) error {
			if calls++; calls == nth {
				mustPublish(t, other, registry.Publication{}, "come")
			}
			return nil
		}
		v, err := r.Resolve(t.Context(), ref(t, "acme/fraud"))
		if err == nil && v.Version != 2 || err != nil && !errors.Is(err, registry.ErrVersionNotFound) {
			t.Errorf("call %d: got %v, %v", nth, v, err)
		}
		if calls < nth {
			return
		}
	}
}
