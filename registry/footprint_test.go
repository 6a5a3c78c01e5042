package registry_test

import (
	"bytes"
	"runtime"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

// Publishers decide how large metadata is, up to its limit; what a registry remembers of
// versions does not grow with it.
func TestLargeMetadataDoesNotFillMemory(t *testing.T) {
	bucket, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const versions, size = 150, 900 << 10
	about := []byte(`{"about":"` + string(bytes.Repeat([]byte("x"), size)) + `"}`)
	r, err := registry.Open(t.Context(), bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range versions {
		mustPublish(t, r, registry.Publication{Tenant: acme, Model: fraud, By: "test", UserMetadata: about}, "x")
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	other, err := registry.Open(t.Context(), bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	for n := range registry.Number(versions) {
		v, err := other.Version(t.Context(), registry.Ref{Tenant: "acme", Model: "fraud", Selector: registry.Selector{Number: n + 1}})
		if err != nil {
			t.Fatal(err)
		}
		if len(v.UserMetadata) != len(about) {
			t.Fatalf("version %d has %d bytes of metadata, want %d", n+1, len(v.UserMetadata), len(about))
		}
	}
	if grown := heap() - before; grown > 50<<20 {
		t.Errorf("%d versions of %d KiB of metadata: the heap grew by %d MiB", versions, size>>10, grown>>20)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
