package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"modelbucket/registry"
)

// OIDC says whose tokens are taken: JWTs that an issuer of OpenID Connect signed for an
// audience that is us (RFC 7519, RFC 9068, OpenID Connect Core 1.0 §3.1.3.7).
type OIDC struct {
	// Issuer is its URL, to the letter as in the tokens' iss; https, or http on the
	// loopback address.
	Issuer string
	// Audience has to be among the tokens' aud.
	Audience string
	// Clients, unless there are none, are those to which a token has to be issued: its azp,
	// or client_id (RFC 9068). The issuer's other clients ask for the same audience, and
	// theirs are not taken then.
	Clients []string
	// Roles are what a caller may do; all that apply to him count. Without any that
	// does, he is known and may do nothing.
	Roles []RoleRule
	// Transport leads to the issuer (nil: http.DefaultTransport).
	Transport http.RoundTripper
}

// RoleRule gives a role to callers in whose token a claim has a value, or is a list with
// it. The claim is a member of the token by its whole name, or else a path of members
// with dots between ("realm_access.roles"). scope and scp are lists with spaces between.
type RoleRule struct {
	Claim, Value string
	Role         registry.Role
	Tenant       registry.Tenant // "": all
}

// ParseRoleRule reads CLAIM=VALUE:ROLE@TENANT, or without @TENANT for all tenants. A value
// may hold colons, a claim no equals sign.
func ParseRoleRule(s string) (RoleRule, error) {
	claim, rest, ok := strings.Cut(s, "=")
	colon := strings.LastIndexByte(rest, ':')
	if !ok || claim == "" || colon < 1 {
		return RoleRule{}, problemf(codeBadRequest, "%s is no rule for a role", shown(s)).hint("write CLAIM=VALUE:ROLE@TENANT, for example groups=fraud-team:writer@acme; without @TENANT it is for all tenants")
	}
	r := RoleRule{Claim: claim, Value: rest[:colon]}
	role, tenant, one := strings.Cut(rest[colon+1:], "@")
	var err error
	if r.Role, err = registry.ParseRole(role); err != nil {
		return RoleRule{}, err
	}
	if !one {
		return r, nil
	}
	if r.Role == registry.Operator {
		return RoleRule{}, problemf(codeBadRequest, "%s gives the role operator for one tenant, and an operator is always for all", shown(s))
	}
	r.Tenant, err = registry.ParseTenant(tenant)
	return r, err
}

// UnmarshalText is ParseRoleRule, for flags.
func (r *RoleRule) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRoleRule(string(text))
	return err
}

// maxJWT bounds a token, in bytes: what is longer is not looked at.
const maxJWT = 8 << 10

// algorithms are those with which a token may be signed. All have a public key, so that
// nobody can make a token with what an issuer publishes; there is no "none".
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// issuer knows callers by their tokens.
type issuer struct {
	OIDC
	keys  *issuerKeys
	known knownTokens
}

// Validate says what is missing, or would be unsafe.
func (o OIDC) Validate() error {
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return problemf(codeBadRequest, "%s is no issuer", shown(o.Issuer)).hint("it is a URL such as https://login.example.org/realms/models, as it stands in iss")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return problemf(codeBadRequest, "the issuer %s is not asked over https: whoever is between could sign tokens", shown(o.Issuer))
	case o.Audience == "":
		return problemf(codeBadRequest, "the issuer %s has no audience beside it: tokens that were made for others would be taken", shown(o.Issuer))
	case len(o.Roles) == 0:
		return problemf(codeBadRequest, "the issuer %s has no rule for a role beside it: nobody with its tokens could do anything", shown(o.Issuer))
	}
	return nil
}

func newIssuer(o OIDC, log *slog.Logger) (*issuer, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	return &issuer{OIDC: o, keys: newIssuerKeys(o.Issuer, o.Transport, log)}, nil
}

// isJWT tells whether a token has the form of a signed JWT. An encrypted one (JWE) has
// not: it could be a bomb, and we have no key.
func isJWT(token string) bool { return strings.Count(token, ".") == 2 }

// authenticate finds out who a token was made for. Nothing that it says counts before its
// signature was proven.
func (i *issuer) authenticate(ctx context.Context, token string) (Principal, error) {
	if len(token) > maxJWT {
		return Principal{}, badToken("it has %d bytes; it may have %d", len(token), maxJWT)
	}
	if p, ok := i.known.get(token, i.keys.generation()); ok {
		return p, nil
	}
	parsed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		return Principal{}, badToken("it is malformed, or signed with an algorithm that is not taken")
	}
	header := parsed.Signatures[0].Protected
	if kind, _ := header.ExtraHeaders[jose.HeaderType].(string); kind != "" && !isTokenType(kind) {
		return Principal{}, badToken("its type is %s; it has to be JWT or at+jwt", shown(kind))
	}
	set, err := i.keys.find(ctx, header.KeyID, jose.SignatureAlgorithm(header.Algorithm))
	if err != nil {
		return Principal{}, err
	}
	said, err := i.verify(ctx, token, set.keys)
	if err != nil {
		return Principal{}, err
	}
	p := i.principal(said)
	i.known.put(token, knownToken{p, said.expires, set.generation})
	return p, nil
}

// isTokenType admits JWTs in general and access tokens. Others, such as logout tokens,
// are signed by the same issuer and say something else.
func isTokenType(kind string) bool {
	kind = strings.TrimPrefix(strings.ToLower(kind), "application/")
	return kind == "jwt" || kind == "at+jwt"
}

// claims are what a proven token says.
type claims struct {
	subject string
	expires time.Time
	all     map[string]any
}

// maxSubject is the longest subject, in bytes (OpenID Connect Core 1.0 §2).
const maxSubject = 255

// verify proves a token's signature, issuer, audience and time. The claims that count are
// read a second time by their exact names: go-oidc's decoder takes "ISS" for "iss".
func (i *issuer) verify(ctx context.Context, token string, keys *oidc.StaticKeySet) (claims, error) {
	config := &oidc.Config{ClientID: i.Audience, SupportedSigningAlgs: algorithmNames()}
	proven, err := oidc.NewVerifier(i.Issuer, keys, config).Verify(ctx, token)
	if _, late := errors.AsType[*oidc.TokenExpiredError](err); late {
		return claims{}, badToken("it has expired")
	}
	if err != nil {
		return claims{}, fmt.Errorf("%w: %w", badToken("its signature, issuer, audience or time is not right"), err) // the log tells which
	}
	var raw rawClaims
	if err := proven.Claims(&raw); err != nil {
		return claims{}, badToken("its claims are malformed")
	}
	said := claims{all: map[string]any{}}
	if err := json.Unmarshal(raw, &said.all); err != nil {
		return claims{}, badToken("its claims are malformed")
	}
	expires, _ := said.all["exp"].(float64)
	said.expires = time.Unix(int64(min(expires, 1<<40)), 0)
	said.subject, _ = said.all["sub"].(string)
	client, named := said.all["azp"]
	if !named {
		client = said.all["client_id"]
	}
	switch {
	case said.all["iss"] != i.Issuer || !slices.Contains(values(said.all["aud"]), i.Audience):
		return claims{}, badToken("it is of another issuer, or for another audience")
	case !said.expires.After(time.Now()):
		return claims{}, badToken("it has expired")
	case len(i.Clients) > 0 && !slices.ContainsFunc(i.Clients, func(own string) bool { return client == own }):
		return claims{}, badToken("it was issued to another client than those that are taken")
	case said.subject == "" || len(said.subject) > maxSubject:
		return claims{}, badToken("its subject has %d bytes; it has 1 to %d", len(said.subject), maxSubject)
	}
	return said, nil
}

// rawClaims are the bytes of a token's payload.
type rawClaims []byte

func (r *rawClaims) UnmarshalJSON(data []byte) error {
	*r = slices.Clone(data)
	return nil
}

func algorithmNames() (names []string) {
	for _, a := range algorithms {
		names = append(names, string(a))
	}
	return names
}

// principal is the caller that claims tell of, with all that the rules give him.
func (i *issuer) principal(said claims) Principal {
	p := Principal{Name: "oidc:" + subjectName(said.subject), issued: true}
	for _, rule := range i.Roles {
		switch fits := slices.Contains(claimValues(said.all, rule.Claim), rule.Value); {
		case !fits:
		case p.Role == "":
			p.Role, p.Tenant = rule.Role, rule.Tenant
		default:
			p.also = append(p.also, Principal{Name: p.Name, Role: rule.Role, Tenant: rule.Tenant})
		}
	}
	return p
}

// claimValues are the texts of a claim: of itself, or of its list.
func claimValues(all map[string]any, claim string) []string {
	value, ok := all[claim]
	for rest := claim; !ok; {
		name, behind, more := strings.Cut(rest, ".")
		inner, isObject := all[name].(map[string]any)
		if !more || !isObject {
			return nil
		}
		all, rest = inner, behind
		value, ok = all[rest]
	}
	if text, isText := value.(string); isText && (claim == "scope" || claim == "scp") {
		return strings.Fields(text)
	}
	return values(value)
}

func values(v any) (texts []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, item := range v {
			if text, ok := item.(string); ok {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

// subjectName is a subject as it is written down: what is not harmless is escaped as in
// a URL, and what is long is cut and told apart by its digest. No two subjects have the
// same name.
func subjectName(subject string) string {
	const most = 128
	var b strings.Builder
	for _, c := range []byte(subject) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.@|:/+=", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= most {
		return b.String()
	}
	sum := sha256.Sum256([]byte(subject))
	return fmt.Sprintf("%s~%x", b.String()[:most-33], sum[:16])
}

func badToken(format string, args ...any) *Problem {
	p := problemf(codeUnauthenticated, "the token is refused: "+format, args...)
	return p.hint("get a new one from the issuer, made for this server")
}

// knownTokens are tokens that were proven a moment ago, by their digests: proving one
// takes longer than scoring an event.
type knownTokens struct {
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]knownToken
}

type knownToken struct {
	who        Principal
	expires    time.Time
	generation int64 // of the issuer's keys that it was proven with
}

// maxKnown bounds the tokens that are remembered.
const maxKnown = 10_000

func (k *knownTokens) get(token string, generation int64) (Principal, bool) {
	sum := sha256.Sum256([]byte(token))
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.tokens[sum]
	if !ok || t.generation != generation || !t.expires.After(time.Now()) {
		delete(k.tokens, sum)
		return Principal{}, false
	}
	return t.who, true
}

func (k *knownTokens) put(token string, t knownToken) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tokens == nil || len(k.tokens) >= maxKnown {
		k.tokens = map[[sha256.Size]byte]knownToken{}
	}
	k.tokens[sha256.Sum256([]byte(token))] = t
}
