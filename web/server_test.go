package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/web"
)

// pipes is a listener whose connections are pipes in memory: their time is that of the
// test's bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// bubble runs a node in synthetic time. stop tells it to stop; ended is its end.
func bubble(t *testing.T, change func(*web.Options), test func(t *testing.T, p *pipes, stop func(), ended <-chan error)) {
	synctest.Test(t, func(t *testing.T) { inBubble(t, change, test) })
}

// bubbled is bubble in a bubble that is there, for tests that do not stop their node.
func bubbled(t *testing.T, change func(*web.Options), test func(t *testing.T, p *pipes)) {
	inBubble(t, change, func(t *testing.T, p *pipes, _ func(), _ <-chan error) { test(t, p) })
}

func inBubble(t *testing.T, change func(*web.Options), test func(t *testing.T, p *pipes, stop func(), ended <-chan error)) {
	r, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{MaxUpload: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	o := web.Options{Registry: r, Insecure: true, Drain: -1}
	if change != nil {
		change(&o)
	}
	s, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	p := newPipes()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Serve(ctx, p)
		close(ended)
	}()
	test(t, p, stop, ended)
	stop()
	for range ended { // until it is closed
	}
	s.Close()
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// ask sends a request over a connection of its own and reads the answer.
func (p *pipes) ask(t *testing.T, text string) (*http.Response, string) {
	t.Helper()
	conn, err := p.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func get(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
}

// An upload may take as long as it likes while it makes progress, and is given up ten
// seconds after it stopped to.
func TestSlowUpload(t *testing.T) {
	for _, row := range []struct {
		name   string
		pieces int
		pause  time.Duration
		status int
		took   time.Duration
	}{
		{"steady", 40, 5 * time.Second, 201, 200 * time.Second},
		{"a drop now and then", 40, 11 * time.Second, 408, 10 * time.Second},
		{"stands still", 1, time.Hour, 408, 10 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
				conn, err := p.dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				const piece = 100 << 10 // at 5 s apiece that is 20 KiB/s
				began := time.Now()
				var sender sync.WaitGroup
				sender.Go(func() {
					fmt.Fprintf(conn, "POST %s/versions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", fraud, row.pieces*piece+1)
					for range row.pieces {
						if _, err := conn.Write(make([]byte, piece)); err != nil {
							return
						}
						time.Sleep(row.pause)
					}
					conn.Write([]byte{1})
				})
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				if answer.StatusCode != row.status {
					t.Errorf("status %d, want %d: %s", answer.StatusCode, row.status, body)
				}
				if took := time.Since(began); took < row.took || took > row.took+2*time.Second {
					t.Errorf("it took %v, want %v", took, row.took)
				}
				conn.Close()
				sender.Wait()
			})
		})
	}
}

// A caller who does not take his answer does not keep it for ever.
func TestSlowReader(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
		upload := fmt.Sprintf("POST %s/versions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", fraud, 1<<20, make([]byte, 1<<20))
		if answer, body := p.ask(t, upload); answer.StatusCode != 201 {
			t.Fatal(body)
		}
		conn, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, get(fraud+"/versions/1/files/model.joblib")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		n, err := io.Copy(io.Discard, conn)
		if n > 300<<10 || err != nil && err != io.ErrUnexpectedEOF {
			t.Errorf("after two minutes there came %d bytes more, %v", n, err)
		}
	})
}

// A caller who sends nothing, or only half a header, is sent away.
func TestIdleConnections(t *testing.T) {
	for name, row := range map[string]struct {
		text  string
		limit time.Duration
	}{
		"nothing at all":   {"", 6 * time.Second},
		"half a header":    {"GET /healthz HTTP/1.1\r\nHost: ", 6 * time.Second},
		"after an answer":  {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 61 * time.Second},
		"a refused body":   {"POST " + fraud + "/versions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n", 3 * time.Second},
		"a chunk and that": {"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
				conn, err := p.dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				began := time.Now()
				go io.WriteString(conn, row.text)
				io.Copy(io.Discard, conn)
				if took := time.Since(began); took > row.limit {
					t.Errorf("the connection was kept for %v, want at most %v", took, row.limit)
				}
			})
		})
	}
}

// Told to stop, a node says so to balancers, goes on answering, finishes what is under
// way, and is gone.
func TestGracefulStop(t *testing.T) {
	drain := func(o *web.Options) { o.Drain, o.Finish = 5*time.Second, 30*time.Second }
	bubble(t, drain, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
		if answer, body := p.ask(t, get("/readyz")); answer.StatusCode != 200 || body != "ready\n" {
			t.Fatalf("readyz: %d %q", answer.StatusCode, body)
		}
		conn, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s/versions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234", fraud)
		synctest.Wait()
		began := time.Now()
		stop()
		synctest.Wait()
		if answer, body := p.ask(t, get("/readyz")); answer.StatusCode != 503 || body != "stopping\n" {
			t.Errorf("readyz while stopping: %d %q", answer.StatusCode, body)
		}
		if answer, _ := p.ask(t, get("/healthz")); answer.StatusCode != 200 {
			t.Errorf("healthz while stopping: %d", answer.StatusCode)
		}
		if answer, body := p.ask(t, get("/v1/tenants")); answer.StatusCode != 200 {
			t.Errorf("a request while draining: %d %s", answer.StatusCode, body)
		}
		time.Sleep(7 * time.Second) // the upload is slow, but not too slow
		if _, err := p.dial(); err == nil {
			t.Error("a connection was taken after the drain")
		}
		io.WriteString(conn, "56789")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != 201 {
			t.Fatalf("the upload under way: %v, %v", answer, err)
		}
		io.Copy(io.Discard, answer.Body)
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		if took := time.Since(began); took < 7*time.Second || took > 10*time.Second {
			t.Errorf("it took %v to stop", took)
		}
	})
}

// What does not finish in time is broken off.
func TestStopDoesNotWaitForEver(t *testing.T) {
	finish := func(o *web.Options) { o.Finish = 3 * time.Second }
	bubble(t, finish, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
		conn, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s/versions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234", fraud)
		synctest.Wait()
		began := time.Now()
		stop()
		err = <-ended
		if err == nil || !strings.Contains(err.Error(), "broken off") {
			t.Errorf("serve: %v", err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("it took %v to stop", took)
		}
		io.Copy(io.Discard, conn)
	})
}

// A stream that would go on for ever ends with the node, and says so.
func TestStopEndsStreams(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
		training := "packet_count\n" + strings.Repeat("1\n2\n3\n", 20)
		text := fmt.Sprintf("POST %s/train HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n%s", fraud, len(training), training)
		if answer, body := p.ask(t, text); answer.StatusCode != 201 {
			t.Fatal(body)
		}
		conn, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		event := "{\"packet_count\":2}\n"
		fmt.Fprintf(conn, "POST %s/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", fraud, len(event), event)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%v, %v", answer, err)
		}
		lines := bufio.NewReader(answer.Body)
		if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"index":0,`) {
			t.Fatalf("%s, %v", line, err)
		}
		time.Sleep(time.Hour) // it may stand still as long as it likes
		began := time.Now()
		stop()
		rest, err := io.ReadAll(lines)
		if err != io.ErrUnexpectedEOF || !strings.Contains(string(rest), `"code":"unavailable"`) || !strings.Contains(string(rest), "stopping") {
			t.Errorf("the stream ended with %q, %v", rest, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestReadyzAsksTheStoreSeldom(t *testing.T) {
	n := serve(t, nil)
	before := n.bucket.Calls()
	for range 50 {
		n.get("/readyz").must(t, 200, nil)
	}
	if calls := n.bucket.Calls() - before; calls > 2 {
		t.Errorf("%d calls of the store for 50 questions", calls)
	}
}

func TestReadyzWhileTheStoreIsAway(t *testing.T) {
	n := serve(t, nil)
	err := fmt.Errorf("list: %w", blob.ErrUnavailable)
	n.breakStore(err)
	answer := n.get("/readyz")
	if answer.StatusCode != 503 || string(answer.body) != "unavailable\n" || answer.Header.Get("Retry-After") == "" {
		t.Errorf("readyz: %d %q", answer.StatusCode, answer.body)
	}
	n.get("/healthz").must(t, 200, nil)
	if metrics := n.get("/metrics").must(t, 200, nil); !strings.Contains(string(metrics.body), "modelbucket_bucket_up 0") {
		t.Errorf("metrics do not tell: %s", metrics.body)
	}
}

func TestMetrics(t *testing.T) {
	m := web.NewMetrics()
	m.Call(blob.Call{Operation: "put", Outcome: "ok", Duration: time.Millisecond})
	m.Conflict()
	n := serve(t, func(o *web.Options) { o.Metrics = m })
	n.publish("fraud", "", "x")
	n.get(fraud + "/versions/9")
	n.request("FROB", "/nothing")
	body := string(n.get("/metrics").must(t, 200, nil).body)
	for _, want := range []string{
		`modelbucket_requests_total{method="POST",route="/v1/tenants/{tenant}/models/{model}/versions",status="201"} 1`,
		`modelbucket_requests_total{method="GET",route="/v1/tenants/{tenant}/models/{model}/versions/{ref}",status="404"} 1`,
		`modelbucket_requests_total{method="other",route="none",status="404"} 1`,
		`modelbucket_requests_in_flight 1`, `modelbucket_bucket_up 1`, `modelbucket_publish_conflicts_total 1`, `modelbucket_bucket_calls_total{operation="put",outcome="ok"} 1`, `modelbucket_pool_bytes 0`, `go_goroutines`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}
