package detector_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector"
	"modelbucket/detector/forest"
)

func TestParseParameters(t *testing.T) {
	change := func(f func(*forest.Params)) forest.Params {
		p := forest.DefaultParams()
		f(&p)
		return p
	}
	for text, want := range map[string]forest.Params{
		`{}`: forest.DefaultParams(),
		`{"n_estimators":100,"max_samples":"auto","contamination":0.1,"random_state":42}`: forest.DefaultParams(),
		`{"n_estimators":7,"bootstrap":true}`:                                             change(func(p *forest.Params) { p.Trees, p.Bootstrap = 7, true }),
		`{"max_samples":1,"max_features":2}`:                                              change(func(p *forest.Params) { p.MaxSamples.Count, p.MaxFeatures.Count = 1, 2 }),
		`{"max_samples":1.0,"max_features":5e-1}`:                                         change(func(p *forest.Params) { p.MaxSamples.Share, p.MaxFeatures.Share = 1, 0.5 }),
		`{"contamination":"auto","random_state":4294967295}`:                              change(func(p *forest.Params) { p.Contamination, p.RandomState = 0, 4294967295 }),
		`{"contamination":0.5,"random_state":0}`:                                          change(func(p *forest.Params) { p.Contamination, p.RandomState = 0.5, 0 }),
	} {
		got, err := detector.ParseParameters([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for text, says := range map[string]string{
		`[]`: "must be an object", `null`: "must be an object", `"auto"`: "must be an object",
		`{"trees":1}`:                 "there is no parameter",
		`{"n_jobs":2}`:                "there is no parameter",
		`{"n_estimators":0}`:          "n_estimators is",
		`{"n_estimators":100001}`:     "n_estimators is",
		`{"n_estimators":1e2}`:        "n_estimators is",
		`{"n_estimators":"100"}`:      "n_estimators is",
		`{"n_estimators":null}`:       "n_estimators is",
		`{"max_samples":0}`:           "max_samples is",
		`{"max_samples":-1}`:          "max_samples is",
		`{"max_samples":1.5}`:         "max_samples is",
		`{"max_samples":"Auto"}`:      "max_samples is",
		`{"max_features":"auto"}`:     "max_features is",
		`{"max_features":0.0}`:        "max_features is",
		`{"contamination":0}`:         "contamination is",
		`{"contamination":0.51}`:      "contamination is",
		`{"contamination":[0.1]}`:     "contamination is",
		`{"bootstrap":1}`:             "bootstrap is",
		`{"random_state":-1}`:         "random_state is",
		`{"random_state":null}`:       "random_state is",
		`{"random_state":1.0}`:        "random_state is",
		`{"random_state":4294967296}`: "random_state is",
	} {
		if _, err := detector.ParseParameters([]byte(text)); !errors.Is(err, detector.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %v with %q", text, err, detector.ErrInvalid, says)
		}
	}
}
