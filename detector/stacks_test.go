package detector_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelbucket/detector"
)

// A file that scikit-learn wrote, published as any file is and loaded as for a request,
// gives scikit-learn's decisions: by nodes, by tables, and with reasons that add up.
func TestPublishedScoresAsScikitLearn(t *testing.T) {
	s := newStore(t)
	var files, scores, explained int
	var worst float64
	for _, version := range []string{"1.2.1", "1.9.1"} {
		stack := filepath.Join("sklearn/testdata/stacks", version)
		var artifacts []struct{ Name, File, Case string }
		decode(t, readFile(t, filepath.Join(stack, "MANIFEST.json")), &artifacts)
		for _, a := range artifacts {
			if a.Case == "" {
				continue
			}
			content := file{"model.joblib", readFile(t, filepath.Join(stack, a.File))}
			facts, err := watch(t, nil, content)
			if err != nil {
				t.Fatal(err)
			}
			v := s.publish(facts, content)
			d, err := detector.Load(t.Context(), s.Registry, v)
			if strings.HasPrefix(a.Case, "scaler") || a.Case == "detector-scaler" {
				if err == nil || facts.NotADetectorBecause == "" {
					t.Errorf("%s: a scaler alone: %v, because %q", a.Name, err, facts.NotADetectorBecause)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", a.Name, err)
				continue
			}
			files++
			rows, want := finiteRows(t, filepath.Join(stack, "cases", a.Case+".json.gz"))
			width := d.Width()
			const enough = 5000 // rows, for tables
			for round := 0; round*len(want) < enough; round++ {
				got := make([]float64, len(want))
				d.Score(got, rows)
				for i := range got {
					off := math.Abs(got[i] - want[i])
					if worst = max(worst, off); off > 1e-14 { // which counts as 0
						t.Fatalf("%s: round %d, row %d: %v, want %v", a.Name, round, i, got[i], want[i])
					}
					scores++
				}
			}
			if len(d.Features()) == 0 {
				explained += explanations(t, d, rows[:min(10, len(want))*width])
			}
		}
	}
	t.Logf("%d files, %d scores, worst difference %.2g; %d explained", files, scores, worst, explained)
	if files != 123 || explained < 500 {
		t.Errorf("%d files, %d explained", files, explained)
	}
}

// explanations checks that reasons add up to the scores, and counts them.
func explanations(t *testing.T, d *detector.Detector, rows []float64) int {
	t.Helper()
	var body [][]float64
	for at := 0; at < len(rows); at += d.Width() {
		body = append(body, rows[at:at+d.Width()])
	}
	text, err := json.Marshal(map[string]any{"rows": body})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	_, err = d.ScoreEvents(t.Context(), detector.NewReader(bytes.NewReader(text), detector.JSON), detector.ScoreOptions{Explain: true}, func(results []detector.Result) error {
		for _, r := range results {
			sum := r.Explanation.Base
			for _, c := range r.Explanation.Contributions {
				sum += c
			}
			if r.Err != nil || math.Abs(sum-r.Score) > 1e-9 {
				return fmt.Errorf("the reasons add up to %v, the score is %v: %v", sum, r.Score, r.Err)
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// finiteRows are the rows of a case without a missing or infinite value, and what
// scikit-learn decides of them.
func finiteRows(t *testing.T, path string) (rows, want []float64) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(readFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		X        [][]any
		Expected struct {
			Decisions []float64 `json:"decision_function"`
		}
	}
	if err := json.NewDecoder(z).Decode(&c); err != nil {
		t.Fatal(err)
	}
row:
	for i, values := range c.X {
		var row []float64
		for _, value := range values {
			v, ok := value.(float64)
			if !ok {
				continue row
			}
			row = append(row, v)
		}
		rows, want = append(rows, row...), append(want, c.Expected.Decisions[i])
	}
	return rows, want
}

func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
