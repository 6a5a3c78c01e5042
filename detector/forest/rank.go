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
	shift     uint8
	top       uint32   // the search's first step; 0 where the table says all
	below     []uint16 // … the thresholds below each bucket of keys
	keys      []int32  // ascending, then as many of the largest int32 as a search may run into
}

const (
	maxRank    = math.MaxUint16
	maxBuckets = 1 << 13
)

// rankShape is what a rankTable will take, found out before it is allocated.
type rankShape struct {
	keys    []int32
	low     int32
	high    int32
	shift   uint8
	buckets int
	top     int
}

// newRankShape takes ascending keys of at least one threshold.
func newRankShape(keys []int32) rankShape {
	s := rankShape{keys: keys, low: keys[0], high: keys[len(keys)-1] + 1} // below the largest int32
	span := uint64(int64(s.high) - int64(s.low))
	want := min(maxBuckets, 64<<bits.Len(uint(len(keys)/16)))
	for span>>s.shift >= uint64(want) {
		s.shift++
	}
	s.buckets = int(span>>s.shift) + 1
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

func (s *rankShape) bucket(key int32) int {
	return int(uint32(int64(key)-int64(s.low)) >> s.shift)
}

// padded is the length of the table's keys.
func (s *rankShape) padded() int { return len(s.keys) + 2*s.top }

// table builds the table in memory of the right length: buckets and padded.
func (s *rankShape) table(below []uint16, keys []int32) rankTable {
	i := 0
	for b := range below {
		for i < len(s.keys) && s.bucket(s.keys[i]) < b {
			i++
		}
		below[b] = uint16(i)
	}
	for k := copy(keys, s.keys); k < len(keys); k++ {
		keys[k] = math.MaxInt32
	}
	return rankTable{s.low, s.high, s.shift, uint32(s.top), below, keys}
}

// ranks writes the ranks of keys to dst, which has as many. Four searches run at once,
// without a branch: lessOne is 1 where a threshold is below the key.
func (t *rankTable) ranks(dst []uint16, keys []int32) {
	dst = dst[:len(keys)]
	thresholds := t.keys
	i := 0
	for ; i+4 <= len(keys); i += 4 {
		k0, k1, k2, k3 := keys[i], keys[i+1], keys[i+2], keys[i+3]
		a, b, c, d := t.bucketBelow(k0), t.bucketBelow(k1), t.bucketBelow(k2), t.bucketBelow(k3)
		for h := t.top; h > 0; h >>= 1 {
			a += less(thresholds[a+h-1], k0) & h
			b += less(thresholds[b+h-1], k1) & h
			c += less(thresholds[c+h-1], k2) & h
			d += less(thresholds[d+h-1], k3) & h
		}
		dst[i], dst[i+1], dst[i+2], dst[i+3] = uint16(a), uint16(b), uint16(c), uint16(d)
	}
	for ; i < len(keys); i++ {
		a := t.bucketBelow(keys[i])
		for h := t.top; h > 0; h >>= 1 {
			a += less(thresholds[a+h-1], keys[i]) & h
		}
		dst[i] = uint16(a)
	}
}

func (t *rankTable) bucketBelow(key int32) uint32 {
	key = min(max(key, t.low), t.high)
	return uint32(t.below[uint32(key-t.low)>>t.shift])
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
