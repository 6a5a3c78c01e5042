package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"modelbucket/web"
)

// shellFlags say who gets as far as a request: over which connections, and with which
// tokens of an issuer.
type shellFlags struct {
	TLSCert        string         `name:"tls-cert" placeholder:"FILE" help:"Certificate (PEM, with its chain). A renewed one is taken when it lies there."`
	TLSKey         string         `name:"tls-key" placeholder:"FILE" help:"Its private key (PEM)."`
	BehindTLSProxy bool           `name:"behind-tls-proxy" help:"A proxy in front speaks TLS, so plain HTTP beyond the loopback address is all right."`
	TrustedProxy   []netip.Prefix `placeholder:"CIDR" help:"Network of proxies whose X-Forwarded-For is believed; may be repeated. Default: none."`

	MaxConnections           int `default:"10000" help:"Connections that are kept open; more are closed at once."`
	MaxConnectionsPerAddress int `default:"256" help:"Connections of one address (of IPv6: one /64), trusted proxies excepted."`

	AuthGrace time.Duration `default:"15m" help:"How long keys that this node knows go on scoring, and nothing else, while the store is away; 0: not at all."`

	OIDCIssuer   string         `name:"oidc-issuer" placeholder:"URL" help:"Issuer of OpenID Connect whose tokens are taken beside keys."`
	OIDCAudience string         `name:"oidc-audience" placeholder:"NAME" help:"Audience that its tokens must be made for."`
	OIDCClient   []string       `name:"oidc-client" placeholder:"ID" sep:";" help:"Client that its tokens must be issued to (azp, or client_id); may be repeated. Default: any."`
	OIDCRole     []web.RoleRule `name:"oidc-role" placeholder:"CLAIM=VALUE:ROLE@TENANT" sep:";" help:"Role of who has this value in this claim of his token; without @TENANT in all tenants; may be repeated."`
	OIDCCA       string         `name:"oidc-ca" placeholder:"FILE" help:"Certificates (PEM) that vouch for the issuer, in place of the system's."`
}

// fits refuses what does not go together.
func (f shellFlags) fits() error {
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return usage("give both", "--tls-cert and --tls-key belong together")
	case f.MaxConnections < 1 || f.MaxConnectionsPerAddress < 1:
		return usage("for example --max-connections 10000 --max-connections-per-address 256", "a node needs at least one connection")
	case f.OIDCIssuer == "" && (f.OIDCAudience != "" || len(f.OIDCClient) > 0 || len(f.OIDCRole) > 0 || f.OIDCCA != ""):
		return usage("say whose tokens they are: --oidc-issuer https://login.example.org", "the --oidc flags are of no use without --oidc-issuer")
	}
	return nil
}

// apply puts the flags into the options of a server.
func (f shellFlags) apply(o *web.Options, log *slog.Logger) error {
	o.TrustedProxies = f.TrustedProxy
	if o.AuthGrace = f.AuthGrace; f.AuthGrace <= 0 {
		o.AuthGrace = -1
	}
	o.MaxConnections, o.MaxConnectionsPerAddress = fitting(f.MaxConnections, log), f.MaxConnectionsPerAddress
	if f.BehindTLSProxy && len(f.TrustedProxy) == 0 {
		log.Warn("the proxy in front counts as one caller, as no --trusted-proxy names its network", "connections", f.MaxConnectionsPerAddress)
	}
	if f.TLSCert != "" {
		var err error
		if o.Certificate, err = web.LoadCertificate(f.TLSCert, f.TLSKey, log); err != nil {
			return usage("both are PEM files, the certificate's own first", "%v", err)
		}
	}
	if f.OIDCIssuer == "" {
		return nil
	}
	transport, err := f.toIssuer()
	if err != nil {
		return err
	}
	o.OIDC = &web.OIDC{Issuer: f.OIDCIssuer, Audience: f.OIDCAudience, Clients: f.OIDCClient, Roles: f.OIDCRole, Transport: transport}
	if err := o.OIDC.Validate(); err != nil {
		return usage("a node needs all three of --oidc-issuer, --oidc-audience and --oidc-role", "%v", err)
	}
	return nil
}

// filesForOthers are left to what is no connection of a caller: to the store above all,
// for a node that can open no more files cannot reach it.
const filesForOthers = 256

// fitting is how many connections this process can keep open, of those that it may.
func fitting(most int, log *slog.Logger) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || uint64(files.Cur) >= uint64(most+filesForOthers) {
		return most
	}
	fit := max(int(files.Cur)/2, int(files.Cur)-filesForOthers)
	log.Warn("fewer connections than --max-connections fit into this process: raise its limit of open files", "connections", fit, "files", files.Cur)
	return fit
}

// toIssuer is the way to the issuer.
func (f shellFlags) toIssuer() (*http.Transport, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConns: 2,
		MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if f.OIDCCA == "" {
		return t, nil
	}
	const hint = "--oidc-ca names a PEM file of certificates"
	text, err := os.ReadFile(f.OIDCCA)
	if err != nil {
		return nil, usage(hint, "%v", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
		return nil, usage(hint, "%s has no certificate", f.OIDCCA)
	}
	return t, nil
}
