package sklearn

import (
	"errors"
	"fmt"
	"math"
	"math/big"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// typeOf is the class of a value, as Python names it.
func typeOf(v any) joblib.Global {
	builtin := func(name string) joblib.Global { return joblib.Global{Module: "builtins", Name: name} }
	switch v := v.(type) {
	case nil:
		return builtin("NoneType")
	case bool:
		return builtin("bool")
	case int64, *big.Int:
		return builtin("int")
	case float64:
		return builtin("float")
	case string:
		return builtin("str")
	case []byte:
		return builtin("bytes")
	case joblib.Tuple:
		return builtin("tuple")
	case *joblib.List:
		return builtin("list")
	case *joblib.Dict:
		return builtin("dict")
	case joblib.Global:
		return builtin("type")
	case *joblib.Object:
		if v.Class == (joblib.Global{Module: "numpy.random._pickle", Name: "__randomstate_ctor"}) {
			return joblib.Global{Module: "numpy.random.mtrand", Name: "RandomState"}
		}
		return v.Class
	case *joblib.Array:
		return joblib.Global{Module: "numpy", Name: "ndarray"}
	case *joblib.DType:
		return joblib.Global{Module: "numpy", Name: "dtype"}
	}
	return joblib.Global{Module: "joblib.numpy_pickle", Name: "NumpyArrayWrapper"}
}

// named puts into words what joblib refused to read.
func named(err error) error {
	g, ok := errors.AsType[*joblib.GlobalError](err)
	if !ok {
		return err
	}
	switch g.Global.Module {
	case "sklearn.ensemble.iforest", "sklearn.preprocessing.data", "sklearn.tree.tree":
		return holds(fmt.Sprintf("%s, as scikit-learn before 0.22 named it (at byte %d)", g.Global, g.At))
	}
	return holds(fmt.Sprintf("%s (at byte %d)", g.Global, g.At))
}

// The accessors below read an attribute of one kind; anything else is malformed.

func integer(o *joblib.Object, name string) (int, error) {
	v, _ := o.Attribute(name)
	n, ok := v.(int64)
	if !ok {
		return 0, malformed("%s is %s instead of a whole number", name, typeOf(v))
	}
	return int(n), nil
}

func boolean(o *joblib.Object, name string) (bool, error) {
	v, _ := o.Attribute(name)
	b, ok := v.(bool)
	if !ok {
		return false, malformed("%s is %s instead of a bool", name, typeOf(v))
	}
	return b, nil
}

// text is a string attribute, or "" where there is none.
func text(o *joblib.Object, name string) string {
	v, _ := o.Attribute(name)
	s, _ := v.(string)
	return s
}

func vector(o *joblib.Object, name string) ([]float64, error) {
	v, _ := o.Attribute(name)
	a, ok := v.(*joblib.Array)
	if !ok || len(a.Shape) != 1 {
		return nil, malformed("%s is no vector of numbers", name)
	}
	return a.Floats("")
}

// namesOf reads the names of n columns, nil where there are none.
func namesOf(o *joblib.Object, n int) ([]string, error) {
	v, ok := o.Attribute("feature_names_in_")
	if !ok || v == nil {
		return nil, nil
	}
	a, ok := v.(*joblib.Array)
	if !ok || len(a.Items) != n || n == 0 {
		return nil, malformed("feature_names_in_ are not %d names", n)
	}
	names, size := make([]string, n), 0
	for i, item := range a.Items {
		if names[i], ok = item.(string); !ok {
			return nil, malformed("feature %d is named by %s instead of text", i, typeOf(item))
		}
		if size += len(names[i]); size > maxJSON { // they may be one and the same in the file
			return nil, fmt.Errorf("%w: names of features without end", ErrTooLarge)
		}
	}
	return names, nil
}

// step is a step of a pipeline.
type step struct {
	name  string
	value any
}

func stepsOf(o *joblib.Object) ([]step, error) {
	v, _ := o.Attribute("steps")
	l, ok := v.(*joblib.List)
	if !ok || len(l.Items) == 0 {
		return nil, malformed("the steps of the Pipeline are %s", typeOf(v))
	}
	var steps []step
	for i, item := range l.Items {
		pair, ok := item.(joblib.Tuple)
		if !ok || len(pair) != 2 {
			return nil, malformed("step %d of the Pipeline is no pair", i)
		}
		name, ok := pair[0].(string)
		if !ok {
			return nil, malformed("step %d of the Pipeline has no name", i)
		}
		steps = append(steps, step{name, pair[1]})
	}
	return steps, nil
}

// paramsOf reads the parameters of the forest's training, nil where they are not ones
// that forest.Params can express.
func paramsOf(o *joblib.Object) *forest.Params {
	get := func(name string) any { v, _ := o.Attribute(name); return v }
	var p forest.Params
	trees, ok1 := get("n_estimators").(int64)
	seed, ok2 := get("random_state").(int64)
	bootstrap, ok3 := get("bootstrap").(bool)
	samples, ok4 := sizeOf(get("max_samples"))
	features, ok5 := sizeOf(get("max_features"))
	if features.Share == 1 {
		features = forest.Size{}
	}
	warm := get("warm_start")
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || warm != any(false) || seed < 0 || seed > math.MaxUint32 {
		return nil
	}
	switch c := get("contamination").(type) {
	case float64:
		p.Contamination = c
	case string:
		if c != "auto" {
			return nil
		}
	default:
		return nil
	}
	p.Trees, p.RandomState, p.Bootstrap = int(trees), uint32(seed), bootstrap
	p.MaxSamples, p.MaxFeatures = samples, features
	if p.Validate() != nil {
		return nil
	}
	return &p
}

func sizeOf(v any) (forest.Size, bool) {
	switch v := v.(type) {
	case int64:
		return forest.Size{Count: int(v)}, v > 0
	case float64:
		return forest.Size{Share: v}, v > 0
	case string:
		return forest.Size{}, v == "auto"
	}
	return forest.Size{}, false
}
