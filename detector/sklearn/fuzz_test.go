package sklearn_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
)

// FuzzRead: whatever the bytes are, they are refused by one of the three errors or make
// a detector that scores any row.
func FuzzRead(f *testing.F) {
	for _, a := range artifacts(f) {
		if b := a.open(f); len(b) < 20_000 {
			f.Add(b)
		}
	}
	hostile, err := filepath.Glob("../joblib/testdata/hostile/*.joblib")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range hostile {
		if b := readFile(f, path); len(b) < 20_000 {
			f.Add(b)
		}
	}
	params := forest.Params{Trees: 2, Contamination: 0.1}
	f.Add(written(f, trained(f, networkEvents(f, 9), params, forest.Pairwise), ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		const small = 1 << 20
		d, err := sklearn.Describe(bytes.NewReader(b), small)
		if err != nil {
			known(t, err)
		}
		if text, err := json.Marshal(d); err != nil || len(text) > 4<<20 {
			t.Errorf("described in %d bytes: %v", len(text), err)
		}
		p, err := sklearn.Read(bytes.NewReader(b), small)
		if err != nil {
			known(t, err)
			return
		}
		checkScores(t, p)
	})
}

func known(t *testing.T, err error) {
	if !isKnown(err) {
		t.Errorf("an error of no kind: %v", err)
	}
}
