package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
	"modelbucket/web/client"
)

// defaultStore is where everything lies when nobody says otherwise.
const defaultStore = "dir:./modelbucket-data"

// intent is what a verb is about to do to a store.
type intent int

const (
	toRead   intent = iota // nothing is written, not even a probe
	toChange               // something that is there
	toSave                 // the default store may be a new one
)

// connect is how every verb reaches a registry: over HTTP to the node that --server
// names, else through the same handler in this process, over the store.
func (p *program) connect(ctx context.Context, to intent) (*client.Client, error) {
	if p.given("store") && p.given("server") {
		return nil, usage("name one of them", "--server and --store were both given")
	}
	if p.Server != "" && !p.given("store") {
		token, err := p.token()
		if err != nil {
			return nil, err
		}
		api, err := client.New(p.Server, client.Options{Token: token})
		if err != nil {
			return nil, usage("for example --server http://127.0.0.1:8080", "%v", err)
		}
		return api, nil
	}
	node, err := p.openNode(ctx, nodeOptions{create: to == toSave, readOnly: to == toRead, log: p.quiet()})
	if err != nil {
		return nil, err
	}
	server, err := node.server(web.Options{Insecure: true})
	if err != nil {
		return nil, err
	}
	return inProcess(server)
}

// inProcess is a client that calls a server's handler.
func inProcess(server *web.Server) (*client.Client, error) {
	return client.New("http://localhost", client.Options{Transport: client.InProcess(server)})
}

// given tells whether a flag stood on the command line itself: there it beats what the
// environment says of another one.
func (p *program) given(flag string) bool {
	for _, arg := range p.args {
		if arg == "--" {
			return false
		}
		if arg == "--"+flag || strings.HasPrefix(arg, "--"+flag+"=") {
			return true
		}
	}
	return false
}

// token is the key to the server. It never stands on the command line, where others
// could see it.
func (p *program) token() (string, error) {
	if p.TokenFile == "" {
		return p.env("MODELBUCKET_TOKEN"), nil
	}
	data, err := os.ReadFile(p.TokenFile)
	if err != nil {
		return "", usage("--token-file names a file that holds the token alone", "%v", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// openBucket opens the store, with this user's own rights to it. Where none was named,
// the default one is made only by who is about to fill it.
func (p *program) openBucket(ctx context.Context, create bool, o blob.Options) (blob.Bucket, error) {
	if p.Store == "" && !create {
		if _, err := os.Stat(strings.TrimPrefix(defaultStore, "dir:")); errors.Is(err, os.ErrNotExist) {
			return nil, usage("name a node with --server or a store with --store", "there is no store %s here", defaultStore)
		}
	}
	return blob.Open(ctx, orElse(p.Store, defaultStore), o)
}

// openStore opens the registry in the store for a verb that works on it directly.
func (p *program) openStore(ctx context.Context, verb string, readOnly bool) (*registry.Registry, error) {
	if p.given("server") || p.Server != "" && p.Store == "" {
		return nil, usage("name the store with --store", "%s works on the store itself, not through a node", verb)
	}
	node, err := p.openNode(ctx, nodeOptions{readOnly: readOnly, log: p.quiet()})
	if err != nil {
		return nil, err
	}
	return node.registry, nil
}
