package detector_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

// file is a file to be published.
type file struct {
	name    registry.FileName
	content []byte
}

// publish saves a version.
func (s *store) publish(facts registry.Facts, files ...file) *registry.Version {
	s.Helper()
	u, err := s.Begin(s.Context(), registry.Publication{Tenant: tenant, Model: model, By: "test"})
	if err != nil {
		s.Fatal(err)
	}
	defer u.Abort()
	for _, f := range files {
		if _, err := u.File(s.Context(), f.name, bytes.NewReader(f.content), int64(len(f.content)), ""); err != nil {
			s.Fatal(err)
		}
	}
	v, err := u.Commit(s.Context(), facts)
	if err != nil {
		s.Fatal(err)
	}
	s.tidy()
	return v
}

func bytesOf(t testing.TB, trained *detector.Trained) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := trained.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPublishAndLoad: from events to a version, and back to the same scores.
func TestPublishAndLoad(t *testing.T) {
	s := newStore(t)
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Levels: detector.LevelChoice{Calibrated: true}})
	p := registry.Publication{Tenant: tenant, Model: model, Label: "v1", By: "test", Key: "once"}
	v, err := trained.Publish(t.Context(), s.Registry, p)
	if err != nil {
		t.Fatal(err)
	}
	if v.Version != 1 || len(v.Files) != 1 || v.Files[0].Name != detector.ArtifactName || v.Files[0].Size != trained.Size() || string(v.Facts.Detector) != string(trained.Facts().Detector) {
		t.Errorf("published %+v", v)
	}
	again, err := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Levels: detector.LevelChoice{Calibrated: true}}).Publish(t.Context(), s.Registry, p)
	if err != nil || again.Version != 1 {
		t.Errorf("the same again made version %v: %v", again, err)
	}
	if _, err = mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Publish(t.Context(), s.Registry, p); !errors.Is(err, registry.ErrIdempotencyMismatch) {
		t.Errorf("another training under the same key: got %v, want %v", err, registry.ErrIdempotencyMismatch)
	}

	d, err := detector.Load(t.Context(), s.Registry, v)
	if err != nil {
		t.Fatal(err)
	}
	if d.Version() != 1 || !cmp.Equal(d.Features(), detector.DefaultFeatures()) || d.Trees() != 10 || d.Width() != 3 || d.Levels() != trained.Record.Levels || d.Floor() != trained.Record.Floor {
		t.Errorf("loaded version %d of %v, %d trees, %+v", d.Version(), d.Features(), d.Trees(), d.Levels())
	}
	if !cmp.Equal(scoresOf(t, trained.Detector, sample(t), detector.CSV), scoresOf(t, d, sample(t), detector.CSV)) {
		t.Error("the scores differ from those of the detector that was published")
	}
	if d.Bytes() <= 0 || d.Bytes() != trained.Detector.Bytes() {
		t.Errorf("it holds %d bytes, the one that was published %d", d.Bytes(), trained.Detector.Bytes())
	}
}

// TestLoadRefuses: what is not exactly the detector on record is not scored with.
func TestLoadRefuses(t *testing.T) {
	s := newStore(t)
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{})
	content := bytesOf(t, trained)
	record := func(change func(*detector.Record)) registry.Facts {
		r, err := detector.ParseRecord(trained.Facts().Detector)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return registry.Facts{Detector: text}
	}
	none := func(*detector.Record) {}
	for _, c := range []struct {
		name    string
		facts   registry.Facts
		content []byte
		want    error
		text    string
	}{
		{"no record", registry.Facts{}, content, detector.ErrNotADetector, "none of its files"},
		{"another golden score", record(func(r *detector.Record) { r.Golden[1].Score += 2e-12 }), content, detector.ErrDisagrees, "golden row 1"},
		{"a golden row of another width", record(func(r *detector.Record) { r.Golden[0].Row = []float64{1} }), content, detector.ErrDisagrees, "golden row 0 has 1 values"},
		{"other features", record(func(r *detector.Record) { r.Features = r.Features[:2] }), content, detector.ErrNotADetector, "names 2 features"},
		{"a file that is not there", record(func(r *detector.Record) { r.Files = []registry.FileName{"other.joblib"} }), content, registry.ErrFileNotFound, "other.joblib"},
		{"no files", record(func(r *detector.Record) { r.Files = nil }), content, detector.ErrNotADetector, "no file holds"},
		{"no joblib file", record(none), []byte("hello"), detector.ErrNotADetector, "model.joblib"},
		{"half a file", record(none), content[:len(content)/2], detector.ErrNotADetector, "model.joblib"},
	} {
		v := s.publish(c.facts, file{detector.ArtifactName, c.content})
		if _, err := detector.Load(t.Context(), s.Registry, v); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v with %q", c.name, err, c.want, c.text)
		}
	}

	v := s.publish(record(none), file{detector.ArtifactName, content})
	for fault, want := range map[blobtest.Fault]error{blobtest.Flip: registry.ErrCorrupt, blobtest.Before: blob.ErrUnavailable} {
		s.bucket.SetRules(blobtest.Rule{Fault: fault, Operation: blobtest.Get, Key: regexp.MustCompile(`model\.joblib$`)})
		if _, err := detector.Load(t.Context(), s.Registry, v); !errors.Is(err, want) || errors.Is(err, detector.ErrNotADetector) {
			t.Errorf("%s: got %v, want %v", fault, err, want)
		}
	}
	s.back()
	if _, err := detector.Load(t.Context(), s.Registry, v); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// watch passes files by a Describer, as an upload does.
func watch(t *testing.T, features []string, files ...file) (registry.Facts, error) {
	t.Helper()
	d := detector.NewDescriber()
	defer d.Close()
	for _, f := range files {
		passed, err := io.ReadAll(d.Watch(f.name, iotest.HalfReader(bytes.NewReader(f.content))))
		if err != nil || !bytes.Equal(passed, f.content) {
			t.Fatalf("%s passed as %d bytes of %d: %v", f.name, len(passed), len(f.content), err)
		}
	}
	return d.Facts(features)
}

// apart writes the scaler and the forest of a detector as two files.
func apart(t *testing.T, trained *detector.Trained) (scaler, isolation file) {
	t.Helper()
	p := artifact(t, trained)
	for f, part := range map[*file]*sklearn.Pipeline{
		&scaler:    {Scaler: p.Scaler, FeatureNames: p.FeatureNames},
		&isolation: {Forest: p.Forest, Params: p.Params},
	} {
		var b bytes.Buffer
		if err := sklearn.Write(&b, part, sklearn.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		f.content = b.Bytes()
	}
	scaler.name, isolation.name = "anomaly_detector_scaler.joblib", "isolation_forest_anomaly_detector.joblib"
	return scaler, isolation
}

// TestDescribe: what the files of an upload are found to hold, and that it can be loaded.
func TestDescribe(t *testing.T) {
	s := newStore(t)
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{})
	want := scoresOf(t, trained.Detector, sample(t), detector.CSV)
	whole := file{"model.joblib", bytesOf(t, trained)}
	scaler, isolation := apart(t, trained)
	notes := file{"notes.txt", []byte("trained in March")}
	for _, c := range []struct {
		name     string
		features []string
		files    []file
		kind     string
		holds    []registry.FileName
	}{
		{"one file", nil, []file{whole}, "Pipeline", []registry.FileName{"model.joblib"}},
		{"one file and its names", detector.DefaultFeatures(), []file{whole}, "Pipeline", []registry.FileName{"model.joblib"}},
		{"with another", nil, []file{notes, whole}, "Pipeline", []registry.FileName{"model.joblib"}},
		{"forest and scaler", nil, []file{isolation, notes, scaler}, "IsolationForest", []registry.FileName{isolation.name, scaler.name}},
		{"scaler and forest", nil, []file{scaler, isolation}, "IsolationForest", []registry.FileName{isolation.name, scaler.name}},
	} {
		facts, err := watch(t, c.features, c.files...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		r, err := detector.ParseRecord(facts.Detector)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if *facts.ModelType != c.kind || !cmp.Equal(r.Files, c.holds) || !cmp.Equal(r.Features, detector.DefaultFeatures()) || r.Trees != 10 || r.Floor != trained.Record.Floor {
			t.Errorf("%s: %s, %+v", c.name, *facts.ModelType, r)
		}
		d, err := detector.Load(t.Context(), s.Registry, s.publish(facts, c.files...))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !cmp.Equal(want, scoresOf(t, d, sample(t), detector.CSV)) {
			t.Errorf("%s: other scores than those of the whole", c.name)
		}
	}
}

// TestDescribeOpaque: anything else is kept as it is.
func TestDescribeOpaque(t *testing.T) {
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{})
	whole := file{"model.joblib", bytesOf(t, trained)}
	scaler, isolation := apart(t, trained)
	other := file{"other.joblib", bytesOf(t, mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Features: []string{"packet_count"}}))}
	otherScaler, _ := apart(t, mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Features: []string{"packet_count"}}))
	for name, files := range map[string][]file{
		"nothing":                     nil,
		"text":                        {{"notes.txt", []byte("hello")}},
		"an empty file":               {{"empty", nil}},
		"half a detector":             {{"model.joblib", whole.content[:len(whole.content)/2]}},
		"a detector with more behind": {{"model.joblib", append(bytes.Clone(whole.content), 'x')}},
		"two detectors":               {whole, other},
		"many detectors":              {whole, {"b", whole.content}, {"c", whole.content}, {"d", whole.content}, {"e", whole.content}},
		"two scalers":                 {isolation, scaler, {"second", scaler.content}},
		"a scaler alone":              {scaler},
		"one scaler too many":         {whole, scaler},
		"a scaler of another width":   {isolation, otherScaler},
	} {
		facts, err := watch(t, nil, files...)
		if err != nil || facts.Detector != nil {
			t.Errorf("%s: got %s, %v", name, facts.Detector, err)
		}
		if _, err := watch(t, []string{"a", "b", "c"}, files...); !errors.Is(err, detector.ErrInvalid) {
			t.Errorf("%s, with features: got %v, want %v", name, err, detector.ErrInvalid)
		}
	}
	facts, err := watch(t, nil, scaler)
	if err != nil || facts.ModelType == nil || *facts.ModelType != "StandardScaler" {
		t.Errorf("a scaler alone is not told as what it is: %+v, %v", facts, err)
	}
}

// TestDescribeFeatures: names that do not fit are refused.
func TestDescribeFeatures(t *testing.T) {
	trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{})
	whole := file{"model.joblib", bytesOf(t, trained)}
	_, nameless := apart(t, trained)
	for text, features := range map[string][]string{
		"2 features are named, the forest takes 3": {"a", "b"},
		"0 features":       {},
		"named twice":      {"a", "b", "a"},
		"the artifact has": {"packet_count", "bytes_transferred", "connection_duration"},
	} {
		if _, err := watch(t, features, whole); !errors.Is(err, detector.ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: got %v, want %v with %q", features, err, detector.ErrInvalid, text)
		}
	}
	facts, err := watch(t, []string{"x", "y", "z"}, nameless)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := detector.ParseRecord(facts.Detector); err != nil || !cmp.Equal(r.Features, []string{"x", "y", "z"}) {
		t.Errorf("names for a forest without: %+v, %v", r, err)
	}
}

// TestNameless: a forest whose features nobody named takes rows.
func TestNameless(t *testing.T) {
	s := newStore(t)
	params := forest.DefaultParams()
	params.Trees = 5
	set, err := detector.Collect(t.Context(), detector.NewReader(strings.NewReader(sample(t)), detector.CSV), detector.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	trained, err := detector.Train(t.Context(), set, detector.TrainOptions{Features: []string{"packet_count", "bytes_transferred"}, Parameters: &params})
	if err != nil {
		t.Fatal(err)
	}
	_, nameless := apart(t, trained)
	facts, err := watch(t, nil, nameless)
	if err != nil {
		t.Fatal(err)
	}
	d, err := detector.Load(t.Context(), s.Registry, s.publish(facts, nameless))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Features()) != 0 || d.Width() != 2 {
		t.Errorf("features %v, width %d", d.Features(), d.Width())
	}
	all, summary, err := score(t, d, `{"rows":[[1,2],[1,null],[1]]}`, detector.JSON, detector.ScoreOptions{})
	if err != nil || summary.Failed != 1 || all[0].Error != nil || !cmp.Equal(summary.Missing, map[string]int{"1": 1}) {
		t.Errorf("rows: %+v, %v", summary, err)
	}
	all, _, err = score(t, d, `[{"packet_count":1}]`, detector.JSON, detector.ScoreOptions{})
	if err != nil || all[0].Error == nil || !strings.Contains(all[0].Error.Detail, `send "rows"`) {
		t.Errorf("an event: %+v, %v", all, err)
	}
}

// TestDescribeBrokenUpload: an upload that breaks off, or is given up, leaves nothing
// behind.
func TestDescribeBrokenUpload(t *testing.T) {
	whole := bytesOf(t, mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}))
	broken := errors.New("line broken")
	d := detector.NewDescriber()
	body := d.Watch("model.joblib", io.MultiReader(bytes.NewReader(whole[:1000]), iotest.ErrReader(broken)))
	if _, err := io.ReadAll(body); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if n, err := io.ReadFull(d.Watch("second.joblib", bytes.NewReader(whole)), make([]byte, 1000)); n != 1000 || err != nil {
		t.Errorf("read %d: %v", n, err)
	}
	d.Close() // and it returns, as the looks have ended
}
