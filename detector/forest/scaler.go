package forest

import (
	"fmt"
	"math"
)

// Step is a scaler that is fitted: what a row goes through before it comes to the forest.
type Step interface {
	// Transform writes the scaled rows x to dst, which has the same length and may be x.
	Transform(dst, x []float64)
	// Width is the number of values of a row.
	Width() int
	// Validate checks everything that Transform relies on.
	Validate() error
	// Bytes is the memory that the step holds.
	Bytes() int64
}

// Scaler is a fitted StandardScaler: z = (x - Mean) / Scale, column by column.
type Scaler struct {
	// Mean is nil for with_mean=False, Scale and Var for with_std=False.
	Mean, Var, Scale []float64
	Features         int
	// Samples is the number of training rows, 0 where it differed between columns.
	Samples int
}

// Summation is the order in which the values of a column are added up. numpy's depends
// on where the values lie in memory and on its version, and the last bits on it.
type Summation int

const (
	// Pairwise is a pandas frame under numpy 2.3 or newer, the default.
	Pairwise Summation = iota
	// Buffered is a pandas frame under an older numpy: pairwise, 8192 values at a time.
	Buffered
	// Sequential is an array of at least two columns stored row by row.
	Sequential
)

// FitScaler fits a StandardScaler to n rows of d finite values.
func FitScaler(x []float64, n, d int, order Summation) (*Scaler, error) {
	if err := checkMatrix(x, n, d, math.MaxFloat64); err != nil {
		return nil, fmt.Errorf("fit scaler: %w", err)
	}
	s := &Scaler{Mean: make([]float64, d), Var: make([]float64, d), Scale: make([]float64, d), Features: d, Samples: n}
	rows := float64(n)
	column := make([]float64, n)
	for j := range d {
		for i := range column {
			column[i] = x[i*d+j]
		}
		sum, _ := order.sums(column, 0)
		mean := sum / rows
		correction, squares := order.sums(column, mean)
		variance := (squares - float64(correction*correction)/rows) / rows
		// A variance that rounding alone may have made counts as none.
		rounding := rows * mean * epsilon
		noise := float64(rows*epsilon*variance) + float64(rounding*rounding)
		s.Mean[j], s.Var[j], s.Scale[j] = mean, variance, 1
		if !(variance <= noise) {
			s.Scale[j] = math.Sqrt(variance)
		}
		if math.IsInf(mean, 0) || math.IsInf(variance, 0) || math.IsNaN(variance) {
			return nil, fmt.Errorf("fit scaler: %w: the values of feature %d are too large to be scaled", ErrData, j)
		}
	}
	return s, nil
}

// Width is the number of values of a row.
func (s *Scaler) Width() int { return s.Features }

// Transform writes the scaled rows x to dst, which has the same length and may be x.
func (s *Scaler) Transform(dst, x []float64) {
	if len(dst) != len(x) || len(x)%s.Features != 0 {
		panic("forest: rows of another width")
	}
	for len(x) > 0 {
		for j := range s.Features {
			v := x[j]
			if s.Mean != nil {
				v -= s.Mean[j]
			}
			if s.Scale != nil {
				v /= s.Scale[j]
			}
			dst[j] = v
		}
		dst, x = dst[s.Features:], x[s.Features:]
	}
}

// Bytes is the memory that the scaler holds.
func (s *Scaler) Bytes() int64 {
	return 96 + 8*int64(cap(s.Mean)+cap(s.Var)+cap(s.Scale))
}

// sums adds up how far the values are from mean, and the squares of that.
func (o Summation) sums(v []float64, mean float64) (sum, squares float64) {
	switch o {
	case Pairwise:
		return pairwise(v, mean)
	case Buffered:
		const buffer = 8192
		for len(v) > 0 {
			n := min(buffer, len(v))
			a, b := pairwise(v[:n], mean)
			sum, squares = sum+a, squares+b
			v = v[n:]
		}
		return sum, squares
	}
	return oneByOne(v, mean, 0, 0)
}

// oneByOne adds to sums that there are already.
func oneByOne(v []float64, mean, sum, squares float64) (float64, float64) {
	for _, x := range v {
		x -= mean
		sum += x
		squares += float64(x * x)
	}
	return sum, squares
}

// pairwise adds up as numpy does it with values that lie together: eight accumulators up
// to 128 values, halves beyond.
func pairwise(v []float64, mean float64) (sum, squares float64) {
	switch {
	case len(v) < 8:
		return oneByOne(v, mean, 0, 0)
	case len(v) > 128:
		half := len(v) / 2
		half -= half % 8
		a, b := pairwise(v[:half], mean)
		c, d := pairwise(v[half:], mean)
		return a + c, b + d
	}
	var a, b [8]float64
	for j, x := range v[:8] {
		x -= mean
		a[j], b[j] = x, float64(x*x)
	}
	for v = v[8:]; len(v) >= 8; v = v[8:] {
		for j, x := range v[:8] {
			x -= mean
			a[j] += x
			b[j] += float64(x * x)
		}
	}
	sum = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))
	squares = ((b[0] + b[1]) + (b[2] + b[3])) + ((b[4] + b[5]) + (b[6] + b[7]))
	return oneByOne(v, mean, sum, squares)
}
