package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web"
)

// desk is a node in virtual time that is called in its own process, with the tokens of
// two keys of acme and one of bolt.
type desk struct {
	*testing.T
	server *web.Server
	bucket *blobtest.Faulty
	tokens map[string]string // by "acme", "acme2", "bolt", "root"
}

// atDesk runs a test at a desk. limits are those of acme, in JSON; each tenant has a
// detector fraud.
func atDesk(t *testing.T, limits string, test func(*desk)) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t, bucket: blobtest.NewFaulty(blob.NewMemory(), 1), tokens: map[string]string{"root": token}}
		r, err := registry.Open(t.Context(), d.bucket, registry.Options{MaxUpload: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		root, err := r.RootToken(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if d.server, err = web.New(web.Options{Registry: r, RootToken: root, MaxUpload: 8 << 20}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			d.server.Close()
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		for name, tenant := range map[string]string{"acme": "acme", "acme2": "acme", "bolt": "bolt"} {
			var key struct{ Token string }
			decode(t, d.ask("root", "POST", "/v1/tenants/"+tenant+"/keys", "application/json", `{"role":"admin"}`), 201, &key)
			d.tokens[name] = key.Token
		}
		for _, tenant := range []string{"acme", "bolt"} {
			decode(t, d.ask("root", "POST", path(tenant, "/train?n_estimators=3"), "text/csv", "packet_count\n"+strings.Repeat("1\n2\n3\n", 20)), 201, nil)
		}
		d.limit(limits)
		test(d)
	})
}

// ask sends a request with one of the tokens.
func (d *desk) ask(who, method, path, kind, body string) *httptest.ResponseRecorder {
	return d.send(who, method, path, kind, strings.NewReader(body))
}

func (d *desk) send(who, method, path, kind string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(d.Context(), method, "http://localhost"+path, body)
	r.Header.Set("Authorization", "Bearer "+d.tokens[who])
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	d.server.ServeHTTP(w, r)
	return w
}

func (d *desk) detect(who, tenant string) *httptest.ResponseRecorder {
	return d.ask(who, "POST", path(tenant, "/detect"), "application/json", oneEvent)
}

func (d *desk) limit(limits string) {
	d.Helper()
	decode(d.T, d.ask("root", "PUT", "/v1/tenants/acme", "application/json", `{"limits":`+limits+`}`), 200, nil)
}

func decode(t testing.TB, w *httptest.ResponseRecorder, status int, into any) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
	}
}

// refused is the answer as a refusal for this limit, which it has to be, and the seconds
// after which to come again.
func refused(t testing.TB, w *httptest.ResponseRecorder, limit string) (seconds int) {
	t.Helper()
	var p web.Problem
	decode(t, w, 429, &p)
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if err != nil || p.Code != "too_many_requests" || !strings.Contains(p.Detail, limit) || !strings.Contains(p.Hint, limit) {
		t.Fatalf("Retry-After %q, %+v; want one for %s", w.Header().Get("Retry-After"), p, limit)
	}
	return seconds
}

// metric is a figure of the node.
func (d *desk) metric(name string) string {
	for line := range strings.Lines(d.ask("root", "GET", "/metrics", "", "").Body.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// unread is a body that must not be read.
type unread struct{ *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.Error("the body is read")
	return 0, io.EOF
}

// TestRequestRate: a second's worth at once, and no more; who comes when he is told to is
// let in. Refused is before the body and without the bucket; nobody else notices; and an
// operator is heard all the same.
func TestRequestRate(t *testing.T) {
	atDesk(t, `{"requests_per_second":5}`, func(d *desk) {
		for range 4 {
			decode(d.T, d.detect("acme", "acme"), 200, nil)
		}
		decode(d.T, d.detect("acme2", "acme"), 200, nil)
		synctest.Wait()
		calls := d.bucket.Calls()
		w := d.send("acme", "POST", path("acme", "/detect"), "application/json", unread{d.T})
		if seconds := refused(d.T, w, "requests_per_second"); seconds != 1 {
			d.Errorf("Retry-After %d, want 1", seconds)
		}
		refused(d.T, d.send("acme2", "POST", path("acme", "/versions"), "application/octet-stream", unread{d.T}), "requests_per_second")
		refused(d.T, d.ask("acme", "GET", "/v1/tenants/acme/models", "", ""), "requests_per_second")
		refused(d.T, d.ask("acme", "GET", "/v1/tenants/acme/models/_bad", "", ""), "requests_per_second")
		refused(d.T, d.ask("acme", "GET", "/v1/tenants/bolt/models/fraud", "", ""), "requests_per_second") // his own rate
		if n := d.bucket.Calls() - calls; n != 0 {
			d.Errorf("%d calls of the bucket for what is refused", n)
		}
		for range 50 {
			decode(d.T, d.detect("bolt", "bolt"), 200, nil)
		}
		decode(d.T, d.ask("root", "GET", "/v1/tenants/acme", "", ""), 200, nil)
		if w := d.ask("acme", "POST", "/models/fraud/detect", "application/json", `{"tenant_id":"acme","network_data":`+oneEvent+`}`); w.Code != 429 || !strings.Contains(w.Body.String(), `{"detail":"tenant acme may`) {
			d.Errorf("SecureNet's route: %d %s", w.Code, w.Body)
		}
		if n := d.metric(`modelbucket_limited_total{limit="requests_per_second"}`); n != "6" {
			d.Errorf("%s are counted", n)
		}
		time.Sleep(time.Second)
		decode(d.T, d.detect("acme2", "acme"), 200, nil)

		d.limit(`{"requests_per_second":0}`)
		if seconds := refused(d.T, d.detect("acme", "acme"), "requests_per_second"); seconds != 60 {
			d.Errorf("nothing at all: Retry-After %d, want 60", seconds)
		}
		d.limit(`{"requests_per_second":null}`)
		for range 100 {
			decode(d.T, d.detect("acme", "acme"), 200, nil)
		}
	})
}

// TestSoonIsWaited: a request whose time is near waits for it, so that callers who come one
// after the other are slowed down, and not refused.
func TestSoonIsWaited(t *testing.T) {
	atDesk(t, `{"requests_per_second":100}`, func(d *desk) {
		began := time.Now()
		for range 300 {
			decode(d.T, d.detect("acme", "acme"), 200, nil)
		}
		if took := time.Since(began); took < 1990*time.Millisecond || took > 2010*time.Millisecond {
			d.Errorf("300 requests at 100 a second took %v; the first 100 may come at once", took)
		}
		if n := d.metric(`modelbucket_delayed_total{limit="requests_per_second"}`); n != "200" {
			d.Errorf("%s were delayed", n)
		}
	})
}

// TestRefusedComeBack: fifty callers at once, of whom ten a second may come. Each is served
// when he comes again, as he was told to, for at most the second time.
func TestRefusedComeBack(t *testing.T) {
	atDesk(t, `{"requests_per_second":10}`, func(d *desk) {
		var all sync.WaitGroup
		var mu sync.Mutex
		tries := map[int]int{}
		began := time.Now()
		for range 60 {
			all.Go(func() {
				for try := 1; ; try++ {
					w := d.detect("acme", "acme")
					if w.Code == 200 {
						mu.Lock()
						defer mu.Unlock()
						tries[try]++
						return
					}
					time.Sleep(time.Duration(refused(d.T, w, "requests_per_second")) * time.Second)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); tries[1] < 10 || tries[1] > 11 || tries[1]+tries[2] != 60 || took > 8*time.Second {
			d.Errorf("served at try %v, after %v", tries, took)
		}
		d.Logf("60 callers at 10 a second: served at try %v within %v", tries, time.Since(began))
	})
}

// TestHammering: a hundred callers who do not wait get few refusals for it, and cost the
// node no more than these.
func TestHammering(t *testing.T) {
	atDesk(t, `{"requests_per_second":10}`, func(d *desk) {
		var all sync.WaitGroup
		var mu sync.Mutex
		answers := map[int]int{}
		end := time.Now().Add(20 * time.Second)
		for range 100 {
			all.Go(func() {
				for time.Now().Before(end) {
					code := d.detect("acme", "acme").Code
					mu.Lock()
					answers[code]++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if served := answers[200]; served < 190 || served > 230 {
			d.Errorf("%d were served in 20 s, at 10 a second", served)
		}
		if n := answers[429]; n > 20*(20+100)+200 {
			d.Errorf("%d refusals in 20 s, to 100 callers", n)
		}
		d.Logf("100 callers for 20 s without a pause: %v", answers)
	})
}

// TestKeyRate: what one key asks for too much does not take it from another of its tenant.
func TestKeyRate(t *testing.T) {
	atDesk(t, `{"key_requests_per_second":3,"requests_per_second":8}`, func(d *desk) {
		for range 3 {
			decode(d.T, d.detect("acme", "acme"), 200, nil)
		}
		w := d.detect("acme", "acme")
		refused(d.T, w, "key_requests_per_second")
		if !strings.Contains(w.Body.String(), `"detail":"key:`) {
			d.Errorf("who it was: %s", w.Body)
		}
		for range 3 {
			decode(d.T, d.detect("acme2", "acme"), 200, nil)
		}
		refused(d.T, d.detect("acme2", "acme"), "key_requests_per_second")
		for range 2 {
			decode(d.T, d.detect("root", "acme"), 200, nil)
		}
		refused(d.T, d.detect("root", "acme"), "requests_per_second")
	})
}

// csv is a body of n events.
func csvEvents(n int) string { return "packet_count\n" + strings.Repeat("2\n", n) }

// TestEventRate: a body is let in while there is anything left, and paid for afterwards,
// by judging as by training.
func TestEventRate(t *testing.T) {
	atDesk(t, `{"events_per_second":1000,"key_events_per_second":"unlimited"}`, func(d *desk) {
		decode(d.T, d.ask("acme2", "GET", "/v1/tenants/acme/models", "", ""), 200, nil)
		decode(d.T, d.ask("acme", "POST", path("acme", "/detect"), "text/csv", csvEvents(6000)), 200, nil)
		synctest.Wait()
		calls := d.bucket.Calls()
		if seconds := refused(d.T, d.send("acme2", "POST", path("acme", "/detect"), "application/json", unread{d.T}), "events_per_second"); seconds < 5 || seconds > 6 {
			d.Errorf("Retry-After %d after 6,000 of 1,000 events, want 5 or 6", seconds)
		}
		refused(d.T, d.send("acme", "POST", path("acme", "/train"), "text/csv", unread{d.T}), "events_per_second")
		if n := d.bucket.Calls() - calls; n != 0 {
			d.Errorf("%d calls of the bucket for what is refused", n)
		}
		decode(d.T, d.ask("acme", "GET", "/v1/tenants/acme/models", "", ""), 200, nil)
		decode(d.T, d.detect("bolt", "bolt"), 200, nil)
		time.Sleep(6 * time.Second)
		decode(d.T, d.ask("acme", "POST", path("acme", "/train?n_estimators=2"), "text/csv", csvEvents(3000)), 201, nil)
		if seconds := refused(d.T, d.detect("acme", "acme"), "events_per_second"); seconds != 2 && seconds != 3 {
			d.Errorf("Retry-After %d after a training on 3,000, want 2 or 3", seconds)
		}
	})
	atDesk(t, `{"key_events_per_second":10}`, func(d *desk) {
		decode(d.T, d.ask("acme", "POST", path("acme", "/detect"), "text/csv", csvEvents(100)), 200, nil)
		refused(d.T, d.detect("acme", "acme"), "key_events_per_second")
		decode(d.T, d.detect("acme2", "acme"), 200, nil)
	})
}

// TestEventsUnderWay: of bodies that come at once, those beyond the rate are refused
// before any is judged; and what was announced for more events than there were is given
// back, as by a body that is refused.
func TestEventsUnderWay(t *testing.T) {
	atDesk(t, `{"events_per_second":1000}`, func(d *desk) {
		body := `[` + strings.Repeat(`{"packet_count":2.00000000000000000000},`, 3999) + oneEvent + `]`
		slow, send := io.Pipe()
		answer := make(chan *httptest.ResponseRecorder)
		go func() {
			r := httptest.NewRequestWithContext(d.Context(), "POST", "http://localhost"+path("acme", "/detect"), slow)
			r.Header.Set("Authorization", "Bearer "+d.tokens["acme"])
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(body))
			w := httptest.NewRecorder()
			d.server.ServeHTTP(w, r)
			answer <- w
		}()
		synctest.Wait()
		refused(d.T, d.send("acme2", "POST", path("acme", "/detect"), "application/json", unread{d.T}), "events_per_second")
		io.WriteString(send, body)
		send.Close()
		decode(d.T, <-answer, 200, nil)
		if seconds := refused(d.T, d.detect("acme", "acme"), "events_per_second"); seconds != 3 && seconds != 4 {
			d.Errorf("Retry-After %d after 4,000 events of 1,000, want 3 or 4", seconds)
		}
		time.Sleep(4 * time.Second)
		for range 3 {
			wide := `[{"packet_count":2,"note":"` + strings.Repeat("x", 150_000) + `"}]`
			decode(d.T, d.ask("acme", "POST", path("acme", "/detect"), "application/json", wide), 200, nil)
			decode(d.T, d.ask("acme", "POST", path("acme", "/detect"), "application/json", wide[:150_000]), 400, nil)
		}
	})
}

// TestMistakesCost: who asks for what is not there, or badly, may do so ten times more
// rarely; and is not made to wait for having been overtaken.
func TestMistakesCost(t *testing.T) {
	atDesk(t, `{"requests_per_second":20}`, func(d *desk) {
		for range 3 {
			decode(d.T, d.ask("acme", "GET", path("acme", "/versions/7"), "", ""), 404, nil)
		}
		refused(d.T, d.detect("acme", "acme"), "requests_per_second")
		time.Sleep(2 * time.Second)
		decode(d.T, d.ask("acme", "GET", path("acme", "/versions/_x"), "", ""), 400, nil)
		decode(d.T, d.ask("acme", "GET", "/v1/tenants/bolt/models/fraud", "", ""), 404, nil)
		decode(d.T, d.ask("acme", "POST", path("acme", "/detect"), "application/json", `{`), 400, nil)
		refused(d.T, d.detect("acme", "acme"), "requests_per_second")
		time.Sleep(2 * time.Second)
		for range 10 {
			decode(d.T, d.ask("acme", "PUT", path("acme", "/aliases/live"), "application/json", `{"version":1,"expect":7}`), 412, nil)
		}
		decode(d.T, d.detect("acme", "acme"), 200, nil)
	})
}

// TestBodyRate: the bodies of a tenant are slowed down together, as long as another tenant
// asks for anything.
func TestBodyRate(t *testing.T) {
	atDesk(t, `{"body_bytes_per_second":1000000}`, func(d *desk) {
		upload := func(uploads int) time.Duration {
			began := time.Now()
			var all sync.WaitGroup
			for range uploads {
				all.Go(func() {
					decode(d.T, d.ask("acme", "POST", path("acme", "/versions"), "application/octet-stream", strings.Repeat("x", 3_000_000)), 201, nil)
				})
			}
			all.Wait()
			return time.Since(began)
		}
		time.Sleep(company)
		if took := upload(1); took > time.Second/2 {
			d.Errorf("alone: %v for 3 MB", took)
		}
		stop := make(chan struct{})
		var neighbour sync.WaitGroup
		neighbour.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
					decode(d.T, d.detect("bolt", "bolt"), 200, nil)
				}
			}
		})
		time.Sleep(company)
		if took := upload(2); took < 4*time.Second || took > 7*time.Second {
			d.Errorf("beside another: %v for 6 MB at 1 MB a second, the first of which may come at once", took)
		}
		close(stop)
		neighbour.Wait()
		d.limit(`{"body_bytes_per_second":0}`)
		w := d.ask("acme", "POST", path("acme", "/versions"), "application/octet-stream", "x")
		refused(d.T, w, "body_bytes_per_second")
	})
}

// company is for how long a tenant has company after another's request.
const company = time.Second

// TestStreamIsPaced: a stream of events goes on at the rate that its tenant may have, for
// as long as it likes.
func TestStreamIsPaced(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
		trainOver(t, p)
		if answer, body := p.ask(t, request("PUT", "/v1/tenants/acme", "application/json", `{"limits":{"events_per_second":1000}}`)); answer.StatusCode != 200 {
			t.Fatal(body)
		}
		conn, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const events = 30_000
		began := time.Now()
		go func() {
			text := strings.Repeat(`{"packet_count":2}`+"\n", events)
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", path("acme", "/detect"), len(text), text)
		}()
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if n := strings.Count(string(body), "\n"); err != nil || n != events+1 {
			t.Fatalf("%d lines, %v", n, err)
		}
		if took := time.Since(began); took < 28*time.Second || took > 30*time.Second {
			t.Errorf("%d events at 1,000 a second took %v", events, took)
		}
	})
}

// TestLimitsElsewhere: a node that has not heard of a tenant's limits learns them behind
// the first request, and keeps to them while the store is away.
func TestLimitsElsewhere(t *testing.T) {
	atDesk(t, `{"requests_per_second":5}`, func(d *desk) {
		r, err := registry.Open(d.Context(), d.bucket, registry.Options{})
		if err != nil {
			d.Fatal(err)
		}
		other, err := web.New(web.Options{Registry: r, Insecure: true})
		if err != nil {
			d.Fatal(err)
		}
		defer other.Close()
		first := d.server
		d.server = other
		count := func() string {
			var codes []int
			for range 10 {
				codes = append(codes, d.detect("root", "acme").Code)
			}
			slices.Sort(codes)
			return fmt.Sprint(codes)
		}
		decode(d.T, d.detect("root", "acme"), 200, nil)
		synctest.Wait()
		if got := count(); got != "[200 200 200 200 200 429 429 429 429 429]" {
			d.Errorf("on another node: %s", got)
		}
		d.server = first
		d.limit(`{"requests_per_second":8}`)
		d.server = other
		time.Sleep(11 * time.Second)
		decode(d.T, d.detect("root", "acme"), 200, nil) // has them read anew
		synctest.Wait()
		d.bucket.SetRules(blobtest.Rule{Fault: blobtest.Before, Err: blob.ErrUnavailable})
		time.Sleep(time.Minute)
		if got := count(); got != "[200 200 200 200 200 200 200 200 429 429]" {
			d.Errorf("while the store is away: %s", got)
		}
		d.bucket.SetRules()
		d.server = first
	})
}
