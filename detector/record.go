package detector

import (
	"encoding/json"
	"fmt"
	"strconv"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

// Record is what a version's metadata says of its detector: Facts.Detector, in JSON.
type Record struct {
	Features []string `json:"features"` // the values of a row, in order; empty: they have no names
	Trees    int      `json:"trees"`
	// Levels rate the scores; Reachable are those that scores of this detector can get,
	// as none is below Floor.
	Levels    ThreatLevels `json:"threat_levels"`
	Reachable []Level      `json:"reachable_levels"`
	Floor     float64      `json:"score_floor"`
	// Files hold the forest and its scaler.
	Files []registry.FileName `json:"files"`
	// Golden are rows with their scores: a program that scores them otherwise may not
	// use the detector.
	Golden   []Golden  `json:"golden,omitempty"`
	Training *Training `json:"training,omitempty"` // nil: it was trained elsewhere
}

// Golden is a row and its score.
type Golden struct {
	Row   []float64 `json:"row"`
	Score float64   `json:"score"`
}

// Training tells how a detector came about.
type Training struct {
	Samples  int      `json:"training_samples"`
	Features []string `json:"features"`
	// Absent features were asked for, and no event had them.
	Absent []string `json:"absent_features,omitempty"`
	// Missing counts, by feature, the events that lacked a value for it.
	Missing         map[string]int  `json:"missing,omitempty"`
	Hyperparameters json.RawMessage `json:"hyperparameters"` // by scikit-learn's names
	Hash            string          `json:"training_data_hash"`
	SHA256          string          `json:"training_data_sha256"`
	MaxSamples      int             `json:"max_samples"` // rows per tree
	Offset          float64         `json:"offset"`
	Quantiles       Quantiles       `json:"score_quantiles"` // of the training scores
	Summation       string          `json:"summation"`       // order of sums in the scaler; their last bits depend on it
}

// ParseRecord reads a version's Facts.Detector, which is nil, or null, for one that is
// no detector: ErrNotADetector.
func ParseRecord(text json.RawMessage) (*Record, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, fmt.Errorf("%w: none of its files holds an isolation forest that can be scored here", ErrNotADetector)
	}
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%w: its record: %w", ErrNotADetector, err)
	}
	return r, nil
}

// maxNamesJSON bounds the names of features that are kept beside the record, in bytes of JSON.
const maxNamesJSON = 512 << 10

// factsOf tells the registry what the file of a detector says about itself; of what is
// no detector the record is nil.
func factsOf(said sklearn.Facts, r *Record) (registry.Facts, error) {
	known := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	f := registry.Facts{
		ModelType: known(said.ModelType), ModelModule: known(said.ModelModule),
		SklearnVersion: known(said.SklearnVersion), JoblibVersion: known(said.JoblibVersion), ModelParams: said.ModelParams,
		FeaturesIn: said.Features,
	}
	names, err := json.Marshal(said.FeatureNames)
	if err != nil {
		return f, fmt.Errorf("write names: %w", err)
	}
	if len(names) <= maxNamesJSON {
		f.FeatureNamesIn = said.FeatureNames
	}
	if r == nil {
		return f, nil
	}
	if f.Detector, err = json.Marshal(r); err != nil {
		return f, fmt.Errorf("write record: %w", err)
	}
	return f, nil
}

// parameter is a parameter and its value in JSON, spelt as Python does: 1 is a number
// of rows, 1.0 all of them.
type parameter struct{ name, value string }

// hyperparameters are what can be chosen, by name.
func hyperparameters(p forest.Params) []parameter {
	contamination := `"auto"`
	if p.Contamination != 0 {
		contamination = string(appendPythonFloat(nil, p.Contamination))
	}
	return []parameter{
		{"bootstrap", strconv.FormatBool(p.Bootstrap)},
		{"contamination", contamination},
		{"max_features", sizeText(p.MaxFeatures, "1.0")},
		{"max_samples", sizeText(p.MaxSamples, `"auto"`)},
		{"n_estimators", strconv.Itoa(p.Trees)},
		{"random_state", strconv.FormatUint(uint64(p.RandomState), 10)},
	}
}

func sizeText(s forest.Size, unset string) string {
	switch {
	case s.Count != 0:
		return strconv.Itoa(s.Count)
	case s.Share != 0:
		return string(appendPythonFloat(nil, s.Share))
	}
	return unset
}

func object(members []parameter) json.RawMessage {
	text := []byte("{")
	for i, m := range members {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(appendString(text, m.name), ':')
		text = append(text, m.value...)
	}
	return append(text, '}')
}
