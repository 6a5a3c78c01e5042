package forest

import (
	"slices"
	"unsafe"
)

// Build makes the tables. It takes milliseconds.
func (p *Plan) Build() *Tables {
	b := tableBuilder{
		words: make([]uint64, p.words), codes: make([]uint8, p.codes+maxCells), sets: make([]uint64, p.sets),
		buckets: make([]uint16, p.buckets), keys: make([]int32, p.keys),
		values: make([][256]float64, p.valueTables), leaves: make([][4][maxSetLeaves]float64, p.leafTables),
	}
	t := &Tables{compiled: p.compiled, chunks: make([]chunk, len(p.chunks)), bytes: p.Bytes()}
	for i := range p.chunks {
		b.chunk(&t.chunks[i], &p.chunks[i])
	}
	return t
}

// tableBuilder hands out the tables' memory, part by part.
type tableBuilder struct {
	words, sets []uint64
	codes       []uint8
	buckets     []uint16
	keys        []int32
	values      [][256]float64
	leaves      [][4][maxSetLeaves]float64

	table *[256]float64 // the value table that was begun last
}

// take cuts n elements off the front of s.
func take[T any](s *[]T, n int) []T {
	part := (*s)[:n:n]
	*s = (*s)[n:]
	return part
}

func (b *tableBuilder) chunk(c *chunk, plan *chunkPlan) {
	c.features = slices.Clip(plan.features)
	c.ranks = make([]rankTable, len(plan.ranks))
	for k := range plan.ranks {
		s := &plan.ranks[k]
		c.ranks[k] = s.table(take(&b.buckets, s.buckets), take(&b.keys, s.padded()))
	}
	c.quads = make([]quad, len(plan.quads))
	for i := range plan.quads {
		b.quad(&c.quads[i], &plan.quads[i], plan)
		c.groups = max(c.groups, len(plan.quads[i].groups))
	}
}

func (b *tableBuilder) quad(q *quad, plan *quadPlan, c *chunkPlan) {
	q.groups = make([]group, len(plan.groups))
	for i, features := range plan.groups {
		g := &q.groups[i]
		g.columns = make([]column, len(features))
		strides := [4]int{1, 1, 1, 1}
		for k, f := range features {
			g.columns[k] = b.column(plan, c, f, &strides)
		}
		// Each stride is now a piece's number of cells.
		total := 0
		var at [4]uint32
		for k, cells := range strides {
			at[k] = uint32(total)
			total += cells
		}
		if plan.bySets {
			g.at, g.sets = at, take(&b.sets, total)
		} else {
			q.at, q.codes = at, b.codes[:total+maxCells]
			take(&b.codes, total)
		}
	}
	if plan.bySets {
		q.leaves = &take(&b.leaves, 1)[0]
	} else {
		if plan.first {
			b.table = &take(&b.values, 1)[0]
		}
		q.values = b.table
		for v, code := range plan.values {
			q.values[code] = v
		}
	}
	for k := range 4 {
		switch {
		case k < len(plan.pieces):
			newPainter(q, plan, k).descend(0)
		case plan.bySets:
			for i := range q.groups {
				q.groups[i].sets[q.groups[i].at[k]] = 1 // a single leaf, of value 0
			}
		default:
			q.codes[q.at[k]] = plan.values[0]
		}
	}
}

// column makes the words of a feature: by how much a rank moves each piece's cell.
// strides are those of the pieces for this feature, and then for the next.
func (b *tableBuilder) column(plan *quadPlan, c *chunkPlan, feature int, strides *[4]int) column {
	at, _ := slices.BinarySearch(c.features, feature)
	keys := c.ranks[at].thresholds
	words := take(&b.words, len(keys)+1)
	for k := range plan.pieces {
		p := &plan.pieces[k]
		from, _ := slices.BinarySearch(p.cuts, cut(feature)<<32)
		n := p.cutsOf(feature)
		for _, one := range p.cuts[from : from+n] {
			// A value of this rank is the first above the cut.
			i, _ := slices.BinarySearch(keys, one.key())
			words[i+1] += uint64(strides[k]) << (16 * k)
		}
		strides[k] *= n + 1
	}
	for i := 1; i < len(words); i++ {
		words[i] += words[i-1]
	}
	return column{at, words}
}

// painter fills in the cells of a piece, leaf by leaf.
type painter struct {
	quad  *quad
	plan  *quadPlan
	k     int // which of the quad's pieces
	piece *piece
	leaf  []int // the number of each node that is a leaf
	runs  []run
	runOf []int     // of each cut
	boxes [][]*span // the axes of each group
	axes  []span    // by run
}

// span is an axis of the box of cells that a node has: from..to-1, stride cells apart.
type span struct{ from, to, stride int }

func newPainter(q *quad, plan *quadPlan, k int) *painter {
	p := &painter{quad: q, plan: plan, k: k, piece: &plan.pieces[k]}
	leaves := 0
	for _, n := range p.piece.nodes {
		p.leaf = append(p.leaf, leaves)
		if n.right == 0 {
			leaves++
		}
	}
	p.runs = p.piece.runs()
	p.axes = make([]span, len(p.runs))
	for i, r := range p.runs {
		p.axes[i].to = r.to - r.from + 1
		for range r.to - r.from {
			p.runOf = append(p.runOf, i)
		}
	}
	for _, features := range plan.groups {
		var box []*span
		stride := 1
		for _, f := range features {
			i, ok := slices.BinarySearchFunc(p.runs, f, func(r run, f int) int { return r.feature - f })
			if !ok {
				continue
			}
			p.axes[i].stride = stride
			stride *= p.axes[i].to
			box = append(box, &p.axes[i])
		}
		p.boxes = append(p.boxes, box)
	}
	return p
}

// descend paints the leaves below node i, whose box the axes are. A box without cells
// has no leaves that a row could come to.
func (p *painter) descend(i int) {
	n := &p.piece.nodes[i]
	if n.right == 0 {
		p.paint(i)
		return
	}
	at, _ := slices.BinarySearch(p.piece.cuts, n.cut)
	axis := &p.axes[p.runOf[at]]
	above := at - p.runs[p.runOf[at]].from + 1 // the first cell above the cut
	whole := *axis
	if axis.to = min(axis.to, above); axis.from < axis.to {
		p.descend(i + 1)
	}
	*axis = whole
	if axis.from = max(axis.from, above); axis.from < axis.to {
		p.descend(i + n.right)
	}
	*axis = whole
}

func (p *painter) paint(i int) {
	value := p.piece.nodes[i].value
	if !p.plan.bySets {
		paint(p.quad.codes[p.quad.at[p.k]:], p.boxes[0], p.plan.values[value])
		return
	}
	leaf := p.leaf[i]
	p.quad.leaves[p.k][leaf] = value
	for g := range p.boxes {
		paint(p.quad.groups[g].sets[p.quad.groups[g].at[p.k]:], p.boxes[g], uint64(1)<<leaf)
	}
}

// paint adds bits to the cells of a box, whose first axis has stride 1. Codes go to
// cells that are still 0.
func paint[T uint8 | uint64](cells []T, box []*span, bits T) {
	if len(box) == 0 {
		cells[0] |= bits
		return
	}
	axis := box[len(box)-1]
	if len(box) == 1 {
		cells = cells[axis.from:axis.to]
		for i := range cells {
			cells[i] |= bits
		}
		return
	}
	for i := axis.from; i < axis.to; i++ {
		paint(cells[i*axis.stride:], box[:len(box)-1], bits)
	}
}

// headers is what the tables take beside the numbers in them.
func (p *Plan) headers() int64 {
	n := int64(unsafe.Sizeof(Tables{}))
	for i := range p.chunks {
		c := &p.chunks[i]
		n += int64(unsafe.Sizeof(chunk{})) + int64(len(c.features))*int64(unsafe.Sizeof(0)+unsafe.Sizeof(rankTable{}))
		for k := range c.quads {
			n += int64(unsafe.Sizeof(quad{}))
			for _, features := range c.quads[k].groups {
				n += int64(unsafe.Sizeof(group{})) + int64(len(features))*int64(unsafe.Sizeof(column{}))
			}
		}
	}
	return n
}
