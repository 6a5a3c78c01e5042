// Package forest is scikit-learn's StandardScaler and IsolationForest as pure
// functions on slices: the same random numbers, the same draws, the same order of
// sums, hence trees and scaler of the same bits; scores and offset within 1e-15
// (scikit-learn's own differ by that much between CPUs).
//
// A matrix is a []float64, row-major: row i of width d is x[i*d : (i+1)*d].
//
// The algorithm is Liu, Ting and Zhou, "Isolation Forest" (2008), on the randomised
// trees of Geurts, Ernst and Wehenkel (2006), as scikit-learn 1.2 to 1.9 builds them
// (1.6 and 1.7 differ where values lie within 1e-7 of one another).
// Where a compiler may fuse a multiplication with an addition the product is
// converted explicitly, since fusing would round once instead of twice.
//
// Missing values and continued training (warm_start) are not offered; a forest that
// was trained with either elsewhere is scored as it says.
package forest

import (
	"errors"
	"unsafe"
)

var (
	// ErrParams: parameters outside their range, or that do not fit the data.
	ErrParams = errors.New("invalid training parameters")
	// ErrData: rows that cannot be trained on.
	ErrData = errors.New("invalid training data")
	// ErrInvalid: a forest or scaler, read from elsewhere, that is not one.
	ErrInvalid = errors.New("invalid detector")
)

// Forest is a trained isolation forest. It is not changed by scoring and may be used
// by many goroutines. One that was not made by Fit must pass Validate before it
// scores.
type Forest struct {
	// Features is the width of a row, MaxFeatures how many of them each tree uses.
	Features, MaxFeatures int
	// MaxSamples is the number of rows each tree was built from (max_samples_).
	MaxSamples int
	// Rows is the number of training rows, 0 where a file does not say it. Scoring does
	// not need it.
	Rows int
	// Offset is subtracted from a score to give the decision, which is below 0 for
	// an anomaly.
	Offset float64
	Trees  []Tree
}

// Tree is one isolation tree. Nodes[0] is the root; children come after their parent.
type Tree struct {
	Nodes []Node
	// Columns maps the features that the nodes name to columns of a row; nil where
	// the tree uses all of them in order.
	Columns []int32
	// Seed is what its columns and rows were drawn with, RandomState what its splits
	// were; both are 0 where a file does not say them. Scoring does not need them.
	Seed, RandomState uint32
	// Stats has one entry for each node. Scoring does not need it: nil saves memory,
	// but then the forest cannot be written any more.
	Stats []Stats
}

// Leaf is the Left and Right of a leaf.
const Leaf = -1

// Node is an inner node or a leaf. A row goes left where float32(row[Feature]) <=
// Threshold. A leaf has children Leaf, feature -2 and threshold -2, as scikit-learn
// stores it.
type Node struct {
	Threshold   float64
	Left, Right int32
	Feature     int32
	Samples     int32 // distinct training rows that came here
	MissingLeft bool  // where a missing value (NaN) goes
}

// Stats is what scikit-learn keeps of a node beside what it scores with.
type Stats struct {
	Impurity float64 // variance of the random target among the node's rows
	Weight   float64 // rows, counted as often as they were drawn
	Value    float64 // mean of the random target
}

// Bytes is the memory that the forest holds.
func (f *Forest) Bytes() int64 {
	n := int64(unsafe.Sizeof(*f)) + int64(cap(f.Trees))*int64(unsafe.Sizeof(Tree{}))
	for i := range f.Trees {
		t := &f.Trees[i]
		n += int64(cap(t.Nodes)) * int64(unsafe.Sizeof(Node{}))
		n += int64(cap(t.Columns)) * int64(unsafe.Sizeof(int32(0)))
		n += int64(cap(t.Stats)) * int64(unsafe.Sizeof(Stats{}))
	}
	return n
}
