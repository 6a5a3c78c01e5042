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

// grant makes, on a MinIO, a user for each policy that is shipped.
const grant = `
import os, pathlib, urllib.parse
import minio, minio.credentials
at = urllib.parse.urlsplit(os.environ["S3_ENDPOINT"]).netloc
root = minio.credentials.StaticProvider(os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"])
admin = minio.MinioAdmin(endpoint=at, credentials=root, secure=False)
for name in ("read-write", "read-only"):
    policy = pathlib.Path(f"../iam/{name}.json").read_text()
    file = pathlib.Path(os.environ["FOLDER"], name)
    file.write_text(policy.replace("BUCKET", os.environ["S3_BUCKET"]).replace("PREFIX", "registry"))
    admin.policy_add(name, str(file))
    admin.user_add(name, "secret-" + name)
    admin.policy_set(name, user=name)
`

// The shipped policies are enough for what they are for, and for no more.
func TestPoliciesGiveWhatIsNeeded(t *testing.T) {
	server := blobtest.StartMinIO(t)
	bucket, _, _ := strings.Cut(strings.TrimPrefix(server.NewBucket(t), "s3://"), "?")
	folder := t.TempDir()
	runPython(t, environment("S3_ENDPOINT="+server.Endpoint, "S3_BUCKET="+bucket, "FOLDER="+folder,
		"S3_ACCESS_KEY="+server.AccessKey, "S3_SECRET_KEY="+server.SecretKey), "-c", grant)
	file := filepath.Join(folder, "big.bin")
	if err := os.WriteFile(file, make([]byte, 40<<20), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		user, prefix, args string
		code               int
	}{
		{"read-write", "registry", "doctor -q", exitDone},
		{"read-write", "registry", "push acme/fraud " + file + " --label v1 --alias champion", exitDone},
		{"read-write", "registry", "push acme/fraud " + file, exitDone},
		{"read-write", "registry", "delete acme/fraud:2 --yes", exitDone},
		{"read-write", "registry", "gc --retention 1ns --grace 1ns --confirm 1ns", exitDone},
		{"read-write", "registry", "check", exitDone},
		{"read-write", "elsewhere", "doctor -q", exitFailed},
		{"read-only", "registry", "list", exitDone},
		{"read-only", "registry", "pull acme/fraud@champion -o -", exitDone},
		{"read-only", "registry", "show acme/fraud:9", exitNotFound}, // not "forbidden"
		{"read-only", "registry", "check", exitDone},
		{"read-only", "registry", "push acme/fraud " + file, exitFailed},
		{"read-only", "elsewhere", "list", exitFailed},
	} {
		store := "s3://" + bucket + "/" + step.prefix + "?region=us-east-1&endpoint=" + server.Endpoint
		cmd := exec.CommandContext(t.Context(), "modelbucket", strings.Fields(step.args)...)
		cmd.Env = environment("MODELBUCKET_STORE="+store, "AWS_ACCESS_KEY_ID="+step.user, "AWS_SECRET_ACCESS_KEY=secret-"+step.user)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		err := cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != step.code {
			t.Errorf("%s below %s: %s: exit code %d (%v), want %d\n%s", step.user, step.prefix, step.args, got, err, step.code, stderr.String())
		}
	}
}
