package forest_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"modelbucket/detector/forest"
)

// awkward are values at which comparisons go wrong: zeros, subnormals, infinities, and
// neighbours in float32 and in float64, which float32 does not tell apart.
func awkward() []float64 {
	one32 := float64(math.Nextafter32(1, 2))
	v := []float64{
		0, math.Copysign(0, -1), math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat32,
		float64(math.Float32frombits(0x007fffff)), 1, math.Nextafter(1, 2), (1 + one32) / 2, one32,
		math.Nextafter(one32, 2), 0.1, float64(float32(0.1)), 7, math.MaxFloat32, 1e300,
	}
	for _, x := range slices.Clone(v) {
		v = append(v, -x, math.Nextafter(x, 0), float64(math.Nextafter32(float32(x), 0)))
	}
	return slices.DeleteFunc(v, func(x float64) bool { return math.IsInf(x, 0) })
}

// forestCase is a forest that nobody trained, and rows for it.
type forestCase struct {
	forest *forest.Forest
	scaler *forest.Scaler
	x      []float64
}

// anyForest draws forests of all shapes that Validate lets pass.
func anyForest(t *rapid.T) forestCase {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
	d := rapid.SampledFrom([]int{1, 2, 3, 3, 4, 5, 7, 11, 20, 300}).Draw(t, "features")
	trees := rapid.SampledFrom([]int{1, 2, 3, 4, 5, 9, 60, 101}).Draw(t, "trees")
	leaves := rapid.SampledFrom([]int{1, 2, 9, 40, 90, 300}).Draw(t, "leaves")
	samples := rapid.SampledFrom([]int{2, 256, 1 << 20}).Draw(t, "samples of a leaf")
	deepest := rapid.SampledFrom([]int{3, 8, 12, forest.MaxDepth}).Draw(t, "depth")
	thresholds := awkward()
	if rapid.Bool().Draw(t, "many thresholds") {
		for range 500 {
			thresholds = append(thresholds, r.NormFloat64())
		}
	}
	used := 1 + r.IntN(d) // other features are in no tree
	c := forestCase{forest: &forest.Forest{Features: d, MaxFeatures: d, MaxSamples: 1 + r.IntN(300), Offset: -r.Float64()}}
	var columns []int32
	if rapid.Bool().Draw(t, "columns") {
		c.forest.MaxFeatures = used
	}
	for range trees {
		if c.forest.MaxFeatures < d {
			columns = nil
			for _, j := range r.Perm(d)[:used] {
				columns = append(columns, int32(j))
			}
		}
		tree := forest.Tree{Columns: columns}
		growAny(r, &tree, 1+r.IntN(leaves), deepest, used, samples, thresholds)
		c.forest.Trees = append(c.forest.Trees, tree)
	}
	if rapid.Bool().Draw(t, "scaler") {
		c.scaler = &forest.Scaler{Features: d}
		for range d {
			c.scaler.Mean = append(c.scaler.Mean, r.NormFloat64())
			c.scaler.Scale = append(c.scaler.Scale, math.Exp(r.NormFloat64()))
		}
	}
	values := append(thresholds, math.Inf(1), math.Inf(-1))
	if rapid.Bool().Draw(t, "missing values") {
		values = append(values, math.NaN(), math.NaN(), math.NaN())
	}
	rows := rapid.SampledFrom([]int{1, 7, 8, 100, 515, 2100}).Draw(t, "rows")
	for range rows {
		for j := range d {
			v := values[r.IntN(len(values))]
			if c.scaler != nil && r.IntN(2) == 0 {
				v = v*c.scaler.Scale[j] + c.scaler.Mean[j]
			}
			c.x = append(c.x, v)
		}
	}
	return c
}

// growAny appends a random tree, by turning leaves into inner nodes until there are
// enough or none may be turned.
func growAny(r *rand.Rand, t *forest.Tree, leaves, deepest, features, samples int, thresholds []float64) {
	leaf := func() forest.Node {
		return forest.Node{Left: forest.Leaf, Right: forest.Leaf, Feature: -2, Threshold: -2, Samples: int32(1 + r.IntN(samples))}
	}
	t.Nodes = []forest.Node{leaf()}
	depths := []int{0}
	open := []int{0}
	chain := r.IntN(4) == 0
	for n := 1; n < leaves && len(open) > 0; n++ {
		k := r.IntN(len(open))
		if chain {
			k = len(open) - 1
		}
		i := open[k]
		open = slices.Delete(open, k, k+1)
		if depths[i] == deepest {
			continue
		}
		left := int32(len(t.Nodes))
		node := &t.Nodes[i]
		node.Left, node.Right = left, left+1
		if r.IntN(2) == 0 {
			node.Left, node.Right = left+1, left
		}
		node.Feature = int32(r.IntN(features))
		node.Threshold = thresholds[r.IntN(len(thresholds))]
		node.MissingLeft = r.IntN(2) == 0
		t.Nodes = append(t.Nodes, leaf(), leaf())
		depths = append(depths, depths[i]+1, depths[i]+1)
		open = append(open, int(left), int(left)+1)
	}
}

// want are the scores that the plain walk gives.
func (c forestCase) want() []float64 {
	x := slices.Clone(c.x)
	if c.scaler != nil {
		c.scaler.Transform(x, x)
	}
	scores := make([]float64, len(x)/c.forest.Features)
	c.forest.ScoreSamples(scores, x)
	return scores
}

// scorer is any form of a forest that takes rows unscaled.
type scorer interface {
	ScoreSamples(dst, x []float64)
	DecisionFunction(dst, x []float64)
}

// agrees compares all scores, bit for bit, and those of some rows alone.
func (c forestCase) agrees(t *rapid.T, name string, s scorer) {
	t.Helper()
	want, d := c.want(), c.forest.Features
	before := slices.Clone(c.x)
	got := make([]float64, len(want))
	s.ScoreSamples(got, c.x)
	decisions := make([]float64, len(want))
	s.DecisionFunction(decisions, c.x)
	for i := range want {
		if got[i] != want[i] || decisions[i] != want[i]-c.forest.Offset {
			t.Fatalf("%s: row %d %v: score %v, decision %v; want %v, %v", name, i, c.x[i*d:(i+1)*d], got[i], decisions[i], want[i], want[i]-c.forest.Offset)
		}
	}
	for i := 0; i < len(want); i += 1 + len(want)/5 {
		part := min(len(want)-i, 9)
		s.ScoreSamples(got[:part], c.x[i*d:(i+part)*d])
		if !slices.Equal(got[:part], want[i:i+part]) {
			t.Fatalf("%s: rows %d to %d: %v alone, %v among all", name, i, i+part, got[:part], want[i:i+part])
		}
	}
	for i := range before {
		if math.Float64bits(before[i]) != math.Float64bits(c.x[i]) {
			t.Fatalf("%s: value %d was %v and is %v", name, i, before[i], c.x[i])
		}
	}
}

func compiledScoresAsForest(t *rapid.T) {
	c := anyForest(t)
	compiled, err := forest.Compile(c.forest, c.scaler)
	if err != nil {
		t.Fatal(err)
	}
	c.agrees(t, "nodes", compiled)
	plan, ok := compiled.PlanTables()
	if !ok {
		return
	}
	tables := plan.Build()
	if tables.Bytes() != plan.Bytes() {
		t.Fatalf("%d bytes were planned, there are %d", plan.Bytes(), tables.Bytes())
	}
	c.agrees(t, "tables", tables)
}

func TestCompiledScoresAsForest(t *testing.T) { rapid.Check(t, compiledScoresAsForest) }

func FuzzCompiledScoresAsForest(f *testing.F) { f.Fuzz(rapid.MakeFuzz(compiledScoresAsForest)) }

func TestCompileRefuses(t *testing.T) {
	f := small()
	f.Trees[1].Nodes[0].Right = 7
	if _, err := forest.Compile(f, nil); err == nil || !strings.Contains(err.Error(), "child 7") {
		t.Errorf("a broken tree: %v", err)
	}
	for name, s := range map[string]*forest.Scaler{"no width": {}, "other width": {Features: 2}} {
		if _, err := forest.Compile(small(), s); err == nil {
			t.Errorf("a scaler of %s passes", name)
		}
	}
}

// A loaded detector of the usual size stays within 80 KB.
func TestCompiledIsSmall(t *testing.T) {
	x, n, d := networkEvents(t, 20000)
	f, _, err := forest.Fit(t.Context(), x, n, d, forest.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	c, err := forest.Compile(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Features() != 3 || c.Trees() != 100 {
		t.Errorf("%d features, %d trees", c.Features(), c.Trees())
	}
	if n := c.Bytes(); n > 80<<10 || n < 40<<10 {
		t.Errorf("%d bytes for a forest that takes %d", n, f.Bytes())
	}
	if want := -math.Exp2(-1/forest.AverageDepth(256)) - f.Offset; c.Floor() != want {
		t.Errorf("floor %v, want %v", c.Floor(), want)
	}
}
