package forest

import "math"

// AverageDepth is the mean depth c(n) at which a search in a random tree of n rows
// ends without success (Liu et al., equation 1).
func AverageDepth(n int) float64 {
	if n >= 0 && n < len(averageDepths) {
		return averageDepths[n]
	}
	return averageDepth(n)
}

// averageDepths has what all leaves of forests with the default max_samples ask for.
var averageDepths = func() (c [257]float64) {
	for n := range c {
		c[n] = averageDepth(n)
	}
	return c
}()

func averageDepth(n int) float64 {
	switch {
	case n <= 1:
		return 0
	case n == 2:
		return 1
	}
	const euler = 0.577215664901532860606512090082402431
	m := float64(n)
	return float64(2*(math.Log(m-1)+euler)) - float64(2*(m-1))/m
}

// ScoreSamples writes score_samples of len(dst) rows, all of Features values, to dst:
// from -1 (isolated at once) to 0. It panics if x has another length. A NaN goes where
// the tree says; values beyond float32 count as infinite.
func (f *Forest) ScoreSamples(dst, x []float64) {
	if len(x) != len(dst)*f.Features {
		panic("forest: rows of another width")
	}
	// Tree by tree over a block of rows, so that a tree's nodes stay in the cache. The
	// sum of each row runs in the order of the trees all the same.
	const block = 256
	values := make([]float32, min(block, len(dst))*f.Features)
	for len(dst) > 0 {
		n := min(block, len(dst))
		for i, v := range x[:n*f.Features] {
			values[i] = float32(v)
		}
		f.scoreBlock(dst[:n], values)
		dst, x = dst[n:], x[n*f.Features:]
	}
}

func (f *Forest) scoreBlock(dst []float64, values []float32) {
	clear(dst)
	for i := range f.Trees {
		t := &f.Trees[i]
		for r := range dst {
			dst[r] += t.depth(values[r*f.Features : (r+1)*f.Features])
		}
	}
	longest := float64(len(f.Trees)) * AverageDepth(f.MaxSamples)
	for r, depth := range dst {
		dst[r] = scoreOf(depth, longest)
	}
}

// depth is the depth of the leaf that a row comes to, and the mean depth of a tree of
// the rows that it holds. Adding and taking away 1 rounds as scikit-learn does.
func (t *Tree) depth(row []float32) float64 {
	nodes := t.Nodes
	k, depth := int32(0), 0
	for nodes[k].Left != Leaf {
		n := &nodes[k]
		column := n.Feature
		if t.Columns != nil {
			column = t.Columns[column]
		}
		v := row[column]
		if float64(v) <= n.Threshold || (v != v && n.MissingLeft) {
			k = n.Left
		} else {
			k = n.Right
		}
		depth++
	}
	return float64(depth+1) + AverageDepth(int(nodes[k].Samples)) - 1
}

// DecisionFunction writes decision_function of len(dst) rows to dst: negative for an
// anomaly.
func (f *Forest) DecisionFunction(dst, x []float64) {
	f.ScoreSamples(dst, x)
	for i := range dst {
		dst[i] -= f.Offset
	}
}
