package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelbucket/registry"
)

func TestNamesOfAPath(t *testing.T) {
	for path, want := range map[string]persistenceNames{
		"acme/fraud/20240101_000000.joblib":            {"acme", "fraud", "20240101_000000"},
		"root/acme/fraud/v1.0.joblib":                  {"acme", "fraud", "v1.0"},
		"acme/fraud/v1.0/model.joblib":                 {"acme", "fraud", "v1.0"},
		"acme/fraud/latest.joblib":                     {"acme", "fraud", "latest"},
		"acme/fraud_20240101_000000.joblib":            {"acme", "fraud", "20240101_000000"},
		"acme/isolation_forest_v2.joblib":              {"acme", "isolation_forest", "v2"},
		"acme/isolation_forest_1.0.3.joblib":           {"acme", "isolation_forest", "1.0.3"},
		"acme/isolation_forest.joblib":                 {"acme", "isolation_forest", ""},
		"isolation_forest_20240101_000000_1234.joblib": {"", "isolation_forest", "20240101_000000_1234"},
		"m.joblib": {"", "m", ""},
	} {
		if diff := cmp.Diff(want, namesOf(path), cmp.AllowUnexported(persistenceNames{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestTimesAsPythonWritesThem(t *testing.T) {
	want := time.Date(2024, 1, 2, 3, 4, 5, 678000000, time.UTC)
	for _, text := range []string{"2024-01-02T03:04:05.678", "2024-01-02T03:04:05.678000", "2024-01-02 03:04:05.678", "2024-01-02T04:04:05.678+01:00", "2024-01-02T03:04:05.678Z"} {
		if got, ok := parseTime(text); !ok || !got.Equal(want) {
			t.Errorf("%s is %v, %v; want %v", text, got, ok, want)
		}
	}
	if got, ok := parseTime("yesterday"); ok {
		t.Errorf("yesterday is %v", got)
	}
}

// A scaler joins the one model that it can belong to; else it is a model of its own.
func TestScalersJoin(t *testing.T) {
	one := func(model string, files ...registry.FileName) *saved {
		s := &saved{tenant: "acme", model: registry.Model(model), label: "v1"}
		for _, f := range files {
			s.files = append(s.files, savedFile{name: f})
		}
		return s
	}
	for name, test := range map[string]struct {
		models []string
		want   map[registry.Model]int // how many files
	}{
		"of the same name":     {[]string{"fraud", "fraud_scaler"}, map[registry.Model]int{"fraud": 2}},
		"of the longer name":   {[]string{"isolation_forest_anomaly_detector", "anomaly_detector_scaler"}, map[registry.Model]int{"isolation_forest_anomaly_detector": 2}},
		"alone":                {[]string{"fraud_scaler"}, map[registry.Model]int{"fraud_scaler": 1}},
		"between two":          {[]string{"a_x", "b_x", "x_scaler"}, map[registry.Model]int{"a_x": 1, "b_x": 1, "x_scaler": 1}},
		"of a similar name":    {[]string{"xfraud", "fraud_scaler"}, map[registry.Model]int{"xfraud": 1, "fraud_scaler": 1}},
		"none without scalers": {[]string{"a", "b"}, map[registry.Model]int{"a": 1, "b": 1}},
	} {
		var all []*saved
		for _, model := range test.models {
			all = append(all, one(model, "model.joblib"))
		}
		got := map[registry.Model]int{}
		for _, s := range joinScalers(all) {
			got[s.model] = len(s.files)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Whatever lies in a folder, what is taken over has names that a registry can have, and
// what has not says why.
func FuzzPersistence(f *testing.F) {
	f.Add("acme/fraud/v1.joblib", `{"model_name":"fraud","tenant_id":"acme","version":"v1"}`)
	f.Add("acme/fraud_20240101_000000.joblib", `{"version":7,"file_hash":"00","created_at":"2024-01-01"}`)
	f.Add("x.joblib", `{"model_name":"../x","user_metadata":[1]}`)
	f.Fuzz(func(t *testing.T, path, record string) {
		root := t.TempDir()
		artifact := filepath.Join(root, filepath.Clean("/"+path))
		if filepath.Ext(artifact) != ".joblib" || os.MkdirAll(filepath.Dir(artifact), 0o777) != nil || os.WriteFile(artifact, []byte(path), 0o666) != nil {
			t.Skip("no path of an artifact")
		}
		if err := os.WriteFile(artifact[:len(artifact)-len(".joblib")]+".json", []byte(record), 0o666); err != nil {
			t.Skip("no name of a file")
		}
		found, err := scanPersistence(root, "default")
		if err != nil || len(found) != 1 {
			t.Fatalf("%d versions, %v", len(found), err)
		}
		s := found[0]
		if s.problem != "" {
			return
		}
		ref := registry.Ref{Tenant: s.tenant, Model: s.model, Selector: registry.Selector{Label: s.label}}
		if again, err := registry.ParseRef(ref.String()); err != nil || again != ref {
			t.Errorf("%s was taken for a reference: %v, %v", ref, again, err)
		}
		if _, err := s.userMetadata(); err != nil {
			t.Errorf("its metadata: %v", err)
		}
	})
}
