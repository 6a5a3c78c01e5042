package sklearn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"modelbucket/detector/forest"
	"modelbucket/detector/joblib"
)

// Description is all that can be told of a joblib file, whatever it holds.
type Description struct {
	Container string `json:"container"`                // none, zlib, gzip, bz2, xz, lzma or lz4
	Unpacked  int64  `json:"unpacked_bytes,omitempty"` // 0 where it was not read to its end
	Protocols []int  `json:"protocols"`                // of pickle; 0 stands for 1, too

	ModelType      string          `json:"model_type,omitempty"`
	ModelModule    string          `json:"model_module,omitempty"`
	SklearnVersion string          `json:"sklearn_version,omitempty"`
	JoblibVersion  string          `json:"joblib_version,omitempty"` // ">=1.2" or "<1.2"
	ModelParams    json.RawMessage `json:"model_params,omitempty"`   // get_params()
	FeatureNames   []string        `json:"feature_names_in_,omitempty"`
	Features       int             `json:"n_features_in_,omitempty"`

	// Detector is nil for what cannot be asked; then Because says why.
	Detector *Shape `json:"detector"`
	Because  string `json:"not_a_detector_because,omitempty"`

	Globals []string `json:"globals"`           // the classes and functions that it names
	Refused string   `json:"refused,omitempty"` // the one of them that is not on the list
	// Harmful: Refused is none of a model's, but lets a file do what its maker likes with
	// whoever loads it in Python.
	Harmful bool `json:"harmful,omitempty"`
	Arrays  int  `json:"arrays"`
	// Contents are its values from the root on; long lists and deep ones only in part.
	Contents []Content `json:"contents,omitempty"`
	LeftOut  bool      `json:"contents_left_out,omitempty"` // more values than are shown
	Warnings []string  `json:"warnings,omitempty"`
}

// Shape is a detector in numbers.
type Shape struct {
	Scalers     []string `json:"scalers"` // in the order in which a row goes through them
	Features    int      `json:"features"`
	Trees       int      `json:"trees"`
	Nodes       int      `json:"nodes"`
	MaxSamples  int      `json:"max_samples"`
	MaxFeatures int      `json:"max_features"`
	Offset      float64  `json:"offset"`
}

// Describe tells what a file holds, in bounded time and memory. The error says why that
// is no detector (as Read does, or that it is a scaler alone), or is the reader's own;
// the description comes all the same, as far as it goes.
func Describe(r io.Reader, limit int64) (*Description, error) {
	file, readErr := joblib.Read(r, limit)
	p, facts, err := examine(file, readErr)
	d := &Description{
		Container: file.Container, Unpacked: file.Size, Protocols: append([]int{}, file.Protocols...), Arrays: file.Arrays,
		ModelType: facts.ModelType, ModelModule: facts.ModelModule, SklearnVersion: facts.SklearnVersion, JoblibVersion: facts.JoblibVersion,
		ModelParams: facts.ModelParams, FeatureNames: facts.FeatureNames, Features: facts.Features,
		Globals: []string{},
	}
	for _, g := range file.Globals {
		d.Globals = append(d.Globals, g.String())
	}
	if g, ok := errors.AsType[*joblib.GlobalError](readErr); ok {
		d.Refused = g.Global.String()
		if d.Harmful = runsCode(g.Global); d.Harmful {
			d.Warnings = append(d.Warnings, fmt.Sprintf("names %s, which is no part of any model: load it nowhere, for in Python that may execute what its maker chose", d.Refused))
		}
	}
	if readErr == nil {
		d.Contents, d.LeftOut = contentsOf(file.Root)
	}
	d.warn(file)
	if err == nil && p.Forest == nil {
		err = fmt.Errorf("%w: holds a scaler alone, and no IsolationForest behind it", ErrUnsupported)
	}
	if err != nil {
		d.Because = err.Error()
		return d, err
	}
	d.Detector = shapeOf(p)
	return d, nil
}

// runsCode tells whether a name is of a module of Python's own that runs code, starts
// programs or reaches files. No model has one of these; that a name is none of them does
// not make a file harmless.
func runsCode(g joblib.Global) bool {
	module, _, _ := strings.Cut(g.Module, ".")
	if isPythons(module) {
		return true
	}
	path := strings.Split(g.Name, ".") // Python follows it, from module to module
	return slices.ContainsFunc(path[:len(path)-1], isPythons)
}

func isPythons(module string) bool {
	switch module {
	case "__builtin__", "builtins", "bdb", "cloudpickle", "code", "codeop", "commands", "ctypes", "dill", "functools", "importlib", "imp",
		"io", "marshal", "multiprocessing", "nt", "operator", "os", "pathlib", "pdb", "pickle", "_pickle", "pip", "pkgutil", "platform",
		"posix", "profile", "pty", "runpy", "shutil", "site", "socket", "subprocess", "_posixsubprocess", "sys", "tempfile", "timeit",
		"trace", "types", "urllib", "venv", "webbrowser":
		return true
	}
	return false
}

func shapeOf(p *Pipeline) *Shape {
	s := &Shape{
		Scalers: []string{}, Features: p.Forest.Features, Trees: len(p.Forest.Trees),
		MaxSamples: p.Forest.MaxSamples, MaxFeatures: p.Forest.MaxFeatures, Offset: p.Forest.Offset,
	}
	for _, t := range p.Forest.Trees {
		s.Nodes += len(t.Nodes)
	}
	steps := p.Before
	if p.Scaler != nil {
		steps = append(steps[:len(steps):len(steps)], p.Scaler)
	}
	for _, step := range steps {
		name := minMaxClass.Name
		if scaler, ok := step.(*forest.Scaler); ok {
			name = scalerClass.Name
			if scaler.Scale != nil && scaler.Var == nil {
				name = robustClass.Name
			}
		}
		s.Scalers = append(s.Scalers, name)
	}
	return s
}

// warn tells of what is in order, but should be known.
func (d *Description) warn(file *joblib.File) {
	warn := func(format string, args ...any) { d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...)) }
	if n := file.Unpadded; n > 0 {
		warn("%d arrays without padding, as joblib before 1.2 wrote them: a reader of plain pickles could be made to execute their bytes; dump it again with joblib 1.2 or newer", n)
	}
	parts, err := partsOf(file.Root)
	if err != nil {
		return // and the error is told
	}
	versions := map[string]bool{}
	for _, o := range parts {
		version := text(o, "_sklearn_version")
		if version != "" && !versions[version] && len(versions) > 0 {
			warn("parts by different versions of scikit-learn: %.20q and %.20q", text(parts[0], "_sklearn_version"), version)
		}
		versions[version] = true
		if o.Class != forestClass {
			continue
		}
		if seed, _ := o.Attribute("random_state"); seed == nil {
			warn("trained without random_state: nobody can train it again")
		}
	}
}
