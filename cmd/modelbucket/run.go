package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"modelbucket/blob"
	"modelbucket/web"
	"modelbucket/web/client"
)

// commands is the command line. Kong reads it: a verb each, its flags and arguments.
type commands struct {
	options
	Help helpFlag `short:"h" help:"Show this help."`

	Push    pushCommand    `cmd:"" group:"models" help:"Save files as a new version of a model."`
	Pull    pullCommand    `cmd:"" group:"models" help:"Download a version; every byte is verified."`
	List    listCommand    `cmd:"" group:"models" help:"List models, or the versions of one."`
	Show    showCommand    `cmd:"" group:"models" help:"Show all that is known of a version."`
	Resolve resolveCommand `cmd:"" group:"models" help:"Print the pinned form of a reference: acme/fraud:7."`
	Diff    diffCommand    `cmd:"" group:"models" help:"Compare two versions, and how they judge the same events."`
	Alias   aliasCommand   `cmd:"" group:"models" help:"Move, show and remove aliases."`
	Delete  deleteCommand  `cmd:"" group:"models" help:"Delete a version."`
	Restore restoreCommand `cmd:"" group:"models" help:"Make a new version of a deleted one's files."`
	Copy    copyCommand    `cmd:"" group:"models" help:"Make a new version of a version's files, in any model."`

	Train  trainCommand  `cmd:"" group:"detectors" help:"Train a detector on events and save it."`
	Detect detectCommand `cmd:"" group:"detectors" help:"Score events, a file of them or a stream."`
	Load   loadCommand   `cmd:"" group:"detectors" help:"Load detectors into a node's memory, list or drop them."`

	Verify verifyCommand `cmd:"" group:"store" help:"Read every byte of versions, and say what is wrong."`
	Check  checkCommand  `cmd:"" group:"store" help:"Look at the whole bucket, and say what is wrong; changes nothing."`
	GC     gcCommand     `cmd:"" name:"gc" group:"store" help:"Collect abandoned uploads and deleted versions' files."`
	Doctor doctorCommand `cmd:"" group:"store" help:"Does this store keep its word, have we the rights, how quick is it?"`
	Import importCommand `cmd:"" group:"store" help:"Take over a folder of SecureNet's ModelPersistence."`

	Serve      serveCommand      `cmd:"" group:"node" help:"Run a node."`
	Version    versionCommand    `cmd:"" group:"node" help:"Print the version of this program."`
	Completion completionCommand `cmd:"" group:"node" help:"Print a completion script."`
}

// options are understood by every verb.
type options struct {
	Server    string `placeholder:"URL" help:"Node to talk to."`
	Store     string `placeholder:"STORE" help:"Store to work on directly, where no node is named: dir:PATH or s3://BUCKET/PREFIX?endpoint=URL (default: dir:./modelbucket-data)."`
	TokenFile string `placeholder:"FILE" help:"File with the token for --server; else MODELBUCKET_TOKEN holds the token itself."`
	JSON      bool   `name:"json" help:"Print JSON: one document, or one a line for streams."`
	Quiet     bool   `short:"q" help:"Print names or ids alone, and no progress."`

	Timeout time.Duration `placeholder:"TIME" help:"Give up after this long, for example 30s (default: never)."`
}

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
		return wrongUse(err, chosen)
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

// newParser makes the parser. Every flag may come from the environment too, as
// MODELBUCKET_ and its name; a flag on the command line wins.
func newParser(c *commands, stdout io.Writer, env func(string) string) (*kong.Kong, error) {
	fromEnvironment := kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if v := env(variable(flag)); v != "" {
			return v, nil
		}
		return nil, nil
	})
	return kong.New(c,
		kong.Name("modelbucket"),
		kong.Description("A model registry whose only state is a bucket.\n\n"+exitCodes),
		kong.NoDefaultHelp(),
		kong.Writers(stdout, stdout),
		kong.Exit(func(int) {}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "models", Title: "Models"},
			{Key: "detectors", Title: "Detectors"},
			{Key: "store", Title: "Store"},
			{Key: "node", Title: "Node and program"},
		}),
		kong.PostBuild(func(k *kong.Kong) error {
			tellVariables(k.Model.Node)
			return nil
		}),
		kong.Resolvers(fromEnvironment),
	)
}

// variable is the environment variable that stands in for a flag; "" for --help.
func variable(flag *kong.Flag) string {
	if flag.Name == "help" {
		return ""
	}
	return "MODELBUCKET_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
}

// tellVariables names each flag's variable in its help.
func tellVariables(n *kong.Node) {
	for _, flag := range n.Flags {
		if name := variable(flag); name != "" {
			flag.Help += " ($" + name + ")"
		}
	}
	for _, child := range n.Children {
		tellVariables(child)
	}
}

// helpFlag prints the help of the verb that stands before it, and ends the run.
type helpFlag bool

var errHelp = errors.New("help was asked for")

func (helpFlag) BeforeReset(c *kong.Context) error {
	if err := c.PrintUsage(false); err != nil {
		return err
	}
	if c.Selected() != nil {
		fmt.Fprintln(c.Stdout, "\n"+exitCodes)
	}
	return errHelp
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

func wrongUse(err error, chosen *kong.Context) error {
	hint := "see: modelbucket --help"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
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
