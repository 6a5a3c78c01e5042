package forest

import (
	"math"
	"sort"
)

// Explainer tells which features drove a row's score: by how much each lengthened or
// shortened the paths through the trees (Saabas, "Interpreting random forests", 2014,
// on path lengths).
//
// The mean path length below a node is that of the training rows that came to it. Each
// step from a node to its child changes it, and the change is put down to the feature
// that the node asks for. Over all trees the changes add up to the row's path length
// less that of all training rows. They are turned into score by one factor for all
// features of the row, so that what they add up to is the row's score less Base.
//
// An Explainer is for one goroutine. Making it takes as long as scoring some hundred
// rows, explaining a row as scoring a few.
type Explainer struct {
	compiled *Compiled
	means    []float64 // the mean path length below each node
	base     float64   // … below all roots, added up
	keys     []int32
}

// Explainer makes one.
func (c *Compiled) Explainer() *Explainer {
	e := &Explainer{compiled: c, keys: make([]int32, c.features)}
	if c.narrow != nil {
		e.means = meanPaths(c, c.narrow)
	} else {
		e.means = meanPaths(c, c.wide)
	}
	for _, r := range c.roots {
		e.base += e.means[r.node]
	}
	return e
}

// Base is the decision for a row whose paths are as long as those of the training rows
// are on average.
func (e *Explainer) Base() float64 {
	return scoreOf(e.base, e.compiled.longest()) - e.compiled.offset
}

// Explain writes to dst by how much each of a row's features moves the row's decision
// away from Base: below 0 towards an anomaly. Base and all of dst add up to the
// DecisionFunction, but for rounding. It panics where dst and row have another width.
func (e *Explainer) Explain(dst, row []float64) {
	c := e.compiled
	if len(row) != c.features || len(dst) != c.features {
		panic("forest: rows of another width")
	}
	c.fillKeys(e.keys, c.features, 1, row, nil)
	clear(dst)
	var sum float64
	if c.narrow != nil {
		sum = addSteps(e, c.narrow, dst)
	} else {
		sum = addSteps(e, c.wide, dst)
	}
	factor := secant(e.base, sum, c.longest())
	for i := range dst {
		dst[i] *= factor
	}
}

// addSteps adds to dst what each step of the row changes, and returns the row's sum.
func addSteps[R uint16 | uint32, B uint8 | uint32](e *Explainer, nodes []node[R, B], dst []float64) (sum float64) {
	for _, r := range e.compiled.roots {
		i := int(r.node)
		for nodes[i].key != leafKey {
			next := i + stepOf(&nodes[i], e.keys)
			dst[nodes[i].feature] += e.means[next] - e.means[i]
			i = next
		}
		sum += e.means[i]
	}
	return sum
}

// secant is the slope of the score between two sums of path lengths.
func secant(from, to, longest float64) float64 {
	if longest == 0 {
		return 0 // all scores are the same
	}
	slope := math.Ln2 / longest
	if t := slope * (to - from); t != 0 {
		slope *= -math.Expm1(-t) / t
	}
	return math.Exp2(-from/longest) * slope
}

// meanPaths are the mean path lengths of the training rows below each node.
func meanPaths[R uint16 | uint32, B uint8 | uint32](c *Compiled, nodes []node[R, B]) []float64 {
	means := make([]float64, len(nodes))
	var values []float64
	var below func(i, depth int) (samples float64)
	below = func(i, depth int) float64 {
		n := &nodes[i]
		if n.key == leafKey {
			means[i] = values[n.code]
			return float64(samplesOf(means[i], depth))
		}
		left, right := i+1, i+int(n.right)
		a, b := below(left, depth+1), below(right, depth+1)
		means[i] = (a*means[left] + b*means[right]) / (a + b)
		return a + b
	}
	for _, r := range c.roots {
		values = c.values[r.values:]
		below(int(r.node), 0)
	}
	return means
}

// samplesOf finds the number of rows in a leaf, which a compiled tree does not keep, from
// the leafValue.
func samplesOf(value float64, depth int) int {
	rest := value - float64(depth)
	most := len(averageDepths) - 1
	if rest > averageDepths[most] {
		most = math.MaxInt32
	}
	n := sort.Search(most, func(n int) bool { return AverageDepth(n+1) >= rest }) + 1
	if n > 1 && rest-AverageDepth(n-1) < AverageDepth(n)-rest {
		return n - 1
	}
	return n
}
