package web_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const audience = "modelbucket"

// testIssuer is an issuer of OpenID Connect: it tells where its keys are, and which, and
// signs tokens.
type testIssuer struct {
	t     testing.TB
	url   string
	calls atomic.Int64

	mu     sync.Mutex
	keys   []jose.JSONWebKey                     // public, or whatever it publishes
	answer func(http.ResponseWriter) (done bool) // in place of its own, unless nil
}

// signers are keys of all kinds, made once: RSA takes a while.
type signers struct {
	rsa     *rsa.PrivateKey
	p256    *ecdsa.PrivateKey
	p384    *ecdsa.PrivateKey
	ed25519 ed25519.PrivateKey
}

func newSigners(t testing.TB) *signers {
	t.Helper()
	s := &signers{}
	var err error
	if s.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if s.p256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if s.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, s.ed25519, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return s
}

// public is a key as an issuer publishes it.
func public(name string, key crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{KeyID: name, Use: "sig", Key: key.Public()}
}

// startIssuer starts an issuer behind TLS, and returns the way to it.
func startIssuer(t testing.TB, keys ...jose.JSONWebKey) (*testIssuer, http.RoundTripper) {
	t.Helper()
	i := &testIssuer{t: t, keys: keys}
	server := httptest.NewTLSServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i, server.Client().Transport
}

// reached is an issuer without a network, for bubbles: its time is theirs.
func reached(t testing.TB, keys ...jose.JSONWebKey) (*testIssuer, http.RoundTripper) {
	i := &testIssuer{t: t, keys: keys, url: "https://issuer.test/realm"}
	return i, roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		i.ServeHTTP(w, r)
		return w.Result(), nil
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (i *testIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.calls.Add(1)
	i.mu.Lock()
	keys, answer := i.keys, i.answer
	i.mu.Unlock()
	if answer != nil && answer(w) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/.well-known/openid-configuration" || r.URL.Path == "/realm/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.url, "jwks_uri": i.url + "/keys", "authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, // more than we take
		})
	case r.URL.Path == "/keys" || r.URL.Path == "/realm/keys":
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: keys})
	default:
		i.t.Errorf("the issuer is asked for %s", r.URL)
		http.NotFound(w, r)
	}
}

// publishes sets the keys that the issuer tells of.
func (i *testIssuer) publishes(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// answers has the issuer answer so; nil is as it should.
func (i *testIssuer) answers(answer func(http.ResponseWriter) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func unavailable(w http.ResponseWriter) bool {
	http.Error(w, "away", http.StatusServiceUnavailable)
	return true
}

// claims are those of a good token, with changes; nil takes one away.
func (i *testIssuer) claims(changes map[string]any) map[string]any {
	all := map[string]any{
		"iss": i.url, "aud": audience, "sub": "ada", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"writers"},
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// signed is a token with these claims. The key's kind and the algorithm need not fit the
// issuer.
func signed(t testing.TB, algorithm jose.SignatureAlgorithm, name string, key any, claims any, headers ...any) string {
	t.Helper()
	text, ok := claims.([]byte)
	if !ok {
		var err error
		if text, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
	}
	o := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for n := 0; n < len(headers); n += 2 {
		o.ExtraHeaders[jose.HeaderKey(headers[n].(string))] = headers[n+1]
	}
	if name != "" {
		o.ExtraHeaders["kid"] = name
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// token is a good one, with changes of its claims.
func (i *testIssuer) token(s *signers, name string, changes map[string]any) string {
	i.t.Helper()
	return signed(i.t, jose.RS256, name, s.rsa, i.claims(changes))
}

// forged is a token whose three parts are at the forger's will.
func forged(t testing.TB, header string, claims any, signature []byte) string {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return string(bytes.Join([][]byte{[]byte(encode([]byte(header))), []byte(encode(text)), []byte(encode(signature))}, []byte(".")))
}
