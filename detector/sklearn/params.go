package sklearn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"modelbucket/detector/joblib"
)

// parameters are those of each class's constructor, in the order of get_params(): by
// name. A version that lacks one has no attribute of that name.
func parameters(class joblib.Global) []string {
	switch class {
	case forestClass:
		return []string{"bootstrap", "contamination", "max_features", "max_samples", "n_estimators", "n_jobs", "random_state", "verbose", "warm_start"}
	case scalerClass:
		return []string{"copy", "with_mean", "with_std"}
	case minMaxClass:
		return []string{"clip", "copy", "feature_range"}
	case robustClass:
		return []string{"copy", "quantile_range", "unit_variance", "with_centering", "with_scaling"}
	case pipelineClass:
		return []string{"memory", "steps", "transform_input", "verbose"}
	case extraTreeClass:
		return []string{"ccp_alpha", "criterion", "max_depth", "max_features", "max_leaf_nodes", "min_impurity_decrease", "min_samples_leaf",
			"min_samples_split", "min_weight_fraction_leaf", "monotonic_cst", "random_state", "splitter"}
	}
	return nil
}

// Values in a file may be shared or contain themselves, so that a small one unfolds
// without end: whoever shows them visits this many, this deep, and writes this much.
const (
	maxVisits = 10_000
	maxLevels = 32
	maxJSON   = 1 << 20 // bytes
)

// paramsWriter writes get_params() as JSON. After an error it writes nothing more.
type paramsWriter struct {
	b      bytes.Buffer
	visits int
	err    error
}

// paramsJSON is nil where the class has no parameters that are known here.
func paramsJSON(o *joblib.Object) (json.RawMessage, error) {
	if parameters(o.Class) == nil {
		return nil, nil
	}
	w := &paramsWriter{}
	w.b.WriteByte('{')
	w.estimator(o, "", 0)
	w.b.WriteByte('}')
	if w.err == nil && w.b.Len() > maxJSON { // a text of many escapes was the last
		w.err = fmt.Errorf("%w: parameters of %d bytes", ErrTooLarge, w.b.Len())
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.b.Bytes(), nil
}

// visit tells whether one more value may be written, of so many bytes.
func (w *paramsWriter) visit(level, size int) bool {
	w.visits++
	if w.err == nil && (w.visits > maxVisits || level > maxLevels || size > maxJSON-w.b.Len()) {
		w.err = fmt.Errorf("%w: parameters without end", ErrTooLarge)
	}
	return w.err == nil
}

// estimator writes the parameters of o, each name behind the prefix; of a Pipeline then
// its steps, then their parameters.
func (w *paramsWriter) estimator(o *joblib.Object, prefix string, level int) {
	for _, name := range parameters(o.Class) {
		if v, ok := o.Attribute(name); ok {
			w.parameter(prefix+name, v, level)
		}
	}
	if o.Class != pipelineClass || w.err != nil {
		return
	}
	var steps []step
	if steps, w.err = stepsOf(o); w.err != nil {
		return
	}
	for _, s := range steps {
		w.parameter(prefix+s.name, s.value, level)
	}
	for _, s := range steps {
		if inner, ok := s.value.(*joblib.Object); ok && w.visit(level+1, len(prefix)+len(s.name)) {
			w.estimator(inner, prefix+s.name+"__", level+1)
		}
	}
}

func (w *paramsWriter) parameter(name string, v any, level int) {
	if !w.visit(level, len(name)) {
		return
	}
	if w.b.Len() > 1 {
		w.b.WriteByte(',')
	}
	w.string(name)
	w.b.WriteByte(':')
	w.value(v, level)
}

func (w *paramsWriter) value(v any, level int) {
	s, isText := v.(string)
	if !w.visit(level, len(s)) {
		return
	}
	if isText {
		w.string(s)
		return
	}
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int64:
		w.b.WriteString(strconv.FormatInt(v, 10))
	case *big.Int:
		w.b.WriteString(v.String())
	case float64:
		w.float(v)
	case joblib.Tuple:
		w.list(v, level)
	case *joblib.List:
		w.list(v.Items, level)
	default:
		w.string("<" + typeOf(v).String() + ">")
	}
}

func (w *paramsWriter) list(items []any, level int) {
	w.b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			w.b.WriteByte(',')
		}
		if w.value(item, level+1); w.err != nil {
			return
		}
	}
	w.b.WriteByte(']')
}

// float writes what JSON cannot say as text.
func (w *paramsWriter) float(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.string(floatText(v))
		return
	}
	w.b.WriteString(floatText(v))
}

// floatText is always recognisable as a float, as it is in Python.
func floatText(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	case size != 0 && (size < 1e-4 || size >= 1e16):
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func (w *paramsWriter) string(s string) {
	e := json.NewEncoder(&w.b)
	e.SetEscapeHTML(false)
	if w.err = e.Encode(s); w.err == nil {
		w.b.Truncate(w.b.Len() - 1) // the end of the line
	}
}
