package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the README shows is run here, so that it cannot rot. The second word behind a
// fence says how:
//
//	serve      starts the node that the others talk to
//	run        is run, in this order, in a folder that has the files it names
//	token      is what the user copies; the node's own stand in for it
//	build      makes the program; the tests' stands in for it
//	s3         looks into a bucket: see peers_test.go
//	(json)     is what the block before it printed, but for ids and times
//	elsewhere  needs containers, a cloud or minutes: not run here
type readmeBlock struct {
	line           int
	language, kind string
	text           string
}

func readme(t *testing.T) []readmeBlock {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var blocks []readmeBlock
	var open *readmeBlock
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch fence, isFence := strings.CutPrefix(line, "```"); {
		case isFence && open == nil:
			open = &readmeBlock{line: n}
			open.language, open.kind, _ = strings.Cut(fence, " ")
		case isFence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if lines.Err() != nil || open != nil {
		t.Fatalf("README.md: %v; a block is open: %v", lines.Err(), open != nil)
	}
	return blocks
}

func TestREADME(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("the README's commands need %s: %v", tool, err)
			}
			t.Skipf("the README's commands are not run: they need %s", tool)
		}
	}
	folder := readmeFolder(t)
	env := append(os.Environ(), "HOME="+folder, "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+absolute(t, "../../deploy/python"))
	if program := os.Getenv("MODELBUCKET_TEST_PROGRAM"); program != "" { // the real one
		env = append(env, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
	}
	ran, printed := map[string]int{}, ""
	for _, block := range readme(t) {
		ran[block.language+" "+block.kind]++
		switch name := fmt.Sprintf("line %d", block.line); block.language + " " + block.kind {
		case "sh serve":
			if want := "go run ./cmd/modelbucket serve --demo\n"; block.text != want {
				t.Fatalf("README.md:%d starts it with %q; here it is known as %q", block.line, block.text, want)
			}
			node := mustStart(t, folder, env, "--demo")
			env = append(env, "MODELBUCKET_SERVER="+node.URL, "MODELBUCKET_TOKEN="+node.RootToken)
		case "sh run":
			t.Run(name, func(t *testing.T) {
				printed = runBlock(t, folder, env, block, "bash", "-euo", "pipefail", "-c", block.text)
			})
		case "python run":
			t.Run(name, func(t *testing.T) {
				python := os.Getenv("MODELBUCKET_TEST_PYTHON")
				if python == "" {
					t.Skip("not run: MODELBUCKET_TEST_PYTHON names no Python with scikit-learn and requests")
				}
				runBlock(t, folder, env, block, python, "-c", block.text)
			})
		case "json ":
			if diff := cmp.Diff(untimed(block.text), untimed(printed)); diff != "" {
				t.Errorf("README.md:%d: it prints something else (-README +printed):\n%s", block.line, diff)
			}
		case "sh token", "sh build", "sh elsewhere", "python s3", "text ":
		default:
			t.Errorf("README.md:%d: a block of %q: nothing says how to run it", block.line, block.language+" "+block.kind)
		}
	}
	if ran["sh serve"] != 1 || ran["sh run"] < 6 || ran["python run"] < 2 {
		t.Errorf("the README has %v; has it changed so much?", ran)
	}
}

func runBlock(t *testing.T, folder string, env []string, block readmeBlock, command ...string) (printed string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = folder, env
	out, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", block.text, out)
	if err != nil {
		t.Errorf("README.md:%d: %v", block.line, err)
	}
	return string(out)
}

// readmeFolder has the files that the README's commands name.
func readmeFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	var events []json.RawMessage
	if err := json.Unmarshal(demoEvents, &events); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, event := range events {
		lines.Write(event)
		lines.WriteString("\n")
	}
	for name, content := range map[string]string{
		"events.json":   string(demoEvents),
		"events.ndjson": lines.String(),
		"model.joblib":  "any bytes will do",
		"saved_models/acme/anomaly_detector/20240101_000000.joblib":        "any bytes",
		"saved_models/acme/anomaly_detector/20240101_000000.json":          `{"created_at":"2024-01-01T00:00:00"}`,
		"saved_models/acme/anomaly_detector_scaler/20240101_000000.joblib": "other bytes",
	} {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
