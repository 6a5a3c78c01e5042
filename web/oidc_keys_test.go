package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"modelbucket/web"
)

// as sends a GET with a token over pipes.
func (p *pipes) as(t *testing.T, token string) (*http.Response, string) {
	t.Helper()
	return p.ask(t, "GET /v1/tenants HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+token+"\r\nConnection: close\r\n\r\n")
}

func (p *pipes) want(t *testing.T, when, token string, status int) {
	t.Helper()
	if answer, body := p.as(t, token); answer.StatusCode != status {
		t.Errorf("%s: status %d, want %d: %s", when, answer.StatusCode, status, body)
	}
}

// everywhere lets all good tokens read everything.
const everywhere = "groups=writers:reader"

// An issuer's keys change: the new one is good at once, the old one until it is seen to
// be gone.
func TestOIDCRotation(t *testing.T) {
	s, newer := newSigners(t), newSigners(t)
	synctest.Test(t, func(t *testing.T) {
		i, way := reached(t, public("one", s.rsa))
		bubbled(t, trusting(i, way, rules(t, everywhere)...), func(t *testing.T, p *pipes) {
			day := map[string]any{"exp": time.Now().Add(240 * time.Hour).Unix()}
			one, two := i.token(s, "one", day), i.token(newer, "two", day)
			if i.calls.Load() != 0 {
				t.Error("the issuer was asked before anybody came")
			}
			p.want(t, "first", one, 200)
			p.want(t, "a key that is not there yet", two, 401)
			time.Sleep(11 * time.Second)
			i.publishes(public("two", newer.rsa), public("one", s.rsa))
			p.want(t, "the new key", two, 200)
			p.want(t, "the old key beside it", one, 200)
			i.publishes(public("two", newer.rsa))
			p.want(t, "the old key, a moment after it went", one, 200)
			time.Sleep(6 * time.Minute)
			p.want(t, "the old key: the keys are renewed behind this", one, 200)
			synctest.Wait()
			p.want(t, "the old key is gone", one, 401)
			p.want(t, "the new key stays", two, 200)
			time.Sleep(time.Minute)
			before := i.calls.Load()
			for range 1000 {
				p.want(t, "the old key again and again", one, 401)
			}
			if calls := i.calls.Load() - before; calls > 2 {
				t.Errorf("the issuer was asked %d times for one key", calls)
			}
		})
	})
}

// Tokens that name keys at random do not become questions to the issuer.
func TestOIDCUnknownKeys(t *testing.T) {
	s := newSigners(t)
	synctest.Test(t, func(t *testing.T) {
		i, way := reached(t, public("one", s.rsa))
		bubbled(t, trusting(i, way, rules(t, everywhere)...), func(t *testing.T, p *pipes) {
			p.want(t, "first", i.token(s, "one", nil), 200)
			began := time.Now()
			for n := range 3000 {
				p.want(t, "invented", forged(t, fmt.Sprintf(`{"alg":"RS256","kid":"%d"}`, n), i.claims(nil), []byte("x")), 401)
				time.Sleep(20 * time.Millisecond)
			}
			// Each attempt is two calls: where are the keys, and which.
			if calls, most := i.calls.Load(), 2*int64(2+time.Since(began)/(10*time.Second)); calls > most {
				t.Errorf("the issuer was asked %d times in %v, want %d at most", calls, time.Since(began), most)
			}
		})
	})
}

// While the issuer is away, its keys are kept; where there are none yet, callers are told
// to come again, and not that their token is bad.
func TestOIDCAway(t *testing.T) {
	s := newSigners(t)
	synctest.Test(t, func(t *testing.T) {
		i, way := reached(t, public("one", s.rsa))
		bubbled(t, trusting(i, way, rules(t, everywhere)...), func(t *testing.T, p *pipes) {
			token := i.token(s, "one", map[string]any{"exp": time.Now().Add(240 * time.Hour).Unix()})
			i.answers(unavailable)
			answer, body := p.as(t, token)
			if answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":"auth_unavailable"`) || strings.Contains(body, "issuer.test") {
				t.Errorf("cold, and the issuer away: %d %s", answer.StatusCode, body)
			}
			before := i.calls.Load()
			for range 100 {
				p.want(t, "at once again", token, 503)
			}
			if calls := i.calls.Load() - before; calls != 0 {
				t.Errorf("the issuer was asked %d times more", calls)
			}
			i.answers(nil)
			time.Sleep(11 * time.Second)
			p.want(t, "it is back", token, 200)
			i.answers(unavailable)
			for range 23 {
				time.Sleep(time.Hour)
				p.want(t, "away for hours", token, 200)
				p.want(t, "away for hours, another token", i.token(s, "one", nil), 200)
			}
			time.Sleep(2 * time.Hour)
			p.want(t, "away for more than a day", token, 503)
			i.answers(nil)
			time.Sleep(11 * time.Second)
			p.want(t, "it is back", token, 200)
		})
	})
}

// An issuer that hangs holds its callers up for no longer than it may, all of them with
// one question; those whose key is known not at all.
func TestOIDCHangs(t *testing.T) {
	s := newSigners(t)
	synctest.Test(t, func(t *testing.T) {
		i, way := reached(t, public("one", s.rsa))
		var hangs bool
		slow := roundTrip(func(r *http.Request) (*http.Response, error) {
			if hangs {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return way.RoundTrip(r)
		})
		bubbled(t, trusting(i, slow, rules(t, everywhere)...), func(t *testing.T, p *pipes) {
			p.want(t, "first", i.token(s, "one", nil), 200)
			time.Sleep(11 * time.Second)
			hangs = true
			var all sync.WaitGroup
			began := time.Now()
			for range 100 {
				all.Go(func() { p.want(t, "an unknown key", i.token(s, "two", nil), 503) })
			}
			synctest.Wait()
			p.want(t, "a known key meanwhile", i.token(s, "one", nil), 200)
			if waited := time.Since(began); waited != 0 {
				t.Errorf("a known key waited for %v", waited)
			}
			all.Wait()
			if took := time.Since(began); took != 5*time.Second {
				t.Errorf("an unknown key waited for %v", took)
			}
		})
	})
}

// What an issuer must not answer is no answer.
func TestOIDCBadIssuer(t *testing.T) {
	s := newSigners(t)
	small := jose.JSONWebKey{KeyID: "one", Key: []byte("secret")}
	for name, answer := range map[string]func(w http.ResponseWriter) bool{
		"sends elsewhere": func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "https://issuer.test/keys")
			w.WriteHeader(http.StatusFound)
			return true
		},
		"says that it is another": func(w http.ResponseWriter) bool {
			fmt.Fprint(w, `{"issuer":"https://evil.example","jwks_uri":"https://issuer.test/realm/keys"}`)
			return true
		},
		"has its keys on http": func(w http.ResponseWriter) bool {
			fmt.Fprint(w, `{"issuer":"https://issuer.test/realm","jwks_uri":"http://issuer.test/realm/keys"}`)
			return true
		},
		"has its keys in a file": func(w http.ResponseWriter) bool {
			fmt.Fprint(w, `{"issuer":"https://issuer.test/realm","jwks_uri":"file:///etc/passwd"}`)
			return true
		},
		"never ends": func(w http.ResponseWriter) bool {
			fmt.Fprint(w, `{"issuer":"`+strings.Repeat("x", 1<<20))
			return true
		},
		"is no JSON":   func(w http.ResponseWriter) bool { fmt.Fprint(w, "<html>"); return true },
		"says nothing": func(w http.ResponseWriter) bool { return true },
	} {
		synctest.Test(t, func(t *testing.T) {
			i, way := reached(t, public("one", s.rsa))
			i.answers(answer)
			bubbled(t, trusting(i, way, rules(t, everywhere)...), func(t *testing.T, p *pipes) {
				p.want(t, "an issuer that "+name, i.token(s, "one", nil), 503)
			})
		})
	}
	many := make([]jose.JSONWebKey, 101)
	for n := range many {
		many[n] = public(fmt.Sprint(n), s.p256)
	}
	for name, keys := range map[string][]jose.JSONWebKey{"none": nil, "a secret": {small}, "too many": many} {
		synctest.Test(t, func(t *testing.T) {
			i, way := reached(t, keys...)
			bubbled(t, trusting(i, way, rules(t, everywhere)...), func(t *testing.T, p *pipes) {
				p.want(t, "keys: "+name, i.token(s, "one", nil), 503)
			})
		})
	}
}

// A token without a key's name is good where the issuer has one key.
func TestOIDCOneKey(t *testing.T) {
	s := newSigners(t)
	i, way := startIssuer(t, public("", s.p256))
	n := serve(t, trusting(i, way, rules(t, everywhere)...))
	n.get("/v1/tenants", "Authorization", "Bearer "+signed(t, jose.ES256, "", s.p256, i.claims(nil))).must(t, 200, nil)
}

// A root token may look like a token of an issuer, and is none.
func TestOIDCRootToken(t *testing.T) {
	s := newSigners(t)
	i, way := startIssuer(t, public("r", s.rsa))
	const own = "root.token.of-the-operator"
	n := serve(t, func(o *web.Options) {
		trusting(i, way, rules(t, everywhere)...)(o)
		var err error
		if o.RootToken, err = o.Registry.RootToken(t.Context(), own); err != nil {
			t.Fatal(err)
		}
	})
	n.get("/v1/tenants", "Authorization", "Bearer "+own).must(t, 200, nil)
	if calls := i.calls.Load(); calls != 0 {
		t.Errorf("the issuer was asked %d times", calls)
	}
}

// The issuer's certificate counts.
func TestOIDCUntrustedIssuer(t *testing.T) {
	s := newSigners(t)
	i, _ := startIssuer(t, public("r", s.rsa))
	n := serve(t, trusting(i, nil, rules(t, everywhere)...))
	n.get("/v1/tenants", "Authorization", "Bearer "+i.token(s, "r", nil)).must(t, 503, nil)
	if !strings.Contains(n.log.String(), "certificate") {
		t.Errorf("the log does not say why: %s", n.log)
	}
}

// A node that stops does not wait for an issuer that hangs.
func TestOIDCStop(t *testing.T) {
	s := newSigners(t)
	synctest.Test(t, func(t *testing.T) {
		i, _ := reached(t)
		hangs := roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, errors.New("gone")
		})
		server, _ := quietWith(t, trusting(i, hangs, rules(t, everywhere)...))
		r, err := http.NewRequest("GET", "/v1/tenants", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+i.token(s, "one", nil))
		var all sync.WaitGroup
		all.Go(func() { server.ServeHTTP(discarding{}, r) })
		synctest.Wait()
		began := time.Now()
		server.Close()
		all.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

type discarding struct{}

func (discarding) Header() http.Header         { return http.Header{} }
func (discarding) Write(p []byte) (int, error) { return len(p), nil }
func (discarding) WriteHeader(int)             {}

// BenchmarkOIDC is what a token costs: the first time, and each time more.
func BenchmarkOIDC(b *testing.B) {
	s := newSigners(b)
	i, way := startIssuer(b, public("r", s.rsa), public("e", s.p256))
	server, _ := quietWith(b, trusting(i, way, rules(b, everywhere)...))
	ask := func(b *testing.B, token string) {
		r, err := http.NewRequest("GET", "/v1/detectors", nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		server.ServeHTTP(discarding{}, r)
	}
	for _, row := range []struct {
		name string
		new  bool
	}{{"known", false}, {"new", true}} {
		b.Run(row.name, func(b *testing.B) {
			tokens := make([]string, 1)
			if row.new {
				tokens = make([]string, b.N)
			}
			for n := range tokens {
				tokens[n] = signed(b, jose.ES256, "e", s.p256, i.claims(map[string]any{"jti": n}))
			}
			b.ResetTimer()
			for n := range b.N {
				ask(b, tokens[n%len(tokens)])
			}
		})
	}
}
