package forest

// epsilon is the distance from 1 to the next float64: an impurity that is not above it
// counts as none, and a split may lose that much.
const epsilon = 0x1p-52

// constantWithin is how far apart, in float32, the smallest and the largest value of a
// feature in a node must be for the node to be split on it. In scikit-learn 1.6 and 1.7
// it is 0 by accident; elsewhere the number is this one.
const constantWithin float32 = 1e-7

// builder grows one tree from a sample of the rows. Its memory serves the next tree.
type builder struct {
	columns  [][]float32 // the sample's values, one slice for each feature of the tree
	target   []float64   // the random numbers that scikit-learn fits the tree to
	weight   []float64   // how often each row was drawn
	maxDepth int
	random   xorshift

	order []int32 // rows of the sample; a node owns order[start:end]
	// features is a permutation of the tree's features, those known to be constant
	// first; constants keeps these in the order in which they were found, for a
	// node's children to begin with. Both orders decide what is drawn.
	features, constants []int32
	stack               []pending

	nodes []Node
	stats []Stats
}

// pending is a node that waits for being made.
type pending struct {
	start, end int
	depth      int
	parent     int // -1 for the root
	left       bool
	impurity   float64
	constants  int // how many features are known to be constant
}

// moments are the sums over a node's rows of weight, target and squared target.
type moments struct{ weight, sum, squares float64 }

func (m moments) impurity() float64 {
	mean := m.sum / m.weight
	return m.squares/m.weight - float64(mean*mean)
}

// split is the random cut that was drawn for a node.
type split struct {
	feature   int
	threshold float64
	position  int // rows before it in order go left
}

// grow makes the nodes of one tree, depth first and left before right, hence in
// preorder. They are valid until the next call.
func (b *builder) grow() ([]Node, []Stats) {
	rows := len(b.target)
	b.order = iota32(b.order, rows)
	b.features = iota32(b.features, len(b.columns))
	b.constants = iota32(b.constants, len(b.columns))

	b.nodes, b.stats = b.nodes[:0], b.stats[:0]
	root := b.moments(0, rows)
	b.stack = append(b.stack[:0], pending{end: rows, parent: -1, impurity: root.impurity()})
	for len(b.stack) > 0 {
		p := b.stack[len(b.stack)-1]
		b.stack = b.stack[:len(b.stack)-1]

		all := b.moments(p.start, p.end)
		node := Node{Threshold: -2, Left: Leaf, Right: Leaf, Feature: -2, Samples: int32(p.end - p.start)}
		k := len(b.nodes)
		if p.parent >= 0 {
			if p.left {
				b.nodes[p.parent].Left = int32(k)
			} else {
				b.nodes[p.parent].Right = int32(k)
			}
		}
		if p.depth < b.maxDepth && p.end-p.start >= 2 && p.impurity > epsilon {
			s, constants, ok := b.draw(p.start, p.end, p.constants)
			if ok {
				left, right, gain := b.divide(p, s.position, all, root.weight)
				if gain+epsilon >= 0 {
					node.Feature, node.Threshold = int32(s.feature), s.threshold
					// scikit-learn sends values missing later where most rows went.
					node.MissingLeft = s.position-p.start > p.end-s.position
					b.stack = append(b.stack,
						pending{s.position, p.end, p.depth + 1, k, false, right, constants},
						pending{p.start, s.position, p.depth + 1, k, true, left, constants})
				}
			}
		}
		b.nodes = append(b.nodes, node)
		b.stats = append(b.stats, Stats{Impurity: p.impurity, Weight: all.weight, Value: all.sum / all.weight})
	}
	return b.nodes, b.stats
}

// moments adds up the rows of order[start:end], in this order.
func (b *builder) moments(start, end int) moments {
	var m moments
	for _, i := range b.order[start:end] {
		wy := float64(b.weight[i] * b.target[i])
		m.sum += wy
		m.squares += float64(wy * b.target[i])
		m.weight += b.weight[i]
	}
	return m
}

// draw picks a feature that is not constant in order[start:end] and a threshold
// between its extremes, and partitions the rows by it. known features are constant
// already; the result has how many are now. It is not ok when all are constant.
func (b *builder) draw(start, end, known int) (s split, constants int, ok bool) {
	features := b.features
	last := len(features) - 1
	found := 0 // constant features found here
	drawn := 0 // known constant features drawn
	constants = known
	for constants <= last {
		j := b.random.between(drawn, last+1-found)
		if j < known {
			features[drawn], features[j] = features[j], features[drawn]
			drawn++
			continue
		}
		j += found
		feature := features[j]
		column := b.columns[feature]
		low, high := extremes(column, b.order[start:end])
		if high <= low+constantWithin {
			features[j], features[constants] = features[constants], feature
			found++
			constants++
			continue
		}
		features[j], features[last] = features[last], feature
		s.feature = int(feature)
		s.threshold = b.random.uniform(float64(low), float64(high))
		if s.threshold == float64(high) {
			s.threshold = float64(low)
		}
		s.position = b.partition(start, end, column, s.threshold)
		ok = true
		break
	}
	copy(features[:known], b.constants[:known])
	copy(b.constants[known:constants], features[known:constants])
	return s, constants, ok
}

func extremes(column []float32, rows []int32) (low, high float32) {
	low = column[rows[0]]
	high = low
	for _, i := range rows[1:] {
		switch v := column[i]; {
		case v < low:
			low = v
		case v > high:
			high = v
		}
	}
	return low, high
}

// partition moves the rows up to the threshold to the front and tells where the others
// begin.
func (b *builder) partition(start, end int, column []float32, threshold float64) int {
	order := b.order
	for start < end {
		if float64(column[order[start]]) <= threshold {
			start++
		} else {
			end--
			order[start], order[end] = order[end], order[start]
		}
	}
	return end
}

// divide gives the impurities of the two parts of a node and by how much they are
// better than the whole, relative to the weight of the tree.
func (b *builder) divide(p pending, position int, all moments, treeWeight float64) (left, right, gain float64) {
	var l moments
	if position-p.start <= p.end-position {
		for _, i := range b.order[p.start:position] {
			l.sum += float64(b.weight[i] * b.target[i])
			l.weight += b.weight[i]
		}
	} else {
		l.sum, l.weight = all.sum, all.weight
		for k := p.end - 1; k >= position; k-- {
			i := b.order[k]
			l.sum -= float64(b.weight[i] * b.target[i])
			l.weight -= b.weight[i]
		}
	}
	for _, i := range b.order[p.start:position] {
		l.squares += float64(b.weight[i] * b.target[i] * b.target[i])
	}
	r := moments{weight: all.weight - l.weight, sum: all.sum - l.sum, squares: all.squares - l.squares}
	left, right = l.impurity(), r.impurity()
	gain = all.weight / treeWeight *
		(p.impurity - float64(r.weight/all.weight*right) - float64(l.weight/all.weight*left))
	return left, right, gain
}
