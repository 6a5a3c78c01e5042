package sklearn_test

import (
	"compress/gzip"
	"encoding/csv"
	"os"
	"slices"
	"strconv"
	"testing"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
)

// networkEvents gives the first n events: bytes transferred, packets and duration.
func networkEvents(t testing.TB, n int) []float64 {
	t.Helper()
	file, err := os.Open("../forest/testdata/events.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(z).ReadAll()
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
	return x
}

// trained is a detector trained on rows of three values.
func trained(t testing.TB, x []float64, params forest.Params, order forest.Summation) *sklearn.Pipeline {
	t.Helper()
	n := len(x) / 3
	s, err := forest.FitScaler(x, n, 3, order)
	if err != nil {
		t.Fatal(err)
	}
	z := make([]float64, len(x))
	s.Transform(z, x)
	f, _, err := forest.Fit(t.Context(), z, n, 3, params)
	if err != nil {
		t.Fatal(err)
	}
	return &sklearn.Pipeline{Scaler: s, Forest: f, Params: &params, SklearnVersion: sklearn.DefaultVersion}
}

// decisions of rows that are not scaled yet.
func decisions(p *sklearn.Pipeline, x []float64) []float64 {
	z := slices.Clone(x)
	for _, step := range p.Before {
		step.Transform(z, z)
	}
	if p.Scaler != nil {
		p.Scaler.Transform(z, z)
	}
	d := make([]float64, len(x)/p.Forest.Features)
	p.Forest.DecisionFunction(d, z)
	return d
}
