package forest

import (
	"fmt"
	"math"
	"math/bits"
)

// Params are the constructor parameters of IsolationForest that this trainer offers.
// DefaultParams has the product's values.
type Params struct {
	Trees       int  // n_estimators, at least 1
	MaxSamples  Size // rows per tree; the zero value is "auto": 256, or all if there are fewer
	MaxFeatures Size // columns per tree; the zero value is 1.0: all
	// Contamination is the share of training rows to be rated anomalous, in (0, 0.5];
	// 0 is "auto": the offset is -0.5.
	Contamination float64
	Bootstrap     bool // draw rows with replacement
	RandomState   uint32
}

// DefaultParams are IsolationForest(n_estimators=100, max_samples="auto",
// contamination=0.1, random_state=42).
func DefaultParams() Params {
	return Params{Trees: 100, Contamination: 0.1, RandomState: 42}
}

// Size is a number of rows or columns, or a share of them: at most one of the two is
// set, and the zero value leaves the choice to the parameter's default.
type Size struct {
	Count int     // at least 1
	Share float64 // in (0, 1]
}

// MaxTrees and MaxRows bound what Fit accepts: node numbers and row numbers are kept
// in 32 bits.
const (
	MaxTrees = 10_000
	MaxRows  = math.MaxInt32
)

// Validate checks the ranges that do not depend on the data.
func (p Params) Validate() error {
	switch {
	case p.Trees < 1 || p.Trees > MaxTrees:
		return fmt.Errorf("%w: n_estimators is %d; it must be 1 to %d", ErrParams, p.Trees, MaxTrees)
	case p.Contamination != 0 && !(p.Contamination > 0 && p.Contamination <= 0.5):
		return fmt.Errorf(`%w: contamination is %v; it must be above 0 and at most 0.5, or "auto"`, ErrParams, p.Contamination)
	}
	if err := p.MaxSamples.validate("max_samples"); err != nil {
		return err
	}
	return p.MaxFeatures.validate("max_features")
}

func (s Size) validate(name string) error {
	switch {
	case s.Count != 0 && s.Share != 0:
		return fmt.Errorf("%w: %s is given both as a count and as a share", ErrParams, name)
	case s.Count < 0:
		return fmt.Errorf("%w: %s is %d; it must be at least 1", ErrParams, name, s.Count)
	case s.Share != 0 && !(s.Share > 0 && s.Share <= 1):
		return fmt.Errorf("%w: %s is %v; as a share it must be above 0 and at most 1", ErrParams, name, s.Share)
	}
	return nil
}

// sizes resolves max_samples, max_features and the depth limit for n rows of d columns.
func (p Params) sizes(n, d int) (samples, features, depth int, err error) {
	switch s := p.MaxSamples; {
	case s.Count > 0:
		samples = min(s.Count, n)
	case s.Share > 0:
		samples = int(s.Share * float64(n))
	default:
		samples = min(256, n)
	}
	if samples == 0 {
		return 0, 0, 0, fmt.Errorf("%w: max_samples %v of %d rows is no row", ErrParams, p.MaxSamples.Share, n)
	}
	switch s := p.MaxFeatures; {
	case s.Count > d:
		return 0, 0, 0, fmt.Errorf("%w: max_features is %d, but there are %d features", ErrParams, s.Count, d)
	case s.Count > 0:
		features = s.Count
	case s.Share > 0:
		features = max(1, int(s.Share*float64(d)))
	default:
		features = d
	}
	return samples, features, bits.Len(uint(max(samples, 2) - 1)), nil
}
