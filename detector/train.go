package detector

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

// TrainOptions say what to make of a TrainingSet.
type TrainOptions struct {
	// Features are the columns to train on; nil means DefaultFeatures. Those that no
	// event has are left out; if that leaves none, the detector is trained on a single
	// column of zeros, which has the first one's name.
	Features []string
	// Parameters of the forest; nil means forest.DefaultParams.
	Parameters *forest.Params
	Levels     LevelChoice
	// SklearnVersion is the scikit-learn whose form the artifact has ("": the newest
	// that sklearn.Write knows).
	SklearnVersion string
}

// ArtifactName is the file of a version that was trained here.
const ArtifactName registry.FileName = "model.joblib"

// maxNodes bounds what a training may build, whatever its parameters: 256 MiB.
const maxNodes = 4 << 20

// Trained is a detector that has no version yet.
type Trained struct {
	Detector *Detector
	Record   *Record

	facts    registry.Facts
	artifact []byte
	request  []byte // what was asked for
}

// Train fits StandardScaler and IsolationForest to the set, as scikit-learn would to a
// pandas frame of it: for the same numbers the trees and the scaler have the same bits.
// Errors of the caller's making are ErrInvalid, ErrBadEvent, ErrTooLarge, and
// forest.ErrParams and ErrData.
func Train(ctx context.Context, set *TrainingSet, o TrainOptions) (*Trained, error) {
	t, err := train(ctx, set, o)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return t, nil
}

func train(ctx context.Context, set *TrainingSet, o TrainOptions) (*Trained, error) {
	params := forest.DefaultParams()
	if o.Parameters != nil {
		params = *o.Parameters
	}
	if err := checkSize(params, set.Samples); err != nil {
		return nil, err
	}
	names, absent, columns, err := set.choose(o.Features)
	if err != nil {
		return nil, err
	}
	n, d := set.Samples, len(names)
	x := set.matrix(columns)
	scaler, err := forest.FitScaler(x, n, d, forest.Pairwise)
	if err != nil {
		return nil, err
	}
	scaler.Transform(x, x)
	f, scores, err := forest.Fit(ctx, x, n, d, params)
	if err != nil {
		return nil, err
	}
	if scores == nil {
		if scores, err = f.ScoreAll(ctx, x); err != nil {
			return nil, err
		}
	}
	for i := range scores {
		scores[i] = settle(scores[i] - f.Offset)
	}
	rows := goldenRows(scores)
	slices.Sort(scores)
	quantiles := quantilesOf(scores)
	levels, err := o.Levels.levels(quantiles)
	if err != nil {
		return nil, err
	}

	pipeline := &sklearn.Pipeline{Scaler: scaler, Forest: f, FeatureNames: names, Params: &params}
	trained, err := newDetector(names, levels, pipeline)
	if err != nil {
		return nil, err
	}
	t := &Trained{Detector: trained}
	t.Record = t.Detector.record([]registry.FileName{ArtifactName})
	t.Record.Golden = t.golden(columns, rows)
	t.Record.Training = &Training{
		Samples: n, Features: names, Absent: absent, Missing: missing(names, columns, n),
		Hyperparameters: object(hyperparameters(params)), Hash: set.MD5, SHA256: set.SHA256,
		MaxSamples: f.MaxSamples, Offset: f.Offset, Quantiles: quantiles, Summation: "pairwise",
	}
	if t.request, err = json.Marshal(struct {
		Events, SklearnVersion string
		Features               []string
		Parameters             forest.Params
		Levels                 LevelChoice
	}{set.SHA256, o.SklearnVersion, o.Features, params, o.Levels}); err != nil {
		return nil, err
	}
	return t, t.write(pipeline, o.SklearnVersion)
}

// checkSize refuses parameters that would fill the memory, before anything is built.
func checkSize(p forest.Params, samples int) error {
	if err := p.Validate(); err != nil {
		return err
	}
	perTree := min(256, samples)
	switch s := p.MaxSamples; {
	case s.Count > 0:
		perTree = min(s.Count, samples)
	case s.Share > 0:
		perTree = int(s.Share * float64(samples))
	}
	if nodes := int64(p.Trees) * int64(2*perTree-1); nodes > maxNodes {
		return fmt.Errorf("%w: %d trees of %d rows may have %d nodes; a detector may have %d", ErrTooLarge, p.Trees, perTree, nodes, maxNodes)
	}
	return nil
}

// goldenRows chooses a few rows: those with the lowest and the highest score, and some
// at even distances.
func goldenRows(scores []float64) []int {
	const spread = 6
	lowest, highest := 0, 0
	for i, s := range scores {
		if s < scores[lowest] {
			lowest = i
		}
		if s > scores[highest] {
			highest = i
		}
	}
	rows := []int{lowest, highest}
	for i := range spread {
		rows = append(rows, i*len(scores)/spread)
	}
	slices.Sort(rows)
	return slices.Compact(rows)
}

func (t *Trained) golden(columns []*column, rows []int) []Golden {
	var golden []Golden
	for _, i := range rows {
		row := make([]float64, len(columns))
		for j, c := range columns {
			if i < len(c.values) {
				row[j] = c.values[i]
			}
		}
		score := make([]float64, 1)
		t.Detector.Score(score, row)
		golden = append(golden, Golden{row, score[0]})
	}
	return golden
}

func missing(names []string, columns []*column, samples int) map[string]int {
	m := map[string]int{}
	for i, c := range columns {
		if lacking := samples - c.filled; lacking > 0 {
			m[names[i]] = lacking
		}
	}
	return m
}

// write makes the artifact, and the facts about it by reading it back.
func (t *Trained) write(p *sklearn.Pipeline, version string) error {
	var artifact bytes.Buffer
	if err := sklearn.Write(&artifact, p, sklearn.WriteOptions{SklearnVersion: version}); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err) // all but the version is in order
	}
	t.artifact = artifact.Bytes()
	said, err := sklearn.Inspect(&artifact, maxArtifact)
	if err != nil {
		return fmt.Errorf("read the artifact back: %w", err)
	}
	t.facts, err = factsOf(said, t.Record)
	return err
}

// WriteTo writes the artifact: a joblib file that scikit-learn loads as its Pipeline.
func (t *Trained) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(t.artifact)
	return int64(n), err
}

// Size is the artifact's length in bytes.
func (t *Trained) Size() int64 { return int64(len(t.artifact)) }

// Facts are what the registry keeps of the detector.
func (t *Trained) Facts() registry.Facts { return t.facts }

// Publish makes a version of the detector. Where p.Request says nothing, the events and
// options of the training are what a repeat with the same key is recognised by.
func (t *Trained) Publish(ctx context.Context, r *registry.Registry, p registry.Publication) (*registry.Version, error) {
	if p.Request == nil {
		p.Request = t.request
	}
	u, err := r.Begin(ctx, p)
	if err != nil {
		return nil, err
	}
	defer u.Abort()
	if _, err := u.File(ctx, ArtifactName, bytes.NewReader(t.artifact), t.Size(), ""); err != nil {
		return nil, err
	}
	return u.Commit(ctx, t.facts)
}
