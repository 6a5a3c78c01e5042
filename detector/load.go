package detector

import (
	"context"
	"errors"
	"fmt"
	"math"

	"modelbucket/blob"
	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

// maxArtifact bounds the file of a detector and what it unpacks to, in bytes.
const maxArtifact = 256 << 20

// tolerance is how far a score may be from the one on record.
const tolerance = 1e-12

// Load reads a version's detector: it verifies every byte, checks the forest as a whole
// and scores the golden rows. A version that holds none is ErrNotADetector; one whose
// scores are not those on record ErrDisagrees. What the registry has to say about its
// files passes through, and that it does not serve the version.
func Load(ctx context.Context, r *registry.Registry, v *registry.Version) (*Detector, error) {
	served := make(chan error, 1)
	go func() { served <- r.Admit(ctx, v) }() // beside the reading, of which nothing is used until then
	d, err := load(ctx, r, v)
	if refused := <-served; refused != nil {
		err = refused
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", v.Ref(), err)
	}
	return d, nil
}

func load(ctx context.Context, r *registry.Registry, v *registry.Version) (*Detector, error) {
	record, err := ParseRecord(v.Facts.Detector)
	if why := v.NotADetectorBecause; err != nil && why != "" {
		return nil, fmt.Errorf("%w: %s", ErrNotADetector, why)
	}
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, name := range record.Files {
		p, err := readPart(ctx, r, v, name)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{name, p})
	}
	p, _, err := combine(parts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotADetector, err)
	}
	d, err := newDetector(record.Features, record.Levels, p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotADetector, err)
	}
	d.number = v.Version
	if n := len(d.features); n != 0 && n != d.Width() {
		return nil, fmt.Errorf("%w: its record names %d features, its forest takes %d", ErrNotADetector, n, d.Width())
	}
	if err := d.check(record.Golden); err != nil {
		return nil, err
	}
	return d, nil
}

func readPart(ctx context.Context, r *registry.Registry, v *registry.Version, name registry.FileName) (*sklearn.Pipeline, error) {
	file, err := r.OpenFile(ctx, v, name, blob.Range{})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p, err := sklearn.Read(file, maxArtifact)
	if notOurs(err) {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotADetector, name, err)
	}
	return p, err
}

// notOurs tells whether a file is the reason that it could not be read, and not what
// stands between.
func notOurs(err error) bool {
	return errors.Is(err, sklearn.ErrMalformed) || errors.Is(err, sklearn.ErrUnsupported) || errors.Is(err, sklearn.ErrTooLarge) || errors.Is(err, forest.ErrInvalid)
}

// check scores the golden rows.
func (d *Detector) check(golden []Golden) error {
	score := make([]float64, 1)
	for i, g := range golden {
		if len(g.Row) != d.Width() {
			return fmt.Errorf("%w: golden row %d has %d values, the forest takes %d", ErrDisagrees, i, len(g.Row), d.Width())
		}
		d.Score(score, g.Row)
		if !(math.Abs(score[0]-g.Score) <= tolerance) {
			return fmt.Errorf("%w: golden row %d has the score %v, on record is %v", ErrDisagrees, i, score[0], g.Score)
		}
	}
	return nil
}

// record begins the record of a detector.
func (d *Detector) record(files []registry.FileName) *Record {
	features := d.features
	if features == nil {
		features = []string{}
	}
	return &Record{
		Features: features, Trees: d.Trees(), Levels: d.levels, Reachable: d.levels.Reachable(d.Floor()),
		Floor: d.Floor(), Files: files,
	}
}

// part is what one file of a version holds.
type part struct {
	name     registry.FileName
	pipeline *sklearn.Pipeline
}

// combine makes one detector of a version's files: one that holds it whole, or a bare
// forest and the scaler that goes before it. It also tells which files those are.
func combine(parts []part) (*sklearn.Pipeline, []registry.FileName, error) {
	var whole, scaler *part
	for i := range parts {
		p := &parts[i]
		held, what := &whole, "an IsolationForest"
		if p.pipeline.Forest == nil {
			held, what = &scaler, "a scaler alone"
		}
		if *held != nil {
			return nil, nil, fmt.Errorf("%s and %s both hold %s", (*held).name, p.name, what)
		}
		*held = p
	}
	switch {
	case whole == nil:
		return nil, nil, errors.New("no file holds an IsolationForest")
	case scaler == nil:
		return whole.pipeline, []registry.FileName{whole.name}, nil
	case whole.pipeline.Scaler != nil || whole.pipeline.Before != nil:
		return nil, nil, fmt.Errorf("%s holds a scaler of its own, and %s another", whole.name, scaler.name)
	case whole.pipeline.Width() != scaler.pipeline.Width():
		return nil, nil, fmt.Errorf("%s scales %d features, %s takes %d", scaler.name, scaler.pipeline.Width(), whole.name, whole.pipeline.Width())
	}
	both := *whole.pipeline
	both.Before, both.Scaler = scaler.pipeline.Before, scaler.pipeline.Scaler
	if scaler.pipeline.FeatureNames != nil {
		both.FeatureNames = scaler.pipeline.FeatureNames
	}
	return &both, []registry.FileName{whole.name, scaler.name}, nil
}
