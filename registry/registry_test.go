package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

const (
	acme  registry.Tenant = "acme"
	fraud registry.Model  = "fraud"
)

// open makes a registry of a bucket, one node's.
func open(t testing.TB, bucket blob.Bucket) *registry.Registry {
	t.Helper()
	r, err := registry.Open(t.Context(), bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// publish saves one small file.
func publish(ctx context.Context, r *registry.Registry, p registry.Publication, content string) (*registry.Version, error) {
	if p.Tenant == "" {
		p.Tenant, p.Model = acme, fraud
	}
	u, err := r.Begin(ctx, p)
	if err != nil {
		return nil, err
	}
	defer u.Abort()
	if _, err := u.File(ctx, "model.joblib", bytes.NewReader([]byte(content)), int64(len(content)), digest([]byte(content))); err != nil {
		return nil, err
	}
	return u.Commit(ctx, registry.Facts{})
}

func mustPublish(t testing.TB, r *registry.Registry, p registry.Publication, content string) *registry.Version {
	t.Helper()
	v, err := publish(t.Context(), r, p, content)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustDelete(t testing.TB, r *registry.Registry, version string) {
	t.Helper()
	if _, err := r.DeleteVersion(t.Context(), ref(t, version), registry.Deletion{}); err != nil {
		t.Fatal(err)
	}
}

func ref(t testing.TB, s string) registry.Ref {
	t.Helper()
	ref, err := registry.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// content reads a file of a version whole.
func content(ctx context.Context, r *registry.Registry, v *registry.Version, name registry.FileName, part blob.Range) (string, error) {
	body, err := r.OpenFile(ctx, v, name, part)
	if err != nil {
		return "", err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	return string(data), err
}

// wantErr fails unless err wraps want.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want one that is %q", what, err, want)
	}
}

// wantClean ends every test of changes: the whole bucket is as it should be.
func wantClean(t testing.TB, r *registry.Registry) *registry.CheckReport {
	t.Helper()
	if err := r.Close(t.Context()); err != nil { // indexes may still be under way
		t.Fatal(err)
	}
	report, err := r.Check(t.Context(), registry.CheckOptions{Digests: true})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK {
		t.Errorf("the bucket has problems: %+v", report.Problems)
	}
	return report
}

// keys lists all keys of a bucket, for tests that look behind the door.
func keys(t testing.TB, b blob.Bucket, prefix string) []string {
	t.Helper()
	var all []string
	for after := ""; ; {
		page, err := b.List(t.Context(), blob.ListOptions{Prefix: prefix, StartAfter: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			all = append(all, o.Key)
		}
		if after = page.Next; after == "" {
			return all
		}
	}
}

func pointer[T any](v T) *T { return &v }

func label(i int) registry.Label { return registry.Label(fmt.Sprintf("v%d", i)) }

func isOneOf(err error, wants ...error) bool {
	for _, want := range wants {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}
