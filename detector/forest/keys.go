package forest

import "math"

// A key is an int32 that orders as the float32 it stands for, both zeros being one. The
// question that a node asks, float64(float32(z)) <= threshold, is then a comparison of
// two keys: that of z, and that of the largest float32 that is no larger than the
// threshold.

const (
	// missingKey stands for NaN. It is above the key of any number.
	missingKey = math.MaxInt32
	// leafKey is below the key of any number.
	leafKey = math.MinInt32
)

func keyOf(v float32) int32 {
	b := int32(math.Float32bits(v + 0)) // -0 + 0 is +0
	return b ^ int32(uint32(b>>31)>>1)
}

// thresholdKey is the key of the largest float32 that is at most t, which is finite.
func thresholdKey(t float64) int32 {
	v := float32(t)
	if float64(v) > t {
		v = math.Nextafter32(v, float32(math.Inf(-1)))
	}
	return keyOf(v)
}

// fillKeys writes the keys of the scaled rows x: that of row i, feature j to
// keys[i*row+j*column]. It returns the rows that lack a value, appended to missing.
func (c *Compiled) fillKeys(keys []int32, row, column int, x []float64, missing []int32) []int32 {
	d := c.features
	n := len(x) / d
	for j := range d {
		mean, scale := c.mean[j], c.scale[j]
		at, to := j, j*column
		for i := range n {
			// Two roundings to float64, in this order, and one to float32.
			v := float32((x[at] - mean) / scale)
			key := keyOf(v)
			if v != v {
				key = missingKey
				missing = append(missing, int32(i))
			}
			keys[to] = key
			at += d
			to += row
		}
	}
	return missing
}
