package blob_test

import (
	"testing"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

func open(t *testing.T, store string) blob.Bucket {
	t.Helper()
	b, err := blob.Open(t.Context(), store, blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVersityGW(t *testing.T) {
	s := blobtest.StartVersityGW(t)
	blobtest.Run(t, func(t *testing.T) blob.Bucket { return open(t, s.NewBucket(t)) })
}

func TestMinIO(t *testing.T) {
	s := blobtest.StartMinIO(t)
	blobtest.Run(t, func(t *testing.T) blob.Bucket { return open(t, s.NewBucket(t)) })
}
