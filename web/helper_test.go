package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web"
)

const token = "root-token-of-the-test"

// node is a server on a real listener over a store in memory.
type node struct {
	t      testing.TB
	url    string
	addr   string
	bucket *blobtest.Faulty
	memory *blob.Memory // below it
	log    *lockedBuffer
	server *web.Server
	stop   context.CancelFunc
	ended  chan error
}

// serve starts a node; change may alter its options.
func serve(t testing.TB, change func(*web.Options)) *node {
	t.Helper()
	n := &node{t: t, memory: blob.NewMemory(), log: &lockedBuffer{}}
	n.bucket = blobtest.NewFaulty(n.memory, 1)
	r, err := registry.Open(t.Context(), n.bucket, registry.Options{MaxUpload: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.RootToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	o := web.Options{
		Registry: r, RootToken: root, MaxUpload: 8 << 20, Drain: -1, Finish: 5 * time.Second,
		Python: []byte("print()\n"), Log: slog.New(slog.NewJSONHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	if n.server, err = web.New(o); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = listener.Addr().String()
	n.url = "http://" + n.addr
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.ended = cancel, make(chan error, 1)
	go func() { n.ended <- n.server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := <-n.ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		n.ended <- nil
		n.server.Close()
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// reply is an answer, read to its end.
type reply struct {
	*http.Response
	body    []byte
	readErr error
}

// do sends one request. Headers are given in pairs; the token is sent unless one of
// them says "Authorization".
func (n *node) do(method, path string, body io.Reader, headers ...string) reply {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, body)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return reply{answer, data, err}
}

func (n *node) get(path string, headers ...string) reply {
	n.t.Helper()
	return n.do("GET", path, nil, headers...)
}

func (n *node) json(method, path, body string, headers ...string) reply {
	n.t.Helper()
	return n.do(method, path, strings.NewReader(body), append([]string{"Content-Type", "application/json"}, headers...)...)
}

// must ends the test unless the status is the wanted one, and decodes the answer.
func (r reply) must(t testing.TB, status int, into any) reply {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", r.Request.Method, r.Request.URL.Path, r.StatusCode, status, r.body)
	}
	if into != nil {
		if err := json.Unmarshal(r.body, into); err != nil {
			t.Fatalf("%s %s: %v in %s", r.Request.Method, r.Request.URL.Path, err, r.body)
		}
	}
	return r
}

// problem is the answer as a problem, which it has to be.
func (r reply) problem(t testing.TB) web.Problem {
	t.Helper()
	if kind := r.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Fatalf("%s %s: status %d, content type %q, want a problem: %s", r.Request.Method, r.Request.URL.Path, r.StatusCode, kind, r.body)
	}
	var p web.Problem
	r.must(t, r.StatusCode, &p)
	if p.Status != r.StatusCode {
		t.Errorf("problem says status %d, the answer %d", p.Status, r.StatusCode)
	}
	if p.Instance != r.Header.Get("X-Request-Id") || p.Instance == "" {
		t.Errorf("problem names request %q, the answer %q", p.Instance, r.Header.Get("X-Request-Id"))
	}
	return p
}

// publish saves content as the one file of a new version, with a query.
func (n *node) publish(model, query, content string) registry.Version {
	n.t.Helper()
	var v registry.Version
	n.do("POST", "/v1/tenants/acme/models/"+model+"/versions"+query, strings.NewReader(content)).must(n.t, http.StatusCreated, &v)
	return v
}

// lockedBuffer is a log that a test reads while the server writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// quiet is a server without a listener, over an empty store that counts its calls.
func quiet(t testing.TB) (*web.Server, *blobtest.Faulty) {
	t.Helper()
	return quietWith(t, nil)
}

// quietWith is quiet with other options.
func quietWith(t testing.TB, change func(*web.Options)) (*web.Server, *blobtest.Faulty) {
	t.Helper()
	b := blobtest.NewFaulty(blob.NewMemory(), 1)
	r, err := registry.Open(context.Background(), b, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.RootToken(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	o := web.Options{Registry: r, RootToken: root}
	if change != nil {
		change(&o)
	}
	s, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, b
}

// breakStore makes each call of the store fail with err; nil mends it.
func (n *node) breakStore(err error) {
	if err == nil {
		n.bucket.SetRules()
		return
	}
	n.bucket.SetRules(blobtest.Rule{Fault: blobtest.Before, Err: err})
}

// dial opens a connection to the node that ends after a while.
func (n *node) dial() *net.TCPConn {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// upload publishes a file of this size to acme/fraud.
func (n *node) upload(size int) {
	n.t.Helper()
	n.do("POST", fraud+"/versions", bytes.NewReader(make([]byte, size))).must(n.t, http.StatusCreated, nil)
}

// corrupt flips a bit of a stored file.
func (n *node) corrupt(name string, at int) {
	n.t.Helper()
	ctx := context.Background()
	page, err := n.memory.List(ctx, blob.ListOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, o := range page.Objects {
		if !strings.HasSuffix(o.Key, "/"+name) {
			continue
		}
		body, _, err := n.memory.Get(ctx, o.Key, blob.Range{})
		if err != nil {
			n.t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		if err != nil {
			n.t.Fatal(err)
		}
		data[at] ^= 1
		if _, err := n.memory.Put(ctx, o.Key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data))}); err != nil {
			n.t.Fatal(err)
		}
		return
	}
	n.t.Fatalf("no object %s", name)
}
