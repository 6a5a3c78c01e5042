package forest

import (
	"fmt"
	"math"
	"slices"
)

// Compiled is a forest, and the scaler before it, in the form that scores: about 65 KB
// for 100 trees of 256 samples, in memory without pointers. It gives the same scores as
// Forest, to the bit. It never changes, and many goroutines may use it at once. It
// cannot be written any more.
type Compiled struct {
	features   int
	trees      int
	maxSamples int
	offset     float64

	narrow []narrow // the nodes of all trees …
	wide   []wide   // … or here, where they do not fit
	// roots are of all trees in order, and of as many that add 0 as make their number
	// a multiple of four.
	roots  []root
	depths []uint8 // of the deepest of each four trees
	values []float64
	// mean and scale are those of the scaler; 0 and 1 where there is none, which leave
	// a value as it is.
	mean, scale []float64
}

// Compile compiles a forest and the scaler of its rows, which may be nil. It refuses
// (ErrInvalid) what Validate does.
func Compile(f *Forest, s *Scaler) (*Compiled, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if s != nil {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if s.Features != f.Features {
			return nil, fmt.Errorf("%w: a scaler of %d features before a forest of %d", ErrInvalid, s.Features, f.Features)
		}
	}
	total := 3 // trees that add 0
	for i := range f.Trees {
		total += len(f.Trees[i].Nodes)
	}
	if total > math.MaxInt32 {
		return nil, invalid("a forest of %d nodes", total)
	}
	c := &Compiled{features: f.Features, trees: len(f.Trees), maxSamples: f.MaxSamples, offset: f.Offset}
	c.scaleBy(s)
	if nodes, ok := compile[uint16, uint8](c, f, total); ok {
		c.narrow = nodes
	} else {
		c.wide, _ = compile[uint32, uint32](c, f, total)
	}
	return c, nil
}

func (c *Compiled) scaleBy(s *Scaler) {
	both := slices.Grow([]float64(nil), 2*c.features)[:2*c.features]
	c.mean, c.scale = both[:c.features:c.features], both[c.features:]
	for j := range c.scale {
		c.scale[j] = 1
	}
	if s != nil {
		copy(c.mean, s.Mean)
		if s.Scale != nil {
			copy(c.scale, s.Scale)
		}
	}
}

// compiler lays the trees of a forest out.
type compiler[R uint16 | uint32, B uint8 | uint32] struct {
	nodes  []node[R, B]
	tree   *Tree
	codes  map[float64]B // of the leaf values known
	values []float64
	first  int // the tree's first among values
	depth  int
}

// compile is not ok if some number does not fit into a node of this kind.
func compile[R uint16 | uint32, B uint8 | uint32](c *Compiled, f *Forest, total int) ([]node[R, B], bool) {
	if uint64(f.Features-1) > uint64(^B(0)) {
		return nil, false
	}
	w := compiler[R, B]{nodes: slices.Grow([]node[R, B](nil), total), codes: map[float64]B{}}
	padded := (len(f.Trees) + 3) &^ 3
	c.roots = slices.Grow([]root(nil), padded)
	c.depths = slices.Grow([]uint8(nil), padded/4)[:padded/4]
	nothing := Tree{Nodes: []Node{{Left: Leaf, Right: Leaf, Samples: 1}}} // adds 0
	for t := range padded {
		w.tree = &nothing
		if t < len(f.Trees) {
			w.tree = &f.Trees[t]
		}
		w.depth = 0
		start, known := len(w.nodes), len(w.values)
		if !w.grow(0, 0) {
			// The values of other trees may have left no code for this one's: it
			// begins a table of its own.
			w.nodes, w.values, w.first, w.depth = w.nodes[:start], w.values[:known], known, 0
			clear(w.codes)
			if !w.grow(0, 0) {
				return nil, false
			}
		}
		c.roots = append(c.roots, root{uint32(start), uint32(w.first)})
		c.depths[t/4] = max(c.depths[t/4], uint8(w.depth))
	}
	c.values = slices.Grow([]float64(nil), len(w.values))
	c.values = append(c.values, w.values...)
	return w.nodes, true
}

// grow appends the subtree at node k, which lies at this depth.
func (w *compiler[R, B]) grow(k int32, depth int) bool {
	n := &w.tree.Nodes[k]
	w.depth = max(w.depth, depth)
	i := len(w.nodes)
	if n.Left == Leaf {
		code, ok := w.code(leafValue(depth, n.Samples))
		w.nodes = append(w.nodes, node[R, B]{key: leafKey, code: code})
		return ok
	}
	feature := n.Feature
	if w.tree.Columns != nil {
		feature = w.tree.Columns[feature]
	}
	w.nodes = append(w.nodes, node[R, B]{key: thresholdKey(n.Threshold), feature: B(feature)})
	if n.MissingLeft {
		w.nodes[i].code = 1
	}
	if !w.grow(n.Left, depth+1) {
		return false
	}
	right := len(w.nodes) - i
	w.nodes[i].right = R(right)
	return uint64(right) <= uint64(^R(0)) && w.grow(n.Right, depth+1)
}

func (w *compiler[R, B]) code(value float64) (B, bool) {
	if code, ok := w.codes[value]; ok {
		return code, true
	}
	code := len(w.values) - w.first
	if uint64(code) > uint64(^B(0)) {
		return 0, false
	}
	w.codes[value] = B(code)
	w.values = append(w.values, value)
	return B(code), true
}
