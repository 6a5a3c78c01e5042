package forest_test

import (
	"runtime"
	"testing"

	"modelbucket/detector/forest"
)

// BenchmarkTrain trains the product's detector on 20,000 events.
func BenchmarkTrain(b *testing.B) {
	x, n, d := networkEvents(b, 20000)
	b.SetBytes(int64(8 * len(x)))
	for b.Loop() {
		s, err := forest.FitScaler(x, n, d, forest.Pairwise)
		if err != nil {
			b.Fatal(err)
		}
		z := make([]float64, len(x))
		s.Transform(z, x)
		if _, _, err := forest.Fit(b.Context(), z, n, d, forest.DefaultParams()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "processors")
}

// BenchmarkScore scores 20,000 events on one processor.
func BenchmarkScore(b *testing.B) {
	x, n, d := networkEvents(b, 20000)
	f, _, err := forest.Fit(b.Context(), x, n, d, forest.DefaultParams())
	if err != nil {
		b.Fatal(err)
	}
	scores := make([]float64, n)
	for b.Loop() {
		f.DecisionFunction(scores, x)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
}
