package blob_test

import (
	"testing"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Bucket { return blob.NewMemory() })
}
