package forest_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modelbucket/detector/forest"
)

// matrix draws n×d values with ties, constants and great differences of size.
func matrix(t *rapid.T, n, d int) []float64 {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	x := make([]float64, n*d)
	for j := range d {
		kind := r.IntN(4)
		for i := range n {
			switch kind {
			case 0:
				x[i*d+j] = r.NormFloat64() * math.Pow(10, float64(r.IntN(20)-10))
			case 1:
				x[i*d+j] = float64(r.IntN(3))
			case 2:
				x[i*d+j] = 7
			default:
				x[i*d+j] = 1 + r.Float64()*1e-7
			}
		}
	}
	return x
}

func anyParams(t *rapid.T) forest.Params {
	p := forest.Params{
		Trees:       rapid.IntRange(1, 30).Draw(t, "trees"),
		Bootstrap:   rapid.Bool().Draw(t, "bootstrap"),
		RandomState: rapid.Uint32().Draw(t, "random state"),
	}
	switch rapid.IntRange(0, 2).Draw(t, "max_samples") {
	case 1:
		p.MaxSamples.Count = rapid.IntRange(1, 400).Draw(t, "rows")
	case 2:
		p.MaxSamples.Share = 1
	}
	if rapid.Bool().Draw(t, "max_features") {
		p.MaxFeatures.Share = rapid.Float64Range(0.01, 1).Draw(t, "columns")
	}
	if rapid.Bool().Draw(t, "contamination") {
		p.Contamination = rapid.Float64Range(0.001, 0.5).Draw(t, "share")
	}
	return p
}

// Whatever is trained is valid, and a row's score does not depend on its company.
func TestForestScoresEachRowByItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, d := rapid.IntRange(1, 600).Draw(t, "n"), rapid.IntRange(1, 5).Draw(t, "d")
		x := matrix(t, n, d)
		p := anyParams(t)
		f, scores, err := forest.Fit(context.Background(), x, n, d, p)
		if err != nil {
			t.Fatal(err)
		}
		all, err := f.ScoreAll(context.Background(), x)
		if err != nil {
			t.Fatal(err)
		}
		if (scores != nil) != (p.Contamination != 0) || (scores != nil && !slices.Equal(scores, all)) {
			t.Fatalf("Fit gives scores %v, ScoreAll %v", scores, all)
		}
		if scores = all; p.Contamination != 0 {
			sorted := slices.Sorted(slices.Values(all))
			if want := forest.Percentile(sorted, 100*p.Contamination); f.Offset != want {
				t.Fatalf("offset %v, want %v", f.Offset, want)
			}
		}
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			var one [1]float64
			f.ScoreSamples(one[:], x[i*d:(i+1)*d])
			if one[0] != scores[i] {
				t.Fatalf("row %d: %v alone, %v among %d", i, one[0], scores[i], n)
			}
			if !(one[0] >= -1 && one[0] <= 0) {
				t.Fatalf("row %d: score %v", i, one[0])
			}
			f.DecisionFunction(one[:], x[i*d:(i+1)*d])
			if one[0] != scores[i]-f.Offset {
				t.Fatalf("row %d: decision %v of score %v and offset %v", i, one[0], scores[i], f.Offset)
			}
		}
	})
}

// Trees are built side by side; that must not show.
func TestFitDoesNotDependOnProcessors(t *testing.T) {
	x, n, d := networkEvents(t, 3000)
	fit := func(processors int) *forest.Forest {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		f, _, err := forest.Fit(t.Context(), x, n, d, forest.DefaultParams())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if diff := cmp.Diff(fit(1), fit(7)); diff != "" {
		t.Errorf("1 processor against 7 (-want +got):\n%s", diff)
	}
}

func TestFitStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x, n, d := networkEvents(t, 10)
	if _, _, err := forest.Fit(ctx, x, n, d, forest.DefaultParams()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

func TestFitRefuses(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(-1)
	for _, c := range []struct {
		name string
		x    []float64
		n, d int
		p    forest.Params
		want error
		says string
	}{
		{"no rows", nil, 0, 2, forest.Params{Trees: 1}, forest.ErrData, "0 rows"},
		{"no columns", nil, 1, 0, forest.Params{Trees: 1}, forest.ErrData, "0 features"},
		{"wrong length", []float64{1, 2, 3}, 2, 2, forest.Params{Trees: 1}, forest.ErrData, "3 values are not 2 rows of 2"},
		{"missing value", []float64{1, 2, 3, nan}, 2, 2, forest.Params{Trees: 1}, forest.ErrData, "row 1, feature 1 is NaN"},
		{"infinite", []float64{1, 2, inf, 3}, 2, 2, forest.Params{Trees: 1}, forest.ErrData, "row 1, feature 0 is -Inf"},
		{"beyond float32", []float64{1e39, 2}, 2, 1, forest.Params{Trees: 1}, forest.ErrData, "row 0, feature 0 is 1e+39"},
		{"no trees", []float64{1}, 1, 1, forest.Params{}, forest.ErrParams, "n_estimators is 0"},
		{"too many trees", []float64{1}, 1, 1, forest.Params{Trees: forest.MaxTrees + 1}, forest.ErrParams, "n_estimators is 10001"},
		{"contamination too high", []float64{1}, 1, 1, forest.Params{Trees: 1, Contamination: 0.51}, forest.ErrParams, "contamination is 0.51"},
		{"contamination below 0", []float64{1}, 1, 1, forest.Params{Trees: 1, Contamination: -0.1}, forest.ErrParams, "contamination is -0.1"},
		{"contamination no number", []float64{1}, 1, 1, forest.Params{Trees: 1, Contamination: nan}, forest.ErrParams, "contamination is NaN"},
		{"negative samples", []float64{1}, 1, 1, forest.Params{Trees: 1, MaxSamples: forest.Size{Count: -1}}, forest.ErrParams, "max_samples is -1"},
		{"samples beyond all", []float64{1}, 1, 1, forest.Params{Trees: 1, MaxSamples: forest.Size{Share: 1.5}}, forest.ErrParams, "max_samples is 1.5"},
		{"samples twice", []float64{1}, 1, 1, forest.Params{Trees: 1, MaxSamples: forest.Size{Count: 1, Share: 1}}, forest.ErrParams, "both"},
		{"a share of no row", []float64{1, 2}, 2, 1, forest.Params{Trees: 1, MaxSamples: forest.Size{Share: 0.4}}, forest.ErrParams, "no row"},
		{"more features than there are", []float64{1}, 1, 1, forest.Params{Trees: 1, MaxFeatures: forest.Size{Count: 2}}, forest.ErrParams, "there are 1 features"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := forest.Fit(t.Context(), c.x, c.n, c.d, c.p)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

// small is a valid forest of two trees over two of three features.
func small() *forest.Forest {
	tree := func() forest.Tree {
		return forest.Tree{
			Nodes: []forest.Node{
				{Threshold: 0.5, Left: 1, Right: 2, Feature: 1, Samples: 3},
				{Threshold: -2, Left: forest.Leaf, Right: forest.Leaf, Feature: -2, Samples: 1},
				{Threshold: -2, Left: forest.Leaf, Right: forest.Leaf, Feature: -2, Samples: 2},
			},
			Columns: []int32{0, 2},
		}
	}
	return &forest.Forest{Features: 3, MaxFeatures: 2, MaxSamples: 3, Offset: -0.5, Trees: []forest.Tree{tree(), tree()}}
}

func TestValidateRefuses(t *testing.T) {
	if err := small().Validate(); err != nil {
		t.Fatalf("the valid one: %v", err)
	}
	for name, spoil := range map[string]func(f *forest.Forest){
		"no features":               func(f *forest.Forest) { f.Features, f.MaxFeatures = 0, 0 },
		"more features than it has": func(f *forest.Forest) { f.MaxFeatures = 4 },
		"no samples":                func(f *forest.Forest) { f.MaxSamples = 0 },
		"offset above 1":            func(f *forest.Forest) { f.Offset = 1.1 },
		"offset no number":          func(f *forest.Forest) { f.Offset = math.NaN() },
		"no trees":                  func(f *forest.Forest) { f.Trees = nil },
		"no nodes":                  func(f *forest.Forest) { f.Trees[1].Nodes = nil },
		"no columns":                func(f *forest.Forest) { f.Trees[1].Columns = nil },
		"too few columns":           func(f *forest.Forest) { f.Trees[1].Columns = []int32{0} },
		"column outside":            func(f *forest.Forest) { f.Trees[1].Columns[0] = 3 },
		"negative column":           func(f *forest.Forest) { f.Trees[1].Columns[0] = -1 },
		"one child":                 func(f *forest.Forest) { f.Trees[1].Nodes[0].Right = forest.Leaf },
		"its own child":             func(f *forest.Forest) { f.Trees[1].Nodes[0].Left = 0 },
		"one child twice":           func(f *forest.Forest) { f.Trees[1].Nodes[0].Left = 2 },
		"child outside":             func(f *forest.Forest) { f.Trees[1].Nodes[0].Right = 3 },
		"negative child":            func(f *forest.Forest) { f.Trees[1].Nodes[0].Right = -2 },
		"child before its parent":   func(f *forest.Forest) { n := &f.Trees[1].Nodes[1]; n.Left, n.Right, n.Feature = 0, 2, 0 },
		"orphan":                    func(f *forest.Forest) { f.Trees[1].Nodes = append(f.Trees[1].Nodes, f.Trees[1].Nodes[1]) },
		"feature outside":           func(f *forest.Forest) { f.Trees[1].Nodes[0].Feature = 2 },
		"negative feature":          func(f *forest.Forest) { f.Trees[1].Nodes[0].Feature = -1 },
		"threshold no number":       func(f *forest.Forest) { f.Trees[1].Nodes[0].Threshold = math.NaN() },
		"threshold infinite":        func(f *forest.Forest) { f.Trees[1].Nodes[0].Threshold = math.Inf(1) },
		"leaf without samples":      func(f *forest.Forest) { f.Trees[1].Nodes[2].Samples = 0 },
		"statistics of other nodes": func(f *forest.Forest) { f.Trees[1].Stats = make([]forest.Stats, 2) },
		"too deep":                  func(f *forest.Forest) { f.Trees[1] = chain(forest.MaxDepth + 1) },
	} {
		t.Run(name, func(t *testing.T) {
			f := small()
			spoil(f)
			if err := f.Validate(); !errors.Is(err, forest.ErrInvalid) {
				t.Errorf("%v, want ErrInvalid", err)
			}
		})
	}
	f := small()
	f.Trees[1] = chain(forest.MaxDepth)
	if err := f.Validate(); err != nil {
		t.Errorf("as deep as may be: %v", err)
	}
}

// chain is a tree that has one leaf on each level.
func chain(depth int) forest.Tree {
	t := forest.Tree{Columns: []int32{0, 1}}
	for range depth {
		n := int32(len(t.Nodes))
		t.Nodes = append(t.Nodes,
			forest.Node{Left: n + 1, Right: n + 2, Samples: 2},
			forest.Node{Left: forest.Leaf, Right: forest.Leaf, Feature: -2, Threshold: -2, Samples: 1})
	}
	t.Nodes = append(t.Nodes, t.Nodes[1])
	return t
}

// A missing value goes where the node says; columns are those of the tree.
func TestScoreFollowsTheTree(t *testing.T) {
	f := small()
	f.Trees[0].Nodes[0].MissingLeft = true
	f.Trees[1].Nodes[0].MissingLeft = true
	// Feature 1 of the trees is column 2 of a row. Left there is one sample, right two.
	left := -math.Exp2(-1 / forest.AverageDepth(3))
	right := -math.Exp2(-2 / forest.AverageDepth(3))
	x := []float64{
		9, 9, 0.5,
		9, 9, math.Nextafter(0.5, 1), // the same as float32
		9, 9, 0.5000001,
		9, 9, math.NaN(),
		9, 9, math.Inf(1),
		9, 9, -1e300,
	}
	got := make([]float64, 6)
	f.ScoreSamples(got, x)
	if diff := cmp.Diff([]float64{left, left, right, left, right, left}, got); diff != "" {
		t.Errorf("scores (-want +got):\n%s", diff)
	}
}

func TestScaler(t *testing.T) {
	s, err := forest.FitScaler([]float64{1, 5, 3, 5, 5, 5}, 3, 2, forest.Pairwise)
	if err != nil {
		t.Fatal(err)
	}
	want := &forest.Scaler{Mean: []float64{3, 5}, Var: []float64{8.0 / 3, 0}, Scale: []float64{math.Sqrt(8.0 / 3), 1}, Features: 2, Samples: 3}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	x := []float64{3, 7}
	s.Transform(x, x)
	if diff := cmp.Diff([]float64{0, 2}, x); diff != "" {
		t.Errorf("in place (-want +got):\n%s", diff)
	}
	none := &forest.Scaler{Features: 2}
	none.Transform(x, []float64{3, 7})
	if diff := cmp.Diff([]float64{3, 7}, x); diff != "" {
		t.Errorf("with neither mean nor scale (-want +got):\n%s", diff)
	}
	if _, err := forest.FitScaler([]float64{1, math.Inf(1)}, 2, 1, forest.Pairwise); !errors.Is(err, forest.ErrData) {
		t.Errorf("infinite: %v, want ErrData", err)
	}
	if _, err := forest.FitScaler([]float64{1e300, -1e300}, 2, 1, forest.Pairwise); !errors.Is(err, forest.ErrData) {
		t.Errorf("variance beyond float64: %v, want ErrData", err)
	}
}

func TestScalerValidateRefuses(t *testing.T) {
	for name, s := range map[string]forest.Scaler{
		"no features":     {},
		"wrong width":     {Features: 2, Mean: []float64{1}},
		"mean no number":  {Features: 1, Mean: []float64{math.NaN()}},
		"scale infinite":  {Features: 1, Scale: []float64{math.Inf(1)}},
		"scale 0":         {Features: 1, Scale: []float64{0}},
		"variance absurd": {Features: 1, Var: []float64{math.Inf(1)}},
	} {
		if err := s.Validate(); !errors.Is(err, forest.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestPercentile(t *testing.T) {
	for _, c := range []struct{ q, want float64 }{{0, 1}, {10, 1.4}, {25, 2}, {50, 3}, {95, 4.8}, {100, 5}} {
		if got := forest.Percentile([]float64{1, 2, 3, 4, 5}, c.q); math.Abs(got-c.want) > 1e-15 {
			t.Errorf("%v: %v, want %v", c.q, got, c.want)
		}
	}
}

func TestBytesCountsWhatAForestHolds(t *testing.T) {
	f := small()
	before := f.Bytes()
	f.Trees[0].Nodes = slices.Grow(slices.Clip(f.Trees[0].Nodes), 1000)
	grown := int64(cap(f.Trees[0].Nodes)-3) * 32
	if got := f.Bytes() - before; got != grown {
		t.Errorf("%d bytes more, want %d", got, grown)
	}
}

// The offset is the percentile of all scores, in whatever order they come.
func TestFitTakesThePercentile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9000).Draw(t, "n")
		x := matrix(t, n, 1)
		switch rapid.IntRange(0, 3).Draw(t, "order") {
		case 1:
			slices.Sort(x)
		case 2:
			clear(x[:n/2]) // then far fewer scores than rows, and half of them the same
		}
		p := forest.Params{Trees: rapid.IntRange(1, 5).Draw(t, "trees"), Contamination: rapid.Float64Range(1e-6, 0.5).Draw(t, "share")}
		f, scores, err := forest.Fit(context.Background(), x, n, 1, p)
		if err != nil {
			t.Fatal(err)
		}
		if want := forest.Percentile(slices.Sorted(slices.Values(scores)), 100*p.Contamination); f.Offset != want {
			t.Fatalf("offset %v, want %v", f.Offset, want)
		}
	})
}

// A score is a power of two, within two units in the last place of what math.Exp2 gives,
// which is off by up to one itself.
func TestScoreIsAPowerOfTwo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.IntRange(1, math.MaxInt32).Draw(t, "samples of the leaf")
		of := rapid.IntRange(2, 1<<20).Draw(t, "samples of the tree")
		f := &forest.Forest{Features: 1, MaxFeatures: 1, MaxSamples: of, Trees: []forest.Tree{{Nodes: []forest.Node{{Left: forest.Leaf, Right: forest.Leaf, Samples: int32(samples)}}}}}
		got := make([]float64, 1)
		f.ScoreSamples(got, []float64{0})
		depth := 1 + forest.AverageDepth(samples) - 1
		if want := -math.Exp2(-depth / forest.AverageDepth(of)); math.Abs(got[0]-want) > 2.3e-16 {
			t.Fatalf("score %v, want %v", got[0], want)
		}
	})
}
