package web_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
)

// A caller of one tenant tries to learn anything of another. There are two worlds, alike
// to the byte but for the other tenant, bolt, which is there in the first one alone. Each
// request goes to both: whatever it is, the answers are the same, and nothing that lies in
// bolt's part of the store was touched.

// long tells whether the long forms of tests are asked for.
func long() bool { return os.Getenv("MODELBUCKET_TEST_LONG") == "1" }

// world is one of the two, without a network.
type world struct {
	t       testing.TB
	server  *web.Server
	memory  *blob.Memory
	touched atomic.Int64 // calls of the store on what is bolt's, and lists of who is there
	tokens  []string     // of callers: what stands for {0}, {1} … in a probe
	close   func()
}

// guarded is a store that counts the calls on what is bolt's.
type guarded struct {
	seen
	touched *atomic.Int64
}

func guardedOf(b blob.Bucket, touched *atomic.Int64) guarded {
	return guarded{seen{b, func(key string) {
		if strings.HasPrefix(key, "bolt/") {
			touched.Add(1)
		}
	}}, touched}
}

func (g guarded) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	if strings.HasPrefix("bolt/", o.Prefix) && o.Limit != 1 { // one key of any: whether the store is there
		g.touched.Add(1)
	}
	return g.seen.List(ctx, o)
}

// secrets are texts in what bolt has, which no request can know.
var secrets = []string{"xylophone-4711", "quagmire-0815", "zeppelin-1234"}

// What bolt calls its things: these a stranger may guess, or know from elsewhere.
const (
	vault  = "vault"
	golden = "golden"
	crown  = "crown"
)

// roles are those that a caller of one tenant can have.
var roles = []string{"scorer", "reader", "writer", "promoter", "admin"}

// newWorld makes a world, with a key of acme for each role. bolt is there where known is
// not nil, and what can be known of it from elsewhere goes there.
func newWorld(t testing.TB, oidc *web.OIDC, known *knowledge) *world {
	t.Helper()
	w := &world{t: t, memory: blob.NewMemory()}
	w.open(oidc)
	train := toJSON(t, map[string]any{"network_data": events(30), "label": "v1.0", "aliases": []string{"champion"}, "parameters": map[string]any{"n_estimators": 2}})
	w.must("POST", fraud+"/train", train)
	for _, text := range []string{"one", "two", "three"} {
		w.must("POST", "/v1/tenants/acme/models/notes/versions?filename=notes.txt&label="+text, text)
	}
	w.must("DELETE", "/v1/tenants/acme/models/notes/versions/2", "")
	for _, role := range roles {
		w.tokens = append(w.tokens, member(w.must("POST", "/v1/tenants/acme/keys", `{"role":"`+role+`"}`), "token"))
	}
	if known != nil {
		const model = "/v1/tenants/bolt/models/" + vault
		w.must("POST", model+"/train", strings.NewReplacer("v1.0", golden, "champion", crown).Replace(train))
		known.id = member(w.must("POST", model+"/versions?filename=weights.bin&label=silver&description="+secrets[0], secrets[1]), "id")
		known.digest = hexSum(secrets[1])
		known.key = member(w.must("POST", "/v1/tenants/bolt/keys", `{"role":"admin","note":"`+secrets[0]+`"}`), "id")
		w.must("PATCH", model, `{"description":"`+secrets[2]+`","tags":{"secret":"`+secrets[0]+`"}}`)
		w.must("PATCH", model+"/versions/2", `{"tags":{"secret":"`+secrets[1]+`"}}`)
		w.must("PUT", "/v1/tenants/bolt", `{"description":"`+secrets[2]+`"}`)
		w.must("POST", "/v1/tenants/bolt/models/fraud/versions?label=v1.0&alias=champion", secrets[0])
	}
	w.close() // which waits for what is left to be done
	w.open(oidc)
	if known != nil { // so that it lies in the node's memory
		w.must("POST", "/v1/tenants/bolt/models/"+vault+"/versions/1/load", "")
	}
	return w
}

// open starts a node of the world.
func (w *world) open(oidc *web.OIDC) {
	w.t.Helper()
	r, err := registry.Open(context.Background(), guardedOf(w.memory, &w.touched), registry.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	root, err := r.RootToken(context.Background(), token)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.server, err = web.New(web.Options{Registry: r, RootToken: root, OIDC: oidc, MaxUpload: 8 << 20}); err != nil {
		w.t.Fatal(err)
	}
	w.close = func() {
		w.server.Close()
		if err := r.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	}
}

// member is a text in a JSON object.
func member(document, name string) string {
	return regexp.MustCompile(`"` + name + `":"([^"]*)"`).FindStringSubmatch(document)[1]
}

// must has root do something.
func (w *world) must(method, path, body string) string {
	w.t.Helper()
	status, _, answer := w.ask(probe{method: method, target: path, headers: [][2]string{{"Authorization", "Bearer " + token}, {"Content-Type", kindOfBody(body)}}, body: body})
	if status/100 != 2 {
		w.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return answer
}

func kindOfBody(body string) string {
	if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[") {
		return "application/json"
	}
	return "application/octet-stream"
}

// probe is one request.
type probe struct {
	method, target, host string
	headers              [][2]string
	body                 string
}

func (p probe) String() string {
	return fmt.Sprintf("%s %s %q host %q with %.600q", p.method, p.target, p.headers, p.host, p.body)
}

// recorder also takes answers to what is still being read.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) EnableFullDuplex() error { return nil }

// ask sends a request to a world, as net/http would hand it on.
func (w *world) ask(p probe) (status int, header http.Header, body string) {
	w.t.Helper()
	u, err := url.ParseRequestURI(p.target)
	if err != nil {
		return 400, nil, "" // net/http answers this
	}
	r := httptest.NewRequest("GET", "/", strings.NewReader(p.body))
	r.Method, r.URL, r.RequestURI, r.Host = p.method, u, p.target, p.host
	if p.body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	for _, h := range p.headers {
		value := h[1]
		for i, own := range w.tokens {
			value = strings.ReplaceAll(value, fmt.Sprintf("{%d}", i), own)
		}
		r.Header.Add(h[0], value)
	}
	r.Header.Set("X-Request-Id", "request-of-a-stranger")
	answer := recorder{httptest.NewRecorder()}
	w.server.ServeHTTP(answer, r)
	return answer.Code, answer.Header(), answer.Body.String()
}

// What differs between two worlds by chance alone, and what stands for it.
var chance = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`"[0-9]+-[0-9a-f]{12}"`), `"TAG"`},
	{regexp.MustCompile(`\bRetry-After: [0-9]+`), "Retry-After: N"},
	{regexp.MustCompile(`mbk_[srwpoa][0-9a-hjkmnp-tv-z]{10}_[A-Za-z0-9_-]{43}_[0-9A-Za-z]{6}`), "TOKEN"},
	{regexp.MustCompile(`"(id|key)":"[0-9a-hjkmnp-tv-z]{10}"`), `"$1":"KEY"`},
	{regexp.MustCompile(`\bkey:[0-9a-hjkmnp-tv-z]{10}\b`), "key:KEY"},
}

// written is an answer in one text.
func written(status int, header http.Header, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", status)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(header[name], ", "))
	}
	b.WriteString("\n" + body)
	return b.String()
}

// leveled is an answer without what differs by chance.
func leveled(text string) string {
	for _, c := range chance {
		text = c.form.ReplaceAllString(text, c.name)
	}
	if before, list, ok := strings.Cut(text, `{"keys":[`); ok { // in the order of their ids
		list, tail, _ := strings.Cut(list, "}]")
		keys := strings.Split(strings.TrimPrefix(list, "{"), "},{")
		slices.Sort(keys)
		text = before + strings.Join(keys, "\n") + tail
	}
	return text
}

// boltsObjects are the objects of bolt, as they lie in the store.
func (w *world) boltsObjects() map[string]string {
	w.t.Helper()
	objects := map[string]string{}
	page, err := w.memory.List(context.Background(), blob.ListOptions{Prefix: "bolt/"})
	if err != nil || page.Next != "" {
		w.t.Fatal(page.Next, err)
	}
	for _, o := range page.Objects {
		body, _, err := w.memory.Get(context.Background(), o.Key, blob.Range{})
		if err != nil {
			w.t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		if err != nil {
			w.t.Fatal(err)
		}
		objects[o.Key] = string(data)
	}
	return objects
}

// strangeness is what the tries of all rounds come to.
type strangeness struct {
	tries, leaks, differences, touched atomic.Int64
	mu                                 sync.Mutex
	statuses                           map[int]int
}

// TestStrangers: no request of whoever belongs to one tenant has another answer because
// another tenant is there, or for what that one has.
func TestStrangers(t *testing.T) {
	const each = 1000
	rounds := uint64(5)
	if long() {
		rounds = 1000
	}
	signers := newSigners(t)
	s := &strangeness{statuses: map[int]int{}}
	var next atomic.Uint64
	t.Run("rounds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1); seed <= rounds && !t.Failed(); seed = next.Add(1) {
					synctest.Test(t, func(t *testing.T) { s.round(t, signers, seed, each) })
				}
			})
		}
	})
	own := s.statuses[200] + s.statuses[201]
	if s.tries.Load() < int64(rounds*each) && !t.Failed() || own < int(s.tries.Load()/20) {
		t.Errorf("%d tries, of which %d did something in the caller's own tenant", s.tries.Load(), own)
	}
	t.Logf("strangers.tries %d strangers.leaks %d strangers.differences %d strangers.touched %d, seeds 1 to %d of %d tries each; answers by status: %v",
		s.tries.Load(), s.leaks.Load(), s.differences.Load(), s.touched.Load(), rounds, each, s.statuses)
}

func (s *strangeness) round(t *testing.T, keys *signers, seed uint64, tries int) {
	issuer, way := reached(t, public("r", keys.rsa))
	oidc := &web.OIDC{Issuer: issuer.url, Audience: audience, Transport: way, Roles: rules(t,
		"groups=scorer:scorer@acme", "groups=reader:reader@acme", "groups=writer:writer@acme", "groups=promoter:promoter@acme", "groups=admin:admin@acme")}
	g := &stranger{r: rand.New(rand.NewPCG(seed, 0))}
	with, without := newWorld(t, oidc, &g.knowledge), newWorld(t, oidc, nil)
	time.Sleep(time.Second) // what furnished them writes its log apart from the server
	defer with.close()
	defer without.close()
	for i := range with.tokens { // the first use of a key is written down
		hello := probe{method: "GET", target: "/v1/detectors", host: "localhost", headers: [][2]string{{"Authorization", fmt.Sprintf("Bearer {%d}", i)}}}
		for _, w := range []*world{with, without} {
			if status, _, body := w.ask(hello); status != 200 {
				t.Fatalf("%s: %d %s", hello, status, body)
			}
		}
	}
	synctest.Wait()
	with.touched.Store(0)
	before := with.boltsObjects()
	for _, role := range roles {
		signed := issuer.token(keys, "r", map[string]any{"sub": role, "groups": []string{role}, "exp": time.Now().Add(24 * time.Hour).Unix()})
		with.tokens, without.tokens = append(with.tokens, signed), append(without.tokens, signed)
	}
	statuses := map[int]int{}
	for try := range tries {
		if try%500 == 499 {
			time.Sleep(2 * time.Second) // what is remembered for a moment is asked for anew
			synctest.Wait()
		}
		p := g.next()
		status, header, body := with.ask(p)
		got, want := written(status, header, body), written(without.ask(p))
		synctest.Wait() // what goes on behind the answers is done before the next one
		s.tries.Add(1)
		statuses[status]++
		if got != want && leveled(got) != leveled(want) {
			s.differences.Add(1)
			t.Errorf("seed %d, try %d: %s\nwith the other tenant:\n%.9000s\nwithout:\n%.9000s", seed, try, p, leveled(got), leveled(want))
		}
		if status >= 500 {
			t.Errorf("seed %d, try %d: %s\nis answered with %.2000s", seed, try, p, got)
		}
		for _, secret := range secrets {
			if strings.Contains(got, secret) {
				s.leaks.Add(1)
				t.Errorf("seed %d, try %d: %s\nshows what is another's: %.2000s", seed, try, p, got)
			}
		}
		if n := with.touched.Swap(0); n != 0 {
			s.touched.Add(n)
			t.Errorf("seed %d, try %d: %s\n%d calls on what is another's; answered with %.500s", seed, try, p, n, got)
		}
		if t.Failed() {
			return
		}
	}
	if after := with.boltsObjects(); !maps.Equal(before, after) {
		t.Errorf("seed %d: something of bolt's has changed", seed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for status, n := range statuses {
		s.statuses[status] += n
	}
}
