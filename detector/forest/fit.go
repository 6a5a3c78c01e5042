package forest

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// Fit trains a forest on n rows of d values, scaled already if they are to be. The result
// depends on the arguments alone, however many processors there are. Where the offset
// is taken from the rows' scores it returns these, too; they are nil for the
// contamination "auto".
func Fit(ctx context.Context, x []float64, n, d int, p Params) (*Forest, []float64, error) {
	f, scores, err := fit(ctx, x, n, d, p)
	if err != nil {
		return nil, nil, fmt.Errorf("train forest: %w", err)
	}
	return f, scores, nil
}

func fit(ctx context.Context, x []float64, n, d int, p Params) (*Forest, []float64, error) {
	// Trees compare values as float32.
	if err := checkMatrix(x, n, d, math.MaxFloat32); err != nil {
		return nil, nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	t, err := newTraining(x, n, d, p)
	if err != nil {
		return nil, nil, err
	}
	f := &Forest{Features: d, MaxFeatures: t.features, MaxSamples: t.samples, Rows: n, Offset: -0.5, Trees: make([]Tree, p.Trees)}
	err = inParallel(ctx, p.Trees, func() (func(int), func()) {
		w := worker{training: t}
		return func(i int) { f.Trees[i] = w.tree(t.seeds[i]) }, func() {}
	})
	if err != nil || p.Contamination == 0 {
		return f, nil, err
	}
	scores, err := f.ScoreAll(ctx, x)
	if err != nil {
		return nil, nil, err
	}
	f.Offset = percentileOf(scores, 100*p.Contamination)
	return f, scores, nil
}

// TableRows is how many rows make up for the time that it takes to make Tables.
const TableRows = 4000

// ScoreAll gives ScoreSamples of all rows x by the fastest means that there is for so
// many of them. An error is Validate's or the context's.
func (f *Forest) ScoreAll(ctx context.Context, x []float64) ([]float64, error) {
	c, err := Compile(f, nil)
	if err != nil {
		return nil, err
	}
	sum := c.sumBlock
	scores := make([]float64, len(x)/f.Features)
	if len(scores) >= TableRows {
		if plan, ok := c.PlanTables(); ok {
			sum = plan.Build().sumBlock
		}
	}
	return scores, c.score(ctx, scores, x, 0, sum)
}

// checkMatrix refuses what is no matrix of n rows of d finite values, the largest of
// them at most limit.
func checkMatrix(x []float64, n, d int, limit float64) error {
	switch {
	case n < 1 || n > MaxRows:
		return fmt.Errorf("%w: %d rows; there must be 1 to %d", ErrData, n, MaxRows)
	case d < 1 || d > math.MaxInt32:
		return fmt.Errorf("%w: %d features", ErrData, d)
	case len(x)/d != n || len(x)%d != 0:
		return fmt.Errorf("%w: %d values are not %d rows of %d", ErrData, len(x), n, d)
	}
	// Without the sign, the bits of a number are ordered as it is, and those of NaN are
	// above all others. Looking for the largest takes no branch.
	var largest uint64
	for _, v := range x {
		largest = max(largest, math.Float64bits(v)<<1)
	}
	if largest <= math.Float64bits(limit)<<1 {
		return nil
	}
	for i, v := range x {
		if !(math.Abs(v) <= limit) {
			return fmt.Errorf("%w: row %d, feature %d is %v; it must be a number of at most %v", ErrData, i/d, i%d, v, limit)
		}
	}
	return nil
}

// training is what all trees share.
type training struct {
	x                        []float64
	n, d                     int
	samples, features, depth int
	bootstrap                bool
	target                   []float64
	seeds                    []uint32
}

func newTraining(x []float64, n, d int, p Params) (*training, error) {
	t := &training{x: x, n: n, d: d, bootstrap: p.Bootstrap}
	var err error
	if t.samples, t.features, t.depth, err = p.sizes(n, d); err != nil {
		return nil, err
	}
	// The targets are random but they do matter: rows whose targets are all but equal
	// are not split any further. The trees' seeds come from a generator seeded anew.
	var m mersenne
	m.seed(p.RandomState)
	t.target = make([]float64, n)
	m.floats(t.target)
	m.seed(p.RandomState)
	t.seeds = make([]uint32, p.Trees)
	for i := range t.seeds {
		t.seeds[i] = m.below(seedLimit)
	}
	return t, nil
}

// worker builds trees, one after the other.
type worker struct {
	*training
	builder       builder
	random, seeds mersenne
	seen          bitmap
	drawn, subset []int32   // rows and columns of the tree
	values        []float32 // their values, column by column
}

func (w *worker) tree(seed uint32) Tree {
	m := &w.random
	m.seed(seed)
	treeSeed := m.below(seedLimit)
	w.seeds.seed(treeSeed)
	w.builder.random = xorshift(w.seeds.below(seedLimit))

	m.rewind()
	w.subset = m.sample(w.subset, w.d, w.features, &w.seen)
	if w.bootstrap {
		w.drawn = slices.Grow(w.drawn[:0], w.samples)
		for range w.samples {
			w.drawn = append(w.drawn, int32(m.below(uint32(w.n))))
		}
		slices.Sort(w.drawn)
	} else {
		w.drawn = m.sample(w.drawn, w.n, w.samples, &w.seen)
		w.seen.sort(w.drawn, w.n)
	}
	w.gather()

	w.builder.maxDepth = w.depth
	nodes, stats := w.builder.grow()
	t := Tree{Nodes: slices.Clone(nodes), Stats: slices.Clone(stats), Seed: seed, RandomState: treeSeed}
	if w.features < w.d {
		t.Columns = slices.Clone(w.subset)
	}
	return t
}

// gather copies what the builder needs of the rows drawn, which are in ascending order,
// each once.
func (w *worker) gather() {
	b := &w.builder
	b.weight = b.weight[:0]
	rows := w.drawn[:0]
	for i, row := range w.drawn {
		if i > 0 && row == rows[len(rows)-1] {
			b.weight[len(rows)-1]++
			continue
		}
		rows = append(rows, row)
		b.weight = append(b.weight, 1)
	}
	b.target = b.target[:0]
	for _, row := range rows {
		b.target = append(b.target, w.target[row])
	}
	w.values = slices.Grow(w.values[:0], len(rows)*w.features)[:len(rows)*w.features]
	b.columns = b.columns[:0]
	for k, column := range w.subset {
		values := w.values[k*len(rows) : (k+1)*len(rows)]
		for i, row := range rows {
			values[i] = float32(w.x[int(row)*w.d+int(column)])
		}
		b.columns = append(b.columns, values)
	}
}
