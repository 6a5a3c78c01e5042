package detector_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
)

const (
	tenant registry.Tenant = "acme"
	model  registry.Model  = "fraud"
)

// store is a registry in memory, on a bucket that can be made to fail.
type store struct {
	*testing.T
	*registry.Registry
	bucket *blobtest.Faulty

	mu    sync.Mutex
	asked map[time.Time]bool // moments at which calls of the bucket began
}

// questions counts the moments at which the bucket was called since the count began.
// In virtual time that is how often it was asked: of the calls that make up one question
// the others are begun or not, as the first one fails sooner or later.
func (s *store) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *store) countQuestions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = map[time.Time]bool{}
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{T: t, bucket: blobtest.NewFaulty(blob.NewMemory(), 1), asked: map[time.Time]bool{}}
	r, err := registry.Open(t.Context(), blob.Observe(s.bucket, func(c blob.Call) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[time.Now().Add(-c.Duration)] = true
	}), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Registry = r
	return s
}

// opaque publishes a version that is no detector.
func (s *store) opaque(m registry.Model) *registry.Version {
	s.Helper()
	u, err := s.Begin(s.Context(), registry.Publication{Tenant: tenant, Model: m, By: "test"})
	if err != nil {
		s.Fatal(err)
	}
	defer u.Abort()
	if _, err := u.File(s.Context(), "notes.txt", strings.NewReader("no detector"), -1, ""); err != nil {
		s.Fatal(err)
	}
	v, err := u.Commit(s.Context(), registry.Facts{})
	if err != nil {
		s.Fatal(err)
	}
	s.tidy()
	return v
}

// tidy waits for what a change leaves to be done afterwards.
func (s *store) tidy() {
	s.Helper()
	if err := s.Close(s.Context()); err != nil {
		s.Fatal(err)
	}
}

func (s *store) away() { s.bucket.SetRules(blobtest.Rule{Fault: blobtest.Before}) }
func (s *store) hung() { s.bucket.SetRules(blobtest.Rule{Fault: blobtest.Slow, Delay: time.Hour}) }
func (s *store) back() { s.bucket.SetRules() }

func latest(m registry.Model) registry.Ref { return registry.Ref{Tenant: tenant, Model: m} }

// resolving runs a test of a resolver in virtual time.
func resolving(t *testing.T, f func(*store, *detector.Resolver)) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		r := detector.NewResolver(s.Registry, detector.ResolverOptions{})
		defer r.Close()
		f(s, r)
		s.back()
	})
}

// wantVersion resolves latest and returns how old the answer is.
func wantVersion(t *testing.T, r *detector.Resolver, want registry.Number) time.Duration {
	t.Helper()
	v, age, err := r.Resolve(t.Context(), latest(model))
	if err != nil {
		t.Fatal(err)
	}
	if v.Version != want {
		t.Errorf("got version %d, want %d", v.Version, want)
	}
	return age
}

func TestResolveRemembers(t *testing.T) {
	resolving(t, func(s *store, r *detector.Resolver) {
		s.opaque(model)
		wantVersion(s.T, r, 1)
		s.opaque(model)
		time.Sleep(700 * time.Millisecond)
		if age := wantVersion(s.T, r, 1); age != 700*time.Millisecond {
			t.Errorf("after 0.7 s the answer is %s old", age)
		}
		time.Sleep(400 * time.Millisecond)
		if age := wantVersion(s.T, r, 2); age != 0 {
			t.Errorf("a new answer is %s old", age)
		}
	})
}

// TestResolveAhead: what is in use is asked for before it is too old.
// What a resolver remembers is bounded by bytes, too: the version used last is still known,
// those of long ago are not, when their metadata is large.
func TestResolveForgetsTheLarge(t *testing.T) {
	resolving(t, func(s *store, r *detector.Resolver) {
		const versions = 50
		about := []byte(`{"about":"` + strings.Repeat("x", 900<<10) + `"}`)
		for range versions {
			u, err := s.Begin(s.Context(), registry.Publication{Tenant: tenant, Model: model, By: "test", UserMetadata: about})
			if err != nil {
				s.Fatal(err)
			}
			if _, err := u.File(s.Context(), "notes.txt", strings.NewReader("no detector"), -1, ""); err != nil {
				s.Fatal(err)
			}
			if _, err := u.Commit(s.Context(), registry.Facts{}); err != nil {
				s.Fatal(err)
			}
			u.Abort()
		}
		s.tidy()
		asks := func(n registry.Number) bool {
			s.countQuestions()
			v, _, err := r.Resolve(s.Context(), registry.Ref{Tenant: tenant, Model: model, Selector: registry.Selector{Number: n}})
			if err != nil || v.Version != n || len(v.UserMetadata) != len(about) {
				s.Fatalf("resolve %d: %v, %v", n, v, err)
			}
			return s.questions() > 0
		}
		for n := range registry.Number(versions) {
			asks(n + 1)
		}
		if asks(versions) {
			t.Error("the version used last was forgotten")
		}
		if asks(versions - 20) {
			t.Error("20 versions of 900 KiB are too many")
		}
		if !asks(1) {
			t.Errorf("%d versions of 900 KiB are remembered", versions)
		}
	})
}

func TestResolveAhead(t *testing.T) {
	resolving(t, func(s *store, r *detector.Resolver) {
		s.opaque(model)
		wantVersion(s.T, r, 1)
		s.opaque(model)
		time.Sleep(800 * time.Millisecond)
		wantVersion(s.T, r, 1) // and asks
		synctest.Wait()
		calls := s.bucket.Calls()
		if age := wantVersion(s.T, r, 2); age != 0 || s.bucket.Calls() != calls {
			t.Errorf("the answer is %s old after %d more calls", age, s.bucket.Calls()-calls)
		}
	})
}

// TestResolveShared: many who ask at once are one question, which goes on when the first
// one leaves.
func TestResolveShared(t *testing.T) {
	resolving(t, func(s *store, r *detector.Resolver) {
		s.opaque(model)
		calls := s.bucket.Calls()
		wantVersion(s.T, r, 1)
		one := s.bucket.Calls() - calls
		r.Forget(tenant, model)

		s.bucket.SetRules(blobtest.Rule{Fault: blobtest.Slow, Delay: 10 * time.Millisecond})
		calls = s.bucket.Calls()
		ctx, cancel := context.WithCancel(s.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := r.Resolve(ctx, latest(model)); !errors.Is(err, context.Canceled) {
				t.Errorf("the one who left got %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			all.Go(func() { wantVersion(s.T, r, 1) })
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if n := s.bucket.Calls() - calls; n != one {
			t.Errorf("101 questions were %d calls, one is %d", n, one)
		}
	})
}

// TestResolveAway: while the bucket does not answer, what was known stays known.
func TestResolveAway(t *testing.T) {
	for name, fail := range map[string]func(*store){"refusing": (*store).away, "hanging": (*store).hung} {
		t.Run(name, func(t *testing.T) {
			resolving(t, func(s *store, r *detector.Resolver) {
				s.opaque(model)
				began := time.Now()
				wantVersion(s.T, r, 1)
				s.opaque(model)
				fail(s)
				time.Sleep(2 * time.Second)
				asked := time.Now()
				if age := wantVersion(s.T, r, 1); age != time.Since(began) {
					t.Errorf("an answer of %s ago is said to be %s old", time.Since(began), age)
				}
				if waited := time.Since(asked); waited > time.Second {
					t.Errorf("waited %s for a newer answer", waited)
				}
				// From now on nobody waits, and the bucket is not asked more than once a second.
				s.countQuestions()
				asked = time.Now()
				for range 100 {
					wantVersion(s.T, r, 1)
				}
				if waited := time.Since(asked); waited != 0 {
					t.Errorf("waited %s again", waited)
				}
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					wantVersion(s.T, r, 1)
				}
				if n := s.questions(); n > 11 {
					t.Errorf("%d questions in 10 s", n)
				}
				if _, _, err := r.Resolve(s.Context(), latest("other")); !errors.Is(err, blob.ErrUnavailable) {
					t.Errorf("what was never known: got %v, want %v", err, blob.ErrUnavailable)
				}
				s.back()
				time.Sleep(12 * time.Second) // the last question may hang for so long
				_, _, err := r.Resolve(s.Context(), latest(model))
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if age := wantVersion(s.T, r, 2); age > time.Second {
					t.Errorf("the bucket is back, and the answer %s old", age)
				}
			})
		})
	}
}

// TestResolveBelieves: that a version is gone is an answer, and is not remembered.
func TestResolveBelieves(t *testing.T) {
	resolving(t, func(s *store, r *detector.Resolver) {
		first := registry.Ref{Tenant: tenant, Model: model, Selector: registry.Selector{Number: 1}}
		if _, _, err := r.Resolve(s.Context(), first); !errors.Is(err, registry.ErrModelNotFound) {
			t.Errorf("before there is a model: got %v, want %v", err, registry.ErrModelNotFound)
		}
		s.opaque(model)
		if _, _, err := r.Resolve(s.Context(), first); err != nil {
			t.Errorf("that there was none is remembered: %v", err)
		}
		if _, err := s.DeleteVersion(s.Context(), first, registry.Deletion{By: "test"}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Resolve(s.Context(), first); err != nil {
			t.Errorf("within the second: %v", err)
		}
		time.Sleep(1100 * time.Millisecond)
		if _, _, err := r.Resolve(s.Context(), first); !errors.Is(err, registry.ErrVersionDeleted) {
			t.Errorf("after it: got %v, want %v", err, registry.ErrVersionDeleted)
		}
		s.away()
		if _, _, err := r.Resolve(s.Context(), first); !errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("a deleted version is not known any more: got %v, want %v", err, blob.ErrUnavailable)
		}
	})
}

// TestResolveForget: who changes something through this node sees it at once.
func TestResolveForget(t *testing.T) {
	resolving(t, func(s *store, r *detector.Resolver) {
		s.opaque(model)
		wantVersion(s.T, r, 1)
		s.opaque(model)
		r.Forget(tenant, "other")
		wantVersion(s.T, r, 1)
		r.Forget(tenant, model)
		wantVersion(s.T, r, 2)
	})
}

// TestResolveClose: Close does not wait for a bucket that hangs.
func TestResolveClose(t *testing.T) {
	resolving(t, func(s *store, r *detector.Resolver) {
		s.opaque(model)
		s.hung()
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := r.Resolve(s.Context(), latest(model)); err == nil {
				t.Error("an answer from a bucket that hangs")
			}
		})
		synctest.Wait()
		began := time.Now()
		r.Close()
		all.Wait()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("closed after %s", waited)
		}
		if _, _, err := r.Resolve(s.Context(), latest(model)); !errors.Is(err, detector.ErrClosed) {
			t.Errorf("after Close: got %v, want %v", err, detector.ErrClosed)
		}
	})
}
