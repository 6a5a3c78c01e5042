package web_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/registry"
)

// aModel is a file as Python wrote it, or somebody who means harm.
func aModel(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{"../detector"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// What a pushed file says of itself is in the metadata of its version, however it came.
func TestPublishedModelsAreKnown(t *testing.T) {
	n := serve(t, nil)
	const stacks, hostile = "sklearn/testdata/stacks", "joblib/testdata/hostile"
	network := []string{"bytes_transferred", "packet_count", "connection_duration"}
	for _, c := range []struct {
		name, content         string
		kind, sklearn, joblib string
		params                map[string]any // some of them
		names                 []string
		features              int
		because               string
		detectorless          bool
	}{
		{name: "pipeline", content: aModel(t, stacks, "1.9.1/detector-pipeline.joblib"),
			kind: "sklearn.pipeline.Pipeline", sklearn: "1.9.1", joblib: ">=1.2", names: network, features: 3,
			params: map[string]any{"memory": nil, "scaler__with_mean": true, "model__n_estimators": 20., "model__max_samples": "auto", "model": "<sklearn.ensemble._iforest.IsolationForest>"}},
		{name: "forest", content: aModel(t, stacks, "1.2.1/contamination-01.joblib"),
			kind: "sklearn.ensemble._iforest.IsolationForest", sklearn: "1.2.1", joblib: ">=1.2", features: 4,
			params: map[string]any{"contamination": 0.1, "n_jobs": nil, "bootstrap": false}},
		{name: "pair", content: aModel(t, stacks, "1.2.1/detector-dict.joblib"),
			kind: "builtins.dict", sklearn: "1.2.1", joblib: ">=1.2", names: network, features: 3},
		{name: "scaler", content: aModel(t, stacks, "1.9.1/detector-scaler.joblib"), detectorless: true,
			kind: "sklearn.preprocessing._data.StandardScaler", sklearn: "1.9.1", joblib: ">=1.2", names: network, features: 3,
			params: map[string]any{"copy": true, "with_mean": true, "with_std": true}, because: "no file holds an IsolationForest"},
		{name: "another", content: aModel(t, stacks, "1.9.1/unsupported-logistic.joblib"), detectorless: true,
			kind: "sklearn.linear_model._logistic.LogisticRegression", because: "holds sklearn.linear_model._logistic.LogisticRegression (at byte 66)"},
		{name: "not fitted", content: aModel(t, stacks, "1.9.1/unsupported-unfitted-forest.joblib"), detectorless: true,
			kind: "sklearn.ensemble._iforest.IsolationForest", sklearn: "1.9.1", because: "its IsolationForest is not fitted", params: map[string]any{"n_estimators": 100.}},
		{name: "hostile", content: aModel(t, hostile, "exec-root.joblib"), detectorless: true, because: "holds posix.system (at byte 27)"},
		{name: "damaged", content: aModel(t, hostile, "tree-self.joblib"), detectorless: true,
			kind: "sklearn.pipeline.Pipeline", sklearn: "1.2.1", joblib: ">=1.2", features: 3, because: "node 0 has child 0"},
		{name: "no pickle", content: "bytes", detectorless: true, because: "no pickle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := "/v1/tenants/acme/models/" + strings.ReplaceAll(c.name, " ", "-") + "/versions"
			body, contentType := form(t, "", "model.joblib", c.content)
			for i, answer := range []reply{
				n.do("POST", path, strings.NewReader(c.content)),
				n.do("POST", path, body, "Content-Type", contentType),
			} {
				var v registry.Version
				answer.must(t, http.StatusCreated, &v)
				if kind := strings.Trim(textOf(v.ModelModule)+"."+textOf(v.ModelType), "."); kind != c.kind || textOf(v.SklearnVersion) != c.sklearn || textOf(v.JoblibVersion) != c.joblib {
					t.Errorf("push %d: %s of scikit-learn %q, joblib %q", i, kind, textOf(v.SklearnVersion), textOf(v.JoblibVersion))
				}
				if diff := cmp.Diff(c.names, v.FeatureNamesIn); diff != "" || v.FeaturesIn != c.features {
					t.Errorf("push %d: %d features (-want +got):\n%s", i, v.FeaturesIn, diff)
				}
				var params map[string]any
				if err := json.Unmarshal(v.ModelParams, &params); err != nil {
					t.Fatal(err)
				}
				for name, want := range c.params {
					if got, ok := params[name]; !ok || !cmp.Equal(want, got) {
						t.Errorf("push %d: %s is %v, want %v", i, name, got, want)
					}
				}
				if known := string(v.Detector) != "null"; known == c.detectorless || !strings.Contains(v.NotADetectorBecause, c.because) || (v.NotADetectorBecause == "") != known {
					t.Errorf("push %d: a detector: %v, because %q", i, known, v.NotADetectorBecause)
				}
				if file := n.get(path+"/latest/files/model.joblib").must(t, 200, nil); string(file.body) != c.content {
					t.Errorf("push %d: other bytes come back", i)
				}
			}
			asked := n.json("POST", strings.TrimSuffix(path, "versions")+"detect", `{"rows":[[1,2,3,4]]}`)
			if c.detectorless {
				if p := asked.problem(t); p.Code != "not_a_detector" || !strings.Contains(p.Detail, c.because) {
					t.Errorf("asked: %+v", p)
				}
			} else {
				asked.must(t, http.StatusOK, nil)
			}
		})
	}
}

// sklearn_version chooses the form of what is trained: in a JSON body and in a query.
func TestTrainForScikitLearn(t *testing.T) {
	n := serve(t, nil)
	body := map[string]any{"network_data": events(50), "parameters": map[string]any{"n_estimators": 5}}
	scored := map[string]string{}
	for _, version := range []string{"", "1.2.1", "1.3.0", "1.9.1"} {
		body["sklearn_version"] = version
		var inBody, inQuery registry.Version
		n.json("POST", fraud+"/train", toJSON(t, body)).must(t, http.StatusCreated, &inBody)
		n.json("POST", fraud+"/train?n_estimators=5&sklearn_version="+version, toJSON(t, events(50))).must(t, http.StatusCreated, &inQuery)
		want := version
		if want == "" {
			want = "1.9.1"
		}
		if textOf(inBody.SklearnVersion) != want || textOf(inQuery.SklearnVersion) != want || inBody.Files[0].SHA256 != inQuery.Files[0].SHA256 {
			t.Errorf("%q: %s and %s, want %s", version, textOf(inBody.SklearnVersion), textOf(inQuery.SklearnVersion), want)
		}
		scored[n.get(fraud+"/versions/latest/files/model.joblib").Header.Get("Repr-Digest")] = version
	}
	if len(scored) != 3 {
		t.Errorf("the forms differ in %v, want 3 of them", scored)
	}
	for _, version := range []string{"1.1.3", "newest", "0.24.2"} {
		body["sklearn_version"] = version
		if p := n.json("POST", fraud+"/train", toJSON(t, body)).problem(t); p.Status != 400 || !strings.Contains(p.Detail, version) {
			t.Errorf("%q: %+v", version, p)
		}
	}
}
