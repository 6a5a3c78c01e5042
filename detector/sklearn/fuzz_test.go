package sklearn_test

import (
	"bytes"
	"errors"
	"math"
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
		if _, err := sklearn.Inspect(bytes.NewReader(b), small); err != nil {
			known(t, err)
		}
		p, err := sklearn.Read(bytes.NewReader(b), small)
		if err != nil {
			known(t, err)
			return
		}
		if p.Forest == nil {
			return
		}
		for _, v := range []float64{0, -1e300, math.Inf(1), math.NaN()} {
			x := make([]float64, p.Forest.Features)
			for i := range x {
				x[i] = v
			}
			if d := decisions(p, x)[0]; math.IsNaN(d) {
				t.Errorf("a row of %v has no decision", v)
			}
		}
	})
}

func known(t *testing.T, err error) {
	if !errors.Is(err, sklearn.ErrMalformed) && !errors.Is(err, sklearn.ErrUnsupported) && !errors.Is(err, sklearn.ErrTooLarge) {
		t.Errorf("an error of no kind: %v", err)
	}
}
