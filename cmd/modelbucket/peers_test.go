//go:build peers

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modelbucket/blob/blobtest"
)

// These tests need a Python with scikit-learn and the like (.ci/requirements.txt).
func pythonProgram(t *testing.T) string {
	t.Helper()
	program := os.Getenv("MODELBUCKET_TEST_PYTHON")
	if program == "" {
		t.Fatal("MODELBUCKET_TEST_PYTHON names no Python")
	}
	return program
}

// environment is the process's own without what would lead elsewhere, and more.
func environment(more ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MODELBUCKET_") && !strings.HasPrefix(v, "AWS_") {
			env = append(env, v)
		}
	}
	return append(append(env, "PYTHONDONTWRITEBYTECODE=1"), more...)
}

func runPython(t *testing.T, env []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pythonProgram(t), args...)
	cmd.Dir, cmd.Env = absolute(t, "../../deploy/python"), env
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// modelbucket.py against a real node and real scikit-learn.
func TestPythonClient(t *testing.T) {
	node := mustStart(t, t.TempDir(), environment())
	runPython(t, environment("MODELBUCKET_SERVER="+node.URL, "MODELBUCKET_TOKEN="+node.RootToken,
		"MODELBUCKET_TEST_EVENTS="+absolute(t, "demo/events.json")), "-m", "unittest", "-v", "test_modelbucket")
}

// The README's look into the bucket, with boto3.
func TestREADMELooksIntoTheBucket(t *testing.T) {
	server := blobtest.StartVersityGW(t)
	store := server.NewBucket(t)
	bucket, _, _ := strings.Cut(strings.TrimPrefix(store, "s3://"), "?")
	file := filepath.Join(t.TempDir(), "a.bin")
	if err := os.WriteFile(file, []byte("a"), 0o666); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if code, _, stderr := call(t.Context(), nil, nil, "--store", store, "push", "acme/fraud", file); code != exitDone {
			t.Fatalf("push: %d %s", code, stderr)
		}
	}
	ran := 0
	for _, block := range readme(t) {
		if block.kind == "s3" {
			ran++
			runPython(t, environment("S3_ENDPOINT="+server.Endpoint, "S3_BUCKET="+bucket, "AWS_ACCESS_KEY_ID="+server.AccessKey,
				"AWS_SECRET_ACCESS_KEY="+server.SecretKey, "AWS_DEFAULT_REGION=us-east-1"), "-c", block.text)
		}
	}
	if ran == 0 {
		t.Error("the README has no such block")
	}
}
