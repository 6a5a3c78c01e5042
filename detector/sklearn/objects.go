package sklearn

import (
	"encoding/binary"
	"math"
	"math/bits"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// attributes are the state of an object, in order.
type attributes []attribute

type attribute struct {
	name  string
	value any
}

func (a *attributes) add(name string, value any) { *a = append(*a, attribute{name, value}) }

// object is an instance, signed with the version as scikit-learn does it.
func (l *layout) object(class joblib.Global, a attributes) *joblib.Object {
	state := &joblib.Dict{}
	for _, x := range a {
		state.Set(x.name, x.value)
	}
	if class != treeClass {
		state.Set("_sklearn_version", l.version)
	}
	return &joblib.Object{Class: class, State: state}
}

func (l *layout) scaler(s *forest.Scaler, names []string) *joblib.Object {
	a := attributes{{"with_mean", s.Mean != nil}, {"with_std", s.Scale != nil}, {"copy", true}}
	if names != nil {
		a.add("feature_names_in_", nameArray(names))
	}
	a.add("n_features_in_", s.Features)
	if l.since(8) {
		a.add("n_samples_seen_", joblib.Float64(s.Samples))
	} else {
		a.add("n_samples_seen_", joblib.Int64(s.Samples))
	}
	a.add("mean_", optionalFloats(s.Mean))
	a.add("var_", optionalFloats(s.Var))
	a.add("scale_", optionalFloats(s.Scale))
	return l.object(scalerClass, a)
}

func (l *layout) forest(f *forest.Forest, p *forest.Params, names []string) *joblib.Object {
	base := l.extraTree(f, int64(p.RandomState))
	a := attributes{}
	if l.since(5) {
		a.add("estimator", nil)
	} else {
		a.add("estimator", l.object(extraTreeClass, base))
	}
	a.add("n_estimators", p.Trees)
	a.add("estimator_params", joblib.Tuple{})
	if !l.since(4) {
		a.add("base_estimator", "deprecated")
	}
	a.add("max_samples", sizeParam(p.MaxSamples, "auto"))
	a.add("max_features", sizeParam(p.MaxFeatures, 1.0))
	a.add("bootstrap", p.Bootstrap)
	a.add("bootstrap_features", false)
	a.add("oob_score", false)
	a.add("warm_start", false)
	a.add("n_jobs", nil)
	a.add("random_state", int64(p.RandomState))
	a.add("verbose", 0)
	if p.Contamination == 0 {
		a.add("contamination", "auto")
	} else {
		a.add("contamination", p.Contamination)
	}
	if names != nil {
		a.add("feature_names_in_", nameArray(names))
	}
	a.add("n_features_in_", f.Features)
	a.add("max_samples_", f.MaxSamples)
	a.add("_n_samples", f.Rows)
	if l.since(3) {
		a.add("estimator_", l.object(extraTreeClass, base))
	} else {
		a.add("_estimator", l.object(extraTreeClass, base))
	}
	a.add("_max_samples", f.MaxSamples)
	a.add("_max_features", f.MaxFeatures)
	if l.since(8) {
		a.add("_sample_weight", nil)
	}
	trees, columns, seeds := &joblib.List{}, &joblib.List{}, make([]int64, len(f.Trees))
	var lengths, depths joblib.Tuple
	for i := range f.Trees {
		t := &f.Trees[i]
		seeds[i] = int64(t.Seed)
		trees.Items = append(trees.Items, joblib.Lazy(func() any { return l.fittedTree(f, t) }))
		columns.Items = append(columns.Items, joblib.Lazy(func() any { return columnArray(f, t) }))
		lengths = append(lengths, joblib.Lazy(func() any { return averageDepths(t) }))
		depths = append(depths, joblib.Lazy(func() any { return nodeDepths(t) }))
	}
	a.add("estimators_", trees)
	a.add("estimators_features_", columns)
	a.add("_seeds", ints(seeds))
	if l.since(3) { // kept to score sooner
		a.add("_average_path_length_per_tree", lengths)
		a.add("_decision_path_lengths", depths)
	}
	if p.Contamination == 0 {
		a.add("offset_", f.Offset)
	} else {
		a.add("offset_", joblib.Float64(f.Offset))
	}
	return l.object(forestClass, a)
}

// extraTree has the parameters of the trees that an isolation forest builds.
func (l *layout) extraTree(f *forest.Forest, randomState int64) attributes {
	a := attributes{
		{"criterion", "squared_error"},
		{"splitter", "random"},
		{"max_depth", bits.Len(uint(max(f.MaxSamples, 2) - 1))},
		{"min_samples_split", 2},
		{"min_samples_leaf", 1},
		{"min_weight_fraction_leaf", 0.0},
		{"max_features", 1},
		{"max_leaf_nodes", nil},
		{"random_state", randomState},
		{"min_impurity_decrease", 0.0},
		{"class_weight", nil},
		{"ccp_alpha", 0.0},
	}
	if l.since(4) {
		a.add("monotonic_cst", nil)
	}
	return a
}

func (l *layout) fittedTree(f *forest.Forest, t *forest.Tree) *joblib.Object {
	a := l.extraTree(f, int64(t.RandomState))
	a.add("n_features_in_", f.MaxFeatures)
	a.add("n_outputs_", 1)
	a.add("max_features_", 1)
	values := make([]float64, len(t.Nodes))
	for i, s := range t.Stats {
		values[i] = s.Value
	}
	state := attributes{
		{"max_depth", maxDepth(t)},
		{"node_count", len(t.Nodes)},
		{"nodes", &joblib.Array{Type: l.nodes, Shape: []int{len(t.Nodes)}, Data: l.nodeBytes(t)}},
		{"values", &joblib.Array{Type: float64Type, Shape: []int{len(t.Nodes), 1, 1}, Data: floats(values).Data}},
	}
	tree := l.object(treeClass, state)
	tree.Args = joblib.Tuple{f.MaxFeatures, ints([]int64{1}), 1}
	a.add("tree_", tree)
	return l.object(extraTreeClass, a)
}

// nodeBytes lays out the nodes as nodeType says.
func (l *layout) nodeBytes(t *forest.Tree) []byte {
	put := binary.LittleEndian.AppendUint64
	b := make([]byte, 0, len(t.Nodes)*l.nodes.Size)
	for i, n := range t.Nodes {
		s := t.Stats[i]
		b = put(b, uint64(int64(n.Left)))
		b = put(b, uint64(int64(n.Right)))
		b = put(b, uint64(int64(n.Feature)))
		b = put(b, math.Float64bits(n.Threshold))
		b = put(b, math.Float64bits(s.Impurity))
		b = put(b, uint64(n.Samples))
		b = put(b, math.Float64bits(s.Weight))
		if l.since(3) {
			var flag uint64
			if n.MissingLeft {
				flag = 1
			}
			b = put(b, flag)
		}
	}
	return b
}

func columnArray(f *forest.Forest, t *forest.Tree) *joblib.Array {
	v := make([]int64, f.MaxFeatures)
	for i := range v {
		v[i] = int64(i)
		if t.Columns != nil {
			v[i] = int64(t.Columns[i])
		}
	}
	return ints(v)
}

// depthsOf gives each node's depth; the root's is 0.
func depthsOf(t *forest.Tree) []int64 {
	d := make([]int64, len(t.Nodes))
	for k, n := range t.Nodes {
		if n.Left != forest.Leaf {
			d[n.Left], d[n.Right] = d[k]+1, d[k]+1
		}
	}
	return d
}

func maxDepth(t *forest.Tree) int64 {
	var deepest int64
	for _, d := range depthsOf(t) {
		deepest = max(deepest, d)
	}
	return deepest
}

// nodeDepths counts the nodes on the way to each node, itself included.
func nodeDepths(t *forest.Tree) *joblib.Array {
	d := depthsOf(t)
	for i := range d {
		d[i]++
	}
	return ints(d)
}

func averageDepths(t *forest.Tree) *joblib.Array {
	v := make([]float64, len(t.Nodes))
	for i, n := range t.Nodes {
		v[i] = forest.AverageDepth(int(n.Samples))
	}
	return floats(v)
}

// sizeParam is a parameter as it was asked for.
func sizeParam(s forest.Size, unset any) any {
	switch {
	case s.Count != 0:
		return s.Count
	case s.Share != 0:
		return s.Share
	}
	return unset
}
