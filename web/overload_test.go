package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/registry"
	"modelbucket/web"
)

func path(tenant, rest string) string { return "/v1/tenants/" + tenant + "/models/fraud" + rest }

// trainOver trains acme's and bolt's model fraud over pipes.
func trainOver(t *testing.T, p *pipes) {
	t.Helper()
	for _, tenant := range []string{"acme", "bolt"} {
		if answer, body := p.ask(t, request("POST", path(tenant, "/train?n_estimators=3"), "text/csv", "packet_count\n"+strings.Repeat("1\n2\n3\n", 20))); answer.StatusCode != 201 {
			t.Fatal(body)
		}
		if answer, body := p.ask(t, request("POST", path(tenant, "/detect"), "application/json", oneEvent)); answer.StatusCode != 200 {
			t.Fatal(body)
		}
	}
}

// slowly opens a connection and sends a request whose body comes at 32 KiB a second,
// until the test's end or an answer, whose status goes to statuses.
func (p *pipes) slowly(t *testing.T, all *sync.WaitGroup, head string, over <-chan struct{}, answered func(*http.Response)) {
	t.Helper()
	conn, err := p.dial()
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			answered(answer)
		}
		conn.Close()
	})
	all.Go(func() {
		defer conn.Close()
		if _, err := io.WriteString(conn, head); err != nil {
			return
		}
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Second):
			}
			if _, err := conn.Write([]byte(strings.Repeat(" ", 32<<10))); err != nil {
				return
			}
		}
	})
}

// TestOverload: of each kind of work a tenant sends far more than fits, slowly. What is
// let in is bounded; the rest is told 429, or 503, and when to come again; another
// tenant is served at once.
func TestOverload(t *testing.T) {
	const size = 20 << 20
	head := func(tenant, rest, kind string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", path(tenant, rest), kind, size)
	}
	for _, row := range []struct{ name, rest, kind, other string }{
		{"uploads", "/versions", "application/octet-stream", request("POST", path("bolt", "/versions"), "application/octet-stream", "bytes")},
		{"trainings", "/train", "application/json", request("POST", path("bolt", "/train?n_estimators=3"), "text/csv", "packet_count\n1\n2\n3\n")},
		{"events", "/detect", "application/json", request("POST", path("bolt", "/detect"), "application/json", oneEvent)},
	} {
		t.Run(row.name, func(t *testing.T) {
			const each = 160 << 20 // bytes for each kind of work
			bubble(t, func(o *web.Options) { o.WorkBytes, o.MaxUpload = 4*each, 64<<20 }, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
				trainOver(t, p)
				var all sync.WaitGroup
				var mu sync.Mutex
				statuses := map[int]int{}
				over := make(chan struct{})
				const callers = 200
				for range callers {
					p.slowly(t, &all, head("acme", row.rest, row.kind), over, func(answer *http.Response) {
						mu.Lock()
						defer mu.Unlock()
						if answer.StatusCode == http.StatusRequestEntityTooLarge { // more than an event may be, at the end
							return
						}
						if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 3 {
							t.Errorf("status %d: Retry-After %q", answer.StatusCode, answer.Header.Get("Retry-After"))
						}
						statuses[answer.StatusCode]++
					})
				}
				time.Sleep(time.Second)
				began := time.Now()
				answer, body := p.ask(t, row.other)
				if waited := time.Since(began); answer.StatusCode/100 != 2 || waited > time.Second {
					t.Errorf("another tenant: %d %s after %v", answer.StatusCode, body, waited)
				}
				held, waiting := figure(t, p, row.name, "held"), figure(t, p, row.name, "waiting")
				if held > each*3/4 || held < each/2 {
					t.Errorf("%d bytes are held of %d", held, each)
				}
				time.Sleep(15 * time.Second)
				mu.Lock()
				shed := statuses[http.StatusTooManyRequests] + statuses[http.StatusServiceUnavailable]
				if statuses[http.StatusTooManyRequests] == 0 || shed != callers-int(max(1, held/weightOf(row.name, size))) || len(statuses) > 2 {
					t.Errorf("statuses %v while %d bytes are held", statuses, held)
				}
				t.Logf("overload.%s: %d slow callers of one tenant, %d let in (%d MiB of %d), %d waited, %d × 429, %d × 503; another tenant served in %v",
					row.name, callers, callers-shed, held>>20, each>>20, waiting, statuses[429], statuses[503], time.Since(began)-15*time.Second)
				mu.Unlock()
				close(over)
				all.Wait()
				synctest.Wait()
				if held := figure(t, p, row.name, "held"); held != 0 {
					t.Errorf("%d bytes are held when all have left", held)
				}
			})
		})
	}
}

// weightOf is what a body weighs.
func weightOf(kind string, size int64) int64 {
	if kind == "events" {
		return 6 * size
	}
	return size
}

// figure reads a gauge of a kind of work.
func figure(t *testing.T, p *pipes, kind, name string) int64 {
	t.Helper()
	if kind == "trainings" {
		kind = "training"
	}
	_, body := p.ask(t, get("/metrics"))
	want := fmt.Sprintf("modelbucket_work_%s{work=%q} ", name, kind)
	for line := range strings.Lines(body) {
		if text, ok := strings.CutPrefix(line, want); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int64(value)
		}
	}
	t.Fatalf("no %s in %s", want, body)
	return 0
}

// TestSlowClients: a thousand connections that send half an event and stop, of streams
// and of bodies, and those who do not take their answers, keep nobody waiting.
func TestSlowClients(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
		trainOver(t, p)
		var conns []net.Conn
		var all sync.WaitGroup
		for i := range 1000 {
			conn, err := p.dial()
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
			text := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n[{\"packet_co", path("acme", "/detect"))
			if i%2 == 0 {
				event := "{\"packet_count\":2}\n{\"pack" // one whole, whose answer nobody takes, and a half
				text = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", path("acme", "/detect"), len(event), event)
			}
			all.Go(func() { io.WriteString(conn, text) })
		}
		all.Wait()
		synctest.Wait()
		for _, tenant := range []string{"acme", "bolt"} {
			began := time.Now()
			answer, body := p.ask(t, request("POST", path(tenant, "/detect"), "application/json", oneEvent))
			if waited := time.Since(began); answer.StatusCode != 200 || waited != 0 {
				t.Errorf("%s: %d %s after %v", tenant, answer.StatusCode, body, waited)
			}
			began = time.Now()
			large := "[" + strings.Repeat(`{"packet_count":2},`, 5000) + `{"packet_count":2}]`
			answer, body = p.ask(t, request("POST", path(tenant, "/detect"), "application/json", large))
			if waited := time.Since(began); answer.StatusCode != 200 || waited != 0 {
				t.Errorf("%s, a large body: %d %.200s after %v", tenant, answer.StatusCode, body, waited)
			}
		}
		t.Logf("slow_clients: 1,000 that stand still, small and large bodies of the same and of another tenant answered without waiting; events held %d MiB", figure(t, p, "events", "held")>>20)
		for _, conn := range conns {
			conn.Close()
		}
	})
}

// TestOverloadMemory sends more bodies at once than there is memory for: it does not
// grow with them.
func TestOverloadMemory(t *testing.T) {
	const work = 32 << 20
	n := serve(t, func(o *web.Options) { o.WorkBytes = work })
	n.json("POST", fraud+"/train?n_estimators=3", toJSON(t, events(100))).must(t, 201, nil)
	body := "[" + strings.Repeat(`{"packet_count":2},`, 30_000) + `{"packet_count":2}]` // 570 kB; its answer has 2.4 MB
	n.json("POST", fraud+"/detect", body).must(t, 200, nil)
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	heap := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before, peak := heap(), uint64(0)
	over := make(chan struct{})
	var watch, all sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(2 * time.Millisecond):
				peak = max(peak, heap())
			}
		}
	})
	const callers = 100
	var served, refused atomic.Int64
	for range callers {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), "POST", n.url+fraud+"/detect", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			io.Copy(io.Discard, answer.Body) // a broken one would be no more than a smaller one
			switch answer.StatusCode {
			case 200:
				served.Add(1)
			case 429, 503:
				refused.Add(1)
			default:
				t.Errorf("status %d", answer.StatusCode)
			}
		})
	}
	all.Wait()
	close(over)
	watch.Wait()
	grown := int64(peak) - int64(before)
	if served.Load() == 0 || served.Load()+refused.Load() != callers {
		t.Errorf("%d served, %d refused", served.Load(), refused.Load())
	}
	if grown > 4*work {
		t.Errorf("the heap grew by %d MiB, work may hold %d", grown>>20, work>>20)
	}
	t.Logf("overload.memory: %d bodies of %d kB at once, %d served, %d refused; heap grew by %d MiB at most, work may hold %d MiB", callers, len(body)/1000, served.Load(), refused.Load(), grown>>20, work>>20)
}

// stalled does not take its answer until it is let go.
type stalled struct {
	recorder
	begun *atomic.Int64
	let   chan struct{}
}

func (w stalled) Write(p []byte) (int, error) {
	if w.Code == http.StatusOK { // what is refused is taken at once
		w.begun.Add(1)
		<-w.let
	}
	return w.recorder.Write(p)
}

// TestLargeAnswers: answers whose size was decided by who wrote what they tell of are
// bounded in their sum, while their callers do not take them; another tenant has his.
func TestLargeAnswers(t *testing.T) {
	for _, path := range []string{"/v1/tenants/acme/models/fraud/versions/1", "/v1/tenants/acme/models/fraud/versions?limit=1000"} {
		synctest.Test(t, func(t *testing.T) {
			const room = 64 << 20
			c := newCluster(t, 1, func(o *web.Options) { o.WorkBytes = 4 * room })
			n := c.nodes[0]
			c.key("acme", registry.NewKey{Tenant: "acme", Role: registry.Reader})
			c.key("bolt", registry.NewKey{Tenant: "bolt", Role: registry.Reader})
			about := `{"about":"` + strings.Repeat("x", 1_000_000) + `"}`
			for _, tenant := range []string{"acme", "bolt"} {
				n.must(t, "root", "POST", "/v1/tenants/"+tenant+"/models/fraud/versions", formOf(metadataPart(`{"user_metadata":`+about+`}`), filePart), http.StatusCreated, "Content-Type", "multipart/form-data; boundary=b")
			}
			var begun atomic.Int64
			let := make(chan struct{})
			const callers = 150
			answers := make([]recorder, callers)
			var all sync.WaitGroup
			for i := range answers {
				answers[i] = recorder{httptest.NewRecorder()}
				r := n.request("acme", "GET", path, http.NoBody)
				all.Go(func() { n.server.ServeHTTP(stalled{answers[i], &begun, let}, r) })
			}
			synctest.Wait()
			if in := begun.Load(); in < 3 || in > room*3/4/1_000_000 {
				t.Errorf("%s: %d answers are under way", path, in)
			}
			other := n.must(t, "bolt", "GET", strings.Replace(path, "acme", "bolt", 1), "", http.StatusOK)
			if len(other) < len(about) {
				t.Errorf("%s: another tenant's has %d bytes", path, len(other))
			}
			time.Sleep(15 * time.Second)
			close(let)
			all.Wait()
			codes := map[int]int{}
			for _, answer := range answers {
				codes[answer.Code]++
				if answer.Code != http.StatusOK && answer.Header().Get("Retry-After") == "" {
					t.Errorf("%s: %d without Retry-After", path, answer.Code)
				}
			}
			if codes[http.StatusOK] < 3 || codes[http.StatusTooManyRequests] == 0 || codes[http.StatusOK]+codes[http.StatusTooManyRequests] != callers {
				t.Errorf("%s: answers %v", path, codes)
			}
		})
	}
}
