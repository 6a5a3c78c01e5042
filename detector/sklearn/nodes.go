package sklearn

import (
	"slices"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// nodesOf decodes the records of a tree's nodes by the names of their fields; their
// order, size and place differ between versions and machines.
func nodesOf(a *joblib.Array) ([]forest.Node, []forest.Stats, error) {
	var err error
	ints := func(name string) []int64 {
		if err != nil {
			return nil
		}
		var v []int64
		v, err = a.Ints(name)
		return v
	}
	floats := func(name string) []float64 {
		if err != nil {
			return nil
		}
		var v []float64
		v, err = a.Floats(name)
		return v
	}
	left, right, feature, samples := ints("left_child"), ints("right_child"), ints("feature"), ints("n_node_samples")
	threshold, impurity, weight := floats("threshold"), floats("impurity"), floats("weighted_n_node_samples")
	var missing []int64
	if err == nil && slices.ContainsFunc(a.Type.Fields, func(f joblib.Field) bool { return f.Name == "missing_go_to_left" }) {
		missing = ints("missing_go_to_left")
	}
	if err != nil {
		return nil, nil, err
	}
	nodes, stats := make([]forest.Node, len(left)), make([]forest.Stats, len(left))
	for i := range nodes {
		for _, x := range [...]int64{left[i], right[i], feature[i], samples[i]} {
			if int64(int32(x)) != x {
				return nil, nil, malformed("node %d has the number %d", i, x)
			}
		}
		nodes[i] = forest.Node{
			Threshold: threshold[i],
			Left:      int32(left[i]),
			Right:     int32(right[i]),
			Feature:   int32(feature[i]),
			Samples:   int32(samples[i]),
		}
		if missing != nil {
			nodes[i].MissingLeft = missing[i] != 0
		}
		stats[i] = forest.Stats{Impurity: impurity[i], Weight: weight[i]}
	}
	return nodes, stats, nil
}
