package sklearn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
)

func written(t testing.TB, p *sklearn.Pipeline, version string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := sklearn.Write(&b, p, sklearn.WriteOptions{SklearnVersion: version}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What was trained comes back as it was, to the last bit.
func TestWriteThenRead(t *testing.T) {
	events := networkEvents(t, 400)
	rapid.Check(t, func(rt *rapid.T) {
		params := forest.Params{
			Trees:       rapid.IntRange(1, 12).Draw(rt, "trees"),
			MaxSamples:  rapid.SampledFrom([]forest.Size{{}, {Count: 17}, {Share: 0.5}, {Share: 1}}).Draw(rt, "samples"),
			MaxFeatures: rapid.SampledFrom([]forest.Size{{}, {Count: 2}, {Share: 0.4}}).Draw(rt, "features"),
			Bootstrap:   rapid.Bool().Draw(rt, "bootstrap"),
			RandomState: rapid.Uint32().Draw(rt, "seed"),
		}
		if rapid.Bool().Draw(rt, "contaminated") {
			params.Contamination = 0.07
		}
		n := rapid.IntRange(2, 400).Draw(rt, "rows")
		p := trained(t, events[:3*n], params, forest.Pairwise)
		switch rapid.IntRange(0, 3).Draw(rt, "parts") {
		case 0:
			p.Scaler = nil
		case 1:
			p.Forest, p.Params = nil, nil
		}
		if rapid.Bool().Draw(rt, "named") {
			p.FeatureNames = rapid.SliceOfN(rapid.String(), 3, 3).Draw(rt, "names")
		}
		p.SklearnVersion = rapid.SampledFrom([]string{"1.9.1", "1.3.0", "1.2.2", "2.0"}).Draw(rt, "version")
		if p.SklearnVersion == "1.2.2" && p.Forest != nil { // its trees know of no missing values
			for _, tree := range p.Forest.Trees {
				for i := range tree.Nodes {
					tree.Nodes[i].MissingLeft = false
				}
			}
		}
		got, err := sklearn.Read(bytes.NewReader(written(t, p, p.SklearnVersion)), limit)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			rt.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestInspectTellsWhatWasWritten(t *testing.T) {
	p := trained(t, networkEvents(t, 50), forest.DefaultParams(), forest.Pairwise)
	p.FeatureNames = []string{"a", "b", "c"}
	got, err := sklearn.Inspect(bytes.NewReader(written(t, p, "")), limit)
	if err != nil {
		t.Fatal(err)
	}
	want := sklearn.Facts{
		ModelType: "Pipeline", ModelModule: "sklearn.pipeline", SklearnVersion: sklearn.DefaultVersion, JoblibVersion: ">=1.2",
		ModelParams: json.RawMessage(`{"memory":null,` +
			`"steps":[["scaler","<sklearn.preprocessing._data.StandardScaler>"],["forest","<sklearn.ensemble._iforest.IsolationForest>"]],` +
			`"transform_input":null,"verbose":false,` +
			`"scaler":"<sklearn.preprocessing._data.StandardScaler>","forest":"<sklearn.ensemble._iforest.IsolationForest>",` +
			`"scaler__copy":true,"scaler__with_mean":true,"scaler__with_std":true,` +
			`"forest__bootstrap":false,"forest__contamination":0.1,"forest__max_features":1.0,"forest__max_samples":"auto",` +
			`"forest__n_estimators":100,"forest__n_jobs":null,"forest__random_state":42,"forest__verbose":0,"forest__warm_start":false}`),
		FeatureNames: []string{"a", "b", "c"}, Features: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, c := range []struct {
		says    string
		version string
		spoil   func(p *sklearn.Pipeline)
	}{
		{"neither a scaler nor a forest", "", func(p *sklearn.Pipeline) { p.Scaler, p.Forest = nil, nil }},
		{"without its training parameters", "", func(p *sklearn.Pipeline) { p.Params = nil }},
		{"tree 3 without its statistics", "", func(p *sklearn.Pipeline) { p.Forest.Trees[3].Stats = nil }},
		{"2 names of 3 features", "", func(p *sklearn.Pipeline) { p.FeatureNames = []string{"a", "b"} }},
		{"invalid detector", "", func(p *sklearn.Pipeline) { p.Forest.Trees[0].Nodes[0].Left = 0 }},
		{"invalid detector", "", func(p *sklearn.Pipeline) { p.Scaler.Scale[0] = 0 }},
		{"a scaler of 2 features before a forest of 3", "", func(p *sklearn.Pipeline) { p.Scaler = &forest.Scaler{Features: 2} }},
		{"older than 1.2", "1.1.3", func(p *sklearn.Pipeline) {}},
		{"no version", "newest", func(p *sklearn.Pipeline) {}},
	} {
		p := trained(t, networkEvents(t, 20), forest.DefaultParams(), forest.Pairwise)
		c.spoil(p)
		err := sklearn.Write(io.Discard, p, sklearn.WriteOptions{SklearnVersion: c.version})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want one that says %q", err, c.says)
		}
	}
	full := errors.New("no room")
	p := trained(t, networkEvents(t, 20), forest.DefaultParams(), forest.Pairwise)
	if err := sklearn.Write(failing{full}, p, sklearn.WriteOptions{}); !errors.Is(err, full) {
		t.Errorf("%v, want the writer's own error", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Read([]byte) (int, error)  { return 0, f.err }

// A file that cannot be fetched is not a malformed one.
func TestReadPassesOnItsReadersError(t *testing.T) {
	away := errors.New("bucket away")
	file := written(t, trained(t, networkEvents(t, 20), forest.DefaultParams(), forest.Pairwise), "")
	for _, n := range []int{0, 1, 100, len(file)} {
		_, err := sklearn.Read(io.MultiReader(bytes.NewReader(file[:n]), failing{away}), limit)
		if !errors.Is(err, away) || errors.Is(err, sklearn.ErrMalformed) {
			t.Errorf("after %d bytes: %v, want the reader's own error", n, err)
		}
	}
}
