package forest

import (
	"math"
	"math/bits"
	"slices"
)

// rankTable finds how many of a feature's thresholds a value is above: its rank. First
// a table by the value's key, then a few steps of a binary search.
type rankTable struct {
	low, high int32 // keys outside are taken for these: ranks 0 and all
	// Keys between from and to have one rank, and there are more of them than between
	// any other two thresholds: mostly those around 0, where keys are dense.
	from, to int32
	shift    uint8
	step     uint32   // the first of the search
	below    []uint16 // the number of thresholds below each bucket of keys
	keys     []int32  // ascending, then as many of the largest int32 as a search may run into
}

const (
	maxRank    = math.MaxUint16
	maxBuckets = 1 << 13
)

// rankShape is a rankTable without its contents: what it takes is found out before it is
// allocated.
type rankShape struct {
	rankTable
	thresholds   []int32
	buckets, top int
}

// newRankShape takes ascending keys of at least one threshold.
func newRankShape(keys []int32) rankShape {
	s := rankShape{thresholds: keys}
	s.low, s.high = keys[0], keys[len(keys)-1]+1 // which is below the largest int32
	s.from, s.to = s.low, s.low
	for i := range keys[1:] {
		if from, to := keys[i]+1, keys[i+1]; int64(to)-int64(from) > int64(s.to)-int64(s.from) {
			s.from, s.to = from, to
		}
	}
	want := min(maxBuckets, 64<<bits.Len(uint(len(keys)/16)))
	for s.bucket(s.high) >= uint32(want) {
		s.shift++
	}
	s.buckets = int(s.bucket(s.high)) + 1
	fullest := 0
	for i := 0; i < len(keys); {
		j := i + 1
		for j < len(keys) && s.bucket(keys[j]) == s.bucket(keys[i]) {
			j++
		}
		fullest = max(fullest, j-i)
		i = j
	}
	s.top = 1 << (bits.Len(uint(fullest)) - 1)
	return s
}

// bucket is the bucket of a key. Between low and high it never falls.
func (t *rankTable) bucket(key int32) uint32 {
	key = min(max(key, t.low), t.high)
	return (uint32(min(key, t.from)-t.low) + uint32(max(key, t.to)-t.to)) >> t.shift
}

// padded is the length of the table's keys.
func (s *rankShape) padded() int { return len(s.thresholds) + 2*s.top }

// table builds the table in memory of the right length: buckets and padded.
func (s *rankShape) table(below []uint16, keys []int32) rankTable {
	i := 0
	for b := range below {
		for i < len(s.thresholds) && s.bucket(s.thresholds[i]) < uint32(b) {
			i++
		}
		below[b] = uint16(i)
	}
	for k := copy(keys, s.thresholds); k < len(keys); k++ {
		keys[k] = math.MaxInt32
	}
	t := s.rankTable
	t.step, t.below, t.keys = uint32(s.top), below, keys
	return t
}

// ranks writes the ranks of keys to dst, which has as many. Four searches run at once,
// without a branch.
func (t *rankTable) ranks(dst []uint16, keys []int32) {
	dst = dst[:len(keys)]
	thresholds := t.keys
	i := 0
	for ; i+4 <= len(keys); i += 4 {
		k0, k1, k2, k3 := keys[i], keys[i+1], keys[i+2], keys[i+3]
		a, b, c, d := uint32(t.below[t.bucket(k0)]), uint32(t.below[t.bucket(k1)]), uint32(t.below[t.bucket(k2)]), uint32(t.below[t.bucket(k3)])
		for h := t.step; h > 0; h >>= 1 {
			a += less(thresholds[a+h-1], k0) & h
			b += less(thresholds[b+h-1], k1) & h
			c += less(thresholds[c+h-1], k2) & h
			d += less(thresholds[d+h-1], k3) & h
		}
		dst[i], dst[i+1], dst[i+2], dst[i+3] = uint16(a), uint16(b), uint16(c), uint16(d)
	}
	for ; i < len(keys); i++ {
		a := uint32(t.below[t.bucket(keys[i])])
		for h := t.step; h > 0; h >>= 1 {
			a += less(thresholds[a+h-1], keys[i]) & h
		}
		dst[i] = uint16(a)
	}
}

// less is all ones if a < b, else 0.
func less(a, b int32) uint32 { return uint32((int64(a) - int64(b)) >> 63) }

// distinctKeys are the keys of ascending cuts of one feature, each once.
func distinctKeys(cuts []cut) []int32 {
	keys := make([]int32, len(cuts))
	for i, c := range cuts {
		keys[i] = c.key()
	}
	return slices.Compact(keys)
}
