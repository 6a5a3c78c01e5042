package web

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/labstack/echo/v4"

	"modelbucket/registry"
	"modelbucket/registry/signature"
)

// Route is one entry of the table of routes. What is not in the table is not served,
// and who lacks a route's permission is not let in.
type Route struct {
	Method string
	// Pattern has parameters in braces, one segment each; "{name...}" is the rest.
	Pattern    string
	Permission Permission
	// Any asks for the permission in any tenant: the handler admits the caller to the
	// tenant that the query or the body names.
	Any bool
	// Aliases: the request may name aliases that it sets as well, for which it needs
	// AliasWrite too. Named in the query, they are looked at before the body; named in the
	// body, before anything is stored.
	Aliases bool
	// List: an answer may be as large as a page of registry's.
	List bool
	// FastAPI answers errors in the shape of SecureNet's Python API.
	FastAPI bool

	handle func(*Server, *call) error
	body   bodyKind
}

// bodyKind says how large a body may be, so that one that announces more is refused
// before it is read.
type bodyKind int

const (
	noBody        bodyKind = iota // if one comes, it is thrown away
	jsonBody                      // maxJSON
	eventBody                     // depends on the format
	signatureBody                 // signature.MaxBundle
	fileBody                      // Options.MaxUpload, and maxJSON for what stands beside it
)

const (
	v1    = "/v1/tenants/{tenant}"
	model = v1 + "/models/{model}"
	refer = model + "/versions/{ref}"
)

// Routes is the table. HEAD is served wherever GET is.
func Routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/", Permission: Public, handle: (*Server).front},
		{Method: "GET", Pattern: "/healthz", Permission: Public, handle: (*Server).healthz},
		{Method: "GET", Pattern: "/readyz", Permission: Public, handle: (*Server).readyz},
		{Method: "GET", Pattern: "/openapi.yaml", Permission: Public, handle: (*Server).openAPI},
		{Method: "GET", Pattern: "/modelbucket.py", Permission: Public, handle: (*Server).python},
		{Method: "GET", Pattern: "/metrics", Permission: MetricsRead, Any: true, handle: (*Server).showMetrics},

		{Method: "GET", Pattern: "/v1/tenants", Permission: TenantList, Any: true, List: true, handle: (*Server).listTenants},
		{Method: "GET", Pattern: v1, Permission: TenantRead, handle: (*Server).getTenant},
		{Method: "PUT", Pattern: v1 + "/signatures", Permission: TrustWrite, body: jsonBody, handle: (*Server).putTrust},
		{Method: "PUT", Pattern: v1, Permission: TenantAdmin, body: jsonBody, handle: (*Server).putTenant},
		{Method: "DELETE", Pattern: v1, Permission: TenantAdmin, handle: (*Server).deleteTenant},

		{Method: "GET", Pattern: v1 + "/keys", Permission: KeyAdmin, handle: (*Server).listKeys},
		{Method: "POST", Pattern: v1 + "/keys", Permission: KeyAdmin, body: jsonBody, handle: (*Server).createKey},
		{Method: "DELETE", Pattern: v1 + "/keys/{key}", Permission: KeyAdmin, handle: (*Server).revokeKey},
		{Method: "GET", Pattern: "/v1/keys", Permission: KeyOperator, Any: true, handle: (*Server).listKeys},
		{Method: "POST", Pattern: "/v1/keys", Permission: KeyOperator, Any: true, body: jsonBody, handle: (*Server).createKey},
		{Method: "DELETE", Pattern: "/v1/keys/{key}", Permission: KeyOperator, Any: true, handle: (*Server).revokeKey},

		{Method: "GET", Pattern: v1 + "/log", Permission: AuditRead, handle: (*Server).showLog},
		{Method: "GET", Pattern: "/v1/log", Permission: AuditOperator, Any: true, handle: (*Server).showLog},

		{Method: "GET", Pattern: "/v1/models", Permission: ModelRead, Any: true, List: true, handle: (*Server).listAllModels},
		{Method: "GET", Pattern: v1 + "/models", Permission: ModelRead, List: true, handle: (*Server).listModels},
		{Method: "GET", Pattern: model, Permission: ModelRead, handle: (*Server).getModel},
		{Method: "PATCH", Pattern: model, Permission: ModelWrite, body: jsonBody, handle: (*Server).patchModel},
		{Method: "DELETE", Pattern: model, Permission: ModelDelete, handle: (*Server).deleteModel},

		{Method: "GET", Pattern: model + "/versions", Permission: ModelRead, List: true, handle: (*Server).listVersions},
		{Method: "POST", Pattern: model + "/versions", Permission: VersionCreate, Aliases: true, body: fileBody, handle: (*Server).publish},
		{Method: "GET", Pattern: refer, Permission: ModelRead, handle: (*Server).getVersion},
		{Method: "PATCH", Pattern: refer, Permission: ModelWrite, body: jsonBody, handle: (*Server).patchVersion},
		{Method: "DELETE", Pattern: refer, Permission: VersionDelete, handle: (*Server).deleteVersion},
		{Method: "GET", Pattern: refer + "/files/{name...}", Permission: FileRead, handle: (*Server).getFile},
		{Method: "GET", Pattern: refer + "/signature", Permission: ModelRead, handle: (*Server).getSignature},
		{Method: "PUT", Pattern: refer + "/signature", Permission: VersionSign, body: signatureBody, handle: (*Server).putSignature},
		{Method: "POST", Pattern: refer + "/verify", Permission: FileVerify, handle: (*Server).verify},
		{Method: "POST", Pattern: refer + "/restore", Permission: VersionCreate, Aliases: true, body: jsonBody, handle: (*Server).restore},
		{Method: "POST", Pattern: refer + "/copy", Permission: FileRead, Aliases: true, body: jsonBody, handle: (*Server).copyVersion},

		{Method: "POST", Pattern: model + "/train", Permission: Train, Aliases: true, body: fileBody, handle: (*Server).train},
		{Method: "POST", Pattern: model + "/detect", Permission: Detect, body: eventBody, handle: (*Server).detect},
		{Method: "POST", Pattern: refer + "/detect", Permission: Detect, body: eventBody, handle: (*Server).detect},
		{Method: "POST", Pattern: refer + "/load", Permission: Warm, handle: (*Server).load},
		{Method: "POST", Pattern: refer + "/unload", Permission: Warm, handle: (*Server).unload},
		{Method: "GET", Pattern: "/v1/detectors", Permission: DetectorsRead, Any: true, handle: (*Server).listDetectors},

		{Method: "GET", Pattern: model + "/aliases", Permission: ModelRead, handle: (*Server).listAliases},
		{Method: "GET", Pattern: model + "/aliases/{alias}", Permission: ModelRead, handle: (*Server).getAlias},
		{Method: "PUT", Pattern: model + "/aliases/{alias}", Permission: AliasWrite, body: jsonBody, handle: (*Server).putAlias},
		{Method: "DELETE", Pattern: model + "/aliases/{alias}", Permission: AliasWrite, handle: (*Server).deleteAlias},

		{Method: "GET", Pattern: "/models", Permission: ModelRead, Any: true, FastAPI: true, List: true, handle: (*Server).secureList},
		{Method: "GET", Pattern: "/models/{model}/info", Permission: ModelRead, Any: true, FastAPI: true, handle: (*Server).secureShow},
		{Method: "POST", Pattern: "/models/train", Permission: Train, Any: true, FastAPI: true, body: fileBody, handle: (*Server).secureTrain},
		{Method: "DELETE", Pattern: "/models/{model}", Permission: VersionDelete, Any: true, FastAPI: true, handle: (*Server).secureDelete},
		{Method: "POST", Pattern: "/models/{model}/load", Permission: Warm, Any: true, FastAPI: true, body: jsonBody, handle: (*Server).secureLoad},
		{Method: "POST", Pattern: "/models/{model}/detect", Permission: Detect, Any: true, FastAPI: true, body: eventBody, handle: (*Server).secureDetect},
	}
}

// mount registers a table with the router. It refuses one with a route that nobody was
// given, or everybody: a route without a permission that the table of roles knows.
func (s *Server) mount(e *echo.Echo, routes []Route) error {
	for _, route := range routes {
		if route.Permission != Public && !known(route.Permission) {
			return fmt.Errorf("route %s %s has the permission %q, which no role has", route.Method, route.Pattern, route.Permission)
		}
		e.Add(route.Method, echoPattern(route.Pattern), s.admit(route))
		if route.Method == http.MethodGet {
			e.Add(http.MethodHead, echoPattern(route.Pattern), s.admit(route))
		}
	}
	return nil
}

// echoPattern writes a pattern as Echo does: "/v1/tenants/:tenant", "/files/*".
func echoPattern(pattern string) string {
	segments := strings.Split(pattern, "/")
	for i, segment := range segments {
		name, isParameter := strings.CutPrefix(segment, "{")
		switch {
		case !isParameter:
		case strings.HasSuffix(name, "...}"):
			segments[i] = "*"
		default:
			segments[i] = ":" + strings.TrimSuffix(name, "}")
		}
	}
	return strings.Join(segments, "/")
}

// parameters are the names of a pattern's parameters, in their order.
func parameters(pattern string) (names []string) {
	for segment := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(strings.TrimSuffix(name, "}"), "..."))
		}
	}
	return names
}

// admit is the way to a route's handler: who is it, are the names names, may he, and
// is the announced body small enough. Nothing of the body and nothing in the bucket has
// been read when it refuses.
func (s *Server) admit(route Route) echo.HandlerFunc {
	names := parameters(route.Pattern)
	return func(ec echo.Context) error {
		x := ec.Response().Writer.(*exchange)
		c := &call{w: x, r: ec.Request(), reads: s.works.downloads}
		defer c.letGo()
		x.route, x.fastAPI = route.Pattern, route.FastAPI
		values := ec.ParamValues()
		for i, value := range values {
			if strings.Contains(value, "/") && !strings.HasSuffix(route.Pattern, "{"+names[i]+"...}") {
				return noSuchPath(c.r) // Echo gives a last parameter the rest of the path
			}
		}
		if route.Permission != Public {
			var err error
			if c.who, err = s.authenticate(c.r, x.client, route.Permission); err != nil {
				s.refused.note(c, route, err)
				return err
			}
			x.who = c.who
			c.rights.grant(c.who, route.Permission, func() error {
				who, err := s.authenticate(c.r, x.client, route.Permission)
				if err != nil {
					return err
				}
				return authorise(who, route.Permission, c.tenant)
			})
		}
		err := s.named(c, route, names, values)
		if err == nil {
			err = s.perform(c, route)
		}
		s.refused.note(c, route, err)
		c.share.settle(err)
		return err
	}
}

// perform does what a request asks for whose time has come.
func (s *Server) perform(c *call, route Route) error {
	if err := authorise(c.who, route.Permission, c.tenant); err != nil {
		return err
	}
	if route.Aliases && c.r.URL.Query().Has("alias") {
		if err := authorise(c.who, AliasWrite, c.tenant); err != nil {
			return err
		}
	}
	if scope := route.scope(c); scope != "" {
		c.confine(scope)
	}
	if err := admitEncoding("body", textproto.MIMEHeader(c.r.Header)); err != nil {
		return err
	}
	if route.counted() {
		held, err := c.enter(s.works.calls, 1)
		if err != nil {
			return err
		}
		defer held.leave()
	}
	if route.List {
		if err := c.hold(pageWeight); err != nil {
			return err
		}
	}
	limit := s.bodyLimit(route.body)
	if limit >= 0 && c.r.ContentLength > limit {
		return tooLarge(limit)
	}
	if route.body == noBody && c.r.ContentLength != 0 {
		if _, err := io.Copy(io.Discard, c.body(limit)); err != nil {
			return err
		}
	}
	if route.changes() {
		c.onBehalf()
	}
	err := route.handle(s, c)
	if err == nil {
		c.share.learn()
	}
	return err
}

// named parses the names in the path, and lets the request in when its time has come: a
// wrong one counts as well.
func (s *Server) named(c *call, route Route, names, values []string) (err error) {
	for i := 0; i < len(values) && err == nil; i++ {
		err = c.name(names[i], values[i])
	}
	if err == nil && route.FastAPI {
		err = c.aimByQuery()
	}
	if early := s.ration(c, route); early != nil {
		return early
	}
	return err
}

// scope is the tenant that a request cannot leave: the one in its path, or the caller's
// only one; "" where the handler is to find it.
func (r Route) scope(c *call) registry.Tenant {
	if r.FastAPI { // the body may name another one than the query
		return c.who.only()
	}
	return cmp.Or(c.tenant, c.who.only())
}

// counted tells whether a request is let in by its count; the others' handlers know what
// they weigh.
func (r Route) counted() bool {
	return r.Permission != Public && (r.body == noBody || r.body == jsonBody || r.body == signatureBody) && r.Permission != FileRead && r.Permission != FileVerify
}

func noSuchPath(r *http.Request) error {
	return problemf(codeNotFound, "there is nothing at %s", shown(r.URL.Path))
}

// bodyLimit is the size that a body may announce, in bytes; negative: any.
func (s *Server) bodyLimit(kind bodyKind) int64 {
	switch kind {
	case fileBody:
		return s.options.MaxUpload + maxJSON
	case jsonBody:
		return maxJSON
	case signatureBody:
		return signature.MaxBundle
	case eventBody:
		return -1
	}
	return maxNoBody
}

// maxNoBody bounds a body where none belongs, in bytes. It is read all the same: net/http
// would wait for it, and without a limit on the time.
const maxNoBody = 64 << 10
