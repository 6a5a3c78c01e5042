package sklearn

import (
	"math"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// nodesOf decodes the records of a tree's nodes by the names of their fields; their
// order, size and place differ between versions and machines.
func nodesOf(a *joblib.Array) ([]forest.Node, []forest.Stats, error) {
	ints, floats := map[string][]int64{}, map[string][]float64{}
	for _, name := range []string{"left_child", "right_child", "feature", "n_node_samples"} {
		v, err := a.Ints(name)
		if err != nil {
			return nil, nil, err
		}
		for i, x := range v {
			if x < math.MinInt32 || x > math.MaxInt32 {
				return nil, nil, malformed("%s of node %d is %d", name, i, x)
			}
		}
		ints[name] = v
	}
	for _, name := range []string{"threshold", "impurity", "weighted_n_node_samples"} {
		v, err := a.Floats(name)
		if err != nil {
			return nil, nil, err
		}
		floats[name] = v
	}
	var missing []int64
	for _, f := range a.Type.Fields {
		if f.Name == "missing_go_to_left" {
			var err error
			if missing, err = a.Ints(f.Name); err != nil {
				return nil, nil, err
			}
		}
	}
	nodes, stats := make([]forest.Node, a.Len()), make([]forest.Stats, a.Len())
	for i := range nodes {
		nodes[i] = forest.Node{
			Threshold: floats["threshold"][i],
			Left:      int32(ints["left_child"][i]),
			Right:     int32(ints["right_child"][i]),
			Feature:   int32(ints["feature"][i]),
			Samples:   int32(ints["n_node_samples"][i]),
		}
		if missing != nil {
			nodes[i].MissingLeft = missing[i] != 0
		}
		stats[i] = forest.Stats{Impurity: floats["impurity"][i], Weight: floats["weighted_n_node_samples"][i]}
	}
	return nodes, stats, nil
}
