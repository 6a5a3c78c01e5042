package forest_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector/forest"
)

// trainCase is one of testdata/train: what real scikit-learn made of some rows.
type trainCase struct {
	Params   map[string]any
	Scaler   bool
	Layout   string // order of summation
	Majority bool   `json:"missing_majority"` // nodes say where most rows went (1.3 and newer)
	X        [][]*float64
	XFile    string `json:"X_file"`
	XRows    int    `json:"X_rows"`
	Expected struct {
		Scaler       *struct{ Mean, Var, Scale []string }
		Forest       string
		Tree         []string
		Nodes        int
		Missing      string
		Offset       string
		ScoreSamples []float64    `json:"score_samples_first"`
		Quantiles    [][2]float64 `json:"decision_quantiles"`
	}
}

func gunzip(t testing.TB, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}

func readCase(t testing.TB, path string) trainCase {
	t.Helper()
	var c trainCase
	d := json.NewDecoder(strings.NewReader(string(gunzip(t, path))))
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c
}

// rows gives the case's matrix; null is NaN.
func (c trainCase) rows(t testing.TB) (x []float64, n, d int) {
	if c.XFile != "" {
		return networkEvents(t, c.XRows)
	}
	for _, row := range c.X {
		for _, v := range row {
			if v == nil {
				x = append(x, math.NaN())
				continue
			}
			x = append(x, *v)
		}
	}
	return x, len(c.X), len(c.X[0])
}

// networkEvents gives the first n events: bytes transferred, packets and duration; a
// missing value is 0.
func networkEvents(t testing.TB, n int) ([]float64, int, int) {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(string(gunzip(t, "testdata/events.csv.gz")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var x []float64
	for _, record := range records[1 : n+1] {
		for _, s := range record {
			v := 0.0
			if s != "" {
				if v, err = strconv.ParseFloat(s, 64); err != nil {
					t.Fatal(err)
				}
			}
			x = append(x, v)
		}
	}
	return x, n, len(records[0])
}

func (c trainCase) params(t testing.TB) forest.Params {
	t.Helper()
	var p forest.Params
	number := func(v any) json.Number { return v.(json.Number) }
	size := func(v any) forest.Size {
		switch s := v.(type) {
		case json.Number:
			if i, err := s.Int64(); err == nil {
				return forest.Size{Count: int(i)}
			}
			f, err := s.Float64()
			if err != nil {
				t.Fatal(err)
			}
			return forest.Size{Share: f}
		}
		return forest.Size{} // "auto"
	}
	for name, v := range c.Params {
		var err error
		switch name {
		case "n_estimators":
			p.Trees, err = strconv.Atoi(string(number(v)))
		case "max_samples":
			p.MaxSamples = size(v)
		case "max_features":
			p.MaxFeatures = size(v)
		case "contamination":
			p.Contamination, err = number(v).Float64()
		case "bootstrap":
			p.Bootstrap = v.(bool)
		case "random_state":
			var seed uint64
			seed, err = strconv.ParseUint(string(number(v)), 10, 32)
			p.RandomState = uint32(seed)
		case "warm_start":
			// What was fitted in two goes is what one go would have given.
		default:
			t.Fatalf("parameter %s", name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func hexBits(v []float64) []string {
	var s []string
	for _, x := range v {
		s = append(s, fmt.Sprintf("%016x", math.Float64bits(x)))
	}
	return s
}

// digest is the fixtures' digest of one tree.
func digest(t forest.Tree) string {
	h := sha256.New()
	for _, n := range t.Nodes {
		fmt.Fprintf(h, "%d,%d,%d,%016x,%d\n", n.Left, n.Right, n.Feature, math.Float64bits(n.Threshold), n.Samples)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func missingDigest(t forest.Tree) string {
	h := sha256.New()
	for _, n := range t.Nodes {
		if n.MissingLeft {
			h.Write([]byte{1})
		} else {
			h.Write([]byte{0})
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func textDigest(s []string) string {
	sum := sha256.Sum256([]byte(strings.Join(s, "")))
	return hex.EncodeToString(sum[:])
}

// The judge is what scikit-learn 1.2.1 and 1.9.1 made of the same rows.
func TestFitGivesScikitLearnsForest(t *testing.T) {
	paths, err := filepath.Glob("testdata/train/*/*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 54 {
		t.Errorf("%d training cases, want 54", len(paths))
	}
	var forests, scalers, trees, nodes, offsets, sameOffsets, scores int
	var worst float64
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "testdata/train/"), ".json.gz")
		t.Run(name, func(t *testing.T) {
			c := readCase(t, path)
			want := c.Expected
			x, n, d := c.rows(t)
			if slices.ContainsFunc(x, math.IsNaN) {
				if _, _, err := forest.Fit(t.Context(), x, n, d, c.params(t)); !errors.Is(err, forest.ErrData) {
					t.Errorf("missing values: %v, want ErrData", err)
				}
				return
			}
			if c.Scaler {
				order := map[string]forest.Summation{"F": forest.Pairwise, "F8192": forest.Buffered, "C": forest.Sequential}[c.Layout]
				s, err := forest.FitScaler(x, n, d, order)
				if err != nil {
					t.Fatal(err)
				}
				got := struct{ Mean, Var, Scale []string }{hexBits(s.Mean), hexBits(s.Var), hexBits(s.Scale)}
				if diff := cmp.Diff(*want.Scaler, got); diff != "" {
					t.Errorf("scaler (-want +got):\n%s", diff)
				}
				s.Transform(x, x)
				scalers++
			}
			f, _, err := forest.Fit(t.Context(), x, n, d, c.params(t))
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.ScoreAll(t.Context(), x)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Validate(); err != nil {
				t.Error(err)
			}
			var digests, missing []string
			for i, tree := range f.Trees {
				digests, missing = append(digests, digest(tree)), append(missing, missingDigest(tree))
				nodes += len(tree.Nodes)
				if digests[i] != want.Tree[i] {
					t.Fatalf("tree %d differs", i)
				}
			}
			if textDigest(digests) != want.Forest {
				t.Error("forest differs")
			}
			if c.Majority && textDigest(missing) != want.Missing {
				t.Error("where missing values go differs")
			}
			bits, err := strconv.ParseUint(want.Offset, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if off := math.Abs(f.Offset - math.Float64frombits(bits)); off > 2.3e-16 {
				t.Errorf("offset %v differs by %v", f.Offset, off)
			} else if off == 0 {
				sameOffsets++
			}
			for i, w := range want.ScoreSamples {
				worst = max(worst, math.Abs(got[i]-w))
				scores++
			}
			decisions := make([]float64, n)
			f.DecisionFunction(decisions, x)
			slices.Sort(decisions)
			for _, q := range want.Quantiles {
				if off := math.Abs(forest.Percentile(decisions, 100*q[0]) - q[1]); off > 1e-15 {
					t.Errorf("quantile %v of the decisions differs by %v", q[0], off)
				}
			}
			forests, trees, offsets = forests+1, trees+len(f.Trees), offsets+1
		})
	}
	if worst > 1e-15 {
		t.Errorf("a score differs by %v", worst)
	}
	t.Logf("%d forests of %d trees and %d nodes, same bits; %d scalers, same bits; offsets: %d same bits of %d; %d scores, worst difference %.2g",
		forests, trees, nodes, scalers, sameOffsets, offsets, scores, worst)
}
