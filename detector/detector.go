package detector

import (
	"math"
	"slices"
	"sync/atomic"
	"unsafe"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

// Detector scores rows and events. What it answers never changes, and any number of
// goroutines may use it at once. After some thousand rows it gets tables, with which
// batches take a tenth of the time.
type Detector struct {
	number   registry.Number
	features []string // empty where they have no names
	levels   ThreatLevels
	before   []forest.Step // what rows go through before what was compiled
	compiled *forest.Compiled

	tables atomic.Pointer[forest.Tables] // nil while there are none
	rows   atomic.Int64                  // scored without
	wanted func()                        // asks a pool for tables; nil: they are made at once
}

// newDetector compiles what an artifact holds, which then is no longer needed.
func newDetector(features []string, levels ThreatLevels, p *sklearn.Pipeline) (*Detector, error) {
	c, err := forest.Compile(p.Forest, p.Scaler)
	if err != nil {
		return nil, err
	}
	return &Detector{features: features, levels: levels, before: p.Before, compiled: c}, nil
}

// Version is the number of the version that the detector was loaded from; 0 for one
// that was trained just now.
func (d *Detector) Version() registry.Number { return d.number }

// Features are the names of the values of a row, in order. They are empty where neither
// the artifact nor its publisher named them: then only rows can be scored.
func (d *Detector) Features() []string { return slices.Clone(d.features) }

// Width is the number of values of a row.
func (d *Detector) Width() int { return d.compiled.Features() }

// Trees is the size of the forest.
func (d *Detector) Trees() int { return d.compiled.Trees() }

// Levels are the cuts that the detector rates scores by.
func (d *Detector) Levels() ThreatLevels { return d.levels }

// Floor is the score that no event is below.
func (d *Detector) Floor() float64 { return d.compiled.Floor() }

// Bytes is the memory that the detector holds.
func (d *Detector) Bytes() int64 {
	n := int64(unsafe.Sizeof(*d)) + d.compiled.Bytes()
	if t := d.tables.Load(); t != nil {
		n += t.Bytes()
	}
	n += int64(cap(d.features)) * int64(unsafe.Sizeof(""))
	for _, name := range d.features {
		n += int64(len(name))
	}
	for _, step := range d.before {
		n += step.Bytes()
	}
	return n
}

// Score writes the scores of len(scores) rows of Width finite values each: what
// scikit-learn's decision_function gives. A score is below 0 if and only if the row is
// an anomaly.
func (d *Detector) Score(scores, rows []float64) {
	rows = d.prepared(rows)
	if t := d.tables.Load(); t != nil {
		t.DecisionFunction(scores, rows)
	} else {
		d.compiled.DecisionFunction(scores, rows)
		d.count(len(scores))
	}
	for i, s := range scores {
		scores[i] = settle(s)
	}
}

// prepared are rows as the compiled forest takes them. The caller's stay as they are.
func (d *Detector) prepared(rows []float64) []float64 {
	if len(d.before) > 0 {
		rows = slices.Clone(rows)
	}
	for _, step := range d.before {
		step.Transform(rows, rows)
	}
	return rows
}

// settle makes a score that is 0 but for rounding 0. The offset is often the score of
// one of the training rows, which then is the border itself, and no anomaly.
func settle(score float64) float64 {
	if math.Abs(score) <= 1e-14 {
		return 0
	}
	return score
}
