package registry_test

import (
	"errors"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

// A note is kept fifty times over, and read with each look at the alias: a long one is
// refused, and the alias stays as it is.
func TestNotesOfAliasesAreShort(t *testing.T) {
	r := open(t, blob.NewMemory())
	mustPublish(t, r, registry.Publication{Tenant: acme, Model: fraud}, "1")
	long := strings.Repeat("<", 1025)
	if _, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1, Note: long}); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("set: %v, want %v", err, registry.ErrTooLarge)
	}
	if _, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1, Note: long[:1024]}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{Note: long}); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("delete: %v, want %v", err, registry.ErrTooLarge)
	}
	if a, err := r.Alias(t.Context(), acme, fraud, "champion"); err != nil || a.Version != 1 {
		t.Errorf("the alias is %+v, %v", a, err)
	}
}
