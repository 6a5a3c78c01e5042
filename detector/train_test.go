package detector_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

// sample are the first 1,000 events of a tenant, as CSV.
func sample(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/events.csv")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// train trains on a body with few trees, unless the options say otherwise.
func train(t testing.TB, body string, f detector.Format, o detector.TrainOptions) (*detector.Trained, error) {
	t.Helper()
	set, err := detector.Collect(t.Context(), detector.NewReader(strings.NewReader(body), f), detector.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if o.Parameters == nil {
		p := forest.DefaultParams()
		p.Trees = 10
		o.Parameters = &p
	}
	return detector.Train(t.Context(), set, o)
}

func mustTrain(t testing.TB, body string, f detector.Format, o detector.TrainOptions) *detector.Trained {
	t.Helper()
	trained, err := train(t, body, f, o)
	if err != nil {
		t.Fatal(err)
	}
	return trained
}

// TestTrainLikeScikitLearn holds offset, quantiles and scores against scikit-learn's.
func TestTrainLikeScikitLearn(t *testing.T) {
	text, err := os.ReadFile("testdata/detector-1000.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Offset    float64
		Scores    []float64    `json:"score_samples"`
		Quantiles [][2]float64 `json:"decision_quantiles"`
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	params := forest.DefaultParams()
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Parameters: &params})
	training := trained.Record.Training
	near := func(what string, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-15) {
			t.Errorf("%s is %v, scikit-learn's %v", what, got, want)
		}
	}
	near("offset", training.Offset, want.Offset)
	if len(training.Quantiles) != len(want.Quantiles) {
		t.Fatalf("%d quantiles, want %d", len(training.Quantiles), len(want.Quantiles))
	}
	for i, q := range training.Quantiles {
		near("percentage", q.Percent/100, want.Quantiles[i][0])
		near("quantile", q.Score, want.Quantiles[i][1])
	}
	scores := scoresOf(t, trained.Detector, sample(t), detector.CSV)
	for i, s := range want.Scores {
		near("score", scores[i]+training.Offset, s)
	}
}

// TestTrainRecord is what a version says of its training.
func TestTrainRecord(t *testing.T) {
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{})
	facts := trained.Facts()
	if *facts.ModelType != "Pipeline" || *facts.ModelModule != "sklearn.pipeline" || *facts.SklearnVersion != sklearn.DefaultVersion || *facts.JoblibVersion != ">=1.2" {
		t.Errorf("facts are %s, %s, %s, %v", *facts.ModelType, *facts.ModelModule, *facts.SklearnVersion, *facts.JoblibVersion)
	}
	var params map[string]any
	if err := json.Unmarshal(facts.ModelParams, &params); err != nil || params["forest__n_estimators"] != 10.0 || params["forest__max_samples"] != "auto" {
		t.Errorf("model_params are %s: %v", facts.ModelParams, err)
	}
	r, err := detector.ParseRecord(facts.Detector)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trained.Record, r); diff != "" {
		t.Errorf("the record, written and read (-want +got):\n%s", diff)
	}
	if r.Trees != 10 || !cmp.Equal(r.Features, detector.DefaultFeatures()) || !cmp.Equal(r.Files, []registry.FileName{"model.joblib"}) || r.Levels != detector.DefaultLevels() {
		t.Errorf("the record is %+v", r)
	}
	if want := -math.Exp2(-1/forest.AverageDepth(256)) - r.Training.Offset; r.Floor != want || r.Training.MaxSamples != 256 {
		t.Errorf("floor %v, want %v; max_samples %d", r.Floor, want, r.Training.MaxSamples)
	}
	if want := []detector.Level{detector.High, detector.Medium, detector.Low}; !cmp.Equal(r.Reachable, want) {
		t.Errorf("it can reach %v, want %v", r.Reachable, want)
	}
	if r.Training.Samples != 1000 || !cmp.Equal(r.Training.Missing, map[string]int{"connection_duration": 3}) || r.Training.Absent != nil || r.Training.Summation != "pairwise" {
		t.Errorf("the training is %+v", r.Training)
	}
	const parameters = `{"bootstrap":false,"contamination":0.1,"max_features":1.0,"max_samples":"auto","n_estimators":10,"random_state":42}`
	if got := string(r.Training.Hyperparameters); got != parameters {
		t.Errorf("hyperparameters are %s, want %s", got, parameters)
	}
	if n := len(r.Golden); n < 4 || n > 8 {
		t.Errorf("%d golden rows", n)
	}
	for _, g := range r.Golden {
		score := make([]float64, 1)
		if trained.Detector.Score(score, g.Row); score[0] != g.Score {
			t.Errorf("the golden row %v has the score %v, on record is %v", g.Row, score[0], g.Score)
		}
	}
}

// TestTrainFeatures: which columns are trained on.
func TestTrainFeatures(t *testing.T) {
	type o = detector.TrainOptions
	for _, c := range []struct {
		name           string
		format         detector.Format
		body           string
		features       []string
		chosen, absent []string
		missing        map[string]int
		mean           []float64
	}{
		{"default", detector.JSON, `[{"packet_count":1,"connection_duration":2,"bytes_transferred":3,"x":4}]`, nil,
			[]string{"bytes_transferred", "packet_count", "connection_duration"}, nil, nil, []float64{3, 1, 2}},
		{"one absent", detector.JSON, `[{"packet_count":1,"bytes_transferred":3},{"packet_count":3}]`, nil,
			[]string{"bytes_transferred", "packet_count"}, []string{"connection_duration"}, map[string]int{"bytes_transferred": 1}, []float64{1.5, 2}},
		{"null is there", detector.JSON, `[{"packet_count":1,"bytes_transferred":null}]`, nil,
			[]string{"bytes_transferred", "packet_count"}, []string{"connection_duration"}, map[string]int{"bytes_transferred": 1}, []float64{0, 1}},
		{"none there", detector.JSON, `[{"x":1},{"y":"z"}]`, nil,
			[]string{"bytes_transferred"}, detector.DefaultFeatures(), map[string]int{"bytes_transferred": 2}, []float64{0}},
		{"an event with none of them", detector.JSON, `[{"packet_count":4},{}]`, nil,
			[]string{"packet_count"}, []string{"bytes_transferred", "connection_duration"}, map[string]int{"packet_count": 1}, []float64{2}},
		{"others by name", detector.JSON, `[{"b":1,"a":2,"packet_count":"?"}]`, []string{"a", "b"}, []string{"a", "b"}, nil, nil, []float64{2, 1}},
		{"escaped names", detector.JSON, `[{"\u0062":1,"a\"":2}]`, []string{"a\"", "b"}, []string{"a\"", "b"}, nil, nil, []float64{2, 1}},
		{"CSV", detector.CSV, "a,b\n1, +2e0 \n3,\n", []string{"b", "a"}, []string{"b", "a"}, nil, map[string]int{"b": 1}, []float64{1, 2}},
		{"rows", detector.JSON, `{"rows":[[1,2,3],[3,null,3.0]]}`, nil, detector.DefaultFeatures(), nil, map[string]int{"packet_count": 1}, []float64{2, 1, 3}},
		{"rows by name", detector.JSON, `{"rows":[[1,2]]}`, []string{"x", "y"}, []string{"x", "y"}, nil, nil, []float64{1, 2}},
		{"late in the body", detector.NDJSON, "{}\n{}\n{\"a\":6}\n", []string{"a"}, []string{"a"}, nil, map[string]int{"a": 2}, []float64{2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			trained := mustTrain(t, c.body, c.format, o{Features: c.features})
			got := trained.Record.Training
			if diff := cmp.Diff(c.chosen, got.Features); diff != "" {
				t.Errorf("features (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.absent, got.Absent); diff != "" {
				t.Errorf("absent (-want +got):\n%s", diff)
			}
			if len(got.Missing)+len(c.missing) > 0 && !cmp.Equal(c.missing, got.Missing) {
				t.Errorf("missing %v, want %v", got.Missing, c.missing)
			}
			if diff := cmp.Diff(c.mean, artifact(t, trained).Scaler.Mean); diff != "" {
				t.Errorf("means of the columns (-want +got):\n%s", diff)
			}
		})
	}
}

func artifact(t testing.TB, trained *detector.Trained) *sklearn.Pipeline {
	t.Helper()
	var file bytes.Buffer
	if n, err := trained.WriteTo(&file); err != nil || n != trained.Size() || n != int64(file.Len()) {
		t.Fatalf("wrote %d of %d bytes: %v", n, trained.Size(), err)
	}
	p, err := sklearn.Read(&file, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTrainRefuses(t *testing.T) {
	type o = detector.TrainOptions
	params := func(f func(*forest.Params)) *forest.Params {
		p := forest.DefaultParams()
		f(&p)
		return &p
	}
	for _, c := range []struct {
		name string
		body string
		o    o
		want error
		text string
	}{
		{"a string", `[{"a":1,"b":"x"},{"a":"y"}]`, o{Features: []string{"a"}}, detector.ErrBadEvent, `event 1: bad event: "a" is a string; it must be a number`},
		{"a boolean", `[{"a":true}]`, o{Features: []string{"a"}}, detector.ErrBadEvent, "is a boolean"},
		{"an array", `[{"a":[1]}]`, o{Features: []string{"a"}}, detector.ErrBadEvent, "is an array"},
		{"an object", `[{"a":{"b":1}}]`, o{Features: []string{"a"}}, detector.ErrBadEvent, "is an object"},
		{"infinity", `[{"a":1e999}]`, o{Features: []string{"a"}}, detector.ErrBadEvent, "is not a finite number"},
		{"numbers too large", `[{"a":1e308},{"a":-1e308},{"a":1e308}]`, o{Features: []string{"a"}}, forest.ErrData, "too large"},
		{"no feature", `[{"a":1}]`, o{Features: []string{}}, detector.ErrInvalid, "0 features"},
		{"a feature twice", `[{"a":1}]`, o{Features: []string{"a", "a"}}, detector.ErrInvalid, "named twice"},
		{"a feature without a name", `[{"a":1}]`, o{Features: []string{""}}, detector.ErrInvalid, "1 to 256 bytes"},
		{"rows of another width", `{"rows":[[1,2]]}`, o{}, detector.ErrInvalid, "the rows have 2 values, and there are 3 features"},
		{"no trees", `[{"a":1}]`, o{Parameters: params(func(p *forest.Params) { p.Trees = 0 })}, forest.ErrParams, "n_estimators"},
		{"no rows a tree", `[{"a":1}]`, o{Parameters: params(func(p *forest.Params) { p.MaxSamples.Share = 0.5 })}, forest.ErrParams, "max_samples"},
		{"too many features a tree", `[{"a":1}]`, o{Parameters: params(func(p *forest.Params) { p.MaxFeatures.Count = 2 })}, forest.ErrParams, "max_features"},
		{"levels out of order", `[{"a":1}]`, o{Levels: detector.LevelChoice{Custom: &detector.ThreatLevels{Critical: 1}}}, detector.ErrInvalid, "at most the next"},
		{"an old scikit-learn", `[{"a":1}]`, o{SklearnVersion: "0.24"}, detector.ErrInvalid, "0.24"},
	} {
		if _, err := train(t, c.body, detector.JSON, c.o); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v with %q", c.name, err, c.want, c.text)
		}
	}
	huge := o{Parameters: params(func(p *forest.Params) { p.Trees, p.MaxSamples.Count = forest.MaxTrees, 1000 })}
	if _, err := train(t, sample(t), detector.CSV, huge); !errors.Is(err, detector.ErrTooLarge) {
		t.Errorf("a forest that fills the memory: got %v, want %v", err, detector.ErrTooLarge)
	}
	set, err := detector.Collect(t.Context(), detector.NewReader(strings.NewReader(`[{"a":1,"b":2}]`), detector.JSON), detector.CollectOptions{Features: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := detector.Train(t.Context(), set, o{Features: []string{"b"}}); !errors.Is(err, detector.ErrInvalid) {
		t.Errorf("a column that was not kept: got %v, want %v", err, detector.ErrInvalid)
	}
}

// TestTrainLevels: calibrated cuts are quantiles of the training scores.
func TestTrainLevels(t *testing.T) {
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Levels: detector.LevelChoice{Calibrated: true}})
	q := map[float64]float64{}
	for _, one := range trained.Record.Training.Quantiles {
		q[one.Percent] = one.Score
	}
	if want := (detector.ThreatLevels{Critical: q[0.1], High: q[1]}); trained.Record.Levels != want || want.Critical >= want.High || want.High >= 0 {
		t.Errorf("levels %+v, want %+v", trained.Record.Levels, want)
	}
	counts := map[detector.Level]int{}
	for _, score := range scoresOf(t, trained.Detector, sample(t), detector.CSV) {
		counts[trained.Detector.Levels().Level(score)]++
	}
	if bad := counts[detector.Critical] + counts[detector.High]; counts[detector.Critical] > 1 || bad < 5 || bad > 10 || counts[detector.Medium] < 80 {
		t.Errorf("levels of the training events: %v", counts)
	}
	custom := detector.ThreatLevels{Critical: -0.3, High: -0.1, Medium: 0.1}
	if got := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Levels: detector.LevelChoice{Custom: &custom}}); got.Record.Levels != custom {
		t.Errorf("levels %+v, want %+v", got.Record.Levels, custom)
	}
}
