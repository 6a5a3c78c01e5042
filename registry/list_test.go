package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

// allModels pages through a tenant's models.
func allModels(t *testing.T, r *registry.Registry, tenant registry.Tenant, limit int) []registry.Model {
	t.Helper()
	var names []registry.Model
	for q := (registry.ModelQuery{Limit: limit}); ; {
		page, err := r.Models(t.Context(), tenant, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Models) > limit {
			t.Fatalf("a page of %d, asked for %d", len(page.Models), limit)
		}
		for _, m := range page.Models {
			names = append(names, m.Model)
		}
		if q.After = page.Next; q.After == "" {
			return names
		}
	}
}

// Names that sort around the slash, and tenants whose names begin alike, are neither
// mixed nor skipped nor given twice, whatever the size of a page.
func TestPagesOfModels(t *testing.T) {
	r := open(t, blob.NewMemory())
	models := []registry.Model{"a", "a-b", "a.b", "a0", "A", "a_b", "ab", "z"}
	for _, tenant := range []registry.Tenant{"acme", "acme-corp", "acme_corp", "acme0"} {
		for _, m := range models {
			mustPublish(t, r, registry.Publication{Tenant: tenant, Model: m}, "x")
		}
	}
	if _, err := r.UpdateTenant(t.Context(), "acme", registry.Change{Description: pointer("described")}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteModel(t.Context(), "acme", "a0", registry.Deletion{}); err != nil {
		t.Fatal(err)
	}
	want := []registry.Model{"A", "a-b", "a.b", "a", "a_b", "ab", "z"}
	for limit := 1; limit < 10; limit++ {
		if got := allModels(t, r, "acme", limit); !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %v, want %v", limit, got, want)
		}
	}
	for limit := 1; limit < 10; limit++ {
		var all []string
		for q := (registry.AllModelsQuery{Limit: limit, MaySee: func(t registry.Tenant) bool { return t != "acme_corp" }}); ; {
			page, err := r.AllModels(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Models) > limit {
				t.Fatalf("a page of %d, asked for %d", len(page.Models), limit)
			}
			for _, m := range page.Models {
				all = append(all, fmt.Sprintf("%s/%s", m.Tenant, m.Model))
			}
			if q.Tenant, q.After = page.NextTenant, page.NextModel; q.Tenant == "" {
				break
			}
		}
		if unique := len(slices.Compact(slices.Sorted(slices.Values(all)))); len(all) != 23 || unique != 23 {
			t.Errorf("all tenants, pages of %d: got %d models, %d different, want 23: %v", limit, len(all), unique, all)
		}
		var tenants []registry.Tenant
		for q := (registry.TenantQuery{Limit: limit}); ; {
			page, err := r.Tenants(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range page.Tenants {
				tenants = append(tenants, info.Tenant)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		if want := []registry.Tenant{"acme-corp", "acme", "acme0", "acme_corp"}; !slices.Equal(tenants, want) {
			t.Errorf("tenants, pages of %d: got %v, want %v", limit, tenants, want)
		}
	}
	page, err := r.Models(t.Context(), "acme", registry.ModelQuery{Latest: true})
	if err != nil || *page.Models[0].Latest != 1 {
		t.Errorf("with latest: got %+v, %v", page.Models, err)
	}
	_, err = r.Models(t.Context(), "nobody", registry.ModelQuery{})
	wantErr(t, "models of no tenant", err, registry.ErrTenantNotFound)
}

// More names than a store gives in one answer, while others add some.
func TestListBeyondOnePage(t *testing.T) {
	r := open(t, blob.NewMemory())
	name := func(i int) registry.Model { return registry.Model(fmt.Sprintf("m%05d", i)) }
	for i := range 1200 {
		mustPublish(t, r, registry.Publication{Tenant: acme, Model: name(2 * i)}, "x")
	}
	var stop atomic.Bool
	var adding sync.WaitGroup
	adding.Go(func() {
		for i := 0; !stop.Load(); i++ {
			if _, err := publish(t.Context(), r, registry.Publication{Tenant: acme, Model: name(2*i + 1)}, "x"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	got := allModels(t, r, acme, 1000)
	stop.Store(true)
	adding.Wait()
	seen := map[registry.Model]int{}
	for _, m := range got {
		seen[m]++
	}
	for i := range 1200 {
		if seen[name(2*i)] != 1 {
			t.Fatalf("%s was listed %d times", name(2*i), seen[name(2*i)])
		}
	}
}

// A listing of versions goes on where it was, whatever is published or deleted meanwhile.
func TestVersionsWhileTheyChange(t *testing.T) {
	r := open(t, blob.NewMemory())
	for range 60 {
		mustPublish(t, r, registry.Publication{}, "x")
	}
	var got []registry.Number
	for q := (registry.VersionQuery{Limit: 7}); ; {
		page, err := r.Versions(t.Context(), acme, fraud, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			got = append(got, v.Version)
		}
		if q.Before = page.Next; q.Before == 0 {
			break
		}
		mustPublish(t, r, registry.Publication{}, "new")
		mustDelete(t, r, fmt.Sprintf("acme/fraud:%d", q.Before))
	}
	for i, n := range got {
		if n != registry.Number(60-i) {
			t.Fatalf("position %d: got version %d, want %d", i, n, 60-i)
		}
	}
	if len(got) != 60 {
		t.Errorf("got %d versions, want 60", len(got))
	}
}

// Of nodes that start at once on an empty bucket one makes the root token, and all
// know it.
func TestRootToken(t *testing.T) {
	bucket := blob.NewMemory()
	nodes := make([]*registry.Registry, 8)
	tokens := make([]registry.RootToken, len(nodes))
	var wg sync.WaitGroup
	for i := range nodes {
		nodes[i] = open(t, bucket)
		wg.Go(func() {
			var err error
			if tokens[i], err = nodes[i].RootToken(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	made := ""
	for _, token := range tokens {
		if token.Made != "" {
			if made != "" {
				t.Fatal("two were made")
			}
			made = token.Made
		}
	}
	for i, token := range tokens {
		if made == "" || !token.Is(made) || token.Is(made+"x") || token.Is("") {
			t.Errorf("node %d does not know the token", i)
		}
	}
	given, err := nodes[0].RootToken(t.Context(), "given")
	if err != nil || !given.Is("given") || given.Is(made) {
		t.Errorf("a given token: %v", err)
	}
}

// A folder below a tenant that is no model's holds up no list, whatever a page may have.
func TestListsPassWhatIsNoModel(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	for _, key := range []string{"acme/+stray/x", "acme/_audit/x", "acme/m/+x/y"} {
		if _, err := bucket.Put(t.Context(), key, strings.NewReader(""), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mustPublish(t, r, registry.Publication{Tenant: acme, Model: "9"}, "x")
	mustPublish(t, r, registry.Publication{Tenant: acme, Model: "z"}, "x")
	var seen []registry.Model
	for q := (registry.ModelQuery{Limit: 1}); ; {
		page, err := r.Models(t.Context(), acme, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Models {
			seen = append(seen, m.Model)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if fmt.Sprint(seen) != "[9 z]" {
		t.Errorf("models %v", seen)
	}
}
