package forest

import (
	"math"
	"math/bits"
	"slices"
)

// Percentile is the q-th percentile (0 to 100) of ascending values, interpolated as
// numpy.percentile does it. There must be at least one.
func Percentile(sorted []float64, q float64) float64 {
	i, part := percentilePlace(len(sorted), q)
	return between(sorted[i], sorted[min(i+1, len(sorted)-1)], part)
}

// percentileOf is the Percentile of values in any order.
func percentileOf(values []float64, q float64) float64 {
	i, part := percentilePlace(len(values), q)
	last := len(values) - 1
	around, below := window(values, i)
	if i < below || min(i+1, last)-below >= len(around) {
		around, below = slices.Clone(values), 0
	}
	low := selectAt(around, i-below)
	if i == last {
		return low
	}
	return between(low, slices.Min(around[i+1-below:]), part)
}

// window returns some of the values: likely enough those that come at place i and i+1
// when they are sorted, and all between its ends. below is how many come before them.
// Its ends are those of a sample.
func window(values []float64, i int) (around []float64, below int) {
	const samples, margin = 1024, 64
	low, high := math.Inf(-1), math.Inf(1)
	if step := len(values) / samples; step > 1 {
		var sample []float64
		for k := 0; k < len(values); k += step {
			sample = append(sample, values[k])
		}
		slices.Sort(sample)
		at := i / step
		if at > margin {
			low = sample[at-margin]
		}
		if at+margin < len(sample) {
			high = sample[at+margin]
		}
	}
	for _, v := range values {
		if v < low {
			below++
		} else if v <= high {
			around = append(around, v)
		}
	}
	return around, below
}

// percentilePlace says which of n ascending values a percentile comes after, and how
// far on the way to the next.
func percentilePlace(n int, q float64) (int, float64) {
	at := float64(float64(n-1) * (q / 100))
	if at >= float64(n-1) {
		return n - 1, 0
	}
	i := math.Floor(at)
	return int(i), at - i
}

func between(low, high, part float64) float64 {
	if part >= 0.5 {
		return high - float64((high-low)*(1-part))
	}
	return low + float64((high-low)*part)
}

// selectAt moves the values so that none before place k is larger than the one there
// and none behind it smaller, and returns that one (Hoare's quickselect; what has not
// become short after some rounds is sorted).
func selectAt(v []float64, k int) float64 {
	low, high := 0, len(v) // v[:low] <= v[low:high] <= v[high:]
	for rounds := 2 * bits.Len(uint(len(v))); rounds > 0 && high-low > 12; rounds-- {
		pivot := max(min(v[low], v[high-1]), min(max(v[low], v[high-1]), v[low+(high-low)/2]))
		i, j := low, high-1
		for i <= j {
			for v[i] < pivot {
				i++
			}
			for v[j] > pivot {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			high = j + 1
		case k >= i:
			low = i
		default:
			return v[k]
		}
	}
	slices.Sort(v[low:high])
	return v[k]
}
