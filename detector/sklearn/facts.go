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
	JoblibVersion  string // ">=1.2" or "<1.2": a file does not say more
	// ModelParams is get_params() as a JSON object; an estimator in it is written as
	// "<module.Class>".
	ModelParams  json.RawMessage
	FeatureNames []string
	Features     int
}

// Inspect tells what a file holds, also where that cannot score. Of a class that it
// does not read it knows the name at least: then the facts come with an error.
func Inspect(r io.Reader, limit int64) (Facts, error) {
	file, err := joblib.Read(r, limit)
	return factsOf(file, err)
}

// Examine is Inspect and Read in one reading. The error says why there is no detector;
// the facts come all the same, as far as there are any.
func Examine(r io.Reader, limit int64) (*Pipeline, Facts, error) {
	file, err := joblib.Read(r, limit)
	return examine(file, err)
}

func examine(file *joblib.File, err error) (*Pipeline, Facts, error) {
	f, inspectErr := factsOf(file, err)
	if err != nil {
		return nil, f, inspectErr
	}
	p, err := pipelineOf(file.Root)
	if err != nil {
		return nil, f, fmt.Errorf("read detector: %w", err)
	}
	return p, f, nil
}

// factsOf looks at what was read, or at why nothing was.
func factsOf(file *joblib.File, err error) (Facts, error) {
	f := Facts{JoblibVersion: file.JoblibVersion()}
	if err != nil {
		if g, ok := errors.AsType[*joblib.GlobalError](err); ok {
			f.ModelType, f.ModelModule = clipped(g.Root.Name), clipped(g.Root.Module)
		}
		return f, named(err)
	}
	t := typeOf(file.Root)
	f.ModelType, f.ModelModule = t.Name, t.Module
	if err = f.look(file.Root); err != nil {
		return f, fmt.Errorf("inspect %s: %w", t, err)
	}
	return f, nil
}

// look reads what estimators tell of themselves.
func (f *Facts) look(root any) (err error) {
	if o, ok := root.(*joblib.Object); ok {
		f.SklearnVersion = text(o, "_sklearn_version")
		if f.ModelParams, err = paramsJSON(o); err != nil {
			return err
		}
	}
	parts, err := partsOf(root)
	if errors.Is(err, ErrUnsupported) {
		return nil // and Read says so
	}
	if err != nil || len(parts) == 0 {
		return err
	}
	f.SklearnVersion = versionOf(root, parts)
	// A Pipeline takes what its first step takes.
	if v, _ := parts[0].Attribute("n_features_in_"); v != nil {
		if f.Features, err = integer(parts[0], "n_features_in_"); err != nil {
			return err
		}
		f.FeatureNames, err = namesOf(parts[0], f.Features)
	}
	return err
}
