package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

// most is what a page may take: its bound, and what is under way when that is met.
const most = (8 + 16) << 20

// Who writes decides how large what is listed is. A page of large entries ends early, and
// the pages together have everything once.
func TestPagesOfLargeEntries(t *testing.T) {
	r := node(t, blob.NewMemory())
	large := map[string]string{}
	for i := range 100 {
		large[fmt.Sprint("tag", i)] = strings.Repeat("x", 8<<10)
	}
	describe := registry.Change{Tags: map[string]*string{}, By: "test"}
	for name, value := range large {
		describe.Tags[name] = &value
	}
	var want []string
	for _, tenant := range []registry.Tenant{"acme", "bolt", "cord"} {
		if _, err := r.UpdateTenant(t.Context(), tenant, describe); err != nil {
			t.Fatal(err)
		}
		for i := range 15 {
			model := registry.Model(fmt.Sprintf("fraud%02d", i))
			mustPublish(t, r, registry.Publication{Tenant: tenant, Model: model}, "x")
			if _, err := r.UpdateModel(t.Context(), tenant, model, describe); err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprint(tenant, "/", model))
		}
	}
	for range 50 {
		mustPublish(t, r, registry.Publication{Tenant: acme, Model: "many", Tags: large}, "x")
	}

	var got []string
	pages := 0
	for q := (registry.VersionQuery{Limit: 1000}); ; pages++ {
		page, err := r.Versions(t.Context(), acme, "many", q)
		if err != nil {
			t.Fatal(err)
		}
		bytes := int64(0)
		for _, v := range page.Versions {
			got = append(got, v.Version.String())
			bytes += v.Footprint()
		}
		if bytes > most {
			t.Errorf("a page of versions takes %d bytes", bytes)
		}
		if q.Before = page.Next; page.Next == 0 {
			break
		}
	}
	if len(got) != 50 || got[0] != "50" || got[49] != "1" || len(slices.Compact(slices.Clone(got))) != 50 || pages < 1 {
		t.Errorf("in %d pages more than one: %v", pages, got)
	}

	got, pages = nil, 0
	for q := (registry.AllModelsQuery{Limit: 1000}); ; pages++ {
		page, err := r.AllModels(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		bytes := int64(0)
		for _, m := range page.Models {
			if m.Model != "many" {
				got = append(got, fmt.Sprint(m.Tenant, "/", m.Model))
			}
			bytes += m.Footprint()
		}
		if bytes > most {
			t.Errorf("a page of models takes %d bytes", bytes)
		}
		if q.Tenant, q.After = page.NextTenant, page.NextModel; q.Tenant == "" {
			break
		}
	}
	if !slices.Equal(got, want) || pages < 1 {
		t.Errorf("in %d pages more than one: %v, want %v", pages, got, want)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
