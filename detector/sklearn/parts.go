package sklearn

import (
	"fmt"
	"slices"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// A pipeline may be a step of a pipeline, also of itself: whoever follows them takes so
// many steps, so deep.
const (
	maxSteps    = 100
	maxPipeline = 8
)

// isEstimator tells whether v is an instance of a class that is known here, as one that
// may stand by itself.
func isEstimator(v any) (*joblib.Object, bool) {
	o, ok := v.(*joblib.Object)
	return o, ok && parameters(o.Class) != nil
}

// partsOf gives what a file holds of a detector, in the order in which rows go through
// it: an estimator, the steps of a Pipeline, or those of the one or two estimators that
// stand in a dict, tuple or list beside whatever else.
func partsOf(root any) ([]*joblib.Object, error) {
	var items []any
	switch v := root.(type) {
	case *joblib.Object:
		return flattened(v)
	case *joblib.Dict:
		items = v.Values
	case joblib.Tuple:
		items = v
	case *joblib.List:
		items = v.Items
	}
	var scalers, forests [][]*joblib.Object
	for _, item := range items {
		o, ok := isEstimator(item)
		if !ok {
			continue
		}
		parts, err := flattened(o)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(parts, func(o *joblib.Object) bool { return o.Class == forestClass }) {
			forests = append(forests, parts)
		} else {
			scalers = append(scalers, parts)
		}
		if n := len(forests) + len(scalers); n > 2 || len(forests) > 1 || len(scalers) > 1 {
			return nil, holds(fmt.Sprintf("several models in a %s, and does not say which goes before which", typeOf(root).Name))
		}
	}
	switch {
	case len(scalers)+len(forests) == 0:
		return nil, holds(typeOf(root).String())
	case len(scalers) == 0:
		return forests[0], nil
	case len(forests) == 0:
		return scalers[0], nil
	case len(forests[0]) > 1:
		return nil, holds(fmt.Sprintf("a Pipeline with scaler and another scaler in a %s", typeOf(root).Name))
	}
	return append(scalers[0], forests[0]...), nil
}

// flattening takes Pipelines apart.
type flattening struct {
	parts  []*joblib.Object
	visits int
}

// flattened is o, of a Pipeline its steps.
func flattened(o *joblib.Object) ([]*joblib.Object, error) {
	var f flattening
	err := f.add(o, 0)
	return f.parts, err
}

func (f *flattening) add(o *joblib.Object, depth int) error {
	if o.Class != pipelineClass {
		f.parts = append(f.parts, o)
		return nil
	}
	steps, err := stepsOf(o)
	if err != nil {
		return err
	}
	if f.visits += len(steps); f.visits > maxSteps || depth == maxPipeline {
		return fmt.Errorf("%w: Pipelines of more than %d steps, or more than %d in one another", ErrTooLarge, maxSteps, maxPipeline)
	}
	for _, s := range steps {
		if inner, ok := s.value.(*joblib.Object); ok {
			if err := f.add(inner, depth+1); err != nil {
				return err
			}
			continue
		}
		if s.value != nil && s.value != any("passthrough") { // None is what it was before
			return holds(fmt.Sprintf("a Pipeline whose step %.40q is a %s", s.name, typeOf(s.value)))
		}
	}
	return nil
}

func pipelineOf(root any) (*Pipeline, error) {
	parts, err := partsOf(root)
	if err != nil {
		return nil, err
	}
	p := &Pipeline{}
	var steps []forest.Step
	for i, o := range parts {
		if p.Forest != nil {
			return nil, holds("a step behind IsolationForest: " + typeOf(o).String())
		}
		width := 0
		switch o.Class {
		case scalerClass, minMaxClass, robustClass:
			s, err := scalerOf(o)
			if err != nil {
				return nil, err
			}
			if s == nil {
				continue
			}
			steps, width = append(steps, s), s.Width()
		case forestClass:
			if p.Forest, err = forestOf(o); err != nil {
				return nil, err
			}
			p.Params, width = paramsOf(o), p.Forest.Features
		default:
			return nil, holds(typeOf(o).String())
		}
		names, err := namesOf(o, width)
		if err != nil {
			return nil, err
		}
		if i == 0 { // else they are those of what the step before put out
			p.FeatureNames = names
		}
	}
	if o, ok := root.(*joblib.Object); ok && o.Class == pipelineClass && p.Forest == nil {
		return nil, holds("a Pipeline without IsolationForest")
	}
	if n := len(steps); n > 0 {
		if s, ok := steps[n-1].(*forest.Scaler); ok {
			p.Scaler, n = s, n-1
		}
		if n > 0 {
			p.Before = slices.Clip(steps[:n])
		}
	}
	if p.Scaler == nil && p.Forest == nil && p.Before == nil {
		return nil, holds("a scaler that does nothing")
	}
	width := p.Width()
	for _, s := range steps {
		if s.Width() != width {
			return nil, malformed("a scaler of %d features before a step of %d", s.Width(), width)
		}
	}
	p.SklearnVersion = versionOf(root, parts)
	return p, nil
}

// versionOf is the version of scikit-learn that signed the whole; of what is no
// estimator, the last of its parts.
func versionOf(root any, parts []*joblib.Object) string {
	if o, ok := root.(*joblib.Object); ok {
		return text(o, "_sklearn_version")
	}
	if len(parts) == 0 {
		return ""
	}
	return text(parts[len(parts)-1], "_sklearn_version")
}
