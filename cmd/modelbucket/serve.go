package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"modelbucket/deploy/python"
	"modelbucket/registry"
	"modelbucket/web"
)

type serveCommand struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Address to listen on; port 0 takes a free one."`
	Demo   bool   `help:"Also train and publish a demo detector, and show how to ask it."`

	Insecure      bool     `help:"Ask nobody for a token; on the loopback address only."`
	RootTokenFile string   `placeholder:"FILE" help:"File with the root token; else MODELBUCKET_ROOT_TOKEN holds the token itself; else the first start on a store makes one and prints it once."`
	Host          []string `placeholder:"NAME" help:"Name under which this node may be called; may be repeated. Default: any."`

	ReadOnly     bool           `help:"Change nothing in the store, not even to probe it."`
	LatestMaxAge time.Duration  `default:"1s" help:"How old an answer to latest or an alias may be when events are scored."`
	CacheBytes   byteSize       `default:"256MiB" help:"Memory for loaded detectors."`
	WorkBytes    byteSize       `default:"1GiB" help:"Memory for requests under way: a quarter each for uploads, trainings, events that are judged, and files and large answers that are read. What does not fit waits for a moment, and is refused then."`
	MaxUpload    byteSize       `default:"10GiB" help:"Largest file that may be saved."`
	Limit        []limitFlag    `placeholder:"NAME=VALUE" help:"What one tenant may do on this node that has no limits of its own; may be repeated. ${limits}"`
	GCInterval   time.Duration  `name:"gc-interval" default:"1h" help:"How often this node collects what is no longer needed; 0: never."`
	Drain        *time.Duration `placeholder:"TIME" help:"How long to go on answering, while /readyz says no, once told to stop (default: 5s; on the loopback address 0s, for no balancer is looking)."`
	Log          slog.Level     `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`

	shellFlags
	signatureFlags
}

// Help is the longer text.
func (serveCommand) Help() string {
	return `Needs no flag: the store is ./modelbucket-data, the address 127.0.0.1:8080. Any number of nodes may serve one store. SIGTERM and Ctrl-C end it in order.`
}

// minRootToken is the fewest characters that a root token of one's own may have.
const minRootToken = 16

// Run serves until it is interrupted.
func (c serveCommand) Run(ctx context.Context, p *program) error {
	if p.Server != "" && p.given("server") {
		return usage("name its store with --store", "serve is a node itself")
	}
	if c.Demo && c.ReadOnly {
		return usage("leave one of them out", "--demo saves a detector, and --read-only saves nothing")
	}
	if err := c.admissible(); err != nil {
		return err
	}
	given, err := c.rootToken(p)
	if err != nil {
		return err
	}
	log := p.logger(c.Log)
	options := web.Options{Insecure: c.Insecure, Hosts: c.Host, Drain: c.drain(), Python: python.File(), WorkBytes: int64(c.WorkBytes)}
	if err := c.apply(&options, log); err != nil {
		return err
	}
	if options.Signer, err = readSigner(c.SignKeyFile, c.SignCertificates); err != nil {
		return err
	}
	node, err := p.openNode(ctx, nodeOptions{
		signatures: c.signatureFlags,
		create:     !c.ReadOnly, readOnly: c.ReadOnly, maxUpload: int64(c.MaxUpload), cacheBytes: int64(c.CacheBytes), latestMaxAge: c.LatestMaxAge, limits: limitsOf(c.Limit), log: log,
	})
	if err != nil {
		return err
	}
	listener, err := c.listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close()
	about := greeting{URL: c.url(listener.Addr()), Store: node.bucket.String(), insecure: c.Insecure, given: given}
	if c.Demo {
		if about.Demo, err = node.demo(ctx, about.URL); err != nil {
			return err
		}
	}
	var token registry.RootToken
	if !c.Insecure { // last, for a token that is made is told only here, and only once
		if token, err = node.registry.RootToken(ctx, given); err != nil {
			return fmt.Errorf("root token: %w", err)
		}
		about.RootToken = token.Made
	}
	options.RootToken = token
	server, err := node.server(options)
	if err != nil {
		return err
	}
	if err := p.greet(about); err != nil {
		return err
	}
	stop := node.collectEvery(ctx, c.GCInterval, c.ReadOnly)
	defer stop()
	log.Info("ready", "url", about.URL, "store", about.Store, "version", programVersion())
	keepHeap()
	if err := server.Serve(ctx, listener); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// drain is how long balancers get to notice that this node stops; negative: no time.
func (c serveCommand) drain() time.Duration {
	switch {
	case c.Drain != nil && *c.Drain > 0:
		return *c.Drain
	case c.Drain != nil || c.loopback():
		return -1
	}
	return 0 // web's own default
}

// loopback tells whether only this machine can call.
func (c serveCommand) loopback() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// admissible refuses what would send tokens over a network in the clear.
func (c serveCommand) admissible() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return usage("for example --listen 127.0.0.1:8080", "--listen: %v", err)
	}
	if err := c.fits(); err != nil {
		return err
	}
	switch {
	case c.Insecure && c.OIDCIssuer != "":
		return usage("leave one of them out", "--insecure asks nobody for a token, so none of an issuer would be read")
	case c.loopback():
		return nil
	case c.Insecure:
		return usage("leave --insecure out, or listen on 127.0.0.1", "--insecure is for the loopback address only, and %s is another", c.Listen)
	case c.TLSCert == "" && !c.BehindTLSProxy:
		return usage("give --tls-cert and --tls-key; or say --behind-tls-proxy, where a proxy in front speaks TLS",
			"%s is open to the network, where tokens would pass in the clear", c.Listen)
	}
	return nil
}

// rootToken is the token of the operator's own, if there is one.
func (c serveCommand) rootToken(p *program) (string, error) {
	token := p.env("MODELBUCKET_ROOT_TOKEN")
	if c.RootTokenFile != "" {
		data, err := os.ReadFile(c.RootTokenFile)
		if err != nil {
			return "", usage("--root-token-file names a file that holds the token alone", "%v", err)
		}
		if token = strings.TrimSpace(string(data)); token == "" {
			return "", usage("--root-token-file names a file that holds the token alone", "%s is empty", c.RootTokenFile)
		}
	}
	if token != "" && len(token) < minRootToken {
		return "", usage("for example: openssl rand -hex 24", "the root token has %d characters; it needs %d", len(token), minRootToken)
	}
	return token, nil
}

// listen opens the listener.
func (c serveCommand) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, &mistake{text: err.Error(), hint: "--listen 127.0.0.1:0 takes a free port", exit: exitFailed}
	}
	return listener, nil
}

func (c serveCommand) url(address net.Addr) string {
	u := url.URL{Scheme: "http", Host: address.String()}
	if c.TLSCert != "" {
		u.Scheme = "https"
	}
	if c.TLSCert != "" && len(c.Host) > 0 {
		_, port, err := net.SplitHostPort(u.Host)
		if err == nil {
			u.Host = net.JoinHostPort(c.Host[0], port)
		}
	}
	return u.String()
}

// greeting is what a node says of itself when it is ready.
type greeting struct {
	URL       string     `json:"url"`
	Store     string     `json:"store"`
	RootToken string     `json:"root_token,omitempty"` // only when it was made just now
	Demo      *demoModel `json:"demo,omitempty"`

	insecure bool
	given    string
}

func (p *program) greet(g greeting) error {
	if p.JSON {
		return p.printJSON(g)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "modelbucket is ready at %s\n", g.URL)
	fmt.Fprintf(&b, "  store  %s\n", g.Store)
	switch {
	case g.insecure:
		b.WriteString("  token  none is asked for (--insecure)\n")
	case g.RootToken != "":
		fmt.Fprintf(&b, "  token  %s\n         shown this once; every node of this store takes it\n", g.RootToken)
	case g.given != "":
		b.WriteString("  token  the one that you gave\n")
	default:
		b.WriteString("  token  the one that the first start printed; lost: start with MODELBUCKET_ROOT_TOKEN set to one of your own\n")
	}
	if g.Demo != nil {
		fmt.Fprintf(&b, "  demo   %s; ask it (lower is stranger, below 0 is an anomaly):\n\n", g.Demo.Ref)
		if !g.insecure {
			fmt.Fprintf(&b, "export MODELBUCKET_TOKEN=%s\n", orElse(g.RootToken, "…"))
		}
		fmt.Fprintf(&b, "%s\n\n", g.Demo.Try)
	}
	_, err := fmt.Fprint(p.stdout, b.String())
	return err
}

// byteSize is a number of bytes, written like 256MiB.
type byteSize int64

func (b *byteSize) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if cut, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = cut, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > (1<<62)/unit {
		return errors.New("a size is a number of bytes, or one of KiB, MiB, GiB or TiB: 256MiB")
	}
	*b = byteSize(n * unit)
	return nil
}
