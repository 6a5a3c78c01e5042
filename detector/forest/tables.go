package forest

import "math/bits"

// Tables score batches of rows about ten times as fast as the Compiled forest that they
// were made of, to the same bits, and take some 1.3 MB. No node is visited:
//
// A tree asks nothing of a value but where it stands among the tree's thresholds of that
// feature. So the rank of a value among the thresholds of all trees is found once; for
// each tree it gives the place among those of the tree; the places of all features
// are the coordinates of a cell, and the cell knows the leaf.
//
// The four pieces of a quad are looked up together: a word holds a number for each of
// them in 16 bits, which are the cell's numbers when the words of all features are added
// up. Where a tree's features have too many cells together, they are put into groups;
// the cell in each group knows which leaves it meets, as the bits of a word, and the one
// leaf that they all meet is the row's.
type Tables struct {
	compiled *Compiled
	chunks   []chunk
	bytes    int64
}

// chunk is some of the trees: as many as their ranks take little memory.
type chunk struct {
	features []int       // those that a tree asks for …
	ranks    []rankTable // … and how to rank them
	quads    []quad
	groups   int // of the quad that has most
}

// quad is four pieces of trees.
type quad struct {
	groups []group // one of them: cells are codes of leaves; more: sets of leaves

	codes  []uint8       // the cells of the four pieces, one after another, and maxCells more
	at     [4]uint32     // where they begin
	values *[256]float64 // by code
	leaves *[4][64]float64
}

// group is some features of a quad.
type group struct {
	columns []column
	sets    []uint64  // the cells of the four pieces, one after another
	at      [4]uint32 // where they begin
}

// column is what a feature adds to the numbers of the cells.
type column struct {
	feature int      // in the chunk's
	words   []uint64 // by rank
}

// Bytes is the memory that t holds beside that of its Compiled.
func (t *Tables) Bytes() int64 { return t.bytes }

// ScoreSamples is that of the Compiled forest.
func (t *Tables) ScoreSamples(dst, x []float64) {
	t.compiled.mustScore(dst, x, 0, t.sumBlock)
}

// DecisionFunction is that of the Compiled forest.
func (t *Tables) DecisionFunction(dst, x []float64) {
	t.compiled.mustScore(dst, x, t.compiled.offset, t.sumBlock)
}

// fewRows are scored by the nodes: four rows at a time are ranked, and a table that is
// not in the nearest cache takes longer to get there than a few walks.
const fewRows = 8

func (t *Tables) sumBlock(s *scratch, sums, x []float64) {
	n := len(sums)
	if n < fewRows {
		t.compiled.sumBlock(s, sums, x)
		return
	}
	s.keys = resized(s.keys, len(x))
	s.missing = t.compiled.fillKeys(s.keys, 1, n, x, s.missing[:0])
	clear(sums)
	for i := range t.chunks {
		t.chunks[i].add(s, sums)
	}
	if len(s.missing) > 0 {
		t.addMissing(s, sums)
	}
}

// addMissing sums anew the rows that lack a value: tables do not know where it goes.
func (t *Tables) addMissing(s *scratch, sums []float64) {
	n, row := len(sums), make([]int32, t.compiled.features)
	for _, i := range s.missing {
		for j := range row {
			row[j] = s.keys[j*n+int(i)]
		}
		sums[i] = t.compiled.sumMissing(row)
	}
}

// add adds the chunk's leaf values of len(sums) rows, whose keys are column-major.
func (c *chunk) add(s *scratch, sums []float64) {
	n := len(sums)
	s.ranks = resized(s.ranks, len(c.ranks)*n)
	for k := range c.ranks {
		c.ranks[k].ranks(s.ranks[k*n:(k+1)*n], s.keys[c.features[k]*n:(c.features[k]+1)*n])
	}
	s.words = resized(s.words, (c.groups+1)*n)
	for i := range c.quads {
		switch q := &c.quads[i]; {
		case len(q.groups) > 1:
			q.addBySets(s, sums)
		default:
			q.groups[0].number(s.words[:n], s.ranks)
			q.addByCodes(s.words[:n], sums)
		}
	}
}

// number writes the numbers of the cells of each row in the group to words: up to three
// features at a time, for which there are registers.
func (g *group) number(words []uint64, ranks []uint16) {
	n := len(words)
	of := func(c *column) ([]uint16, []uint64) { return ranks[c.feature*n:][:n], c.words }
	columns := g.columns
	switch first := len(columns) % 3; {
	case len(columns) == 0:
		clear(words)
		return
	case first == 1:
		r, w := of(&columns[0])
		for i := range words {
			words[i] = w[r[i]]
		}
		columns = columns[1:]
	case first == 2:
		r0, w0 := of(&columns[0])
		r1, w1 := of(&columns[1])
		for i := range words {
			words[i] = w0[r0[i]] + w1[r1[i]]
		}
		columns = columns[2:]
	default:
		r0, w0 := of(&columns[0])
		r1, w1 := of(&columns[1])
		r2, w2 := of(&columns[2])
		for i := range words {
			words[i] = w0[r0[i]] + w1[r1[i]] + w2[r2[i]]
		}
		columns = columns[3:]
	}
	for ; len(columns) > 0; columns = columns[3:] {
		r0, w0 := of(&columns[0])
		r1, w1 := of(&columns[1])
		r2, w2 := of(&columns[2])
		for i := range words {
			words[i] += w0[r0[i]] + w1[r1[i]] + w2[r2[i]]
		}
	}
}

// addByCodes adds the values of the leaves, in the order of the trees. What a cell's
// number can be at most is the size of an array: so the compiler need not check it.
func (q *quad) addByCodes(words []uint64, sums []float64) {
	words = words[:len(sums)]
	values := q.values
	g0 := (*[maxCells]uint8)(q.codes[q.at[0]:])
	g1 := (*[maxCells]uint8)(q.codes[q.at[1]:])
	g2 := (*[maxCells]uint8)(q.codes[q.at[2]:])
	g3 := (*[maxCells]uint8)(q.codes[q.at[3]:])
	for i, s := range sums {
		w := words[i]
		s += values[g0[uint16(w)]]
		s += values[g1[uint16(w>>16)]]
		s += values[g2[uint16(w>>32)]]
		s += values[g3[w>>48]]
		sums[i] = s
	}
}

// addBySets adds the values of the leaves that all groups leave.
func (q *quad) addBySets(s *scratch, sums []float64) {
	n := len(sums)
	for g := range q.groups {
		q.groups[g].number(s.words[g*n:(g+1)*n], s.ranks)
	}
	last := len(q.groups) - 1
	met := s.words[len(q.groups)*n:][:n]
	for k := range 4 {
		shift := 16 * k & 63
		for g := range q.groups[:last] {
			sets := q.groups[g].sets[q.groups[g].at[k]:]
			words := s.words[g*n:][:n]
			if g == 0 {
				for i, w := range words {
					met[i] = sets[w>>shift&0xffff]
				}
				continue
			}
			for i, w := range words {
				met[i] &= sets[w>>shift&0xffff]
			}
		}
		sets := q.groups[last].sets[q.groups[last].at[k]:]
		words := s.words[last*n:][:n]
		leaves := &q.leaves[k]
		for i, w := range words {
			sums[i] += leaves[bits.TrailingZeros64(met[i]&sets[w>>shift&0xffff])&63]
		}
	}
}
