//go:build peers

package main

import (
	"bufio"
	"encoding/json"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// askPython runs testdata/own_models.py and decodes what it prints.
func askPython(t *testing.T, to any, args ...string) {
	t.Helper()
	var problems strings.Builder
	cmd := exec.CommandContext(t.Context(), pythonProgram(t), append([]string{"testdata/own_models.py"}, args...)...)
	cmd.Env, cmd.Stderr = environment(), &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, problems.String())
	}
	if err := json.Unmarshal(out, to); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// must runs the program over a store.
func must(t *testing.T, store string, args ...string) string {
	t.Helper()
	code, stdout, stderr := call(t.Context(), nil, map[string]string{"MODELBUCKET_STORE": store}, args...)
	if code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// decisionsOf asks a version about the demo's events.
func decisionsOf(t *testing.T, store, ref string) (decisions []float64) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(must(t, store, "detect", "--json", ref, "demo/events.json")))
	for lines.Scan() {
		var r struct {
			Score *float64 `json:"anomaly_score"`
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Score != nil {
			decisions = append(decisions, *r.Score)
		}
	}
	return decisions
}

// worst is the largest difference; both must be of the same length.
func worst(t *testing.T, a, b []float64) (off float64) {
	t.Helper()
	if len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%d decisions, want %d", len(a), len(b))
	}
	for i := range a {
		off = max(off, math.Abs(a[i]-b[i]))
	}
	return off
}

// A model of one's own: dumped by Python in every way that there is, pushed, asked.
func TestPushedModelsScoreAsInPython(t *testing.T) {
	store, folder := "dir:"+filepath.Join(t.TempDir(), "store"), t.TempDir()
	var answers map[string][]float64
	askPython(t, &answers, "dump", "demo/events.json", folder)
	files, scores, off := 0, 0, 0.0
	for name, want := range answers {
		ref := strings.TrimSpace(must(t, store, "push", "-q", "acme/own", filepath.Join(folder, name)))
		got := decisionsOf(t, store, ref)
		d := worst(t, got, want)
		if d > 1e-15 {
			t.Errorf("%s: a decision differs by %v", name, d)
		}
		must(t, store, "inspect", filepath.Join(folder, name))
		files, scores, off = files+1, scores+len(got), max(off, d)
	}
	t.Logf("%d files, %d scores, worst difference %.2g", files, scores, off)
}

// What was trained for a release of scikit-learn, that release opens without a warning.
func TestTrainedModelsOpenInPython(t *testing.T) {
	store := "dir:" + filepath.Join(t.TempDir(), "store")
	var version string
	askPython(t, &version, "version")
	ref := strings.TrimSpace(must(t, store, "train", "-q", "acme/native", "demo/events.json", "--sklearn-version", version))
	file := filepath.Join(t.TempDir(), "model.joblib")
	must(t, store, "pull", ref, "-o", file)
	var want []float64
	askPython(t, &want, "load", "demo/events.json", file)
	off := worst(t, decisionsOf(t, store, ref), want)
	t.Logf("scikit-learn %s: %d scores, worst difference %.2g", version, len(want), off)
	if off > 1e-12 {
		t.Errorf("a decision differs by %v", off)
	}
}
