package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"
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
	Inspect inspectCommand `cmd:"" group:"models" help:"Tell what is in a joblib file, without executing it."`
	Diff    diffCommand    `cmd:"" group:"models" help:"Compare two versions, and how they judge the same events."`
	Alias   aliasCommand   `cmd:"" group:"models" help:"Move, show and remove aliases."`
	Sign    signCommand    `cmd:"" group:"models" help:"Sign a version."`
	Delete  deleteCommand  `cmd:"" group:"models" help:"Delete a version."`
	Restore restoreCommand `cmd:"" group:"models" help:"Make a new version of a deleted one's files."`
	Copy    copyCommand    `cmd:"" group:"models" help:"Make a new version of a version's files, in any model."`

	Train  trainCommand  `cmd:"" group:"detectors" help:"Train a detector on events and save it."`
	Detect detectCommand `cmd:"" group:"detectors" help:"Score events, a file of them or a stream."`
	Load   loadCommand   `cmd:"" group:"detectors" help:"Load detectors into a node's memory, list or drop them."`

	Tenant tenantCommand `cmd:"" group:"access" help:"Describe, list and delete tenants."`
	Key    keyCommand    `cmd:"" group:"access" help:"Make, list and revoke API keys."`
	Log    logCommand    `cmd:"" group:"access" help:"Tell who changed what, and who tried to and might not."`

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
		kong.Vars{"limits": limitsText(), "names": limitNames()},
		kong.Writers(stdout, stdout),
		kong.Exit(func(int) {}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "models", Title: "Models"},
			{Key: "detectors", Title: "Detectors"},
			{Key: "access", Title: "Tenants and keys"},
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
