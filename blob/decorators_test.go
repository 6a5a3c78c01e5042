package blob_test

import (
	"testing"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

func TestPrefix(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Bucket { return blob.WithPrefix(blob.NewMemory(), "team/models") })
}

func TestObserve(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Bucket { return blob.Observe(blob.NewMemory(), func(blob.Call) {}) })
}

// Retry makes good again what fails now and then.
func TestRetryOfFaulty(t *testing.T) {
	var rules []blobtest.Rule
	for _, operation := range []string{blobtest.Get, blobtest.Stat, blobtest.List, blobtest.Delete} {
		rules = append(rules, blobtest.Rule{Fault: blobtest.Before, Operation: operation, Probability: 0.005},
			blobtest.Rule{Fault: blobtest.Lost, Operation: operation, Probability: 0.005})
	}
	rules = append(rules, blobtest.Rule{Fault: blobtest.Cut, Operation: blobtest.Get, Probability: 0.01})
	blobtest.Run(t, func(t *testing.T) blob.Bucket {
		return blob.Retry(blobtest.NewFaulty(blob.NewMemory(), 1, rules...), nil)
	})
}
