package sklearn

import (
	"fmt"
	"io"
	"math"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// Read reads a detector: an IsolationForest, alone or behind scalers, as a Pipeline (of
// Pipelines), or as a dict, tuple or list that holds the two; or a scaler alone. limit bounds the bytes of the file and those that it unpacks to.
// it returns has passed Validate.
func Read(r io.Reader, limit int64) (*Pipeline, error) {
	file, err := joblib.Read(r, limit)
	if err != nil {
		return nil, named(err)
	}
	p, err := pipelineOf(file.Root)
	if err != nil {
		return nil, fmt.Errorf("read detector: %w", err)
	}
	return p, nil
}

func forestOf(o *joblib.Object) (*forest.Forest, error) {
	v, fitted := o.Attribute("estimators_")
	if !fitted {
		return nil, notFitted(forestClass)
	}
	estimators, ok := v.(*joblib.List)
	if !ok {
		return nil, malformed("estimators_ is %s", typeOf(v))
	}
	f := &forest.Forest{}
	width := "n_features_in_"
	if _, ok := o.Attribute(width); !ok {
		width = "n_features_" // before 0.24
	}
	for _, p := range []struct {
		name string
		to   *int
	}{{width, &f.Features}, {"_max_features", &f.MaxFeatures}, {"max_samples_", &f.MaxSamples}} {
		var err error
		if *p.to, err = integer(o, p.name); err != nil {
			return nil, err
		}
	}
	if v, ok := o.Attribute("_n_samples"); ok {
		f.Rows = samples(v)
	}
	offset, _ := o.Attribute("offset_") // absent, it is no number either
	if f.Offset, ok = number(offset); !ok {
		return nil, malformed("offset_ is %s", typeOf(offset))
	}
	if len(estimators.Items) > forest.MaxTrees {
		return nil, fmt.Errorf("%w: %d trees", ErrTooLarge, len(estimators.Items))
	}
	columns, err := columnsOf(o, f, len(estimators.Items))
	if err != nil {
		return nil, err
	}
	seeds := seedsOf(o, len(estimators.Items))
	f.Trees = make([]forest.Tree, len(estimators.Items))
	for i, e := range estimators.Items {
		t, err := treeOf(e, f.MaxFeatures)
		if err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
		t.Columns, t.Seed = columns[i], seeds[i]
		f.Trees[i] = t
	}
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return f, nil
}

// columnsOf gives each tree's columns. They are nil where every tree uses every
// feature: then scikit-learn does not look at what is stored.
func columnsOf(o *joblib.Object, f *forest.Forest, trees int) ([][]int32, error) {
	v, _ := o.Attribute("estimators_features_")
	l, ok := v.(*joblib.List)
	if !ok || len(l.Items) != trees {
		return nil, malformed("estimators_features_ does not fit %d trees", trees)
	}
	columns := make([][]int32, trees)
	for i, item := range l.Items {
		a, ok := item.(*joblib.Array)
		if !ok || len(a.Shape) != 1 || a.Len() != f.MaxFeatures {
			return nil, malformed("tree %d does not say which %d features it uses", i, f.MaxFeatures)
		}
		v, err := a.Ints("")
		if err != nil {
			return nil, err
		}
		for _, c := range v {
			if c < 0 || c >= int64(f.Features) || c > math.MaxInt32 {
				return nil, malformed("tree %d uses feature %d of %d", i, c, f.Features)
			}
			if f.MaxFeatures < f.Features {
				columns[i] = append(columns[i], int32(c))
			}
		}
	}
	return columns, nil
}

// seedsOf gives each tree's seed; 0 where the file does not say it.
func seedsOf(o *joblib.Object, trees int) []uint32 {
	seeds := make([]uint32, trees)
	v, _ := o.Attribute("_seeds")
	a, ok := v.(*joblib.Array)
	if !ok || len(a.Shape) != 1 {
		return seeds
	}
	stored, err := a.Ints("")
	if err != nil || len(stored) != trees {
		return seeds
	}
	for i, s := range stored {
		seeds[i] = uint32(s)
	}
	return seeds
}

func treeOf(v any, features int) (t forest.Tree, err error) {
	e, ok := v.(*joblib.Object)
	if !ok || e.Class != extraTreeClass {
		return t, malformed("it is %s", typeOf(v))
	}
	if s, _ := e.Attribute("random_state"); s != nil {
		n, _ := s.(int64)
		t.RandomState = uint32(n)
	}
	v, _ = e.Attribute("tree_")
	o, ok := v.(*joblib.Object)
	if !ok || o.Class != treeClass {
		return t, malformed("tree_ is %s", typeOf(v))
	}
	if o.Args[0] != any(int64(features)) {
		return t, malformed("it has %v features instead of %d", o.Args[0], features)
	}
	v, _ = o.Attribute("nodes")
	a, ok := v.(*joblib.Array)
	if !ok || len(a.Shape) != 1 || len(a.Type.Fields) == 0 {
		return t, malformed("nodes is %s", typeOf(v))
	}
	if n, _ := o.Attribute("node_count"); n != any(int64(a.Shape[0])) {
		return t, malformed("node_count is %v of %d nodes", n, a.Shape[0])
	}
	t.Nodes, t.Stats, err = nodesOf(a)
	if err != nil {
		return t, err
	}
	v, _ = o.Attribute("values")
	a, ok = v.(*joblib.Array)
	if !ok || a.Len() != len(t.Nodes) {
		return t, malformed("values does not fit %d nodes", len(t.Nodes))
	}
	values, err := a.Floats("")
	if err != nil {
		return t, err
	}
	for i, value := range values {
		t.Stats[i].Value = value
	}
	return t, nil
}
