package sklearn

import (
	"fmt"
	"math"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// scalerOf reads a fitted StandardScaler, RobustScaler or MinMaxScaler. It is nil for
// one of an old version that does nothing, and does not even know its width.
func scalerOf(o *joblib.Object) (forest.Step, error) {
	var s forest.Step
	var err error
	switch o.Class {
	case scalerClass:
		s, err = standardOf(o)
	case robustClass:
		s, err = affineOf(o, "with_centering", "center_", "with_scaling")
	default:
		s, err = minMaxOf(o)
	}
	if err != nil || s.Width() == 0 {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, o.Class.Name, err)
	}
	return s, nil
}

// affineOf reads (x - center) / scale, either of which may be switched off.
func affineOf(o *joblib.Object, withCenter, center, withScale string) (*forest.Scaler, error) {
	s := &forest.Scaler{}
	for _, p := range []struct {
		flag, name string
		to         *[]float64
	}{{withCenter, center, &s.Mean}, {withScale, "scale_", &s.Scale}} {
		on, err := boolean(o, p.flag)
		if err != nil {
			return nil, err
		}
		if !on {
			continue
		}
		if *p.to, err = fitted(o, p.name); err != nil {
			return nil, err
		}
		s.Features = len(*p.to)
	}
	return s, widen(o, &s.Features)
}

func standardOf(o *joblib.Object) (*forest.Scaler, error) {
	s, err := affineOf(o, "with_mean", "mean_", "with_std")
	if err != nil {
		return nil, err
	}
	if s.Features == 0 {
		if v, _ := o.Attribute("n_samples_seen_"); v == nil {
			return nil, notFitted(o.Class)
		}
	}
	if v, _ := o.Attribute("n_samples_seen_"); v != nil {
		s.Samples = samples(v)
	}
	if v, _ := o.Attribute("var_"); v != nil && s.Scale != nil { // not needed to score
		if s.Var, err = vector(o, "var_"); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func minMaxOf(o *joblib.Object) (*forest.MinMax, error) {
	m := &forest.MinMax{}
	var err error
	if m.Scale, err = fitted(o, "scale_"); err != nil {
		return nil, err
	}
	if m.Min, err = fitted(o, "min_"); err != nil {
		return nil, err
	}
	width := len(m.Scale)
	if err := widen(o, &width); err != nil {
		return nil, err
	}
	if v, ok := o.Attribute("clip"); !ok || v == any(false) { // since 0.24
		return m, nil
	}
	if m.Clip, err = boolean(o, "clip"); err != nil {
		return nil, err
	}
	v, _ := o.Attribute("feature_range")
	if l, ok := v.(*joblib.List); ok {
		v = joblib.Tuple(l.Items)
	}
	t, ok := v.(joblib.Tuple)
	if !ok || len(t) != 2 {
		return nil, malformed("feature_range is %s instead of a pair", typeOf(v))
	}
	for i, to := range []*float64{&m.Low, &m.High} {
		if *to, ok = number(t[i]); !ok {
			return nil, malformed("feature_range holds %s", typeOf(t[i]))
		}
	}
	return m, nil
}

// fitted reads a vector that is there once a scaler was fitted.
func fitted(o *joblib.Object, name string) ([]float64, error) {
	if _, ok := o.Attribute(name); !ok {
		return nil, notFitted(o.Class)
	}
	return vector(o, name)
}

// widen compares n, or sets it where it is 0, with the width that the object was fitted
// for. Before 0.23 none says it.
func widen(o *joblib.Object, n *int) error {
	if _, ok := o.Attribute("n_features_in_"); !ok {
		return nil
	}
	width, err := integer(o, "n_features_in_")
	if err != nil {
		return err
	}
	if width < 1 || *n != 0 && *n != width {
		return malformed("%s has %d values for %d features", o.Class.Name, *n, width)
	}
	*n = width
	return nil
}

// number is a plain number, or numpy's.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	}
	return 0, false
}

// samples is the number of training rows: a number, or one for each column, which
// may differ.
func samples(v any) int {
	switch v := v.(type) {
	case int64:
		return int(v)
	case float64:
		if v == math.Trunc(v) && v >= 0 && v <= 1<<53 {
			return int(v)
		}
	}
	return 0
}
