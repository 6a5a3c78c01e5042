package sklearn

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"

	"modelbucket/detector/joblib"
)

// DefaultVersion is the version of scikit-learn whose form Write gives a file.
const DefaultVersion = "1.9.1"

// WriteOptions choose the form of a file.
type WriteOptions struct {
	// SklearnVersion is 1.2 or newer; the default is DefaultVersion. scikit-learn
	// warns when it loads a file of another version than its own, and those before 1.3
	// cannot load the trees of newer ones, nor the other way round.
	SklearnVersion string
}

var versionGrammar = regexp.MustCompile(`^([0-9]{1,3})\.([0-9]{1,3})(\.[0-9a-z]{1,16})?$`)

// layout is the form that a version of scikit-learn gives its objects.
type layout struct {
	version string
	minor   int // of 1.minor; those of 2 and newer count as the newest known
	nodes   *joblib.DType
}

// since tells whether the version is 1.minor or newer. Each use names what came then.
func (l *layout) since(minor int) bool { return l.minor >= minor }

func newLayout(version string) (*layout, error) {
	if version == "" {
		version = DefaultVersion
	}
	m := versionGrammar.FindStringSubmatch(version)
	if m == nil {
		return nil, fmt.Errorf("%q is no version of scikit-learn", version)
	}
	major, _ := strconv.Atoi(m[1]) // at most three digits
	minor, _ := strconv.Atoi(m[2])
	if major < 1 || (major == 1 && minor < 2) {
		return nil, fmt.Errorf("scikit-learn %s is older than 1.2", version)
	}
	if major > 1 {
		minor = math.MaxInt
	}
	l := &layout{version: version, minor: minor}
	l.nodes = nodeType(l.since(3))
	return l, nil
}

// Write writes a detector as joblib.dump(…, compress=3) would: as
// Pipeline([("scaler", StandardScaler), ("forest", IsolationForest)]), or the one of
// both that there is.
func Write(w io.Writer, p *Pipeline, o WriteOptions) error {
	l, err := newLayout(o.SklearnVersion)
	if err == nil {
		err = p.validate()
	}
	if err != nil {
		return fmt.Errorf("write detector: %w", err)
	}
	var root any
	switch {
	case p.Forest == nil:
		root = l.scaler(p.Scaler, p.FeatureNames)
	case p.Scaler == nil:
		root = l.forest(p.Forest, p.Params, p.FeatureNames)
	default:
		steps := &joblib.List{Items: []any{
			joblib.Tuple{"scaler", l.scaler(p.Scaler, p.FeatureNames)},
			joblib.Tuple{"forest", l.forest(p.Forest, p.Params, nil)},
		}}
		state := attributes{{"steps", steps}}
		if l.since(6) {
			state.add("transform_input", nil)
		}
		state.add("memory", nil)
		state.add("verbose", false)
		root = l.object(pipelineClass, state)
	}
	return joblib.Write(w, root)
}

// validate checks that all that is to be written is there and fits together.
func (p *Pipeline) validate() error {
	if p.Forest == nil && p.Scaler == nil {
		return errors.New("neither a scaler nor a forest")
	}
	if len(p.Before) > 0 {
		return errors.New("a scaler before the scaler")
	}
	if s := p.Scaler; s != nil {
		if s.Scale != nil && s.Var == nil {
			return errors.New("a scaler without variances is no StandardScaler")
		}
		if err := s.Validate(); err != nil {
			return err
		}
	}
	if f := p.Forest; f != nil {
		if err := f.Validate(); err != nil {
			return err
		}
		if p.Params == nil {
			return errors.New("a forest without its training parameters")
		}
		for i := range f.Trees {
			if f.Trees[i].Stats == nil {
				return fmt.Errorf("tree %d without its statistics", i)
			}
		}
		if p.Scaler != nil && p.Scaler.Features != f.Features {
			return fmt.Errorf("a scaler of %d features before a forest of %d", p.Scaler.Features, f.Features)
		}
	}
	if n := p.Width(); p.FeatureNames != nil && len(p.FeatureNames) != n {
		return fmt.Errorf("%d names of %d features", len(p.FeatureNames), n)
	}
	return nil
}
