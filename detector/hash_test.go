package detector_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"modelbucket/detector"
)

// TestHash holds the digests of training data against those that Python gave: see
// testdata/make_hashes.py.
func TestHash(t *testing.T) {
	text, err := os.ReadFile("testdata/hashes.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct{ Format, Body, MD5, SHA256 string }
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) < 10 {
		t.Fatalf("only %d cases", len(golden.Cases))
	}
	for _, c := range golden.Cases {
		format := detector.JSON
		if c.Format == "csv" {
			format = detector.CSV
		}
		set, err := collect(t, c.Body, format)
		if err != nil {
			t.Errorf("%s: %v", c.Body, err)
			continue
		}
		if set.MD5 != c.MD5 || set.SHA256 != c.SHA256 {
			t.Errorf("%s: got %s %s, want %s %s", c.Body, set.MD5, set.SHA256, c.MD5, c.SHA256)
		}
	}
}

// TestHashAcrossFormats: the same events have the same digest, however they were sent.
func TestHashAcrossFormats(t *testing.T) {
	bodies := map[string]detector.Format{
		`[{"b":1.5,"a":"x"},{"b":2,"a":null}]`:                               detector.JSON,
		`{"label":"v1","network_data":[{"a":"x","b":1.5},{"a":null,"b":2}]}`: detector.JSON,
		"{\"b\":1.5,\"a\":\"x\"}\n\n{\"b\":2,\"a\":null}":                    detector.NDJSON,
		"a,b\nx,1.5\n,2\n": detector.CSV,
	}
	seen := map[string]bool{}
	for body, format := range bodies {
		set, err := collect(t, body, format)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		seen[set.MD5+set.SHA256] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d different digests, want 1", len(seen))
	}
}

func collect(t *testing.T, body string, f detector.Format) (*detector.TrainingSet, error) {
	t.Helper()
	return detector.Collect(t.Context(), detector.NewReader(strings.NewReader(body), f), detector.CollectOptions{})
}
