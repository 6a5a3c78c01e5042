package web

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"modelbucket/registry"
)

// A Permission is what a route needs. Each route of the table has one.
type Permission string

const (
	Public        Permission = "public" // nobody is asked who he is
	Detect        Permission = "detect"
	Warm          Permission = "warm" // load and unload on this node
	DetectorsRead Permission = "detectors.read"
	ModelRead     Permission = "model.read"
	ModelWrite    Permission = "model.write"
	ModelDelete   Permission = "model.delete"
	FileRead      Permission = "file.read"
	FileVerify    Permission = "file.verify"
	VersionCreate Permission = "version.create"
	VersionDelete Permission = "version.delete"
	Train         Permission = "train"
	AliasWrite    Permission = "alias.write"
	TenantRead    Permission = "tenant.read"
	TenantWrite   Permission = "tenant.write"
	TenantList    Permission = "tenant.list"
	MetricsRead   Permission = "metrics"
)

// Principal is who sent a request.
type Principal struct {
	Name string // as it is written into what he changes; "" is nobody
	root bool   // may do everything in every tenant
}

// rootPrincipal holds the root token, or came to a server that asks for none.
var rootPrincipal = Principal{Name: "root", root: true}

// May tells whether the principal has a permission in a tenant. The empty tenant asks
// for the permission in any tenant at all.
func (p Principal) May(permission Permission, tenant registry.Tenant) bool {
	return permission == Public || p.root
}

// authenticate finds out who sent the request. It reads headers only.
func (s *Server) authenticate(r *http.Request) (Principal, error) {
	if s.options.Insecure {
		return rootPrincipal, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !s.options.RootToken.Is(strings.TrimSpace(token)) {
		return Principal{}, newProblem(codeUnauthenticated)
	}
	return rootPrincipal, nil
}

// authorise lets a principal do what the permission is for, in a tenant. No bucket has
// been asked yet, so a refusal tells nothing of what exists.
func authorise(p Principal, permission Permission, tenant registry.Tenant) error {
	if p.May(permission, tenant) {
		return nil
	}
	return problemf(codeForbidden, "%s may not do this: it needs the permission %s", p.Name, permission)
}

// admitHost refuses a Host that is not ours. A page in a browser whose own name was
// pointed at this server (DNS rebinding) has to send that name.
func (s *Server) admitHost(r *http.Request) error {
	if !s.options.Insecure && len(s.hosts) == 0 {
		return nil // without the token, which no foreign page has, nothing is answered
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(strings.TrimSuffix(host, "."), "[]"))
	if host == "localhost" || net.ParseIP(host) != nil || slices.Contains(s.hosts, host) {
		return nil
	}
	p := problemf(codeForbidden, "this server does not answer to the name %s", shown(host))
	p.Status, p.Title = http.StatusMisdirectedRequest, "Misdirected request"
	return p.hint("call it by its address or by localhost, or start it with this name as one of its hosts")
}

// admitOrigin refuses a change that a page of another origin asks for.
func (s *Server) admitOrigin(r *http.Request) error {
	if err := s.origins.Check(r); err != nil {
		return problemf(codeForbidden, "the request comes from a page of another origin")
	}
	return nil
}
