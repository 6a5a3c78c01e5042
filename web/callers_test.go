package web_test

import (
	"context"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web"
)

// callers are the keys of a server without a listener: by name, "" is nobody.
type callers struct {
	server *web.Server
	bucket *blobtest.Faulty
	asked  *asked // above it
	tokens map[string]string
}

// asked counts the calls of a store by what they are for: limits are read behind requests
// that were let in, keys are confirmed while they are used, and the rest is what requests
// themselves need.
type asked struct {
	seen
	keys, limits, rest atomic.Int64
}

func askedOf(b blob.Bucket) *asked {
	a := &asked{}
	a.seen = seen{b, a.count}
	return a
}

func (a *asked) count(key string) {
	switch {
	case strings.HasPrefix(key, "_system/keys/"):
		a.keys.Add(1)
	case strings.HasSuffix(key, "/_tenant.json"):
		a.limits.Add(1)
	default:
		a.rest.Add(1)
	}
}

// during counts the calls that f makes each time. Those that earlier requests left behind
// them may come in between, but not always.
func (a *asked) during(f func()) (calls int64) {
	for range 5 {
		before := a.rest.Load() + a.limits.Load()
		f()
		if calls = a.rest.Load() + a.limits.Load() - before; calls == 0 {
			break
		}
	}
	return calls
}

const (
	own     = "acme"
	foreign = "evil"   // is there, and has the same models
	nowhere = "nobody" // is not
)

// newCallers makes a server with two tenants, and keys of each role in each, and in all.
func newCallers(t testing.TB) *callers {
	t.Helper()
	c := &callers{bucket: blobtest.NewFaulty(blob.NewMemory(), 1), tokens: map[string]string{"root": token}}
	c.asked = askedOf(c.bucket)
	r, err := registry.Open(t.Context(), c.asked, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.RootToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if c.server, err = web.New(web.Options{Registry: r, RootToken: root, Python: []byte("print()")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.server.Close()
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	make := func(name string, r *registry.Registry, n registry.NewKey) *registry.Key {
		key, secret, err := r.CreateKey(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		c.tokens[name] = secret.Reveal()
		return key
	}
	for _, role := range registry.Roles() {
		make(string(role)+" of all", r, registry.NewKey{Role: role})
		if role != registry.Operator {
			make(string(role)+" of "+own, r, registry.NewKey{Tenant: own, Role: role})
			make(string(role)+" of "+foreign, r, registry.NewKey{Tenant: foreign, Role: role})
		}
	}
	revoked := make("revoked", r, registry.NewKey{Tenant: own, Role: registry.Admin})
	if _, err := r.RevokeKey(t.Context(), registry.Revocation{ID: revoked.ID}); err != nil {
		t.Fatal(err)
	}
	yesterday, err := registry.Open(t.Context(), c.bucket, registry.Options{Now: func() time.Time { return time.Now().Add(-24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(-time.Hour)
	make("expired", yesterday, registry.NewKey{Tenant: own, Role: registry.Admin, ExpiresAt: &end})
	elsewhere, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	make("unknown", elsewhere, registry.NewKey{Role: registry.Admin})
	c.tokens["nobody"] = ""
	c.tokens["wrong"] = forge(c.tokens["admin of "+own])
	c.tokens["malformed"] = "mbk_a" + strings.Repeat("0", 61)
	for _, tenant := range []string{own, foreign} {
		c.must(t, "root", "POST", "/v1/tenants/"+tenant+"/models/fraud/versions?alias=champion", "x", http.StatusCreated, "Content-Type", "application/octet-stream")
	}
	for name := range c.tokens { // from now on they are known, and cost no call
		c.ask(name, "GET", "/v1/tenants", "")
	}
	return c
}

// forge is a token of the same key with another secret, and with the check that fits it.
func forge(token string) string {
	other := "x"
	if token[20] == 'x' {
		other = "y"
	}
	text := token[:20] + other + token[21:59]
	sum, check := crc32.ChecksumIEEE([]byte(text)), ""
	for range 6 {
		check = string("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[sum%62]) + check
		sum /= 62
	}
	return text + "_" + check
}

// ask sends a request as a caller. Headers come in pairs.
func (c *callers) ask(who, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	if body != "" {
		headers = append([]string{"Content-Type", "application/json"}, headers...)
	}
	w := httptest.NewRecorder()
	c.server.ServeHTTP(w, c.request(who, method, path, strings.NewReader(body), headers...))
	return w
}

func (c *callers) request(who, method, path string, body io.Reader, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, body)
	r.Host = "localhost"
	r.Header.Set("X-Request-Id", "0123456789")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if secret := c.tokens[who]; secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	return r
}

func (c *callers) must(t testing.TB, who, method, path, body string, status int, headers ...string) string {
	t.Helper()
	w := c.ask(who, method, path, body, headers...)
	if w.Code != status {
		t.Fatalf("%s: %s %s: %d, want %d: %s", who, method, path, w.Code, status, w.Body)
	}
	return w.Body.String()
}
