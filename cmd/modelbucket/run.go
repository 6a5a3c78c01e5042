package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"modelbucket/blob"
	"modelbucket/web"
	"modelbucket/web/client"
)

// The exit codes that no problem stands behind; the others are web's.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitCorrupt     = 5
	exitInterrupted = 130
)

const exitCodes = "Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found, 4 conflict, 5 corrupt, 130 interrupted."

// run is the whole program: it does what args say and returns the exit code. SIGINT and
// SIGTERM end it in order; a second one ends it at once.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, env: env, args: args}
	err := p.do(ctx, args)
	if closeErr := p.close(); err == nil {
		err = closeErr
	}
	return p.report(ctx, err)
}

// do parses args and runs the verb that they name.
func (p *program) do(ctx context.Context, args []string) error {
	var c commands
	parser, err := newParser(&c, p.stdout, p.env)
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	chosen, err := parser.Parse(args)
	if errors.Is(err, errHelp) {
		return nil
	}
	if err != nil {
		return wrongUse(err)
	}
	p.options, p.parser = c.options, parser
	if c.Timeout <= 0 {
		chosen.BindTo(ctx, (*context.Context)(nil))
		return chosen.Run(p)
	}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	chosen.BindTo(limited, (*context.Context)(nil))
	if err = chosen.Run(p); err != nil && errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return &mistake{text: fmt.Sprintf("gave up after %v", c.Timeout), hint: p.meaning(), exit: exitFailed}
	}
	return err
}

// mistake is an error in how the program was called, or one that no server told:
// what was wrong and what would be right.
type mistake struct {
	text, hint string
	exit       int
}

func (m *mistake) Error() string { return m.text }

// usage reports a wrong call.
func usage(hint, format string, args ...any) error {
	return &mistake{text: fmt.Sprintf(format, args...), hint: hint, exit: exitUsage}
}

// wrongUse is the parser's complaint.
func wrongUse(err error) error {
	hint := "see: modelbucket --help"
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil && parse.Context.Selected() != nil {
		hint = "see: modelbucket " + parse.Context.Selected().Path() + " --help"
	}
	return &mistake{text: err.Error(), hint: hint, exit: exitUsage}
}

// report tells how the run ended, on stderr, and returns its exit code.
func (p *program) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		text := "interrupted"
		if means := p.meaning(); means != "" {
			text += ": " + means
		}
		fmt.Fprintln(p.stderr, "modelbucket: "+text)
		return exitInterrupted
	}
	problem := endingOf(err)
	if p.options.JSON {
		if line, err := json.Marshal(problem); err == nil {
			fmt.Fprintln(p.stderr, string(line))
		}
		return problem.ExitCode()
	}
	fmt.Fprintln(p.stderr, "modelbucket: "+plain(problem.Error()))
	if problem.Hint != "" {
		fmt.Fprintln(p.stderr, "  "+plain(problem.Hint))
	}
	return problem.ExitCode()
}

// ending is how a run ended that did not do what was asked.
type ending struct {
	web.Problem
	exit int
}

func (e *ending) ExitCode() int { return e.exit }

// endingOf is the problem that an error is: the server's own, a wrong call, or whatever
// the packages below say of the store, which to its owner is no secret.
func endingOf(err error) *ending {
	if answered, ok := errors.AsType[*client.Error](err); ok {
		e := &ending{answered.Problem, answered.ExitCode()}
		switch e.Code { // where the hint speaks of HTTP, a verb has another way
		case "unauthenticated":
			e.Hint = "set MODELBUCKET_TOKEN, or name a file that holds the token with --token-file"
		case "version_deleted":
			e.Hint = "its number and label stay taken; modelbucket restore makes a new version of its files"
		case "outcome_unknown":
			if e.IdempotencyKey != "" {
				e.Hint = "repeat it with --key " + e.IdempotencyKey + ": it is saved once, however often you repeat it"
			}
		}
		return e
	}
	if m, ok := errors.AsType[*mistake](err); ok {
		code, title := "failed", "Failed"
		if m.exit == exitUsage {
			code, title = "bad_request", "Wrong use"
		}
		return &ending{web.Problem{Type: "about:blank", Title: title, Code: code, Detail: m.text, Hint: m.hint}, m.exit}
	}
	known := *web.ProblemOf(err)
	known.Status, known.Detail = 0, err.Error()
	if known.Code == "internal" {
		known.Code, known.Title, known.Hint = "failed", "Failed", ""
	}
	for _, advice := range storeAdvice {
		if errors.Is(err, advice.err) {
			known.Hint = advice.hint
		}
	}
	return &ending{known, known.ExitCode()}
}

// storeAdvice is what its owner can do about a store that cannot be opened.
var storeAdvice = []struct {
	err  error
	hint string
}{
	{blob.ErrNoBucket, "make it, or have it made: modelbucket doctor --create-bucket"},
	{blob.ErrDenied, "credentials are found as the AWS tools do: environment, shared profile, role; deploy/iam has the rights they need"},
	{blob.ErrUnavailable, "is the store's address right, and is it up?"},
	{blob.ErrBroken, "modelbucket doctor tells more; the README lists stores that keep their word"},
}
