package sklearn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"runtime"
	"testing"

	"modelbucket/detector/sklearn"
)

// allocated is what f allocates in all, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func isKnown(err error) bool {
	return errors.Is(err, sklearn.ErrMalformed) || errors.Is(err, sklearn.ErrUnsupported) || errors.Is(err, sklearn.ErrTooLarge)
}

// No hostile file gives a detector, takes much memory, or keeps anyone from showing it.
func TestHostileFiles(t *testing.T) {
	const dir = "../joblib/testdata/hostile"
	var files []struct{ File, Expect, Why string }
	readJSON(t, readFile(t, filepath.Join(dir, "MANIFEST.json")), &files)
	refused := 0
	for _, f := range files {
		b := readFile(t, filepath.Join(dir, f.File))
		var p *sklearn.Pipeline
		var d *sklearn.Description
		var err, examineErr, describeErr error
		for what, do := range map[string]func(){
			"read":     func() { p, err = sklearn.Read(bytes.NewReader(b), limit) },
			"examine":  func() { _, _, examineErr = sklearn.Examine(bytes.NewReader(b), limit) },
			"describe": func() { d, describeErr = sklearn.Describe(bytes.NewReader(b), limit) },
		} {
			if got := allocated(do); got > 64<<20 {
				t.Errorf("%s: %d bytes allocated to %s a file of %d", f.File, got, what, len(b))
			}
		}
		if p != nil || err == nil {
			t.Errorf("%s (%s): read as a detector", f.File, f.Why)
			continue
		}
		for _, err := range []error{err, examineErr, describeErr} {
			if !isKnown(err) {
				t.Errorf("%s: %v", f.File, err)
			}
		}
		text, jsonErr := json.Marshal(d)
		if jsonErr != nil || len(text) > 4<<20 || d.Detector != nil || d.Because == "" {
			t.Errorf("%s: described in %d bytes as %+v: %v", f.File, len(text), d.Detector, jsonErr)
		}
		refused++
	}
	if refused != len(files) || len(files) != 88 {
		t.Errorf("%d of %d refused, want 88", refused, len(files))
	}
}

// tiny is a file that scikit-learn wrote: a scaler and one tree.
func tiny(t testing.TB) []byte {
	t.Helper()
	return readFile(t, "testdata/one-tree.joblib")
}

func TestTruncated(t *testing.T) {
	b := tiny(t)
	if _, err := sklearn.Read(bytes.NewReader(b), limit); err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if p, err := sklearn.Read(bytes.NewReader(b[:n]), limit); p != nil || !errors.Is(err, sklearn.ErrMalformed) {
			t.Errorf("the first %d bytes: %v, want ErrMalformed", n, err)
		}
	}
}

// A flipped bit makes a file that is refused, or a detector like any other.
func TestFlippedBits(t *testing.T) {
	b := tiny(t)
	refused, scored := 0, 0
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		p, err := sklearn.Read(bytes.NewReader(b), limit)
		b[i/8] ^= 1 << (i % 8)
		if err != nil {
			if !isKnown(err) {
				t.Errorf("bit %d: %v", i, err)
			}
			refused++
			continue
		}
		scored++
		checkScores(t, p)
	}
	t.Logf("%d flips refused, %d are another forest", refused, scored)
	if refused == 0 || scored == 0 {
		t.Error("flips of one kind only")
	}
}

// checkScores gives a detector rows that few have in mind: each gets a decision.
func checkScores(t *testing.T, p *sklearn.Pipeline) {
	t.Helper()
	if p.Forest == nil {
		return
	}
	for _, v := range []float64{0, -1e300, 5e-324, math.Inf(1), math.NaN()} {
		x := make([]float64, p.Width())
		for i := range x {
			x[i] = v
		}
		if d := decisions(p, x)[0]; math.IsNaN(d) || math.Abs(d) > 2 {
			t.Errorf("a row of %v has the decision %v", v, d)
		}
	}
}
