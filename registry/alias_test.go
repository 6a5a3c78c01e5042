package registry_test

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

func TestAliasMovesAndRemembers(t *testing.T) {
	r := open(t, blob.NewMemory())
	for range 3 {
		mustPublish(t, r, registry.Publication{}, "x")
	}
	set := func(c registry.AliasChange) (*registry.AliasInfo, error) {
		return r.SetAlias(t.Context(), acme, fraud, "champion", c)
	}
	_, err := set(registry.AliasChange{To: 9})
	wantErr(t, "to a version that is not there", err, registry.ErrVersionNotFound)
	_, err = set(registry.AliasChange{To: 1, IfVersion: pointer(registry.Number(2))})
	wantErr(t, "from where it is not", err, registry.ErrPrecondition)

	a, err := set(registry.AliasChange{To: 1, By: "ann", Note: "first", IfRevision: pointer(int64(0))})
	if err != nil || a.Version != 1 || a.Revision != 1 || len(a.History) != 0 {
		t.Fatalf("first: got %+v, %v", a, err)
	}
	_, err = set(registry.AliasChange{To: 2, IfRevision: pointer(int64(0))})
	wantErr(t, "as if it were not set", err, registry.ErrPrecondition)
	if a, err = set(registry.AliasChange{To: 2, By: "bob", IfVersion: pointer(registry.Number(1)), IfRevision: pointer(int64(1))}); err != nil || a.Revision != 2 {
		t.Fatalf("second: got %+v, %v", a, err)
	}
	if h := a.History; len(h) != 1 || *h[0].Version != 1 || h[0].By != "ann" || h[0].Note != "first" || h[0].Revision != 1 {
		t.Errorf("history: got %+v", h)
	}
	if _, err := r.DeleteAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{By: "cy"}); err != nil {
		t.Fatal(err)
	}
	_, err = r.Resolve(t.Context(), ref(t, "acme/fraud@champion"))
	wantErr(t, "a removed alias", err, registry.ErrAliasNotFound)
	_, err = r.DeleteAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{})
	wantErr(t, "removing it again", err, registry.ErrAliasNotFound)
	if a, err = set(registry.AliasChange{To: 3, IfRevision: pointer(int64(0))}); err != nil || a.Revision != 4 || len(a.History) != 3 || a.History[0].Version != nil {
		t.Errorf("set again: got %+v, %v", a, err)
	}
	v, err := r.Version(t.Context(), ref(t, "acme/fraud:3"))
	if err != nil || fmt.Sprint(v.Aliases) != "[champion]" {
		t.Errorf("version 3: got aliases %v, %v", v.Aliases, err)
	}
	_, err = r.Alias(t.Context(), acme, "absent", "champion")
	wantErr(t, "an alias of no model", err, registry.ErrModelNotFound)
	wantClean(t, r)
}

// Of many that move an alias from the same state at once, exactly one wins.
func TestAliasCompareAndSwap(t *testing.T) {
	bucket := blob.NewMemory()
	nodes := []*registry.Registry{open(t, bucket), open(t, bucket), open(t, bucket)}
	mustPublish(t, nodes[0], registry.Publication{}, "x")
	for round := range int64(20) {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				_, err := nodes[i%3].SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1, IfRevision: &round})
				if err == nil {
					won.Add(1)
				} else {
					wantPrecondition(t, err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d winners, want one", round, won.Load())
		}
	}
}

func wantPrecondition(t *testing.T, err error) {
	if !isOneOf(err, registry.ErrPrecondition, registry.ErrConflict) {
		t.Errorf("a loser was told %v", err)
	}
}

func TestAttributes(t *testing.T) {
	r := open(t, blob.NewMemory())
	mustPublish(t, r, registry.Publication{Description: "as published", Tags: map[string]string{"a": "1", "b": "2"}}, "x")
	v, err := r.UpdateVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Change{Tags: map[string]*string{"a": nil, "c": pointer("3")}, IfRevision: pointer(int64(0))})
	if err != nil || v.Description != "as published" || fmt.Sprint(v.Tags) != "map[b:2 c:3]" || v.Revision != 1 {
		t.Fatalf("tags: got %+v, %v", v, err)
	}
	_, err = r.UpdateVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Change{IfRevision: pointer(int64(0))})
	wantErr(t, "an old revision", err, registry.ErrPrecondition)
	if v, err = r.UpdateVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Change{Description: pointer("new")}); err != nil || v.Description != "new" || v.Tags["b"] != "2" {
		t.Errorf("description: got %+v, %v", v, err)
	}
	page, err := r.Versions(t.Context(), acme, fraud, registry.VersionQuery{})
	if err != nil || page.Versions[0].Description != "new" {
		t.Errorf("in the list: got %+v, %v", page.Versions[0], err)
	}
	tenant, err := r.UpdateTenant(t.Context(), "beta", registry.Change{Description: pointer("new tenant")})
	if err != nil || tenant.Description != "new tenant" {
		t.Errorf("tenant: got %+v, %v", tenant, err)
	}
	_, err = r.Tenant(t.Context(), "gamma")
	wantErr(t, "no tenant", err, registry.ErrTenantNotFound)
	_, err = r.UpdateModel(t.Context(), acme, "absent", registry.Change{})
	wantErr(t, "no model", err, registry.ErrModelNotFound)
	many := map[string]*string{}
	for i := range 101 {
		many[fmt.Sprint(i)] = pointer("")
	}
	_, err = r.UpdateModel(t.Context(), acme, fraud, registry.Change{Tags: many})
	wantErr(t, "too many tags", err, registry.ErrTooLarge)
	wantClean(t, r)
}

func TestReadOnly(t *testing.T) {
	bucket := blob.NewMemory()
	writer := open(t, bucket)
	mustPublish(t, writer, registry.Publication{Label: "v1"}, "x")
	wantClean(t, writer)
	before := keys(t, bucket, "")
	r, err := registry.Open(t.Context(), bucket, registry.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = publish(t.Context(), r, registry.Publication{}, "y")
	wantErr(t, "publish", err, registry.ErrReadOnly)
	_, err = r.SetAlias(t.Context(), acme, fraud, "a", registry.AliasChange{To: 1})
	wantErr(t, "alias", err, registry.ErrReadOnly)
	_, err = r.DeleteVersion(t.Context(), ref(t, "acme/fraud"), registry.Deletion{})
	wantErr(t, "delete", err, registry.ErrReadOnly)
	_, err = r.Collect(t.Context(), registry.CollectOptions{})
	wantErr(t, "collect", err, registry.ErrReadOnly)
	if v, err := r.Version(t.Context(), ref(t, "acme/fraud:v1")); err != nil || v.Version != 1 {
		t.Errorf("read: got %v, %v", v, err)
	}
	wantClean(t, r)
	if after := keys(t, bucket, ""); len(after) != len(before) {
		t.Errorf("the bucket changed: %v", after)
	}
}

// A repeat of a publish never moves an alias a second time, also where its node died
// before it had noted that the first request was done, and the alias has been moved so
// often since that it no longer remembers that request. Where the first request had not
// come to it yet, the repeat sets it.
func TestRepeatMovesAliasOnce(t *testing.T) {
	for _, moves := range []int{0, 1, 10, 49, 50, 51, 60, 120} {
		for _, set := range []bool{true, false} { // by the first request
			for _, removed := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					bucket := blob.NewMemory()
					r := open(t, bucket)
					mustPublish(t, r, registry.Publication{}, "old")
					for i := range 70 { // the alias has a past
						if _, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1, Note: fmt.Sprint(i)}); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(24 * time.Hour)
					faulty := blobtest.NewFaulty(bucket, 1)
					dying := open(t, faulty)
					rules := []blobtest.Rule{{Fault: blobtest.Before, Operation: blobtest.Put, Key: regexp.MustCompile("/_operations/"), Nth: 2, Err: blob.ErrDenied}}
					if !set {
						rules = append(rules, blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Put, Key: regexp.MustCompile("/_aliases/"), Err: blob.ErrDenied})
					}
					faulty.SetRules(rules...)
					p := registry.Publication{Tenant: acme, Model: fraud, Key: "k", Aliases: []registry.Alias{"champion"}}
					if _, err := publish(t.Context(), dying, p, "new"); (err == nil) != set {
						t.Fatal(err)
					}
					if err := dying.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					for i := range moves {
						time.Sleep(time.Minute)
						if _, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1, Note: fmt.Sprint("after ", i)}); err != nil {
							t.Fatal(err)
						}
					}
					if removed && moves > 0 {
						if _, err := r.DeleteAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{}); err != nil {
							t.Fatal(err)
						}
					}
					before := aliasOf(t, r)
					v, err := publish(t.Context(), r, p, "new")
					if err != nil || v.Version != 2 {
						t.Fatalf("repeat: %v, %v", v, err)
					}
					after := aliasOf(t, r)
					switch {
					case set && after != before:
						t.Errorf("%d moves later the repeat moved it from %d to %d", moves, before, after)
					case !set && moves < 49 && after != 2:
						t.Errorf("%d moves later the repeat did not set it: %d", moves, after)
					}
				})
			}
		}
	}
}

// aliasOf is the version that champion names; 0: none.
func aliasOf(t *testing.T, r *registry.Registry) registry.Number {
	t.Helper()
	a, err := r.Alias(t.Context(), acme, fraud, "champion")
	if errors.Is(err, registry.ErrAliasNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.Version
}
