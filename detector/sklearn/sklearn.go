// Package sklearn turns scikit-learn's objects in joblib files into the types of
// package forest, and back: an IsolationForest, the scalers before it, or a Pipeline of
// them. What is written here scikit-learn loads as its own; what it wrote itself is
// checked as a whole before it may score.
package sklearn

import (
	"fmt"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// Every error of reading wraps one of these, or is the reader's own.
var (
	// ErrMalformed: no joblib file, a damaged one, or a detector that cannot be.
	ErrMalformed = joblib.ErrMalformed
	// ErrNoPickle: an ErrMalformed file that does not even look like one of joblib.
	ErrNoPickle = joblib.ErrNoPickle
	// ErrUnsupported: something else than a detector that this package reads.
	ErrUnsupported = joblib.ErrUnsupported
	// ErrTooLarge: beyond the limit that the caller set, or one of joblib's.
	ErrTooLarge = joblib.ErrTooLarge
)

// Pipeline is a detector: what a row goes through to get its score.
type Pipeline struct {
	// Before are the scalers that rows go through before they come to Scaler: those of
	// longer pipelines, and any MinMaxScaler. Write does not write them.
	Before []forest.Step
	Scaler *forest.Scaler // nil: none; a StandardScaler, or a RobustScaler, which has no Var
	Forest *forest.Forest // nil where a file holds a scaler alone
	// FeatureNames are the columns in the order of a row; nil where scikit-learn was
	// trained on rows without names.
	FeatureNames []string
	// Params are what the training was asked for. Read leaves nil where that is beyond
	// what this registry trains itself (no integer random_state, say).
	Params *forest.Params
	// SklearnVersion is the version of scikit-learn that wrote the file, or whose form
	// it has.
	SklearnVersion string
}

// Width is the number of values of a row.
func (p *Pipeline) Width() int {
	switch {
	case p.Forest != nil:
		return p.Forest.Features
	case p.Scaler != nil:
		return p.Scaler.Features
	}
	return p.Before[0].Width()
}

// class names of what this package knows.
var (
	pipelineClass  = joblib.Global{Module: "sklearn.pipeline", Name: "Pipeline"}
	scalerClass    = joblib.Global{Module: "sklearn.preprocessing._data", Name: "StandardScaler"}
	minMaxClass    = joblib.Global{Module: "sklearn.preprocessing._data", Name: "MinMaxScaler"}
	robustClass    = joblib.Global{Module: "sklearn.preprocessing._data", Name: "RobustScaler"}
	forestClass    = joblib.Global{Module: "sklearn.ensemble._iforest", Name: "IsolationForest"}
	extraTreeClass = joblib.Global{Module: "sklearn.tree._classes", Name: "ExtraTreeRegressor"}
	treeClass      = joblib.Global{Module: "sklearn.tree._tree", Name: "Tree"}
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// holds reports what a file holds instead of a detector.
func holds(what string) error {
	return fmt.Errorf("%w: holds %s; this registry scores IsolationForest, alone or behind StandardScaler, MinMaxScaler or RobustScaler", ErrUnsupported, what)
}

func notFitted(class joblib.Global) error {
	return fmt.Errorf("%w: its %s is not fitted", ErrUnsupported, class.Name)
}
