package forest

import (
	"math"
	"slices"
)

// piece is a tree, or a part of one, on its way into Tables. The parts of a tree add up
// to it: a row comes to a leaf with a value of its own in one of them, and to leaves of
// value 0 in all others.
type piece struct {
	nodes  []pieceNode // in preorder
	leaves int
	cuts   []cut // all different ones, ascending
}

// pieceNode is an inner node, whose left child follows and whose right one is right
// nodes away, or a leaf, where right is 0.
type pieceNode struct {
	cut   cut
	value float64
	right int
}

// cut is a feature and the key of a threshold, ordered by both.
type cut uint64

func cutOf(feature uint32, key int32) cut { return cut(feature)<<32 | cut(uint32(key)^1<<31) }
func (c cut) feature() int                { return int(c >> 32) }
func (c cut) key() int32                  { return int32(uint32(c) ^ 1<<31) }

// treePiece is the whole of tree t.
func (c *Compiled) treePiece(t int) piece {
	if c.narrow != nil {
		return treePiece(c, c.narrow, c.roots[t])
	}
	return treePiece(c, c.wide, c.roots[t])
}

func treePiece[R uint16 | uint32, B uint8 | uint32](c *Compiled, nodes []node[R, B], r root) piece {
	var p piece
	for i, open := int(r.node), 1; open > 0; i++ {
		switch n := nodes[i]; n.key {
		case leafKey:
			p.nodes = append(p.nodes, pieceNode{value: c.values[int(r.values)+int(n.code)]})
			open--
		default:
			p.nodes = append(p.nodes, pieceNode{cut: cutOf(uint32(n.feature), n.key), right: int(n.right)})
			open++
		}
	}
	return newPiece(p.nodes)
}

func newPiece(nodes []pieceNode) piece {
	p := piece{nodes: nodes}
	for _, n := range nodes {
		if n.right == 0 {
			p.leaves++
		} else {
			p.cuts = append(p.cuts, n.cut)
		}
	}
	slices.Sort(p.cuts)
	p.cuts = slices.Compact(p.cuts)
	return p
}

// cells is how many boxes the cuts divide the space into, or the largest number if that
// is too small.
func (p *piece) cells() uint64 {
	cells := uint64(1)
	for _, run := range p.runs() {
		if cells > math.MaxUint32 {
			return math.MaxUint64
		}
		cells *= uint64(run.to-run.from) + 1
	}
	return cells
}

// run is the cuts[from:to] of one feature.
type run struct{ feature, from, to int }

func (p *piece) runs() []run {
	var runs []run
	for i, c := range p.cuts {
		if i == 0 || c.feature() != p.cuts[i-1].feature() {
			runs = append(runs, run{c.feature(), i, i})
		}
		runs[len(runs)-1].to = i + 1
	}
	return runs
}

// split makes two pieces of one that has inner nodes: one with a subtree cut off, and
// the subtree with the path that leads to it. It is not ok if neither has fewer leaves.
func (p *piece) split() (rest, subtree piece, ok bool) {
	sizes := p.subtreeLeaves()
	// Down the heavier side, to about half the leaves.
	at := 0
	var path []int
	for at == 0 || 2*sizes[at] > p.leaves {
		n := p.nodes[at]
		if n.right == 0 {
			break
		}
		path = append(path, at)
		if left, right := at+1, at+n.right; sizes[left] >= sizes[right] {
			at = left
		} else {
			at = right
		}
	}
	if sizes[at]+len(path) >= p.leaves || sizes[at] <= 1 {
		return rest, subtree, false
	}
	end := at + 2*sizes[at] - 1 // of the subtree's nodes
	nodes := slices.Concat(p.nodes[:at], []pieceNode{{}}, p.nodes[end:])
	for _, i := range path {
		if i+nodes[i].right > at {
			nodes[i].right -= end - at - 1
		}
	}
	return newPiece(nodes), newPiece(p.alone(path, at, end)), true
}

// subtreeLeaves counts the leaves below each node.
func (p *piece) subtreeLeaves() []int {
	sizes := make([]int, len(p.nodes))
	for i := len(p.nodes) - 1; i >= 0; i-- {
		sizes[i] = 1
		if right := p.nodes[i].right; right > 0 {
			sizes[i] = sizes[i+1] + sizes[i+right]
		}
	}
	return sizes
}

// alone is the subtree nodes[at:end] under the path from the root to it, whose other
// children are leaves of value 0.
func (p *piece) alone(path []int, at, end int) []pieceNode {
	if len(path) == 0 {
		return slices.Clone(p.nodes[at:end])
	}
	n := p.nodes[path[0]]
	next := at
	if len(path) > 1 {
		next = path[1]
	}
	below := p.alone(path[1:], at, end)
	if next == path[0]+1 { // the left child
		n.right = 1 + len(below)
		return append(append([]pieceNode{n}, below...), pieceNode{})
	}
	n.right = 2
	return append([]pieceNode{n, {}}, below...)
}
