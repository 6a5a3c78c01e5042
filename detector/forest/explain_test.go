package forest_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"modelbucket/detector/forest"
)

// meanPath is the mean path length of the training rows below node k, and their number.
func meanPath(t *forest.Tree, k int32, depth int) (mean, samples float64) {
	n := t.Nodes[k]
	if n.Left == forest.Leaf {
		return float64(depth) + forest.AverageDepth(int(n.Samples)), float64(n.Samples)
	}
	a, m := meanPath(t, n.Left, depth+1)
	b, o := meanPath(t, n.Right, depth+1)
	return (a*m + b*o) / (m + o), m + o
}

// contributions is what Explain says it does, step by step, on the forest as it was read.
func (c forestCase) contributions(row []float64) (base float64, moved []float64) {
	moved = make([]float64, c.forest.Features)
	var all, sum float64
	for i := range c.forest.Trees {
		t := &c.forest.Trees[i]
		mean, _ := meanPath(t, 0, 0)
		all += mean
		k, depth := int32(0), 0
		for t.Nodes[k].Left != forest.Leaf {
			n := t.Nodes[k]
			feature := n.Feature
			if t.Columns != nil {
				feature = t.Columns[feature]
			}
			k = n.Right
			if v := float32(row[feature]); float64(v) <= n.Threshold || (v != v && n.MissingLeft) {
				k = n.Left
			}
			depth++
			next, _ := meanPath(t, k, depth)
			moved[feature] += next - mean
			mean = next
		}
		sum += mean
	}
	longest := float64(len(c.forest.Trees)) * forest.AverageDepth(c.forest.MaxSamples)
	if longest == 0 {
		return -0.5 - c.forest.Offset, make([]float64, c.forest.Features)
	}
	base = -math.Exp2(-all / longest)
	factor := 0.0
	if math.Abs(sum-all) > 1e-9 {
		factor = (-math.Exp2(-sum/longest) - base) / (sum - all)
	} else {
		factor = -base * math.Ln2 / longest
	}
	for j := range moved {
		moved[j] *= factor
	}
	return base - c.forest.Offset, moved
}

func explainedAddsUp(t *rapid.T) {
	c := anyForest(t)
	compiled, err := forest.Compile(c.forest, c.scaler)
	if err != nil {
		t.Fatal(err)
	}
	e, d := compiled.Explainer(), c.forest.Features
	scaled := c.x
	if c.scaler != nil {
		scaled = make([]float64, len(c.x))
		c.scaler.Transform(scaled, c.x)
	}
	rows := len(c.x) / d
	got, score := make([]float64, d), make([]float64, 1)
	for i := 0; i < rows; i += 1 + rows/5 {
		row := c.x[i*d : (i+1)*d]
		e.Explain(got, row)
		base, want := c.contributions(scaled[i*d : (i+1)*d])
		if math.Abs(e.Base()-base) > 1e-12 {
			t.Fatalf("base %v, want %v", e.Base(), base)
		}
		total := e.Base()
		for j := range got {
			if total += got[j]; math.Abs(got[j]-want[j]) > 1e-8 {
				t.Fatalf("row %v, feature %d: %v, want %v", row, j, got[j], want[j])
			}
		}
		if compiled.DecisionFunction(score, row); math.Abs(total-score[0]) > 1e-13 {
			t.Fatalf("row %v: %v adds up to %v, the score is %v", row, got, total, score[0])
		}
	}
}

func TestExplainedAddsUp(t *testing.T) { rapid.Check(t, explainedAddsUp) }

func FuzzExplainedAddsUp(f *testing.F) { f.Fuzz(rapid.MakeFuzz(explainedAddsUp)) }

// What is far out in one feature is put down to it.
func TestExplainNamesTheFeature(t *testing.T) {
	x, n, d := networkEvents(t, 2000)
	f, _, err := forest.Fit(t.Context(), x, n, d, forest.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := forest.Compile(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := compiled.Explainer()
	for j := range d {
		row := append([]float64(nil), x[:d]...)
		row[j] = 1e9
		moved := make([]float64, d)
		e.Explain(moved, row)
		for k := range moved {
			if k != j && moved[k] <= moved[j] {
				t.Errorf("feature %d is far out, but %v", j, moved)
			}
		}
	}
}
