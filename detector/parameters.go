package detector

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"modelbucket/detector/forest"
)

// SetParameter sets a parameter of IsolationForest by scikit-learn's name for it, from
// text as it stands in a query: "auto", "256", "0.1", "true". A number with a dot or
// an exponent is a share, as a Python float is.
func SetParameter(p *forest.Params, name, text string) error {
	set, ok := parameters[name]
	if !ok {
		return fmt.Errorf("%w: there is no parameter %s; there are %s", ErrInvalid, shown(name), strings.Join(slices.Sorted(maps.Keys(parameters)), ", "))
	}
	if want, ok := set(p, text); !ok {
		return fmt.Errorf("%w: %s is %s; it must be %s", ErrInvalid, name, shown(text), want)
	}
	return nil
}

// ParseParameters reads {"n_estimators":100,"max_samples":"auto",…}; those left out
// are forest.DefaultParams.
func ParseParameters(text []byte) (forest.Params, error) {
	p := forest.DefaultParams()
	given := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &given); err != nil || given == nil {
		return p, fmt.Errorf("%w: parameters are %s; they must be an object", ErrInvalid, shown(string(text)))
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := string(given[name])
		if value == `"auto"` {
			value = "auto"
		}
		if err := SetParameter(&p, name, value); err != nil {
			return p, err
		}
	}
	return p, nil
}

// parameters set one parameter each; if they can't, they say what it must be.
var parameters = map[string]func(p *forest.Params, text string) (want string, ok bool){
	"n_estimators": func(p *forest.Params, text string) (string, bool) {
		n, err := strconv.Atoi(text)
		p.Trees = n
		return fmt.Sprintf("an integer from 1 to %d", forest.MaxTrees), err == nil && n >= 1 && n <= forest.MaxTrees
	},
	"max_samples": func(p *forest.Params, text string) (string, bool) {
		var ok bool
		p.MaxSamples, ok = parseSize(text)
		return `a number of rows, a share above 0.0 and at most 1.0, or "auto"`, ok || text == "auto"
	},
	"max_features": func(p *forest.Params, text string) (string, bool) {
		var ok bool
		p.MaxFeatures, ok = parseSize(text)
		return "a number of features, or a share above 0.0 and at most 1.0", ok
	},
	"contamination": func(p *forest.Params, text string) (string, bool) {
		share, ok := parseShare(text, 0.5)
		p.Contamination = share
		return `above 0 and at most 0.5, or "auto"`, ok || text == "auto"
	},
	"bootstrap": func(p *forest.Params, text string) (string, bool) {
		p.Bootstrap = text == "true"
		return "true or false", p.Bootstrap || text == "false"
	},
	"random_state": func(p *forest.Params, text string) (string, bool) {
		n, err := strconv.ParseUint(text, 10, 32)
		p.RandomState = uint32(n)
		return "an integer from 0 to 4294967295", err == nil
	},
}

func parseSize(text string) (forest.Size, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return forest.Size{Count: n}, n >= 1
	}
	share, ok := parseShare(text, 1)
	return forest.Size{Share: share}, ok
}

func parseShare(text string, most float64) (float64, bool) {
	if !isNumber(text) {
		return 0, false
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x > 0 && x <= most) {
		return 0, false
	}
	return x, true
}
