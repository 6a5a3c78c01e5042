package detector

import (
	"encoding/json"
	"fmt"
	"math"

	"modelbucket/detector/forest"
)

// Level is how bad an event is.
type Level string

const (
	Critical Level = "critical"
	High     Level = "high"
	Medium   Level = "medium"
	Low      Level = "low"
)

// ThreatLevels are the scores below which an event is Critical, High and Medium; all
// others are Low. Each cut is at most the next one.
type ThreatLevels struct {
	Critical float64 `json:"critical"`
	High     float64 `json:"high"`
	Medium   float64 `json:"medium"`
}

// DefaultLevels are the cuts where nobody chooses others. Few detectors can reach
// Critical with them: see Reachable.
func DefaultLevels() ThreatLevels { return ThreatLevels{Critical: -0.5, High: -0.2} }

// Level rates a score.
func (t ThreatLevels) Level(score float64) Level {
	switch {
	case score < t.Critical:
		return Critical
	case score < t.High:
		return High
	case score < t.Medium:
		return Medium
	}
	return Low
}

// Validate refuses cuts that are no finite numbers or out of order.
func (t ThreatLevels) Validate() error {
	for _, cut := range []float64{t.Critical, t.High, t.Medium} {
		if math.IsNaN(cut) || math.IsInf(cut, 0) {
			return fmt.Errorf("%w: threat_levels hold %v; they must be finite", ErrInvalid, cut)
		}
	}
	if !(t.Critical <= t.High && t.High <= t.Medium) {
		return fmt.Errorf("%w: threat_levels are critical %v, high %v, medium %v; each must be at most the next", ErrInvalid, t.Critical, t.High, t.Medium)
	}
	return nil
}

// Reachable are the levels that an event can get from a detector whose scores are never
// below floor.
func (t ThreatLevels) Reachable(floor float64) []Level {
	reachable := []Level{}
	below := math.Inf(-1)
	for _, l := range []struct {
		level Level
		cut   float64
	}{{Critical, t.Critical}, {High, t.High}, {Medium, t.Medium}} {
		if max(below, floor) < l.cut {
			reachable = append(reachable, l.level)
		}
		below = l.cut
	}
	return append(reachable, Low)
}

// LevelChoice says which cuts training gives a detector; the zero value is the
// DefaultLevels. In JSON it is "default", "calibrated" or an object of cuts, where
// those left out are the default ones.
type LevelChoice struct {
	// Calibrated cuts lie at the scores that 0.1 % and 1 % of the training rows are
	// below, and at 0.
	Calibrated bool
	Custom     *ThreatLevels
}

func (c *LevelChoice) UnmarshalJSON(text []byte) error {
	*c = LevelChoice{}
	switch string(text) {
	case `"default"`, "null":
		return nil
	case `"calibrated"`:
		c.Calibrated = true
		return nil
	}
	if len(text) == 0 || text[0] != '{' {
		return fmt.Errorf(`%w: threat_levels are %s; they must be "default", "calibrated" or an object`, ErrInvalid, shown(string(text)))
	}
	given := map[string]*float64{}
	if err := json.Unmarshal(text, &given); err != nil {
		return fmt.Errorf("%w: threat_levels: each must be a number", ErrInvalid)
	}
	levels := DefaultLevels()
	for name, cut := range given {
		if cut == nil {
			return fmt.Errorf("%w: threat_levels: %s is null; it must be a number", ErrInvalid, shown(name))
		}
		switch Level(name) {
		case Critical:
			levels.Critical = *cut
		case High:
			levels.High = *cut
		case Medium:
			levels.Medium = *cut
		default:
			return fmt.Errorf("%w: threat_levels have no %s; they are critical, high and medium", ErrInvalid, shown(name))
		}
	}
	c.Custom = &levels
	return levels.Validate()
}

// levels are the cuts for a detector with these quantiles of its training scores.
func (c LevelChoice) levels(q Quantiles) (ThreatLevels, error) {
	switch {
	case c.Custom != nil && c.Calibrated:
		return ThreatLevels{}, fmt.Errorf("%w: threat levels are both calibrated and given", ErrInvalid)
	case c.Custom != nil:
		return *c.Custom, c.Custom.Validate()
	case c.Calibrated:
		high := min(q.at(1), 0)
		return ThreatLevels{Critical: min(q.at(0.1), high), High: high}, nil
	}
	return DefaultLevels(), nil
}

// Quantiles are training scores at rising shares of the training rows.
type Quantiles []Quantile

// Quantile is the score that Percent of the rows are below.
type Quantile struct {
	Percent float64 `json:"percent"`
	Score   float64 `json:"score"`
}

// quantilesOf takes the scores in ascending order.
func quantilesOf(sorted []float64) Quantiles {
	var q Quantiles
	for _, percent := range []float64{0, 0.1, 1, 2, 5, 10, 25, 50, 75, 90, 100} {
		q = append(q, Quantile{percent, forest.Percentile(sorted, percent)})
	}
	return q
}

func (q Quantiles) at(percent float64) float64 {
	for _, one := range q {
		if one.Percent == percent {
			return one.Score
		}
	}
	return 0
}
