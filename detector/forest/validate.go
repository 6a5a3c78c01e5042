package forest

import (
	"fmt"
	"math"
)

// MaxDepth is the deepest tree that Validate accepts: scikit-learn's are at most
// ceil(log2(max_samples)) deep, and a row costs a step for each level.
const MaxDepth = 64

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Validate checks everything that scoring relies on: after it no row can make
// ScoreSamples panic, loop or give what is not a number.
func (f *Forest) Validate() error {
	switch {
	case f.Features < 1 || f.Features > math.MaxInt32:
		return invalid("a forest of %d features", f.Features)
	case f.MaxFeatures < 1 || f.MaxFeatures > f.Features:
		return invalid("max_features is %d of %d", f.MaxFeatures, f.Features)
	case f.MaxSamples < 1 || f.MaxSamples > MaxRows:
		return invalid("max_samples is %d", f.MaxSamples)
	case !(math.Abs(f.Offset) <= 1):
		return invalid("the offset is %v", f.Offset)
	case len(f.Trees) == 0 || len(f.Trees) > MaxTrees:
		return invalid("a forest of %d trees", len(f.Trees))
	}
	var depths []int8
	for i := range f.Trees {
		if err := f.Trees[i].validateColumns(f.Features, f.MaxFeatures); err != nil {
			return fmt.Errorf("tree %d: %w", i, err)
		}
		var err error
		if depths, err = f.Trees[i].validateNodes(f.MaxFeatures, depths); err != nil {
			return fmt.Errorf("tree %d: %w", i, err)
		}
	}
	return nil
}

func (t *Tree) validateColumns(width, features int) error {
	if t.Columns == nil {
		if features != width {
			return invalid("it does not say which %d of %d features it uses", features, width)
		}
		return nil
	}
	if len(t.Columns) != features {
		return invalid("it uses %d features, not %d", len(t.Columns), features)
	}
	for _, c := range t.Columns {
		if c < 0 || int(c) >= width {
			return invalid("it uses feature %d of %d", c, width)
		}
	}
	return nil
}

// validateNodes checks that the nodes are one tree. Children lie behind their parent,
// so one pass in order sees each node after its parent. depths is a buffer.
func (t *Tree) validateNodes(features int, depths []int8) ([]int8, error) {
	n := len(t.Nodes)
	if n == 0 || n > math.MaxInt32 {
		return depths, invalid("%d nodes", n)
	}
	if t.Stats != nil && len(t.Stats) != n {
		return depths, invalid("%d statistics of %d nodes", len(t.Stats), n)
	}
	const unreached = -1
	depths = depths[:0]
	for range n {
		depths = append(depths, unreached)
	}
	depths[0] = 0
	for k, node := range t.Nodes {
		switch {
		case depths[k] == unreached:
			return depths, invalid("node %d has no parent", k)
		case node.Samples < 1:
			return depths, invalid("node %d has %d samples", k, node.Samples)
		case node.Left == Leaf && node.Right == Leaf:
			continue
		case node.Left == Leaf || node.Right == Leaf:
			return depths, invalid("node %d has one child", k)
		case node.Feature < 0 || int(node.Feature) >= features:
			return depths, invalid("node %d splits on feature %d of %d", k, node.Feature, features)
		case math.IsNaN(node.Threshold) || math.IsInf(node.Threshold, 0):
			return depths, invalid("node %d splits at %v", k, node.Threshold)
		case depths[k] == MaxDepth:
			return depths, invalid("it is deeper than %d", MaxDepth)
		}
		for _, child := range [...]int32{node.Left, node.Right} {
			if int(child) <= k || int(child) >= n || depths[child] != unreached {
				return depths, invalid("node %d has child %d", k, child)
			}
			depths[child] = depths[k] + 1
		}
	}
	return depths, nil
}

// Validate checks everything that Transform relies on.
func (s *Scaler) Validate() error {
	if s.Features < 1 {
		return invalid("a scaler of %d features", s.Features)
	}
	for _, p := range []struct {
		name   string
		values []float64
	}{{"mean", s.Mean}, {"variance", s.Var}, {"scale", s.Scale}} {
		if p.values != nil && len(p.values) != s.Features {
			return invalid("the scaler has %d values of %s for %d features", len(p.values), p.name, s.Features)
		}
		for j, v := range p.values {
			if math.IsNaN(v) || math.IsInf(v, 0) || (p.name == "scale" && v == 0) {
				return invalid("the scaler's %s of feature %d is %v", p.name, j, v)
			}
		}
	}
	return nil
}
