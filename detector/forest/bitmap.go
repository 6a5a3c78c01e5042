package forest

import (
	"math/bits"
	"slices"
)

// bitmap is a set of small numbers, a bit for each.
type bitmap []uint64

// grow makes room for the numbers 0 … n-1 in an empty set.
func (b *bitmap) grow(n int) {
	if words := (n + 63) / 64; len(*b) < words {
		*b = make([]uint64, words)
	}
}

// add reports whether j is new.
func (b bitmap) add(j int32) bool {
	word, bit := &b[j/64], uint64(1)<<(j%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// sort sorts different numbers below n. The set is empty before and after.
func (b *bitmap) sort(v []int32, n int) {
	if n/64 > 32*len(v) {
		slices.Sort(v) // to look for them takes longer
		return
	}
	b.grow(n)
	set := *b
	for _, j := range v {
		set.add(j)
	}
	v = v[:0]
	for i, word := range set {
		if word == 0 {
			continue
		}
		for ; word != 0; word &= word - 1 {
			v = append(v, int32(64*i+bits.TrailingZeros64(word)))
		}
		set[i] = 0
	}
}
