package forest

import (
	"context"
	"math"
	"sync"
	"unsafe"
)

// Features is the width of a row.
func (c *Compiled) Features() int { return c.features }

// Trees is the size of the forest.
func (c *Compiled) Trees() int { return c.trees }

// Floor is the lowest decision that any row can get: that of one which every tree parts
// from all others at once.
func (c *Compiled) Floor() float64 {
	longest := AverageDepth(c.maxSamples)
	if longest == 0 {
		return -0.5 - c.offset // every score is this one
	}
	return -math.Exp2(-1/longest) - c.offset
}

// Bytes is the memory that c holds, with what the allocator rounds it up to.
func (c *Compiled) Bytes() int64 {
	return int64(unsafe.Sizeof(*c)) + held(c.narrow) + held(c.wide) + held(c.roots) + held(c.depths) +
		held(c.values) + held(c.mean) + held(c.scale)
}

// held is the memory behind a slice.
func held[T any](s []T) int64 {
	var one T
	return int64(cap(s)) * int64(unsafe.Sizeof(one))
}

// ScoreSamples writes score_samples of len(dst) rows of Features unscaled values to dst,
// and leaves x as it is. It panics if x has another length. A NaN goes where the tree
// says. Large batches take what processors are free.
func (c *Compiled) ScoreSamples(dst, x []float64) {
	c.mustScore(dst, x, 0, c.sumBlock)
}

// DecisionFunction is ScoreSamples above the forest's offset: negative for an anomaly.
func (c *Compiled) DecisionFunction(dst, x []float64) {
	c.mustScore(dst, x, c.offset, c.sumBlock)
}

const (
	// blockRows is how many rows are scored together, so that what they share of the
	// trees stays in the nearest cache. Wide rows go in smaller blocks of blockValues.
	blockRows   = 512
	blockValues = 32 << 10
	// runRows is what one processor takes of a large batch at a time: 0.1 to 1 ms of
	// work, and 8 KB of scores that no other writes to.
	runRows = 1024
)

func (c *Compiled) blockRows() int { return max(1, min(blockRows, blockValues/c.features)) }

// kernel adds up the leaf values of a block of rows.
type kernel func(s *scratch, sums, x []float64)

// mustScore is score where nothing ends it early.
func (c *Compiled) mustScore(dst, x []float64, offset float64, sum kernel) {
	if err := c.score(context.Background(), dst, x, offset, sum); err != nil {
		panic(err) // there is no other error than that of the context
	}
}

// score writes the scores of all rows, above offset.
func (c *Compiled) score(ctx context.Context, dst, x []float64, offset float64, sum kernel) error {
	d := c.features
	if len(x) != len(dst)*d {
		panic("forest: rows of another width")
	}
	block := c.blockRows()
	part := func(s *scratch, dst, x []float64) {
		for len(dst) > 0 {
			n := min(block, len(dst))
			sum(s, dst[:n], x[:n*d])
			finish(dst[:n], c.longest(), offset)
			dst, x = dst[n:], x[n*d:]
		}
	}
	if len(dst) < 2*runRows {
		s := borrow()
		defer s.giveBack()
		part(s, dst, x)
		return ctx.Err()
	}
	runs := (len(dst) + runRows - 1) / runRows
	return inParallel(ctx, runs, func() (func(int), func()) {
		s := borrow()
		return func(i int) {
			from, to := i*runRows, min((i+1)*runRows, len(dst))
			part(s, dst[from:to], x[from*d:to*d])
		}, s.giveBack
	})
}

// longest is what a row's sum is divided by.
func (c *Compiled) longest() float64 { return float64(c.trees) * AverageDepth(c.maxSamples) }

// finish makes scores of sums.
func finish(sums []float64, longest, offset float64) {
	for i, s := range sums {
		sums[i] = scoreOf(s, longest) - offset
	}
}

// sumBlock is the kernel that needs nothing but the nodes.
func (c *Compiled) sumBlock(s *scratch, sums, x []float64) {
	d := c.features
	s.keys = resized(s.keys, len(x))
	s.missing = c.fillKeys(s.keys, d, 1, x, s.missing[:0])
	clear(sums)
	if c.narrow != nil {
		sumByNodes(c, c.narrow, sums, s.keys)
	} else {
		sumByNodes(c, c.wide, sums, s.keys)
	}
	for _, i := range s.missing {
		sums[i] = c.sumMissing(s.keys[int(i)*d : (int(i)+1)*d])
	}
}

// sumMissing is the sum of one row that lacks values.
func (c *Compiled) sumMissing(keys []int32) float64 {
	if c.narrow != nil {
		return sumMissing(c, c.narrow, keys)
	}
	return sumMissing(c, c.wide, keys)
}

// scratch is what scoring a block of rows needs.
type scratch struct {
	keys    []int32
	missing []int32  // rows that lack a value
	ranks   []uint16 // for Tables
	words   []uint64
}

// scratches outlive the calls, since allocating them takes longer than scoring a few
// rows; it holds nothing that a result depends on.
var scratches = sync.Pool{New: func() any { return new(scratch) }}

func borrow() *scratch { return scratches.Get().(*scratch) }

// giveBack keeps s for the next call unless rows were so wide that it grew large.
func (s *scratch) giveBack() {
	if held(s.keys)+held(s.missing)+held(s.ranks)+held(s.words) <= 1<<20 {
		scratches.Put(s)
	}
}

// resized is s with n elements of any value.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
