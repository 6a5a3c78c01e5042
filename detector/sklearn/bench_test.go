package sklearn_test

import (
	"bytes"
	"testing"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
)

// BenchmarkRead reads the product's detector, trained on 20,000 events, as joblib wrote
// it with compress=3.
func BenchmarkRead(b *testing.B) {
	p := trained(b, networkEvents(b, 20_000), forest.DefaultParams(), forest.Pairwise)
	var file bytes.Buffer
	if err := sklearn.Write(&file, p, sklearn.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(file.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sklearn.Read(bytes.NewReader(file.Bytes()), 64<<20); err != nil {
			b.Fatal(err)
		}
	}
}
