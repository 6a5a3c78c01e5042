//go:build peers

package sklearn_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
)

// python runs testdata/peer.py and decodes what it prints. MODELBUCKET_TEST_PYTHON is a
// Python with scikit-learn and joblib.
func python(t *testing.T, to any, args ...string) {
	t.Helper()
	program := os.Getenv("MODELBUCKET_TEST_PYTHON")
	if program == "" {
		t.Fatal("MODELBUCKET_TEST_PYTHON must name a python with scikit-learn and joblib")
	}
	var out, problems bytes.Buffer
	c := exec.CommandContext(t.Context(), program, append([]string{"testdata/peer.py"}, args...)...)
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, problems.String())
	}
	if err := json.Unmarshal(out.Bytes(), to); err != nil {
		t.Fatalf("%s: %v", program, err)
	}
}

type versions struct{ Sklearn, Numpy, Joblib string }

// frameSum is the order in which this numpy adds up the columns of a frame.
func (v versions) frameSum() forest.Summation {
	if v.Numpy[0] == '1' || v.Numpy[:4] == "2.0." || v.Numpy[:4] == "2.1." || v.Numpy[:4] == "2.2." {
		return forest.Buffered
	}
	return forest.Pairwise
}

func TestScikitLearnLoadsWhatWeWrite(t *testing.T) {
	var v versions
	python(t, &v, "versions")
	t.Logf("scikit-learn %s, numpy %s, joblib %s", v.Sklearn, v.Numpy, v.Joblib)

	seed := func(p forest.Params) forest.Params { p.RandomState = 4_000_000_000; return p }
	for _, c := range []struct {
		name  string
		rows  int
		p     forest.Params
		names []string
	}{
		{"the product's", 2000, forest.DefaultParams(), []string{"bytes_transferred", "packet_count", "connection_duration"}},
		{"beyond one buffer", 20000, forest.DefaultParams(), nil},
		{"auto", 300, forest.Params{Trees: 10}, nil},
		{"one feature a tree", 500, seed(forest.Params{Trees: 20, MaxFeatures: forest.Size{Count: 1}, Contamination: 0.02}), nil},
		{"two features a tree", 500, seed(forest.Params{Trees: 20, MaxFeatures: forest.Size{Share: 0.7}, MaxSamples: forest.Size{Share: 0.5}}), []string{"a", "ß", "語"}},
		{"bootstrap", 700, seed(forest.Params{Trees: 20, Bootstrap: true, MaxSamples: forest.Size{Count: 700}, Contamination: 0.5}), nil},
		{"one row", 1, forest.Params{Trees: 3, Contamination: 0.1}, nil},
		{"few rows", 5, forest.Params{Trees: 300, Contamination: 0.1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := networkEvents(t, c.rows)
			p := trained(t, x, c.p, v.frameSum())
			p.FeatureNames = c.names
			p.SklearnVersion = v.Sklearn
			if v.Sklearn < "1.6" { // no flag where no value was missing
				for _, tree := range p.Forest.Trees {
					for i := range tree.Nodes {
						tree.Nodes[i].MissingLeft = false
					}
				}
			}
			var file bytes.Buffer
			if err := sklearn.Write(&file, p, sklearn.WriteOptions{SklearnVersion: v.Sklearn}); err != nil {
				t.Fatal(err)
			}

			dir := t.TempDir()
			write := func(name string, b []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			again := filepath.Join(dir, "again.joblib")
			job, err := json.Marshal(map[string]any{
				"file": write("model.joblib", file.Bytes()), "rows": write("rows", float64Bytes(x)), "shape": [2]int{c.rows, 3},
				"params": pythonParams(c.p), "names": c.names, "again": again,
			})
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Differences   []string
				Decisions     []float64
				Worst         float64
				SameAfterDump bool `json:"same_after_dump"`
				Names         []string
				Params        json.RawMessage
			}
			python(t, &got, "judge", write("job.json", job))

			if len(got.Differences) > 0 {
				t.Errorf("not what scikit-learn trains itself:\n%s", cmp.Diff([]string(nil), got.Differences))
			}
			if got.Worst > 1e-15 {
				t.Errorf("its own decisions differ by %v", got.Worst)
			}
			if !got.SameAfterDump {
				t.Error("other decisions after it dumped the model again")
			}
			if diff := cmp.Diff(c.names, got.Names); diff != "" {
				t.Errorf("feature names (-want +got):\n%s", diff)
			}
			worst := 0.0
			for i, d := range decisions(p, x) {
				worst = max(worst, math.Abs(d-got.Decisions[i]))
			}
			if worst > 1e-12 {
				t.Errorf("a decision differs by %v", worst)
			}
			nodes := 0
			for _, tree := range p.Forest.Trees {
				nodes += len(tree.Nodes)
			}
			t.Logf("%d nodes; %d decisions, worst difference %.2g", nodes, c.rows, worst)

			// What it dumped again is what we wrote.
			dumped, err := os.ReadFile(again)
			if err != nil {
				t.Fatal(err)
			}
			back, err := sklearn.Read(bytes.NewReader(dumped), 1<<26)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, back); diff != "" {
				t.Errorf("dumped again (-want +got):\n%s", diff)
			}
			facts, err := sklearn.Inspect(bytes.NewReader(dumped), 1<<26)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decoded(t, got.Params), decoded(t, facts.ModelParams)); diff != "" {
				t.Errorf("get_params() (-want +got):\n%s", diff)
			}
		})
	}
}

// pythonParams are the keyword arguments of IsolationForest.
func pythonParams(p forest.Params) map[string]any {
	size := func(s forest.Size, unset any) any {
		switch {
		case s.Count != 0:
			return s.Count
		case s.Share != 0:
			return s.Share
		}
		return unset
	}
	m := map[string]any{
		"n_estimators": p.Trees, "max_samples": size(p.MaxSamples, "auto"), "contamination": "auto",
		"max_features": size(p.MaxFeatures, json.RawMessage("1.0")), "bootstrap": p.Bootstrap, "random_state": p.RandomState,
	}
	if p.Contamination != 0 {
		m["contamination"] = p.Contamination
	}
	return m
}

func float64Bytes(x []float64) []byte {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func decoded(t *testing.T, b json.RawMessage) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return v
}
