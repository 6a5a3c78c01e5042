package forest

import "math/bits"

// mersenne is MT19937 (Matsumoto and Nishimura, 1998) seeded and drawn from as
// numpy's RandomState does it for an integer seed.
type mersenne struct {
	state [624]uint32
	words [624]uint32 // what is made of state: the numbers
	next  int         // of words
}

func (m *mersenne) seed(s uint32) {
	for i := range m.state {
		m.state[i] = s
		s = 1812433253*(s^s>>30) + uint32(i) + 1
	}
	m.next = len(m.state)
}

func (m *mersenne) refill() {
	const n, shift = 624, 397
	twist := func(high, low, far uint32) uint32 {
		y := high&0x80000000 | low&0x7fffffff
		return far ^ y>>1 ^ 0x9908b0df&-(y&1)
	}
	for i := range n - shift {
		m.state[i] = twist(m.state[i], m.state[i+1], m.state[i+shift])
	}
	for i := n - shift; i < n-1; i++ {
		m.state[i] = twist(m.state[i], m.state[i+1], m.state[i+shift-n])
	}
	m.state[n-1] = twist(m.state[n-1], m.state[0], m.state[shift-1])
	for i, y := range m.state {
		y ^= y >> 11
		y ^= y << 7 & 0x9d2c5680
		y ^= y << 15 & 0xefc60000
		m.words[i] = y ^ y>>18
	}
	m.next = 0
}

func (m *mersenne) uint32() uint32 {
	if m.next >= len(m.words) {
		m.refill()
	}
	y := m.words[m.next]
	m.next++
	return y
}

// rewind is seed with the same number again, while no more than the first of the numbers
// was drawn.
func (m *mersenne) rewind() { m.next = 0 }

// floats fills dst with numbers that are uniform in [0, 1), with 53 bits each. Nothing
// was drawn since the seed but such numbers.
func (m *mersenne) floats(dst []float64) {
	for len(dst) > 0 {
		if m.next >= len(m.words) {
			m.refill()
		}
		words := m.words[m.next:]
		n := min(len(dst), len(words)/2)
		for i := range dst[:n] {
			a, b := words[2*i]>>5, words[2*i+1]>>6
			dst[i] = float64(uint64(a)<<26|uint64(b)) * 0x1p-53
		}
		m.next += 2 * n
		dst = dst[n:]
	}
}

// below is uniform in [0, n) for 1 <= n < 2^32, by rejection from the next power of
// two; n = 1 draws nothing.
func (m *mersenne) below(n uint32) uint32 {
	if n == 1 {
		return 0
	}
	mask := uint32(1)<<bits.Len32(n-1) - 1
	for {
		if v := m.uint32() & mask; v < n {
			return v
		}
	}
}

// sample draws k of n numbers without replacement into dst[:k], in the order in which
// scikit-learn's sample_without_replacement gives them. dst is the buffer to use; the
// result may share it. seen is empty, before and after.
func (m *mersenne) sample(dst []int32, n, k int, seen *bitmap) []int32 {
	switch ratio := float64(k) / float64(n); {
	case ratio > 0.01 && ratio < 0.99:
		return m.permutation(dst, n)[:k]
	case ratio < 0.2:
		return m.trackingSelection(dst, n, k, seen)
	default:
		return m.reservoir(dst, n, k)
	}
}

// permutation is Fisher and Yates' shuffle from the end.
func (m *mersenne) permutation(dst []int32, n int) []int32 {
	dst = iota32(dst, n)
	for i := n - 1; i > 0; i-- {
		j := m.below(uint32(i) + 1)
		dst[i], dst[j] = dst[j], dst[i]
	}
	return dst
}

// trackingSelection draws again whatever it has drawn before.
func (m *mersenne) trackingSelection(dst []int32, n, k int, seen *bitmap) []int32 {
	seen.grow(n)
	dst = dst[:0]
	for len(dst) < k {
		j := int32(m.below(uint32(n)))
		if seen.add(j) {
			dst = append(dst, j)
		}
	}
	for _, j := range dst {
		(*seen)[j/64] = 0
	}
	return dst
}

// reservoir starts with the first k and lets each later number take a random place.
func (m *mersenne) reservoir(dst []int32, n, k int) []int32 {
	dst = iota32(dst, k)
	for i := k; i < n; i++ {
		if j := m.below(uint32(i) + 1); int(j) < k {
			dst[j] = int32(i)
		}
	}
	return dst
}

// iota32 is 0, 1, … n-1 in dst's memory where that is enough.
func iota32(dst []int32, n int) []int32 {
	if cap(dst) < n {
		dst = make([]int32, n)
	}
	dst = dst[:n]
	for i := range dst {
		dst[i] = int32(i)
	}
	return dst
}

// seedLimit is the bound below which scikit-learn draws the seed of one generator
// from another: the largest int32.
const seedLimit = 1<<31 - 1

// xorshift is Marsaglia's 32-bit generator with shifts 13, 17 and 5, which
// scikit-learn uses within a tree. A state of 0 counts as 1.
type xorshift uint32

func (x *xorshift) next() uint32 {
	s := uint32(*x)
	if s == 0 {
		s = 1
	}
	s ^= s << 13
	s ^= s >> 17
	s ^= s << 5
	*x = xorshift(s)
	return s % (1 << 31)
}

// between is a number of [low, high).
func (x *xorshift) between(low, high int) int {
	return low + int(x.next())%(high-low)
}

// uniform is a number of [low, high].
func (x *xorshift) uniform(low, high float64) float64 {
	return (high-low)*float64(x.next())/(1<<31-1) + low
}
