package main

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// call runs the program in this process, with an environment of its own.
func call(ctx context.Context, stdin io.Reader, env map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(ctx, args, stdin, &out, &err, func(name string) string { return env[name] })
	return code, out.String(), err.String()
}

// Each wrong call says what was wrong and what would be right, on two lines, and ends
// with the code for wrong use.
func TestWrongCalls(t *testing.T) {
	for _, test := range []struct {
		args       string
		text, hint string
	}{
		{"lst", `unexpected argument lst, did you mean one of "list", "log"?`, "see: modelbucket --help"},
		{"list --limt 3", `unknown flag --limt, did you mean "--limit"?`, "see: modelbucket list --help"},
		{"show", `expected "<ref>"`, "see: modelbucket show --help"},
		{"show a/b/c", `is no model; 1 to 128 of A-Z`, ""},
		{"show acme/fraud:v1:v2", `is no label; 1 to 128 of A-Z`, ""},
		{"delete fraud", "fraud names no version", "name one (fraud:latest is the newest), or say --all-versions"},
		{"verify", "name versions, or say --all", "for example: modelbucket verify acme/fraud:7"},
		{"completion tcsh", `<shell> must be one of "bash","zsh","fish" but got "tcsh"`, "see: modelbucket completion --help"},
		{"gc --grace 7d", `--grace: expected duration but got "7d"`, "see: modelbucket gc --help"},
		{"push fraud", `expected "<files> ..."`, "see: modelbucket push --help"},
		{"alias set acme/fraud:1", `expected "<name>"`, "see: modelbucket alias set --help"},
	} {
		t.Run(test.args, func(t *testing.T) {
			code, stdout, stderr := call(t.Context(), nil, nil, strings.Fields(test.args)...)
			if code != exitUsage || stdout != "" {
				t.Errorf("exit code %d, stdout %q; want %d and nothing", code, stdout, exitUsage)
			}
			text, hint, _ := strings.Cut(strings.TrimSuffix(stderr, "\n"), "\n")
			if !strings.HasPrefix(text, "modelbucket: ") || !strings.Contains(text, test.text) {
				t.Errorf("it says %q, want %q", text, test.text)
			}
			if test.hint != "" && hint != "  "+test.hint {
				t.Errorf("it advises %q, want %q", hint, test.hint)
			}
		})
	}
}

// Every verb's help ends with the exit codes, and names a variable for each flag.
func TestHelp(t *testing.T) {
	var c commands
	parser, err := newParser(&c, io.Discard, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verbs(parser.Model.Node) {
		code, stdout, stderr := call(t.Context(), nil, nil, append(v.words, "--help")...)
		if code != exitDone || stderr != "" {
			t.Errorf("%s --help: exit code %d, stderr %q", v.name(), code, stderr)
		}
		if !strings.HasSuffix(stdout, "\n"+exitCodes+"\n") {
			t.Errorf("%s --help does not end with the exit codes", v.name())
		}
		unwrapped := strings.Join(strings.Fields(stdout), " ")
		for _, flag := range v.flags {
			variable := "($MODELBUCKET_" + strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")) + ")"
			if flag != "--help" && !strings.Contains(unwrapped, variable) {
				t.Errorf("%s --help does not name %s", v.name(), variable)
			}
		}
	}
	if code, stdout, _ := call(t.Context(), nil, nil); code != exitDone || !strings.Contains(stdout, exitCodes[:40]) {
		t.Errorf("without arguments: exit code %d and %q, want the help", code, stdout)
	}
}

func TestEnvironmentStandsInForFlags(t *testing.T) {
	env := map[string]string{"MODELBUCKET_JSON": "true"}
	_, stdout, _ := call(t.Context(), nil, env, "version")
	if !strings.HasPrefix(stdout, `{"go":`) {
		t.Errorf("with MODELBUCKET_JSON=true: %q, want JSON", stdout)
	}
	_, stdout, _ = call(t.Context(), nil, env, "version", "--json=false")
	if !strings.HasPrefix(stdout, "modelbucket ") {
		t.Errorf("with --json=false: %q; a flag beats the environment", stdout)
	}
	code, _, stderr := call(t.Context(), nil, map[string]string{"MODELBUCKET_JSON": "perhaps"}, "version")
	if code != exitUsage || !strings.Contains(stderr, "perhaps") {
		t.Errorf("with a wrong variable: exit code %d and %q", code, stderr)
	}
}

// endless gives bytes until its context is over, and tells when it began.
type endless struct {
	began chan struct{}
	ctx   context.Context
}

func (e *endless) Read(p []byte) (int, error) {
	select {
	case e.began <- struct{}{}:
	default:
	}
	if e.ctx.Err() != nil {
		return 0, e.ctx.Err()
	}
	return len(p), nil
}

// An interrupted push says that nothing was published, and nothing was.
func TestInterrupted(t *testing.T) {
	store := "dir:" + filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	stdin := &endless{make(chan struct{}, 1), ctx}
	go func() {
		<-stdin.began
		cancel()
	}()
	code, stdout, stderr := call(ctx, stdin, nil, "--store", store, "push", "acme/fraud", "-")
	if want := "modelbucket: interrupted: nothing was published\n"; code != exitInterrupted || stdout != "" || stderr != want {
		t.Errorf("exit code %d, stdout %q, stderr %q; want %d, nothing, %q", code, stdout, stderr, exitInterrupted, want)
	}
	code, _, stderr = call(t.Context(), nil, nil, "--store", store, "list", "acme/fraud")
	if code != exitNotFound {
		t.Errorf("after it, list ends with %d: %s", code, stderr)
	}
}

func TestTableOnATerminal(t *testing.T) {
	lines := [][]string{
		{"VERSION", "LABEL", "DESCRIPTION"},
		{"7", "v1.0", "a long description that no terminal of this width can hold"},
	}
	for _, test := range []struct {
		columns int
		want    []string
	}{
		{100, []string{"VERSION  LABEL  DESCRIPTION", "7        v1.0   a long description that no terminal of this width can hold"}},
		{40, []string{"VERSION  LABEL  DESCRIPTION", "7        v1.0   a long description that…"}},
		{10, []string{"VERSION  LABEL  DESCRIP…", "7        v1.0   a long …"}}, // columns stay readable
	} {
		widths := fit(lines, test.columns)
		var got []string
		for _, line := range lines {
			got = append(got, layOut(line, widths))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", test.columns, diff)
		}
	}
}

func TestHostileTextIsHarmless(t *testing.T) {
	got := plain("a\x1b[2Jb\tc\nd\u202ee\u2028f ü")
	if want := "a\ufffd[2Jb\ufffdc\ufffdd\ufffde\ufffdf ü"; got != want {
		t.Errorf("plain = %q, want %q", got, want)
	}
}

func TestTexts(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{shortSize(0), "0 B"},
		{shortSize(1023), "1023 B"},
		{shortSize(1536), "1.5 KiB"},
		{shortSize(5 << 30), "5.0 GiB"},
		{shortSize(3 << 50), "3072.0 TiB"},
		{ago(30 * time.Second), "just now"},
		{ago(90 * time.Second), "1 minute ago"},
		{ago(50 * time.Hour), "2 days ago"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	m := &meter{name: "model.joblib", total: 30 << 20}
	m.done.Store(12 << 20)
	if got, want := m.line(2*time.Second), "model.joblib  12.0 MiB/30.0 MiB  40%  6.0 MiB/s  3 s"; got != want {
		t.Errorf("meter shows %q, want %q", got, want)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"fraud", "isolation_forest_anomaly_detector", "edge"}
	for _, test := range []struct {
		given, want string
	}{
		{"frud", "fraud"},
		{"Fraud", "fraud"},
		{"isolation_forest_anomaly_detectr", "isolation_forest_anomaly_detector"},
		{"quite_another", ""},
	} {
		if got, _ := nearest(test.given, names); got != test.want {
			t.Errorf("nearest(%q) = %q, want %q", test.given, got, test.want)
		}
	}
}

func TestByteSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want int64 // 0: an error
	}{
		{"1", 1}, {"256MiB", 256 << 20}, {"10GiB", 10 << 30}, {"3KiB", 3072},
		{"", 0}, {"0", 0}, {"-1", 0}, {"1MB", 0}, {"MiB", 0}, {"1.5GiB", 0}, {"9999999999TiB", 0}, {"1 MiB", 0}, {"1MiBx", 0},
	} {
		var b byteSize
		err := b.UnmarshalText([]byte(test.text))
		if (err != nil) != (test.want == 0) || err == nil && int64(b) != test.want {
			t.Errorf("%q is %d, %v; want %d", test.text, b, err, test.want)
		}
	}
}
