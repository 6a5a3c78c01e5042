package main

import (
	"log/slog"
	"net/netip"
	"syscall"

	"modelbucket/web"
)

// shellFlags say who gets as far as a request: over which connections.
type shellFlags struct {
	TLSCert        string         `name:"tls-cert" placeholder:"FILE" help:"Certificate (PEM, with its chain). A renewed one is taken when it lies there."`
	TLSKey         string         `name:"tls-key" placeholder:"FILE" help:"Its private key (PEM)."`
	BehindTLSProxy bool           `name:"behind-tls-proxy" help:"A proxy in front speaks TLS, so plain HTTP beyond the loopback address is all right."`
	TrustedProxy   []netip.Prefix `placeholder:"CIDR" help:"Network of proxies whose X-Forwarded-For is believed; may be repeated. Default: none."`

	MaxConnections           int `default:"10000" placeholder:"N" help:"Connections that are kept open; more are closed at once."`
	MaxConnectionsPerAddress int `default:"256" placeholder:"N" help:"Connections of one address (of IPv6: one /64), trusted proxies excepted."`
}

// fits refuses what does not go together.
func (f shellFlags) fits() error {
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return usage("give both", "--tls-cert and --tls-key belong together")
	case f.MaxConnections < 1 || f.MaxConnectionsPerAddress < 1:
		return usage("for example --max-connections 10000 --max-connections-per-address 256", "a node needs at least one connection")
	}
	return nil
}

// apply puts the flags into the options of a server.
func (f shellFlags) apply(o *web.Options, log *slog.Logger) error {
	o.TrustedProxies = f.TrustedProxy
	o.MaxConnections, o.MaxConnectionsPerAddress = fitting(f.MaxConnections, log), f.MaxConnectionsPerAddress
	if f.TLSCert != "" {
		var err error
		if o.Certificate, err = web.LoadCertificate(f.TLSCert, f.TLSKey, log); err != nil {
			return usage("both are PEM files, the certificate's own first", "%v", err)
		}
	}
	return nil
}

// filesForOthers are left to what is no connection of a caller: to the store above all,
// for a node that can open no more files cannot reach it.
const filesForOthers = 256

// fitting is how many connections this process can keep open, of those that it may.
func fitting(most int, log *slog.Logger) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur >= uint64(most+filesForOthers) {
		return most
	}
	fit := max(int(files.Cur)/2, int(files.Cur)-filesForOthers)
	log.Warn("fewer connections than --max-connections fit into this process: raise its limit of open files", "connections", fit, "files", files.Cur)
	return fit
}
