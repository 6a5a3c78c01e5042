package forest

import "math"

// MinMax is a fitted MinMaxScaler: z = x * Scale + Min, column by column.
type MinMax struct {
	Scale, Min []float64
	// Clip moves what comes out beyond Low and High to there.
	Clip      bool
	Low, High float64
}

// Width is the number of values of a row.
func (m *MinMax) Width() int { return len(m.Scale) }

// Transform writes the scaled rows x to dst, which has the same length and may be x.
func (m *MinMax) Transform(dst, x []float64) {
	width := len(m.Scale)
	if len(dst) != len(x) || len(x)%width != 0 {
		panic("forest: rows of another width")
	}
	for i, v := range x {
		j := i % width
		v = float64(v*m.Scale[j]) + m.Min[j]
		switch { // a missing value stays one
		case m.Clip && v < m.Low:
			v = m.Low
		case m.Clip && v > m.High:
			v = m.High
		}
		dst[i] = v
	}
}

// Validate checks everything that Transform relies on.
func (m *MinMax) Validate() error {
	if len(m.Scale) == 0 || len(m.Min) != len(m.Scale) {
		return invalid("a scaler with %d factors and %d summands", len(m.Scale), len(m.Min))
	}
	for _, values := range [][]float64{m.Scale, m.Min, {m.Low, m.High}} {
		for j, v := range values {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return invalid("value %d of the scaler is %v", j, v)
			}
		}
	}
	if m.Clip && m.Low > m.High {
		return invalid("a range from %v to %v", m.Low, m.High)
	}
	return nil
}

// Bytes is the memory that the step holds.
func (m *MinMax) Bytes() int64 { return 80 + 8*int64(cap(m.Scale)+cap(m.Min)) }
