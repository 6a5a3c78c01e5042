package sklearn

import (
	"encoding/binary"
	"math"

	"modelbucket/detector/joblib"
)

var (
	int64Type   = &joblib.DType{Kind: 'i', Size: 8}
	float64Type = &joblib.DType{Kind: 'f', Size: 8}
	uint8Type   = &joblib.DType{Kind: 'u', Size: 1}
	objectType  = &joblib.DType{Kind: 'O', Size: 8}
)

// nodeType is the record of a node, of 56 bytes or, with the flag for missing values,
// of 64.
func nodeType(missing bool) *joblib.DType {
	d := &joblib.DType{Kind: 'V', Size: 56}
	for i, name := range []string{"left_child", "right_child", "feature", "threshold", "impurity", "n_node_samples", "weighted_n_node_samples"} {
		t := int64Type
		if name == "threshold" || name == "impurity" || name == "weighted_n_node_samples" {
			t = float64Type
		}
		d.Fields = append(d.Fields, joblib.Field{Name: name, Type: t, Offset: 8 * i})
	}
	if missing {
		d.Size = 64
		d.Fields = append(d.Fields, joblib.Field{Name: "missing_go_to_left", Type: uint8Type, Offset: 56})
	}
	return d
}

func ints(v []int64) *joblib.Array {
	b := make([]byte, 0, 8*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return &joblib.Array{Type: int64Type, Shape: []int{len(v)}, Data: b}
}

func floats(v []float64) *joblib.Array {
	b := make([]byte, 0, 8*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	return &joblib.Array{Type: float64Type, Shape: []int{len(v)}, Data: b}
}

func optionalFloats(v []float64) any {
	if v == nil {
		return nil
	}
	return floats(v)
}

func nameArray(names []string) *joblib.Array {
	items := make([]any, len(names))
	for i, n := range names {
		items[i] = n
	}
	return &joblib.Array{Type: objectType, Shape: []int{len(names)}, Items: items}
}
