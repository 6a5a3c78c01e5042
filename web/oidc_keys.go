package web

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// How the keys of an issuer are kept.
const (
	keysRenew   = 5 * time.Minute  // they are asked for again, while in use
	keysPause   = 10 * time.Second // they are not asked for more often, whatever callers send
	keysLife    = 24 * time.Hour   // they are used, while the issuer does not answer
	keysTime    = 5 * time.Second  // one answer of the issuer may take
	keysBytes   = 256 << 10        // one answer may have
	keysMost    = 100
	minRSABits  = 2048
	mostRSABits = 8192
)

// issuerKeys are the keys with which an issuer signs. They are fetched when the first
// token comes, renewed in the background, and kept on while the issuer is away. A token
// with an unknown key has them fetched again, for keys are renewed (OpenID Connect Core
// 1.0 §10.1.1), but not more often than once in keysPause.
type issuerKeys struct {
	issuer string
	client *http.Client
	log    *slog.Logger
	end    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu        sync.Mutex
	keys      []jose.JSONWebKey
	count     int64         // of the times that other keys came
	confirmed time.Time     // when the issuer last told its keys; zero: never
	tried     time.Time     // when the last attempt ended
	failed    error         // how it ended
	running   chan struct{} // closed when the attempt under way is over; nil: none is
}

func newIssuerKeys(issuer string, transport http.RoundTripper, log *slog.Logger) *issuerKeys {
	k := &issuerKeys{issuer: issuer, log: log}
	k.client = &http.Client{
		Transport: boundedTransport{transport}, Timeout: keysTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("an issuer does not send elsewhere") },
	}
	k.end, k.cancel = context.WithCancel(context.Background())
	return k
}

// close ends an attempt under way, and waits for that.
func (k *issuerKeys) close() {
	k.cancel()
	k.ended.Wait()
}

// foundKeys are the keys that a token may be signed with.
type foundKeys struct {
	keys       *oidc.StaticKeySet
	generation int64
}

// errIssuerAway is why callers cannot be known just now.
func errIssuerAway(err error) error {
	return fmt.Errorf("%w: %w", problemf(codeAuthUnavailable, "the issuer of the token does not answer, and its keys are not known").hint("keep the token, and try again in a moment"), err)
}

// find returns the keys of this name that go with an algorithm. Without a name there must
// be just one.
func (k *issuerKeys) find(ctx context.Context, name string, algorithm jose.SignatureAlgorithm) (foundKeys, error) {
	for first := true; ; first = false {
		k.mu.Lock()
		found := k.named(name, algorithm)
		if len(found) > 0 && time.Since(k.confirmed) < keysLife {
			k.renewIfDue()
			set := foundKeys{&oidc.StaticKeySet{PublicKeys: found}, k.count}
			k.mu.Unlock()
			return set, nil
		}
		if !first || k.running == nil && !k.tried.IsZero() && time.Since(k.tried) < keysPause {
			err := k.failed
			k.mu.Unlock()
			if err != nil {
				return foundKeys{}, errIssuerAway(err)
			}
			return foundKeys{}, badToken("the issuer has no such key")
		}
		if k.running == nil {
			k.fetch()
		}
		running := k.running
		k.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return foundKeys{}, fmt.Errorf("wait for the issuer's keys: %w", ctx.Err())
		}
	}
}

// generation changes with the keys; 0 is none that may be used.
func (k *issuerKeys) generation() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.confirmed.IsZero() || time.Since(k.confirmed) >= keysLife {
		return 0
	}
	k.renewIfDue()
	return k.count
}

// renewIfDue has the keys fetched in the background. The caller holds mu.
func (k *issuerKeys) renewIfDue() {
	if k.running == nil && time.Since(k.confirmed) >= keysRenew && time.Since(k.tried) >= keysPause {
		k.fetch()
	}
}

// fetch begins an attempt. The caller holds mu, and no other is under way.
func (k *issuerKeys) fetch() {
	if k.end.Err() != nil {
		closed := make(chan struct{})
		close(closed)
		k.running, k.failed = closed, k.end.Err()
		return
	}
	over := make(chan struct{})
	k.running = over
	k.ended.Go(func() {
		keys, err := k.ask(k.end)
		if err != nil && k.end.Err() == nil {
			k.log.Warn("the keys of the issuer cannot be had", "issuer", k.issuer, "err", printable(err.Error()))
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		defer close(over)
		k.running, k.tried, k.failed = nil, time.Now(), err
		if err != nil {
			return
		}
		k.confirmed = k.tried
		if k.count == 0 || !slices.EqualFunc(keys, k.keys, sameKey) {
			k.keys, k.count = keys, k.count+1
		}
	})
}

// ask asks the issuer where its keys are (OpenID Connect Discovery 1.0 §4), and for them.
func (k *issuerKeys) ask(ctx context.Context) ([]jose.JSONWebKey, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", k.issuer, err)
	}
	var told struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := provider.Claims(&told); err != nil {
		return nil, fmt.Errorf("discover %s: %w", k.issuer, err)
	}
	u, err := url.Parse(told.JWKS)
	if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("discover %s: its keys are not to be had over https: %q", k.issuer, told.JWKS)
	}
	keys, err := k.get(ctx, told.JWKS)
	if err != nil {
		return nil, fmt.Errorf("get the keys of %s: %w", k.issuer, err)
	}
	return keys, nil
}

func (k *issuerKeys) get(ctx context.Context, from string) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	answer, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", answer.Status)
	}
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	return parseKeys(data)
}

// parseKeys reads a set of keys (RFC 7517 §5), and leaves out those that sign nothing
// that we would take.
func parseKeys(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("it is no set of keys: %w", err)
	}
	if len(set.Keys) > keysMost {
		return nil, fmt.Errorf("there are %d keys; there may be %d", len(set.Keys), keysMost)
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && usable(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("none of its keys can be used")
	}
	return keys, nil
}

// usable tells whether a key may prove a signature at all. A secret one is no key of an
// issuer: with it everybody could sign.
func usable(key jose.JSONWebKey) bool {
	if key.Use != "" && key.Use != "sig" || !key.IsPublic() || !key.Valid() {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSABits && public.N.BitLen() <= mostRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// named are the keys of a name that go with an algorithm. The caller holds mu.
func (k *issuerKeys) named(name string, algorithm jose.SignatureAlgorithm) (found []crypto.PublicKey) {
	for _, key := range k.keys {
		if (name == "" || key.KeyID == name) && signs(key, algorithm) {
			found = append(found, key.Key)
		}
	}
	if name == "" && len(found) > 1 {
		return nil
	}
	return found
}

// signs tells whether a key goes with an algorithm: with the one that it was made for,
// where it says so, and always with its own kind (RFC 7518 §3.1, RFC 8037 §3.1).
func signs(key jose.JSONWebKey, algorithm jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(algorithm) {
		return false
	}
	curve := func(c elliptic.Curve) bool {
		public, ok := key.Key.(*ecdsa.PublicKey)
		return ok && public.Curve == c
	}
	switch algorithm {
	case jose.ES256:
		return curve(elliptic.P256())
	case jose.ES384:
		return curve(elliptic.P384())
	case jose.ES512:
		return curve(elliptic.P521())
	case jose.EdDSA:
		_, ok := key.Key.(ed25519.PublicKey)
		return ok
	}
	_, ok := key.Key.(*rsa.PublicKey)
	return ok
}

func sameKey(a, b jose.JSONWebKey) bool {
	left, ok := a.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && a.KeyID == b.KeyID && a.Algorithm == b.Algorithm && left.Equal(b.Key)
}

// boundedTransport cuts answers at keysBytes, so that a longer one is no JSON.
type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, keysBytes), answer.Body}
	}
	return answer, err
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
