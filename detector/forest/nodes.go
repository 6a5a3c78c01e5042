package forest

// node is a node of a compiled tree. The trees lie in preorder: a left child follows
// its parent, and right is how far the right one is away. A leaf has leafKey and right
// 0, so that every row steps from it to itself and no step has to ask whether it is at
// one.
type node[R uint16 | uint32, B uint8 | uint32] struct {
	key   int32
	right R
	// feature is 0 for a leaf.
	feature B
	// code is the place of a leaf's value among its tree's; 1 for an inner node that
	// sends missing values to the left.
	code B
}

type (
	narrow = node[uint16, uint8]  // 8 bytes
	wide   = node[uint32, uint32] // 16 bytes: more than 256 features, values or 65,535 nodes
)

// root says where a tree begins.
type root struct {
	node   uint32 // in the nodes of all trees
	values uint32 // the tree's first in the values of all
}

// sumByNodes adds the values of the leaves that len(sums) rows come to, tree by tree, to
// sums. keys are row-major. Four trees are walked at once, as far as the deepest
// of them reaches: a step waits for memory, and four do so together.
func sumByNodes[R uint16 | uint32, B uint8 | uint32](c *Compiled, nodes []node[R, B], sums []float64, keys []int32) {
	d := c.features
	for t := 0; t+4 <= len(c.roots); t += 4 {
		r0, r1, r2, r3 := c.roots[t], c.roots[t+1], c.roots[t+2], c.roots[t+3]
		v0, v1, v2, v3 := c.values[r0.values:], c.values[r1.values:], c.values[r2.values:], c.values[r3.values:]
		steps := c.depths[t/4]
		k := keys
		for i := range sums {
			row := k[:d]
			k = k[d:]
			n0, n1, n2, n3 := walk4(nodes, int(r0.node), int(r1.node), int(r2.node), int(r3.node), steps, row)
			s := sums[i]
			s += v0[nodes[n0].code]
			s += v1[nodes[n1].code]
			s += v2[nodes[n2].code]
			s += v3[nodes[n3].code]
			sums[i] = s
		}
	}
}

// walk4 makes steps from four nodes. It stays a function of its own so that all it
// needs fits into registers.
//
//go:noinline
func walk4[R uint16 | uint32, B uint8 | uint32](nodes []node[R, B], n0, n1, n2, n3 int, steps uint8, row []int32) (int, int, int, int) {
	for ; steps > 0; steps-- {
		n0 = step(nodes, n0, row)
		n1 = step(nodes, n1, row)
		n2 = step(nodes, n2, row)
		n3 = step(nodes, n3, row)
	}
	return n0, n1, n2, n3
}

// step is the node after node i. The choice is made by arithmetic, since a branch would
// be mispredicted at every other node.
func step[R uint16 | uint32, B uint8 | uint32](nodes []node[R, B], i int, row []int32) int {
	n := &nodes[i]
	right := (int64(n.key) - int64(row[n.feature])) >> 63 // all ones if the row goes right
	return i + 1 + (int(n.right)-1)&int(right)
}

// sumMissing is sumByNodes for one row that lacks values.
func sumMissing[R uint16 | uint32, B uint8 | uint32](c *Compiled, nodes []node[R, B], row []int32) float64 {
	var sum float64
	for _, r := range c.roots {
		i := int(r.node)
		for nodes[i].key != leafKey {
			i += stepOf(&nodes[i], row)
		}
		sum += c.values[int(r.values)+int(nodes[i].code)]
	}
	return sum
}

// stepOf is how far it is from an inner node to the child that a row goes to, which may
// lack values.
func stepOf[R uint16 | uint32, B uint8 | uint32](n *node[R, B], row []int32) int {
	if key := row[n.feature]; key <= n.key || (key == missingKey && n.code == 1) {
		return 1
	}
	return int(n.right)
}

// leafValue is what a tree adds to a row's sum in a leaf at this depth: the depth, and
// the mean depth of a tree of the leaf's rows. Adding and taking away 1 rounds as
// scikit-learn does.
func leafValue(depth int, samples int32) float64 {
	return float64(depth+1) + AverageDepth(int(samples)) - 1
}
