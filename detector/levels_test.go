package detector_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/detector"
)

func TestLevel(t *testing.T) {
	levels := detector.DefaultLevels()
	for score, want := range map[float64]detector.Level{
		-1: detector.Critical, math.Nextafter(-0.5, -1): detector.Critical, -0.5: detector.High, -0.2: detector.Medium,
		math.Nextafter(0, -1): detector.Medium, 0: detector.Low, 0.2: detector.Low,
	} {
		if got := levels.Level(score); got != want {
			t.Errorf("%v is %s, want %s", score, got, want)
		}
	}
}

func TestReachable(t *testing.T) {
	type levels = []detector.Level
	fixed := detector.DefaultLevels()
	for _, c := range []struct {
		name  string
		cuts  detector.ThreatLevels
		floor float64
		want  levels
	}{
		{"all", fixed, -0.6, levels{detector.Critical, detector.High, detector.Medium, detector.Low}},
		{"no critical", fixed, -0.4782, levels{detector.High, detector.Medium, detector.Low}},
		{"at the cut", fixed, -0.5, levels{detector.High, detector.Medium, detector.Low}},
		{"medium", fixed, -0.1, levels{detector.Medium, detector.Low}},
		{"none", fixed, 0, levels{detector.Low}},
		{"nothing between", detector.ThreatLevels{Critical: -0.3, High: -0.3, Medium: 0}, -0.6, levels{detector.Critical, detector.Medium, detector.Low}},
	} {
		if diff := cmp.Diff(c.want, c.cuts.Reachable(c.floor)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestLevelChoice(t *testing.T) {
	for text, want := range map[string]detector.LevelChoice{
		`"default"`:    {},
		`null`:         {},
		`"calibrated"`: {Calibrated: true},
		`{}`:           {Custom: &detector.ThreatLevels{Critical: -0.5, High: -0.2}},
		`{"critical":-0.35,"high":-0.3,"medium":-0.1}`: {Custom: &detector.ThreatLevels{Critical: -0.35, High: -0.3, Medium: -0.1}},
		`{"critical":-0.4}`:                            {Custom: &detector.ThreatLevels{Critical: -0.4, High: -0.2}},
	} {
		var got detector.LevelChoice
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{`"other"`, `7`, `[]`, `{"hgh":0}`, `{"high":"-1"}`, `{"high":null}`, `{"critical":0,"high":-1}`, `{"medium":-0.3}`, `true`} {
		var got detector.LevelChoice
		if err := json.Unmarshal([]byte(text), &got); !errors.Is(err, detector.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", text, err, detector.ErrInvalid)
		}
	}
}
