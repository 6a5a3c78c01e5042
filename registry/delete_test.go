package registry_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

func TestDeleteVersion(t *testing.T) {
	bucket := blob.NewMemory()
	r, other := open(t, bucket), open(t, bucket)
	for i := range 3 {
		mustPublish(t, r, registry.Publication{Label: label(i + 1)}, "x")
	}
	_, err := r.DeleteVersion(t.Context(), ref(t, "acme/fraud"), registry.Deletion{IfNumber: 2})
	wantErr(t, "latest is another than expected", err, registry.ErrPrecondition)

	v, err := r.DeleteVersion(t.Context(), ref(t, "acme/fraud"), registry.Deletion{By: "ops", Reason: "wrong data", IfNumber: 3})
	if err != nil || v.Version != 3 || v.State != registry.StateDeleted || v.DeletedBy != "ops" {
		t.Fatalf("delete latest: got %+v, %v", v, err)
	}
	for _, name := range []string{"acme/fraud:3", "acme/fraud:v3"} {
		_, err := other.Resolve(t.Context(), ref(t, name))
		wantErr(t, name, err, registry.ErrVersionDeleted)
	}
	_, err = r.DeleteVersion(t.Context(), ref(t, "acme/fraud:3"), registry.Deletion{})
	wantErr(t, "deleting it again", err, registry.ErrVersionDeleted)
	_, err = r.DeleteVersion(t.Context(), ref(t, "acme/fraud:9"), registry.Deletion{})
	wantErr(t, "deleting what is not there", err, registry.ErrVersionNotFound)
	if !strings.Contains(err.Error(), "latest is 2") {
		t.Errorf("the error does not help: %v", err)
	}
	if v, err := other.Resolve(t.Context(), ref(t, "acme/fraud")); err != nil || v.Version != 2 {
		t.Errorf("latest: got %v, %v; want version 2", v, err)
	}
	if v := mustPublish(t, r, registry.Publication{}, "y"); v.Version != 4 {
		t.Errorf("the next number: got %d, want 4", v.Version)
	}
	all, err := r.Versions(t.Context(), acme, fraud, registry.VersionQuery{Deleted: true})
	if err != nil || len(all.Versions) != 4 {
		t.Fatalf("with the deleted: got %d, %v", len(all.Versions), err)
	}
	if v := all.Versions[1]; v.State != registry.StateDeleted || v.DeletedBy != "ops" || v.DeletedAt == nil {
		t.Errorf("version 3: %+v", v)
	}
	wantClean(t, r)
}

func TestDeleteRefusedWhileAliasNamesIt(t *testing.T) {
	r := open(t, blob.NewMemory())
	mustPublish(t, r, registry.Publication{Aliases: []registry.Alias{"champion"}}, "x")
	_, err := r.DeleteVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Deletion{})
	wantErr(t, "delete the version", err, registry.ErrAliasInUse)
	_, err = r.DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
	wantErr(t, "delete the model", err, registry.ErrAliasInUse)
	if !strings.Contains(err.Error(), "champion") {
		t.Errorf("the error does not name the alias: %v", err)
	}
	if _, err := r.DeleteAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{}); err != nil {
		t.Fatal(err)
	}
	mustDelete(t, r, "acme/fraud:1")
	wantClean(t, r)
}

// A model that is made anew goes on counting, and begins without what the old one said.
func TestDeleteModel(t *testing.T) {
	r := open(t, blob.NewMemory())
	for i := range 3 {
		mustPublish(t, r, registry.Publication{Label: label(i)}, "x")
	}
	if _, err := r.UpdateModel(t.Context(), acme, fraud, registry.Change{Description: pointer("old")}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.DeleteModel(t.Context(), acme, fraud, registry.Deletion{By: "ops"}); err != nil {
		t.Fatal(err)
	}
	_, err := r.Model(t.Context(), acme, fraud)
	wantErr(t, "the model", err, registry.ErrModelNotFound)
	_, err = r.Versions(t.Context(), acme, fraud, registry.VersionQuery{})
	wantErr(t, "its versions", err, registry.ErrModelNotFound)
	_, err = r.Resolve(t.Context(), ref(t, "acme/fraud"))
	wantErr(t, "its latest", err, registry.ErrModelNotFound)
	_, err = r.Resolve(t.Context(), ref(t, "acme/fraud:2"))
	wantErr(t, "one of its versions", err, registry.ErrVersionDeleted)
	_, err = r.DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
	wantErr(t, "deleting it again", err, registry.ErrModelNotFound)
	if page, err := r.Models(t.Context(), acme, registry.ModelQuery{}); err != nil || len(page.Models) != 0 {
		t.Errorf("models: got %v, %v; want none", page.Models, err)
	}

	if v := mustPublish(t, r, registry.Publication{}, "y"); v.Version != 4 {
		t.Errorf("made anew: got version %d, want 4", v.Version)
	}
	m, err := r.Model(t.Context(), acme, fraud)
	if err != nil || m.Description != "" || *m.Latest != 4 {
		t.Errorf("made anew: got %+v, %v", m, err)
	}
	page, err := r.Versions(t.Context(), acme, fraud, registry.VersionQuery{})
	if err != nil || len(page.Versions) != 1 {
		t.Errorf("versions: got %v, %v; want one", page.Versions, err)
	}
	_, err = publish(t.Context(), r, registry.Publication{Label: label(1)}, "z")
	wantErr(t, "a label of the old model", err, registry.ErrLabelTaken)
	wantClean(t, r)
}

func TestRestore(t *testing.T) {
	r := open(t, blob.NewMemory())
	mustPublish(t, r, registry.Publication{Label: "v1", Description: "good", UserMetadata: []byte(`{"a":1}`)}, "one")
	mustPublish(t, r, registry.Publication{}, "two")
	mustDelete(t, r, "acme/fraud:1")
	for _, from := range []string{"acme/fraud:1", "acme/fraud:v1"} {
		p := registry.Publication{Tenant: acme, Model: fraud, By: "ops", Key: "restore"}
		v, err := r.Copy(t.Context(), ref(t, from), p)
		if err != nil || v.Version != 3 || v.Label != nil || *v.RestoredFrom != "acme/fraud:1" || v.Description != "good" {
			t.Fatalf("restore %s: got %+v, %v", from, v, err)
		}
		if got, err := content(t.Context(), r, v, "model.joblib", blob.Range{}); err != nil || got != "one" {
			t.Errorf("content: got %q, %v", got, err)
		}
	}
	elsewhere, err := r.Copy(t.Context(), ref(t, "acme/fraud:3"), registry.Publication{Tenant: "beta", Model: "fraud", Label: "v1"})
	if err != nil || elsewhere.Version != 1 || elsewhere.Tenant != "beta" {
		t.Errorf("copy: got %+v, %v", elsewhere, err)
	}
	wantClean(t, r)
}

// Of a setter of an alias and a deleter of its version, one always sees the other: the
// setter takes the alias back, or the deleter is told that an alias names what it deleted.
func TestAliasAgainstDelete(t *testing.T) {
	for range 300 {
		bucket := blob.NewMemory()
		setter, deleter := open(t, bucket), open(t, bucket)
		mustPublish(t, setter, registry.Publication{}, "one")
		mustPublish(t, setter, registry.Publication{}, "two")
		var setErr, deleteErr error
		var deleted *registry.Version
		var wg sync.WaitGroup
		wg.Go(func() {
			_, setErr = setter.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1})
		})
		wg.Go(func() {
			deleted, deleteErr = deleter.DeleteVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Deletion{})
		})
		wg.Wait()
		_, err := setter.Resolve(t.Context(), ref(t, "acme/fraud@champion"))
		switch {
		case setErr == nil && deleteErr == nil:
			if len(deleted.Aliases) != 1 {
				t.Fatal("both were told that they had succeeded, and neither saw the other")
			}
			wantErr(t, "the alias", err, registry.ErrVersionDeleted)
		case setErr == nil && err != nil:
			t.Fatalf("the alias was set, and resolves to %v", err)
		case setErr == nil && !errors.Is(deleteErr, registry.ErrAliasInUse):
			t.Fatalf("the alias was set, and the deletion says %v", deleteErr)
		case deleteErr == nil && !errors.Is(setErr, registry.ErrVersionDeleted):
			t.Fatalf("the version is deleted, and the setter was told %v", setErr)
		case deleteErr == nil && !errors.Is(err, registry.ErrAliasNotFound):
			t.Fatalf("the version is deleted, and the alias resolves to %v", err)
		}
	}
}
