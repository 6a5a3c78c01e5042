package registry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

// talkative is a store that lists what it was not asked for.
type talkative struct {
	blob.Bucket
	next string
}

func (b talkative) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	page, err := b.Bucket.List(ctx, o)
	page.Objects = append([]blob.Object{{Key: "evil/secret/_model.json"}}, page.Objects...)
	page.Prefixes = append([]string{"evil/", "_system/"}, page.Prefixes...)
	if b.next != "" {
		page.Next = b.next
	}
	return page, err
}

func put1(t *testing.T, b blob.Bucket, key string) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, strings.NewReader("x"), blob.PutOptions{Size: 1}); err != nil {
		t.Fatal(err)
	}
}

func scopedBucket(t *testing.T, below blob.Bucket) (blob.Bucket, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	r, err := registry.Open(t.Context(), below, registry.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return r.Bucket(), log
}

// Whatever a tenant's context asks for outside the tenant is refused, and the store is
// not asked.
func TestScopeRefusesKeysOutside(t *testing.T) {
	memory := blob.NewMemory()
	b, _ := scopedBucket(t, memory)
	outside := []string{"acm/x", "acme", "acmes/x", "acme0/x", "Acme/x", "evil/x", "_system/keys/x.json", "_system/format.json", "x", "/acme/x", "evil/acme/x"}
	for _, key := range outside {
		if strings.HasPrefix(key, "/") {
			continue // no store has it
		}
		put1(t, memory, key)
	}
	ctx := registry.WithScope(t.Context(), "acme")
	for _, key := range outside {
		_, _, getErr := b.Get(ctx, key, blob.Range{})
		_, statErr := b.Stat(ctx, key)
		_, putErr := b.Put(ctx, key, strings.NewReader("y"), blob.PutOptions{Size: 1})
		_, listErr := b.List(ctx, blob.ListOptions{Prefix: key})
		for what, err := range map[string]error{
			"get": getErr, "stat": statErr, "put": putErr, "list": listErr, "delete": b.Delete(ctx, key), "abort": b.AbortUploads(ctx, key),
		} {
			if !errors.Is(err, registry.ErrOutOfScope) {
				t.Errorf("%s %s: %v", what, key, err)
			}
		}
	}
	for _, key := range outside {
		if o, err := memory.Stat(t.Context(), key); !strings.HasPrefix(key, "/") && (err != nil || o.Size != 1) {
			t.Errorf("%s was touched: %v", key, err)
		}
	}
	if _, err := b.List(ctx, blob.ListOptions{}); !errors.Is(err, registry.ErrOutOfScope) {
		t.Errorf("list of the whole: %v", err)
	}
	put1(t, memory, "acme/m/x")
	if _, err := b.Stat(ctx, "acme/m/x"); err != nil {
		t.Error(err)
	}
	if page, err := b.List(ctx, blob.ListOptions{Prefix: "acme/"}); err != nil || len(page.Objects) != 1 {
		t.Errorf("own listing: %v %v", page, err)
	}
}

// A scope cannot be left for another, nor by a context that is made of it.
func TestScopesOnlyNarrow(t *testing.T) {
	memory := blob.NewMemory()
	b, _ := scopedBucket(t, memory)
	put1(t, memory, "acme/x")
	put1(t, memory, "evil/x")
	acme := registry.WithScope(t.Context(), "acme")
	both := registry.WithScope(acme, "evil")
	for _, key := range []string{"acme/x", "evil/x"} {
		if _, err := b.Stat(both, key); !errors.Is(err, registry.ErrOutOfScope) {
			t.Errorf("%s within both: %v", key, err)
		}
	}
	again := registry.WithScope(context.WithoutCancel(acme), "acme")
	if _, err := b.Stat(again, "acme/x"); err != nil {
		t.Error(err)
	}
	if _, err := b.Stat(context.WithoutCancel(acme), "evil/x"); !errors.Is(err, registry.ErrOutOfScope) {
		t.Errorf("a context that outlives its request left the scope: %v", err)
	}
	if _, err := b.Stat(registry.WithScope(t.Context(), ""), "acme/x"); !errors.Is(err, registry.ErrOutOfScope) {
		t.Errorf("the scope of no tenant: %v", err)
	}
}

// What a store lists beyond the question is left out and reported; an answer that would
// go on elsewhere is none.
func TestScopeLeavesOutWhatIsListedBesides(t *testing.T) {
	memory := blob.NewMemory()
	b, log := scopedBucket(t, talkative{Bucket: memory})
	put1(t, memory, "acme/m/x")
	ctx := registry.WithScope(t.Context(), "acme")
	page, err := b.List(ctx, blob.ListOptions{Prefix: "acme/"})
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != "acme/m/x" || len(page.Prefixes) != 0 {
		t.Errorf("%v %v", page, err)
	}
	if n := strings.Count(log.String(), "lists what lies elsewhere"); n != 3 {
		t.Errorf("%d reports: %s", n, log)
	}
	b, _ = scopedBucket(t, talkative{memory, "evil/secret/_model.json"})
	if page, err := b.List(ctx, blob.ListOptions{Prefix: "acme/"}); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("%v %v", page, err)
	}
}

// All that a registry does for a tenant stays within its scope; copies between tenants
// have one for each end, and keys are the system's own.
func TestScopedRegistryWorks(t *testing.T) {
	r, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := registry.WithScope(t.Context(), "acme")
	u, err := r.Begin(ctx, registry.Publication{Tenant: "acme", Model: "fraud", Label: "v1", By: "t", Aliases: []registry.Alias{"champion"}, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.File(ctx, "a", strings.NewReader("abc"), 3, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(ctx, registry.Facts{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Copy(ctx, registry.Ref{Tenant: "acme", Model: "fraud"}, registry.Publication{Tenant: "other", Model: "fraud", By: "t"}); err != nil {
		t.Errorf("copy to another tenant: %v", err)
	}
	if _, _, err := r.CreateKey(ctx, registry.NewKey{Tenant: "acme", Role: registry.Reader, By: "t"}); err != nil {
		t.Errorf("make a key: %v", err)
	}
	for name, err := range map[string]error{
		"model":    second(r.Model(ctx, "other", "fraud")),
		"models":   second(r.Models(ctx, "other", registry.ModelQuery{})),
		"version":  second(r.Version(ctx, registry.Ref{Tenant: "other", Model: "fraud"})),
		"tenants":  second(r.Tenants(ctx, registry.TenantQuery{})),
		"all":      second(r.AllModels(ctx, registry.AllModelsQuery{})),
		"delete":   second(r.DeleteModel(ctx, "other", "fraud", registry.Deletion{})),
		"collect":  second(r.Collect(ctx, registry.CollectOptions{})),
		"describe": second(r.UpdateTenant(ctx, "other", registry.Change{})),
		"format":   second(r.RootToken(ctx, "")),
	} {
		if !errors.Is(err, registry.ErrOutOfScope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	own, err := r.Tenants(ctx, registry.TenantQuery{Only: "acme"})
	if err != nil || len(own.Tenants) != 1 || own.Tenants[0].Tenant != "acme" {
		t.Errorf("own tenant: %v %v", own, err)
	}
	models, err := r.AllModels(ctx, registry.AllModelsQuery{Only: "acme", Latest: true})
	if err != nil || !slices.ContainsFunc(models.Models, func(m *registry.ModelInfo) bool { return m.Model == "fraud" }) {
		t.Errorf("own models: %v %v", models, err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }
