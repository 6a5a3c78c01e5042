// Command modelbucket is the registry as one program: a node (serve), and every call of
// its API as a verb.
//
// A verb talks HTTP to the node that --server names. Without one it brings the same
// handler along, in its own process, over the store that --store names: there is one
// way to do everything. There is no logic here, only flags in and text out; each verb
// has a file of its own.
//
// Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2
// wrong use, 3 not found, 4 conflict, 5 corrupt, 130 interrupted.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
