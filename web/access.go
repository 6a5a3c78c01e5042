package web

import (
	"net"
	"net/http"
	"net/netip"
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
	VersionSign   Permission = "version.sign"
	Train         Permission = "train"
	AliasWrite    Permission = "alias.write"
	TenantRead    Permission = "tenant.read"
	TenantAdmin   Permission = "tenant.admin" // make, change and delete tenants; their limits
	TrustWrite    Permission = "trust.write"  // whose signatures count in the tenant
	TenantList    Permission = "tenant.list"
	KeyAdmin      Permission = "key.admin"      // keys of one tenant
	KeyOperator   Permission = "key.operator"   // keys for all tenants
	AuditRead     Permission = "audit.read"     // of one tenant
	AuditOperator Permission = "audit.all.read" // of what belongs to none
	Collect       Permission = "gc"
	MetricsRead   Permission = "metrics"
)

// grants is who may do what in his tenant, and the only place where that stands: the
// roles by their letters, in columns.
var grants = []struct {
	permission Permission
	roles      string
}{
	// scorer, reader, writer, promoter, admin, operator
	{Detect, "s-wpa-"},
	{Warm, "--wpao"},
	{DetectorsRead, "srwpao"},
	{ModelRead, "-rwpao"},
	{FileRead, "-rwpa-"},
	{FileVerify, "-rwpao"},
	{ModelWrite, "--wpa-"},
	{VersionCreate, "--w-a-"},
	{Train, "--w-a-"},
	{AliasWrite, "---pa-"},
	{VersionDelete, "---pa-"},
	{VersionSign, "--wpa-"},
	{ModelDelete, "----a-"},
	{TenantRead, "-rwpao"},
	{TenantAdmin, "-----o"},
	{TrustWrite, "----ao"},
	{TenantList, "srwpao"},
	{KeyAdmin, "----ao"},
	{KeyOperator, "-----o"},
	{AuditRead, "----ao"},
	{AuditOperator, "-----o"},
	{Collect, "-----o"},
	{MetricsRead, "-----o"},
}

// known tells whether the table has a permission.
func known(permission Permission) bool {
	for i := range grants {
		if grants[i].permission == permission {
			return true
		}
	}
	return false
}

// granted tells whether a role comes with a permission.
func granted(role registry.Role, permission Permission) bool {
	letter := role.Letter()
	for i := range grants {
		if grants[i].permission == permission {
			return letter != 0 && strings.IndexByte(grants[i].roles, letter) >= 0
		}
	}
	return false
}

// Principal is who sent a request. The zero value is nobody.
type Principal struct {
	// Name is what is written into what he changes: root, key:<id>, oidc:<subject>.
	Name string
	Role registry.Role
	// Tenant is where he is that; "" is in all.
	Tenant registry.Tenant

	root bool // may do everything in every tenant
	// also is what else he is, where a token makes him several things.
	also   []Principal
	issued bool // known by a token of an issuer, that ends by its time alone
	stale  bool // the store could not confirm the key of late: see keyring
}

// rootPrincipal holds the root token, or came to a server that asks for none.
var rootPrincipal = Principal{Name: "root", root: true}

// May tells whether the principal has a permission in a tenant. The empty tenant asks
// for the permission in any tenant at all.
func (p Principal) May(permission Permission, tenant registry.Tenant) bool {
	if permission == Public || p.root {
		return true
	}
	if p.belongsAlone(tenant) && granted(p.Role, permission) {
		return true
	}
	return slices.ContainsFunc(p.also, func(a Principal) bool { return a.May(permission, tenant) })
}

// belongs tells whether the principal has any right in a tenant. To who has none its
// names do not exist.
func (p Principal) belongs(tenant registry.Tenant) bool {
	return p.belongsAlone(tenant) || slices.ContainsFunc(p.also, func(a Principal) bool { return a.belongs(tenant) })
}

func (p Principal) belongsAlone(tenant registry.Tenant) bool {
	switch {
	case p.root:
		return true
	case p.Role.Letter() == 0, p.Role == registry.Operator && p.Tenant != "": // there are no operators of one tenant
		return false
	}
	return p.Tenant == "" || tenant == "" || tenant == p.Tenant
}

// only is the one tenant in which the principal has any right; "" where there are more, or
// may be.
func (p Principal) only() registry.Tenant {
	for _, a := range p.also {
		if a.only() != p.Tenant {
			return ""
		}
	}
	return p.Tenant
}

// authenticate finds out who sent the request. It reads headers only, and asks the store
// only where it meets a key of which nothing is known of late.
func (s *Server) authenticate(r *http.Request, client netip.Addr, permission Permission) (Principal, error) {
	if s.options.Insecure {
		return rootPrincipal, nil
	}
	presented, err := bearer(r)
	if err != nil {
		return Principal{}, err
	}
	token, isKey := registry.ParseToken(presented)
	switch { // a root token of one's own may have any form: it counts first
	case isKey && s.options.RootToken.IsToken(token), !isKey && s.options.RootToken.Is(presented):
		return rootPrincipal, nil
	case isKey:
		return s.keys.admit(r.Context(), token, client, permission)
	}
	if s.issuer != nil && isJWT(presented) {
		return s.issuer.authenticate(r.Context(), presented)
	}
	return Principal{}, newProblem(codeUnauthenticated)
}

// bearer is the token that a request presents, one and no more.
func bearer(r *http.Request) (string, error) {
	given := r.Header["Authorization"]
	if len(given) != 1 {
		return "", newProblem(codeUnauthenticated)
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", newProblem(codeUnauthenticated)
	}
	return strings.TrimSpace(token), nil
}

// authorise lets a principal do what the permission is for, in a tenant. No bucket has
// been asked yet, so a refusal tells nothing of what exists. To who has no right at all
// in a tenant it is the same, to the byte, whatever the name.
func authorise(p Principal, permission Permission, tenant registry.Tenant) error {
	switch {
	case p.May(permission, tenant) && p.stale && !goesOn(permission):
		return newProblem(codeAuthUnavailable)
	case p.May(permission, tenant):
		return nil
	case tenant != "" && !p.belongs(tenant):
		return problemf(codeTenantNotFound, "there is no such tenant")
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
