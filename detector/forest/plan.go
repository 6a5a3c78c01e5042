package forest

import (
	"slices"
)

// Plan is how to make Tables, and what they will take, before any of it is allocated.
type Plan struct {
	compiled *Compiled
	chunks   []chunkPlan

	// Lengths of what the tables consist of.
	words, codes, sets, buckets, keys, valueTables, leafTables int64
}

// chunkPlan is a chunk to be.
type chunkPlan struct {
	features []int
	ranks    []rankShape
	quads    []quadPlan
}

// quadPlan is a quad to be, of one to four pieces.
type quadPlan struct {
	pieces []piece
	groups [][]int // features of the forest
	bySets bool
	values map[float64]uint8 // the codes of the chunk's value table that the quad uses
	first  bool              // the quad begins that value table
}

const (
	// maxTableNodes and maxTableBytes bound the forests that get tables. Their sizes are
	// products that a file chooses.
	maxTableNodes = 1 << 18
	maxTableBytes = 64 << 20
	// A piece has at most maxCells cells that are codes, which is what 16 bits can
	// number, or maxGroupCells in each group of sets, which should stay in a cache.
	maxCells      = 1 << 16
	maxGroupCells = 1 << 13
	// A set is a word; a table of values has room for the 0 of a missing piece, too.
	maxSetLeaves  = 64
	maxCodeLeaves = 255
	// Forests of up to wholeNodes nodes share their ranks; of larger ones, as many trees.
	wholeNodes, chunkTrees = 20_000, 52
)

// PlanTables plans tables for the forest. It is not ok for a forest that is too large
// or too ragged for them.
func (c *Compiled) PlanTables() (*Plan, bool) {
	nodes := len(c.narrow) + len(c.wide)
	if nodes > maxTableNodes {
		return nil, false
	}
	p := &Plan{compiled: c}
	perChunk := chunkTrees
	if nodes <= wholeNodes {
		perChunk = c.trees
	}
	for from := 0; from < c.trees; from += perChunk {
		if !p.plan(from, min(from+perChunk, c.trees)) || p.Bytes() > maxTableBytes {
			return nil, false
		}
	}
	return p, true
}

// Bytes is what the tables will take; the allocator rounds each part up to a page.
func (p *Plan) Bytes() int64 {
	const page = 8 << 10
	n := int64(0)
	for _, part := range []int64{8 * p.words, p.codes + maxCells, 8 * p.sets, 2 * p.buckets, 4 * p.keys, 8 * 256 * p.valueTables, 8 * 4 * maxSetLeaves * p.leafTables} {
		n += (part + page - 1) / page * page
	}
	return n + p.headers()
}

// plan plans a chunk of the trees from..to-1.
func (p *Plan) plan(from, to int) bool {
	var pieces []piece
	bySets := false
	for t := from; t < to; t++ {
		var ok bool
		if pieces, ok = p.compiled.treePiece(t).divided(pieces, maxCodeLeaves); !ok {
			return false
		}
	}
	for i := range pieces {
		bySets = bySets || pieces[i].cells() > maxCells
	}
	if bySets {
		// Pieces of codes and of sets share quads, and these need smaller ones.
		all := pieces
		pieces = nil
		for i := range all {
			var ok bool
			if pieces, ok = all[i].divided(pieces, maxSetLeaves); !ok {
				return false
			}
		}
	}
	c := chunkPlan{}
	if !c.rank(pieces) {
		return false
	}
	c.group(pieces)
	p.count(&c)
	p.chunks = append(p.chunks, c)
	return true
}

// divided appends the piece to pieces, in parts if it is too large: of at most
// maxSetLeaves leaves, or else of at most most and few enough cells.
func (p piece) divided(pieces []piece, most int) ([]piece, bool) {
	if p.leaves <= maxSetLeaves || (p.leaves <= most && p.cells() <= maxCells) {
		return append(pieces, p), true
	}
	a, b, ok := p.split()
	if !ok {
		return nil, false
	}
	if pieces, ok = a.divided(pieces, most); !ok {
		return nil, false
	}
	return b.divided(pieces, most)
}

// rank finds the thresholds of all pieces.
func (c *chunkPlan) rank(pieces []piece) bool {
	var cuts []cut
	for i := range pieces {
		cuts = append(cuts, pieces[i].cuts...)
	}
	slices.Sort(cuts)
	all := piece{cuts: slices.Compact(cuts)}
	for _, r := range all.runs() {
		if r.to-r.from > maxRank {
			return false
		}
		c.features = append(c.features, r.feature)
		c.ranks = append(c.ranks, newRankShape(distinctKeys(all.cuts[r.from:r.to])))
	}
	return true
}

// group makes quads of pieces, in order.
func (c *chunkPlan) group(pieces []piece) {
	var table map[float64]uint8 // of the quads so far, while they share one
	for len(pieces) > 0 {
		own := map[float64]bool{0: true}
		n := 0
		for n < min(4, len(pieces)) && pieces[n].collect(own) {
			n++
		}
		q := quadPlan{pieces: pieces[:n]}
		pieces = pieces[n:]
		for i := range q.pieces {
			q.bySets = q.bySets || q.pieces[i].cells() > maxCells
		}
		if !q.bySets {
			fresh := 0
			for v := range own {
				if _, ok := table[v]; !ok {
					fresh++
				}
			}
			if table == nil || len(table)+fresh > 256 {
				table = map[float64]uint8{}
				q.first = true
			}
			for v := range own {
				if _, ok := table[v]; !ok {
					table[v] = uint8(len(table))
				}
			}
			q.values = table
		}
		q.divideFeatures()
		c.quads = append(c.quads, q)
	}
}

// collect adds the piece's leaf values to all, unless these become more than a table
// holds.
func (p *piece) collect(all map[float64]bool) bool {
	before := len(all)
	var added []float64
	for _, n := range p.nodes {
		if n.right == 0 && !all[n.value] {
			all[n.value] = true
			added = append(added, n.value)
		}
	}
	if len(all) <= 256 || before == 1 {
		return true
	}
	for _, v := range added {
		delete(all, v)
	}
	return false
}

// divideFeatures puts the features of the pieces into groups.
func (q *quadPlan) divideFeatures() {
	var features []int
	for i := range q.pieces {
		for _, r := range q.pieces[i].runs() {
			features = append(features, r.feature)
		}
	}
	slices.Sort(features)
	features = slices.Compact(features)
	if !q.bySets {
		q.groups = [][]int{features}
		return
	}
	cells := [4]int{1, 1, 1, 1}
	for i, f := range features {
		fits := i > 0
		var own [4]int
		for k := range q.pieces {
			own[k] = q.pieces[k].cutsOf(f) + 1
			fits = fits && cells[k]*own[k] <= maxGroupCells
		}
		if !fits {
			q.groups = append(q.groups, nil)
			cells = [4]int{1, 1, 1, 1}
		}
		last := len(q.groups) - 1
		q.groups[last] = append(q.groups[last], f)
		for k := range q.pieces {
			cells[k] *= own[k]
		}
	}
}

// cutsOf counts the cuts of a feature.
func (p *piece) cutsOf(feature int) int {
	from, _ := slices.BinarySearch(p.cuts, cut(feature)<<32)
	to, _ := slices.BinarySearch(p.cuts, cut(feature+1)<<32)
	return to - from
}

// groupCells is how many cells piece k has in a group of features; a piece that is not
// there has one.
func (q *quadPlan) groupCells(group []int, k int) int {
	cells := 1
	if k < len(q.pieces) {
		for _, f := range group {
			cells *= q.pieces[k].cutsOf(f) + 1
		}
	}
	return cells
}

// count adds up what a chunk needs.
func (p *Plan) count(c *chunkPlan) {
	for i := range c.ranks {
		p.buckets += int64(c.ranks[i].buckets)
		p.keys += int64(c.ranks[i].padded())
	}
	for i := range c.quads {
		q := &c.quads[i]
		for _, group := range q.groups {
			for _, f := range group {
				k, _ := slices.BinarySearch(c.features, f)
				p.words += int64(len(c.ranks[k].thresholds)) + 1
			}
			for k := range 4 {
				if q.bySets {
					p.sets += int64(q.groupCells(group, k))
				} else {
					p.codes += int64(q.groupCells(group, k))
				}
			}
		}
		switch {
		case q.bySets:
			p.leafTables++
		case q.first:
			p.valueTables++
		}
	}
}
