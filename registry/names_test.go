package registry_test

import (
	"strings"
	"testing"

	"modelbucket/registry"
)

func TestNames(t *testing.T) {
	accepts := func(parse func(string) error, good, bad []string) {
		t.Helper()
		for _, s := range good {
			if err := parse(s); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		for _, s := range bad {
			if err := parse(s); err == nil {
				t.Errorf("%q was accepted", s)
			} else if len(err.Error()) > 500 {
				t.Errorf("%.20q…: the error has %d bytes", s, len(err.Error()))
			}
		}
	}
	hostile := []string{"", ".", "..", "a/b", "a\\b", "a b ", "_a", "-a", "a-", "a\n", "a\x00", "ä", "a%2e", "a;b", strings.Repeat("a", 1<<20), "\xff"}
	accepts(func(s string) error { _, err := registry.ParseTenant(s); return err },
		[]string{"a", "acme", "acme-corp", "acme_corp", "0", strings.Repeat("a", 63)},
		append(hostile, "Acme", "a.b", strings.Repeat("a", 64)))
	accepts(func(s string) error { _, err := registry.ParseModel(s); return err },
		[]string{"a", "isolation_forest_anomaly_detector", "A.b-c", "7", "latest", strings.Repeat("a", 128)},
		append(hostile, "a.", "a@b", "a:b", strings.Repeat("a", 129)))
	accepts(func(s string) error { _, err := registry.ParseLabel(s); return err },
		[]string{"v1.0", "20261124_083000", "a"},
		append(hostile, "latest", "20261124", "7", "a@b"))
	accepts(func(s string) error { _, err := registry.ParseFileName(s); return err },
		[]string{"model.joblib", "a/b c/d+e@f=g", ".hidden", "...", "MLmodel", "sub/metadata.json"},
		[]string{"", ".", "..", "a/../b", "a//b", "/a", "a/", "a\\b", "a%b", "a\x00", "metadata.json", strings.Repeat("a", 201), strings.Repeat("a/", 400) + "a"})
	accepts(func(s string) error { _, err := registry.ParseRef(s); return err },
		[]string{"fraud", "acme/fraud", "acme/fraud:7", "acme/fraud:v1.0", "acme/fraud:latest", "acme/fraud@champion", "fraud@champion"},
		[]string{"", "/", "acme/", "/fraud", "a/b/c", "acme/fraud:", "acme/fraud@", "acme/fraud:@champion", "acme/fraud@7", "acme/fraud:0", "acme/fraud:01", "acme/fraud:1234567890", "acme/fraud@a@b", "Acme/fraud"})
}

// What a reference prints is read back as the same reference.
func FuzzRef(f *testing.F) {
	for _, s := range []string{"acme/fraud:7", "fraud@champion", "acme/fraud:v1.0", "a/b:latest", "a/b:@c", "%2e/..", "a/b:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := registry.ParseRef(s)
		if err != nil {
			return
		}
		again, err := registry.ParseRef(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q is %+v and prints as %q, which is %+v, %v", s, ref, ref, again, err)
		}
	})
}
