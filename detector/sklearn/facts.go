package sklearn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"modelbucket/detector/joblib"
)

// Facts are what a file tells about itself, as Python's type(model), get_params() and
// attributes do. What it does not tell is zero.
type Facts struct {
	ModelType      string // "IsolationForest"
	ModelModule    string // "sklearn.ensemble._iforest"
	SklearnVersion string
	// ModelParams is get_params() as a JSON object; an estimator in it is written as
	// "<module.Class>".
	ModelParams  json.RawMessage
	FeatureNames []string
	Features     int
}

// Inspect tells what a file holds, also where that cannot score. Of a class that it
// does not read it knows the name at least: then the facts come with an error.
func Inspect(r io.Reader, limit int64) (Facts, error) {
	root, err := joblib.Read(r, limit)
	return factsOf(root, err)
}

// Examine is Inspect and Read in one reading. The error says why there is no detector;
// the facts come all the same, as far as there are any.
func Examine(r io.Reader, limit int64) (*Pipeline, Facts, error) {
	root, err := joblib.Read(r, limit)
	f, inspectErr := factsOf(root, err)
	if err != nil {
		return nil, f, inspectErr
	}
	p, err := pipelineOf(root)
	if err != nil {
		return nil, f, fmt.Errorf("read detector: %w", err)
	}
	return p, f, nil
}

// factsOf looks at what was read, or at why nothing was.
func factsOf(root any, err error) (Facts, error) {
	if err != nil {
		var f Facts
		if g, ok := errors.AsType[*joblib.GlobalError](err); ok {
			f.ModelType, f.ModelModule = g.Root.Name, g.Root.Module
		}
		return f, named(err)
	}
	t := typeOf(root)
	f := Facts{ModelType: t.Name, ModelModule: t.Module}
	o, ok := root.(*joblib.Object)
	if !ok {
		return f, nil
	}
	f.SklearnVersion = text(o, "_sklearn_version")
	if f.ModelParams, err = paramsJSON(o); err != nil {
		return f, fmt.Errorf("inspect %s: %w", t, err)
	}
	// A Pipeline takes what its first step takes.
	if o.Class == pipelineClass {
		steps, err := stepsOf(o)
		if err != nil {
			return f, fmt.Errorf("inspect %s: %w", t, err)
		}
		if o, ok = steps[0].value.(*joblib.Object); !ok {
			return f, nil
		}
	}
	if v, _ := o.Attribute("n_features_in_"); v != nil {
		if f.Features, err = integer(o, "n_features_in_"); err != nil {
			return f, fmt.Errorf("inspect %s: %w", t, err)
		}
		if f.FeatureNames, err = namesOf(o, f.Features); err != nil {
			return f, fmt.Errorf("inspect %s: %w", t, err)
		}
	}
	return f, nil
}
