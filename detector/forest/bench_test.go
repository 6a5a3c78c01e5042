package forest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"modelbucket/detector/forest"
)

// heavyTailed are n rows of d values, like what passes through networks: a few are
// hundreds of times the usual. The forests have some 8,000 nodes.
func heavyTailed(n, d int) []float64 {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float64, 0, n*d)
	for range n {
		for j := range d {
			x = append(x, 1000*math.Exp((2-float64(j%3)/2)*r.NormFloat64()))
		}
	}
	return x
}

// BenchmarkScore scores rows with each form of the product's detector, scaler included;
// -cpu 1 says on how many processors.
func BenchmarkScore(b *testing.B) {
	for _, d := range []int{3, 10} {
		x := heavyTailed(100_000, d)
		s, err := forest.FitScaler(x[:20_000*d], 20_000, d, forest.Pairwise)
		if err != nil {
			b.Fatal(err)
		}
		z := make([]float64, 20_000*d)
		s.Transform(z, x[:len(z)])
		f, _, err := forest.Fit(b.Context(), z, 20_000, d, forest.DefaultParams())
		if err != nil {
			b.Fatal(err)
		}
		c, err := forest.Compile(f, s)
		if err != nil {
			b.Fatal(err)
		}
		plan, ok := c.PlanTables()
		if !ok {
			b.Fatal("no tables")
		}
		forms := []struct {
			name   string
			scorer scorer
			bytes  int64
		}{{"walk", f, f.Bytes()}, {"nodes", c, c.Bytes()}, {"tables", plan.Build(), plan.Bytes()}}
		for _, rows := range []int{1, 1000, 100_000} {
			for _, form := range forms {
				b.Run(fmt.Sprintf("features=%d/rows=%d/%s", d, rows, form.name), func(b *testing.B) {
					scores := make([]float64, rows)
					at := 0
					for b.Loop() {
						if at+rows*d > len(x) {
							at = 0
						}
						form.scorer.DecisionFunction(scores, x[at:at+rows*d])
						at += rows * d
					}
					perRow(b, rows)
					b.ReportMetric(float64(form.bytes)/1000, "kB")
				})
			}
		}
	}
}

// BenchmarkTables makes the tables of the product's detector.
func BenchmarkTables(b *testing.B) {
	x := heavyTailed(20_000, 3)
	f, _, err := forest.Fit(b.Context(), x, 20_000, 3, forest.DefaultParams())
	if err != nil {
		b.Fatal(err)
	}
	c, err := forest.Compile(f, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		plan, ok := c.PlanTables()
		if !ok {
			b.Fatal("no tables")
		}
		plan.Build()
	}
}

// perRow reports the time of a row.
func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
}

// BenchmarkFit trains the product's detector, scaler included; -cpu 1 says on how many
// processors.
func BenchmarkFit(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		for _, contamination := range []float64{0, 0.1} {
			b.Run(fmt.Sprintf("rows=%d/contamination=%v", n, contamination), func(b *testing.B) {
				x := heavyTailed(n, 3)
				z := make([]float64, len(x))
				p := forest.DefaultParams()
				p.Contamination = contamination
				for b.Loop() {
					s, err := forest.FitScaler(x, n, 3, forest.Pairwise)
					if err != nil {
						b.Fatal(err)
					}
					s.Transform(z, x)
					if _, _, err := forest.Fit(b.Context(), z, n, 3, p); err != nil {
						b.Fatal(err)
					}
				}
				perRow(b, n)
			})
		}
	}
}
