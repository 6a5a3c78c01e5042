package sklearn_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
)

const limit = 1 << 26 // bytes, more than any file here unpacks to

// artifact is a file that real scikit-learn wrote; several may have the same bytes.
type artifact struct {
	Name, File  string
	Case        string // empty: not a detector
	ModelType   string `json:"model_type"`
	ModelModule string `json:"model_module"`
	stack       string
}

func (a artifact) open(t testing.TB) []byte { return readFile(t, filepath.Join(a.stack, a.File)) }

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readJSON(t testing.TB, b []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

func artifacts(t testing.TB) (all []artifact) {
	t.Helper()
	for _, version := range []string{"1.2.1", "1.9.1"} {
		stack := filepath.Join("testdata/stacks", version)
		var some []artifact
		readJSON(t, readFile(t, filepath.Join(stack, "MANIFEST.json")), &some)
		for _, a := range some {
			a.stack = stack
			all = append(all, a)
		}
	}
	return all
}

// number is a float64 that may also be null (NaN), "inf" or "-inf".
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" {
		s = "nan"
	}
	v, err := strconv.ParseFloat(s, 64)
	*n = number(v)
	return err
}

// answers are scikit-learn's.
type answers struct {
	X           [][]number
	ModelParams map[string]any `json:"model_params"`
	Expected    struct {
		ScoreSamples     []number   `json:"score_samples"`
		DecisionFunction []number   `json:"decision_function"`
		Predict          []int      `json:"predict"`
		OffsetBits       string     `json:"offset_bits"`
		Transform        [][]number `json:"transform"`
		Forest           string
	}
}

func (a artifact) answers(t testing.TB) (want answers) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(readFile(t, filepath.Join(a.stack, "cases", a.Case+".json.gz"))))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	readJSON(t, b, &want)
	return want
}

func flat(rows [][]number) (x []float64) {
	for _, row := range rows {
		for _, v := range row {
			x = append(x, float64(v))
		}
	}
	return x
}

// forestDigest is the fixtures' digest of all trees.
func forestDigest(f *forest.Forest) string {
	var all strings.Builder
	for _, t := range f.Trees {
		h := sha256.New()
		for _, n := range t.Nodes {
			fmt.Fprintf(h, "%d,%d,%d,%016x,%d\n", n.Left, n.Right, n.Feature, math.Float64bits(n.Threshold), n.Samples)
		}
		all.WriteString(hex.EncodeToString(h.Sum(nil)))
	}
	sum := sha256.Sum256([]byte(all.String()))
	return hex.EncodeToString(sum[:])
}

// The judge is what scikit-learn itself answered before it wrote the file.
func TestReadScoresAsScikitLearn(t *testing.T) {
	var files, scores, same, predictions, border, transformed int
	var worst float64
	for _, a := range artifacts(t) {
		if a.Case == "" {
			continue
		}
		t.Run(filepath.Base(a.stack)+"/"+a.Name, func(t *testing.T) {
			p, err := sklearn.Read(bytes.NewReader(a.open(t)), limit)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Base(a.stack); p.SklearnVersion != want {
				t.Errorf("written by %s, want %s", p.SklearnVersion, want)
			}
			files++
			want := a.answers(t)
			x := flat(want.X)
			for _, step := range p.Before {
				step.Transform(x, x)
			}
			if p.Scaler != nil {
				p.Scaler.Transform(x, x)
			}
			if p.Scaler != nil || p.Before != nil {
				for i, w := range flat(want.Expected.Transform) {
					if math.Float64bits(w) != math.Float64bits(x[i]) && !(w != w && x[i] != x[i]) {
						t.Fatalf("value %d is scaled to %v, want %v", i, x[i], w)
					}
					transformed++
				}
			}
			if p.Forest == nil {
				return
			}
			if got := forestDigest(p.Forest); got != want.Expected.Forest {
				t.Error("other trees")
			}
			if got := fmt.Sprintf("%016x", math.Float64bits(p.Forest.Offset)); got != want.Expected.OffsetBits {
				t.Errorf("offset %s, want %s", got, want.Expected.OffsetBits)
			}
			got, decided := make([]float64, len(want.X)), make([]float64, len(want.X))
			p.Forest.ScoreSamples(got, x)
			p.Forest.DecisionFunction(decided, x)
			for i, w := range want.Expected.ScoreSamples {
				off := math.Abs(got[i] - float64(w))
				worst = max(worst, off)
				if off > 1e-15 {
					t.Errorf("row %d: score %v, want %v", i, got[i], w)
				}
				scores++
				if off == 0 {
					same++
				}
				if math.Abs(float64(want.Expected.DecisionFunction[i])) <= 1e-14 {
					border++
					continue
				}
				predictions++
				if anomaly := decided[i] < 0; anomaly != (want.Expected.Predict[i] < 0) {
					t.Errorf("row %d: decision %v, predicted %d", i, decided[i], want.Expected.Predict[i])
				}
			}
		})
	}
	t.Logf("%d files; %d scores, %d same bits, worst difference %.2g; %d predictions equal, %d on the border; %d values scaled, same bits",
		files, scores, same, worst, predictions, border, transformed)
	if files != 69+72 {
		t.Errorf("%d files", files)
	}
}

func TestReadRefusesByName(t *testing.T) {
	says := map[string]string{
		"unsupported-logistic.joblib":          "holds sklearn.linear_model._logistic.LogisticRegression (at byte 66); this registry scores IsolationForest, alone or behind StandardScaler, MinMaxScaler or RobustScaler",
		"unsupported-lof.joblib":               "holds sklearn.neighbors._lof.LocalOutlierFactor (at byte",
		"unsupported-elliptic.joblib":          "holds sklearn.covariance._elliptic_envelope.EllipticEnvelope (at byte",
		"unsupported-forest-classifier.joblib": "holds sklearn.ensemble._forest.RandomForestClassifier (at byte",
		"unsupported-pca-pipeline.joblib":      "holds sklearn.decomposition._pca.PCA (at byte",
		"unsupported-function.joblib":          "holds sklearn.preprocessing._function_transformer.FunctionTransformer (at byte",
		"unsupported-unfitted-forest.joblib":   "its IsolationForest is not fitted",
		"unsupported-unfitted-scaler.joblib":   "its StandardScaler is not fitted",
		"unsupported-unfitted-pipeline.joblib": "its StandardScaler is not fitted",
		"unsupported-array.joblib":             "holds numpy.ndarray; this",
		"unsupported-numbers.joblib":           "holds builtins.list; this",
		"unsupported-none.joblib":              "holds builtins.NoneType; this",
	}
	for _, a := range artifacts(t) {
		want := says[a.Name]
		if (want != "") != (a.Case == "") {
			t.Errorf("%s: no expectation", a.Name)
		}
		if want == "" {
			continue
		}
		_, err := sklearn.Read(bytes.NewReader(a.open(t)), limit)
		if !errors.Is(err, sklearn.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ErrUnsupported that says %q", a.Name, err, want)
		}
	}
}

// What a file tells about itself, also where it is refused.
func TestInspect(t *testing.T) {
	for _, a := range artifacts(t) {
		facts, err := sklearn.Inspect(bytes.NewReader(a.open(t)), limit)
		if err != nil && !errors.Is(err, sklearn.ErrUnsupported) {
			t.Errorf("%s: %v", a.Name, err)
		}
		if facts.ModelType != a.ModelType || facts.ModelModule != a.ModelModule {
			t.Errorf("%s: %s.%s, want %s.%s", a.Name, facts.ModelModule, facts.ModelType, a.ModelModule, a.ModelType)
		}
		if a.Case == "" {
			continue
		}
		if want := filepath.Base(a.stack); facts.SklearnVersion != want {
			t.Errorf("%s: version %s, want %s", a.Name, facts.SklearnVersion, want)
		}
		joblib := ">=1.2"
		if a.Name == "scaler-nothing.joblib" { // no array
			joblib = ""
		}
		if facts.JoblibVersion != joblib {
			t.Errorf("%s: joblib %q, want %q", a.Name, facts.JoblibVersion, joblib)
		}
		want := a.answers(t)
		if facts.Features != len(want.X[0]) {
			t.Errorf("%s: %d features, want %d", a.Name, facts.Features, len(want.X[0]))
		}
		if strings.HasPrefix(a.Name, "detector-") && a.Name != "detector-model.joblib" { // which got scaled rows
			if diff := cmp.Diff([]string{"bytes_transferred", "packet_count", "connection_duration"}, facts.FeatureNames); diff != "" {
				t.Errorf("%s: feature names (-want +got):\n%s", a.Name, diff)
			}
		}
		if facts.ModelParams == nil { // a dict or tuple has none
			continue
		}
		var got map[string]any
		readJSON(t, facts.ModelParams, &got)
		// The answers have these as Python's source would.
		for name := range want.ModelParams {
			if _, isText := want.ModelParams[name].(string); name == "steps" || (name == "random_state" && isText) || strings.HasSuffix(name, "_range") {
				delete(want.ModelParams, name)
				delete(got, name)
			}
		}
		if diff := cmp.Diff(want.ModelParams, got); diff != "" {
			t.Errorf("%s: get_params() (-want +got):\n%s", a.Name, diff)
		}
	}
}
