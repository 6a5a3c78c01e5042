package web_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"modelbucket/registry"
	"modelbucket/web"
)

// rules reads rules for roles.
func rules(t testing.TB, texts ...string) (all []web.RoleRule) {
	t.Helper()
	for _, text := range texts {
		r, err := web.ParseRoleRule(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// trusting makes a node take an issuer's tokens.
func trusting(i *testIssuer, way http.RoundTripper, roles ...web.RoleRule) func(*web.Options) {
	return func(o *web.Options) {
		o.Insecure = false
		o.OIDC = &web.OIDC{Issuer: i.url, Audience: audience, Roles: roles, Transport: way}
	}
}

// TestOIDC sends tokens of all kinds to a node, which asks a real issuer over TLS.
func TestOIDC(t *testing.T) {
	s := newSigners(t)
	secret := jose.JSONWebKey{KeyID: "secret", Key: []byte("a shared secret that was published")}
	pinned := public("pinned", s.rsa)
	pinned.Algorithm = "PS256"
	encryption := public("encryption", s.rsa)
	encryption.Use = "enc"
	i, way := startIssuer(t, public("r", s.rsa), public("e", s.p256), public("e384", s.p384), public("o", s.ed25519), secret, pinned, encryption)
	var elsewhere atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { elsewhere.Add(1) }))
	defer evil.Close()
	n := serve(t, trusting(i, way, rules(t, "groups=writers:writer@acme")...))
	n.publish("fraud", "", "x")
	other := newSigners(t)

	claims := i.claims
	good := i.token(s, "r", nil)
	parts := strings.Split(good, ".")
	der, err := x509.MarshalPKIXPublicKey(s.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	published, err := json.Marshal(public("r", s.rsa))
	if err != nil {
		t.Fatal(err)
	}
	// confused signs with HMAC, and for the secret takes what everybody knows.
	confused := func(secret []byte) string {
		unsigned := strings.TrimSuffix(forged(t, `{"alg":"HS256","kid":"r","typ":"JWT"}`, claims(nil), nil), ".")
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(unsigned))
		return unsigned + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	object := func(token string) string {
		p := strings.Split(token, ".")
		return fmt.Sprintf(`{"payload":"%s","protected":"%s","signature":"%s"}`, p[1], p[0], p[2])
	}
	encrypt := func(compression jose.CompressionAlgorithm) string {
		e, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.RSA_OAEP, Key: s.rsa.Public()}, &jose.EncrypterOptions{Compression: compression})
		if err != nil {
			t.Fatal(err)
		}
		o, err := e.Encrypt(bytes.Repeat([]byte(good), 3))
		if err != nil {
			t.Fatal(err)
		}
		token, err := o.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	// sized is a good token of so many bytes.
	sized := func(size int) string {
		for pad := size*3/4 - 600; ; pad += 10 {
			token := i.token(s, "r", map[string]any{"pad": strings.Repeat("x", pad)})
			if len(token) >= size {
				return token
			}
		}
	}
	raw := func(text string) []byte { return []byte(text) }
	at := time.Now().Add(time.Hour).Unix()

	for _, row := range []struct {
		name, token string
		status      int
		says        string
	}{
		{"RS256", good, 200, ""},
		{"RS384", signed(t, jose.RS384, "r", s.rsa, claims(nil)), 200, ""},
		{"PS256", signed(t, jose.PS256, "r", s.rsa, claims(nil)), 200, ""},
		{"ES256", signed(t, jose.ES256, "e", s.p256, claims(nil)), 200, ""},
		{"ES384", signed(t, jose.ES384, "e384", s.p384, claims(nil)), 200, ""},
		{"EdDSA", signed(t, jose.EdDSA, "o", s.ed25519, claims(nil)), 200, ""},
		{"one of several audiences", i.token(s, "r", map[string]any{"aud": []string{"other", audience}}), 200, ""},
		{"typ JWT", signed(t, jose.RS256, "r", s.rsa, claims(nil), "typ", "JWT"), 200, ""},
		{"typ of an access token", signed(t, jose.RS256, "r", s.rsa, claims(nil), "typ", "application/at+jwt"), 200, ""},
		{"a key made for PS256", signed(t, jose.PS256, "pinned", s.rsa, claims(nil)), 200, ""},
		{"no name where one key would do", signed(t, jose.RS256, "", s.rsa, claims(nil)), 200, ""},
		{"8,000 bytes", sized(8000), 200, ""},

		{"no signature", parts[0] + "." + parts[1] + ".", 401, ""},
		{"alg none", forged(t, `{"alg":"none"}`, claims(nil), nil), 401, "algorithm"},
		{"alg None", forged(t, `{"alg":"None","kid":"r"}`, claims(nil), nil), 401, "algorithm"},
		{"alg NONE with a signature", forged(t, `{"alg":"NONE","kid":"r"}`, claims(nil), []byte("x")), 401, "algorithm"},
		{"no alg", forged(t, `{"kid":"r"}`, claims(nil), []byte("x")), 401, "malformed"},
		{"alg twice", forged(t, `{"alg":"none","alg":"RS256","kid":"r"}`, claims(nil), []byte("x")), 401, "malformed"},
		{"HS256 with the public key as PEM", confused(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), 401, "algorithm"},
		{"HS256 with the public key as DER", confused(der), 401, "algorithm"},
		{"HS256 with the published key", confused(published), 401, "algorithm"},
		{"HS256 with nothing", confused(nil), 401, "algorithm"},
		{"HS256 with a published secret", signed(t, jose.HS256, "secret", secret.Key, claims(nil)), 401, "algorithm"},
		{"RS256 named after the secret", signed(t, jose.RS256, "secret", s.rsa, claims(nil)), 401, "no such key"},
		{"RS256 with the key for ES256", signed(t, jose.RS256, "e", s.rsa, claims(nil)), 401, "no such key"},
		{"ES256 with the key for ES384", signed(t, jose.ES256, "e384", s.p256, claims(nil)), 401, "no such key"},
		{"RS256 with a key made for PS256", signed(t, jose.RS256, "pinned", s.rsa, claims(nil)), 401, "no such key"},
		{"a key for encryption", signed(t, jose.RS256, "encryption", s.rsa, claims(nil)), 401, "no such key"},
		{"no name where two keys would do", signed(t, jose.PS256, "", s.rsa, claims(nil)), 401, "no such key"},
		{"name of a path", signed(t, jose.RS256, "../../dev/null", s.rsa, claims(nil)), 401, "no such key"},
		{"another's key", signed(t, jose.RS256, "r", other.rsa, claims(nil)), 401, "signature"},
		{"key in the token", signed(t, jose.RS256, "r", other.rsa, claims(nil), "jwk", public("r", other.rsa)), 401, ""},
		{"key to be fetched", signed(t, jose.RS256, "r", other.rsa, claims(nil), "jku", evil.URL, "x5u", evil.URL), 401, "signature"},
		{"unknown critical header", signed(t, jose.RS256, "r", s.rsa, claims(nil), "crit", []string{"exp2"}, "exp2", 1), 401, ""},
		{"logout token", signed(t, jose.RS256, "r", s.rsa, claims(nil), "typ", "logout+jwt"), 401, "type"},
		{"security event", signed(t, jose.RS256, "r", s.rsa, claims(nil), "typ", "secevent+jwt"), 401, "type"},
		{"changed claims", parts[0] + "." + strings.Split(i.token(s, "r", map[string]any{"sub": "eve"}), ".")[1] + "." + parts[2], 401, "signature"},
		{"changed signature", good[:len(good)-8] + "AAAAAAAA", 401, ""},
		{"cut signature", good[:len(good)-20], 401, ""},
		{"as an object", object(good), 401, ""},
		{"encrypted", encrypt(jose.NONE), 401, ""},
		{"encrypted and packed", encrypt(jose.DEFLATE), 401, ""},
		{"four parts", good + ".x", 401, ""},
		{"empty parts", "..", 401, "malformed"},
		{"9 KiB", sized(9 << 10), 401, "it may have 8192"},

		{"another issuer", i.token(s, "r", map[string]any{"iss": "https://evil.example"}), 401, ""},
		{"the issuer with a slash", i.token(s, "r", map[string]any{"iss": i.url + "/"}), 401, ""},
		{"no issuer", i.token(s, "r", map[string]any{"iss": nil}), 401, ""},
		{"another audience", i.token(s, "r", map[string]any{"aud": "other"}), 401, ""},
		{"an audience that begins so", i.token(s, "r", map[string]any{"aud": audience + "-test"}), 401, ""},
		{"no audience", i.token(s, "r", map[string]any{"aud": nil}), 401, ""},
		{"expired", i.token(s, "r", map[string]any{"exp": time.Now().Add(-time.Second).Unix()}), 401, "expired"},
		{"no end", i.token(s, "r", map[string]any{"exp": nil}), 401, "expired"},
		{"end as text", i.token(s, "r", map[string]any{"exp": "never"}), 401, ""},
		{"not yet", i.token(s, "r", map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), 401, ""},
		{"no subject", i.token(s, "r", map[string]any{"sub": nil}), 401, "subject"},
		{"empty subject", i.token(s, "r", map[string]any{"sub": ""}), 401, "subject"},
		{"long subject", i.token(s, "r", map[string]any{"sub": strings.Repeat("s", 256)}), 401, "subject"},
		{"claim in capitals", signed(t, jose.RS256, "r", s.rsa, raw(fmt.Sprintf(`{"iss":%q,"AUD":%q,"aud":"other","sub":"a","exp":%d}`, i.url, audience, at))), 401, ""},
		{"end in capitals", signed(t, jose.RS256, "r", s.rsa, raw(fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"a","exp":1,"EXP":%d}`, i.url, audience, at))), 401, ""},
		{"claim twice", signed(t, jose.RS256, "r", s.rsa, raw(fmt.Sprintf(`{"iss":%q,"aud":"other","aud":%q,"sub":"a","exp":%d}`, i.url, audience, at))), 401, ""},
		{"claims of no object", signed(t, jose.RS256, "r", s.rsa, raw(`[1]`)), 401, ""},
		{"claims of no JSON", signed(t, jose.RS256, "r", s.rsa, raw(`{"iss"`)), 401, ""},
	} {
		answer := n.get(fraud, "Authorization", "Bearer "+row.token)
		if answer.StatusCode != row.status {
			t.Errorf("%s: status %d, want %d: %s", row.name, answer.StatusCode, row.status, answer.body)
			continue
		}
		if again := n.get(fraud, "Authorization", "Bearer "+row.token); again.StatusCode != row.status {
			t.Errorf("%s: status %d the second time", row.name, again.StatusCode)
		}
		if row.status == 401 {
			p := answer.problem(t)
			if p.Code != "unauthenticated" || !strings.Contains(p.Detail, row.says) || answer.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %+v; want it to say %q", row.name, p, row.says)
			}
		}
	}
	if calls := elsewhere.Load(); calls != 0 {
		t.Errorf("%d calls to where a token pointed", calls)
	}
	if log := n.log.String(); strings.Contains(log, parts[1]) || strings.Contains(log, parts[2]) {
		t.Error("the log has a token")
	}
	n.get(fraud).must(t, 200, nil) // the root token is as good as ever
}

// TestOIDCClients: where clients are named, a token counts that was issued to one of them.
func TestOIDCClients(t *testing.T) {
	s := newSigners(t)
	i, way := startIssuer(t, public("r", s.rsa))
	trust := trusting(i, way, rules(t, "groups=writers:writer@acme")...)
	n := serve(t, func(o *web.Options) {
		trust(o)
		o.OIDC.Clients = []string{"console", "trainer"}
	})
	n.publish("fraud", "", "x")
	for _, row := range []struct {
		claims map[string]any
		status int
	}{
		{map[string]any{"azp": "console"}, 200},
		{map[string]any{"client_id": "trainer"}, 200},
		{map[string]any{"azp": "trainer", "client_id": "other"}, 200},
		{map[string]any{"azp": "other", "client_id": "trainer"}, 401},
		{map[string]any{"azp": nil, "client_id": nil}, 401},
		{map[string]any{"azp": ""}, 401},
		{map[string]any{"azp": []string{"console"}}, 401},
		{map[string]any{"azp": map[string]any{"console": "console"}}, 401},
		{map[string]any{"azp": "Console"}, 401},
		{map[string]any{"AZP": "console"}, 401},
	} {
		answer := n.get("/v1/tenants/acme/models/fraud", "Authorization", "Bearer "+i.token(s, "r", row.claims))
		if answer.StatusCode != row.status {
			t.Errorf("%v: %d %s, want %d", row.claims, answer.StatusCode, answer.body, row.status)
		}
	}
}

// TestOIDCRoles: what rules make of claims.
func TestOIDCRoles(t *testing.T) {
	s := newSigners(t)
	i, way := startIssuer(t, public("r", s.rsa))
	const role = "https://example.org/roles"
	n := serve(t, trusting(i, way, rules(t,
		"groups=readers:reader@acme", "groups=writers:writer@acme", "groups=promoters:promoter@acme", "groups=all-readers:reader",
		"groups=bolt:writer@bolt", role+"=a:b:reader@acme", "realm_access.roles=reader:reader@acme", "scope=models.read:reader@acme", "sub=ada:reader@own")...))
	n.publish("fraud", "", "x")
	n.do("POST", "/v1/tenants/bolt/models/fraud/versions", strings.NewReader("x")).must(t, 201, nil)
	n.do("POST", "/v1/tenants/own/models/fraud/versions", strings.NewReader("x")).must(t, 201, nil)

	const bolt, own = "/v1/tenants/bolt/models/fraud", "/v1/tenants/own/models/fraud"
	for _, row := range []struct {
		name     string
		claims   map[string]any
		may, not []string // GET of a path, or "METHOD path"
	}{
		{"a group", map[string]any{"groups": []string{"readers"}}, []string{fraud, own}, []string{bolt, "POST " + fraud + "/versions"}},
		{"one group as text", map[string]any{"groups": "readers"}, []string{fraud}, []string{bolt}},
		{"two groups", map[string]any{"groups": []string{"readers", "bolt"}}, []string{fraud, bolt, "POST " + bolt + "/versions"}, []string{"POST " + fraud + "/versions"}},
		{"writer and promoter", map[string]any{"groups": []string{"writers", "promoters"}}, []string{"POST " + fraud + "/versions", "PUT " + fraud + "/aliases/a"}, nil},
		{"writer alone", map[string]any{"groups": []string{"writers"}}, []string{"POST " + fraud + "/versions"}, []string{"PUT " + fraud + "/aliases/a"}},
		{"for all tenants", map[string]any{"groups": []string{"all-readers"}}, []string{fraud, bolt, own}, []string{"POST " + fraud + "/versions"}},
		{"no group", map[string]any{"groups": nil}, []string{own}, []string{fraud, bolt}},
		{"unknown group", map[string]any{"groups": []string{"Readers", "readers "}}, []string{own}, []string{fraud}},
		{"groups of another kind", map[string]any{"groups": map[string]any{"readers": true}}, []string{own}, []string{fraud}},
		{"numbers among groups", map[string]any{"groups": []any{1, nil, "readers"}}, []string{fraud}, []string{bolt}},
		{"claim that is a URL, value with a colon", map[string]any{"groups": nil, role: []string{"a:b"}}, []string{fraud}, []string{bolt}},
		{"claim within a claim", map[string]any{"groups": nil, "realm_access": map[string]any{"roles": []string{"reader"}}}, []string{fraud}, []string{bolt}},
		{"claim with a dot in its name", map[string]any{"groups": nil, "realm_access.roles": "reader"}, []string{fraud}, []string{bolt}},
		{"scope", map[string]any{"groups": nil, "scope": "openid models.read email"}, []string{fraud}, []string{bolt}},
		{"another's subject", map[string]any{"sub": "eve", "groups": nil}, nil, []string{own, fraud, bolt}},
	} {
		token := "Bearer " + i.token(s, "r", row.claims)
		ask := func(what string) reply {
			method, path, ok := strings.Cut(what, " ")
			switch {
			case !ok:
				return n.get(what, "Authorization", token)
			case method == "PUT":
				return n.json(method, path, `{"version":1}`, "Authorization", token)
			}
			return n.do(method, path, strings.NewReader("x"), "Authorization", token)
		}
		for _, what := range row.may {
			if answer := ask(what); answer.StatusCode/100 != 2 {
				t.Errorf("%s: %s: status %d: %s", row.name, what, answer.StatusCode, answer.body)
			}
		}
		for _, what := range row.not {
			if answer := ask(what); answer.StatusCode != 403 && answer.StatusCode != 404 {
				t.Errorf("%s: %s: status %d: %s", row.name, what, answer.StatusCode, answer.body)
			}
		}
	}
}

// Who came with a token is named by its subject, in what he makes and in the log, and
// the name is harmless whatever the issuer's users may be called.
func TestOIDCNames(t *testing.T) {
	s := newSigners(t)
	i, way := startIssuer(t, public("r", s.rsa))
	n := serve(t, trusting(i, way, rules(t, "groups=writers:writer@acme")...))
	by := func(t interface{ Fatalf(string, ...any) }, subject string) string {
		answer := n.do("POST", fraud+"/versions", strings.NewReader("x"), "Authorization", "Bearer "+i.token(s, "r", map[string]any{"sub": subject}))
		if answer.StatusCode != 201 {
			t.Fatalf("subject %q: status %d: %s", subject, answer.StatusCode, answer.body)
		}
		var v registry.Version
		if err := json.Unmarshal(answer.body, &v); err != nil {
			t.Fatalf("%v", err)
		}
		return v.CreatedBy
	}
	for subject, want := range map[string]string{
		"ada":                    "oidc:ada",
		"auth0|5f7c8ec7":         "oidc:auth0|5f7c8ec7",
		"ada@example.org":        "oidc:ada@example.org",
		"root":                   "oidc:root",
		"Ada Lovelace":           "oidc:Ada%20Lovelace",
		"%20":                    "oidc:%2520",
		"a\nb\x1b[31m<b>":        "oidc:a%0Ab%1B%5B31m%3Cb%3E",
		"é":                      "oidc:%C3%A9",
		"~":                      "oidc:%7E",
		strings.Repeat("a", 128): "oidc:" + strings.Repeat("a", 128),
	} {
		if got := by(t, subject); got != want {
			t.Errorf("%q is called %q, want %q", subject, got, want)
		}
	}
	if !strings.Contains(n.log.String(), `"by":"oidc:Ada%20Lovelace"`) {
		t.Error("the log does not tell who it was")
	}
	names := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		subject := rapid.OneOf(rapid.StringN(1, 200, 255), rapid.StringMatching(`a{100,255}`), rapid.StringMatching(`a{90,99}~[0-9a-f]{32}`), rapid.StringMatching(`(%[0-9A-F]{2}){1,60}`)).Draw(t, "subject")
		name := by(t, subject)
		if len(name) > 5+128 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q is called %q", subject, name)
		}
		if first, taken := names[name]; taken && first != subject {
			t.Fatalf("%q and %q are both called %q", first, subject, name)
		}
		names[name] = subject
	})
}

func TestRoleRules(t *testing.T) {
	for text, want := range map[string]*web.RoleRule{
		"groups=a:writer@acme":         {Claim: "groups", Value: "a", Role: registry.Writer, Tenant: "acme"},
		"groups=a:reader":              {Claim: "groups", Value: "a", Role: registry.Reader},
		"groups=a:operator":            {Claim: "groups", Value: "a", Role: registry.Operator},
		"sub=b:c=d:admin@acme":         {Claim: "sub", Value: "b:c=d", Role: registry.Admin, Tenant: "acme"},
		"https://x.example/r=v:scorer": {Claim: "https://x.example/r", Value: "v", Role: registry.Scorer},
		"mail=a@b.example:reader@acme": {Claim: "mail", Value: "a@b.example", Role: registry.Reader, Tenant: "acme"},
		"":                             nil,
		"groups":                       nil,
		"groups=a":                     nil,
		"groups=:reader":               nil,
		"=a:reader":                    nil,
		"groups=a:boss":                nil,
		"groups=a:":                    nil,
		"groups=a:root":                nil,
		"groups=a:reader@":             nil,
		"groups=a:reader@../x":         nil,
		"groups=a:operator@acme":       nil,
		"groups=a:reader@acme@bolt":    nil,
	} {
		got, err := web.ParseRoleRule(text)
		if (err == nil) != (want != nil) || want != nil && got != *want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestOIDCOptions(t *testing.T) {
	role := rules(t, "groups=a:reader@acme")
	for name, row := range map[string]struct {
		o  web.OIDC
		ok bool
	}{
		"good":                  {web.OIDC{Issuer: "https://login.example/realms/a", Audience: "a", Roles: role}, true},
		"http on loopback":      {web.OIDC{Issuer: "http://127.0.0.1:8080", Audience: "a", Roles: role}, true},
		"http":                  {web.OIDC{Issuer: "http://login.example", Audience: "a", Roles: role}, false},
		"http, almost loopback": {web.OIDC{Issuer: "http://127.0.0.1.example", Audience: "a", Roles: role}, false},
		"no URL":                {web.OIDC{Issuer: "login.example", Audience: "a", Roles: role}, false},
		"file":                  {web.OIDC{Issuer: "file:///etc", Audience: "a", Roles: role}, false},
		"password":              {web.OIDC{Issuer: "https://u:p@login.example", Audience: "a", Roles: role}, false},
		"query":                 {web.OIDC{Issuer: "https://login.example?x=1", Audience: "a", Roles: role}, false},
		"no audience":           {web.OIDC{Issuer: "https://login.example", Roles: role}, false},
		"no role":               {web.OIDC{Issuer: "https://login.example", Audience: "a"}, false},
	} {
		if err := row.o.Validate(); (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzOIDCToken changes a good token: what is taken says what was signed.
func FuzzOIDCToken(f *testing.F) {
	s := newSigners(f)
	i, way := startIssuer(f, public("r", s.rsa))
	server, _ := quietWith(f, trusting(i, way, rules(f, everywhere)...))
	good := i.token(s, "r", nil)
	payload := strings.Split(good, ".")[1]
	for _, token := range []string{good, "..", "a.b.c", good + ".", "." + good, forged(f, `{"alg":"none"}`, i.claims(nil), nil), forged(f, `{"alg":"RS256","kid":"r","crit":["b64"],"b64":false}`, i.claims(nil), []byte("x"))} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest("GET", "/v1/tenants", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		switch w.Code {
		case 401:
		case 200:
			if parts := strings.Split(token, "."); len(parts) != 3 || parts[1] != payload {
				t.Errorf("%q is taken", token)
			}
		default:
			t.Errorf("%q: status %d: %s", token, w.Code, w.Body)
		}
	})
}
