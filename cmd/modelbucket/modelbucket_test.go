package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Under the race detector a program sleeps for a second before it ends, unless told not to.
const raceOptions, quickExit = "GORACE", "atexit_sleep_ms=0"

// The scripts below testdata run the program as a user would: they are its transcripts.
// UPDATE_SCRIPTS=1 writes what it prints into their cmp lines; read the diff then.
func TestMain(m *testing.M) {
	os.Setenv(raceOptions, quickExit) // for the programs that the tests start
	testscript.Main(m, map[string]func(){"modelbucket": main, "hop": hopMain, "storm": stormMain, "crowd": crowdMain})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, scripts("testdata", func(*testscript.Env) {}))
}

// volatile is what differs from run to run.
var volatile = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`[0-9]{8}T[0-9]{6}Z`), "STAMP"},
	{regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z`), "TIME"},
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "ADDRESS"},
	{regexp.MustCompile(`[0-9.]+ (ms|µs|s)\b`), "DURATION"},
}

// untimed gives a name to what differs from run to run.
func untimed(text string) string {
	for _, v := range volatile {
		text = v.form.ReplaceAllString(text, v.name)
	}
	return text
}

// tidy writes stdout (or stderr) to a file for cmp: what differs from run to run gets a
// name, and JSON gets lines.
//
//	tidy stdout FILE
func tidy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tidy stdout|stderr FILE")
	}
	var tidied bytes.Buffer
	for line := range bytes.Lines([]byte(untimed(ts.ReadFile(args[0])))) {
		if json.Valid(line) && line[0] == '{' {
			ts.Check(json.Indent(&tidied, line, "", "  "))
			continue
		}
		tidied.Write(line)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), tidied.Bytes(), 0o666))
}

// status runs the program and checks its exit code.
//
//	status 3 modelbucket show acme/fraud:9
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want := args[0]; want != string(rune('0'+got%10)) && !(got > 9 && want == "130") {
		ts.Fatalf("exit code %d, want %s", got, want)
	}
}
