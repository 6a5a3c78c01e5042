package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A bomb is a small request that wants to become a large one in the node's memory, or to
// keep it busy for long.
type bomb struct {
	name    string
	method  string
	path    string
	headers []string // lines
	body    io.Reader
	length  int64 // announced; chunked: it is sent in chunks; asItIs: the body brings its own framing
	want    []int // statuses
}

const (
	chunked = -1
	asItIs  = -2
)

// What a bomb may take at most. Time is told, and judged at a multiple only: a machine
// that is busy with other things says nothing about the node.
const (
	bombTime   = time.Second
	bombMemory = 64 << 20
	timeJudged = 20 * bombTime
)

// TestBombs throws each bomb at a node process of its own, and reads from the kernel how
// much memory that took at its peak.
func TestBombs(t *testing.T) {
	folder := t.TempDir()
	env := os.Environ()
	flags := []string{"--store=dir:" + filepath.Join(folder, "store"), "--insecure", "--gc-interval=0"}
	first, err := startNode(folder, "first", env, flags...)
	if err != nil {
		t.Fatal(err)
	}
	table := "bytes_transferred,packet_count,connection_duration\n" + strings.Repeat("1024,10,0.5\n2048,20,1.5\n512,5,0.1\n", 40)
	answer, err := http.Post(first.URL+bombed+"/train?n_estimators=10", "text/csv", strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("train: %s", answer.Status)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	bombs := slices.Concat(fileBombs(t), jsonBombs(), eventBombs(), formBombs(), signatureBombs(), headBombs())
	ok, slow := 0, []string{}
	var worstTime time.Duration
	var worstMemory int64
	for i, b := range bombs {
		passed := t.Run(b.name, func(t *testing.T) {
			n, err := startNode(folder, "node", env, flags...)
			if err != nil {
				t.Fatal(err)
			}
			defer n.stop()
			status, body, took, grown := n.suffer(t, b)
			t.Logf("%s: %d after %v, %.1f MiB", b.name, status, took.Round(time.Millisecond), float64(grown)/(1<<20))
			if !slices.Contains(b.want, status) {
				t.Errorf("status %d, want one of %v: %.300s", status, b.want, body)
			}
			if len(body) > 4096 && status >= 400 {
				t.Errorf("the answer has %d bytes", len(body))
			}
			if grown > bombMemory*memoryFactor {
				t.Errorf("the node grew by %.1f MiB", float64(grown)/(1<<20))
			}
			if took > timeJudged {
				t.Errorf("the answer took %v", took)
			}
			if took > bombTime {
				slow = append(slow, b.name)
			}
			worstTime, worstMemory = max(worstTime, took), max(worstMemory, grown)
		})
		if passed {
			ok++
		}
		bombs[i].body = nil
	}
	if len(bombs) < 30 {
		t.Errorf("there are %d bombs", len(bombs))
	}
	t.Logf("bombs.ok %d/%d bombs.worst_ms %d bombs.worst_mib %.1f (the bounds: %v and %d MiB; beyond the time: %q)",
		ok, len(bombs), worstTime.Milliseconds(), float64(worstMemory)/(1<<20), bombTime, bombMemory>>20, slow)
}

// bombed is the model that the bombs are thrown at.
const bombed = "/v1/tenants/acme/models/fraud"

// suffer throws a bomb at the node. It returns the answer, how long that took, and by how
// much more memory than before the node had at its peak.
func (n *testNode) suffer(t *testing.T, b bomb) (status int, body string, took time.Duration, grown int64) {
	t.Helper()
	address := strings.TrimPrefix(n.URL, "http://")
	for range 3 { // what a node takes for its first requests is not the bomb's
		for _, usual := range []bomb{
			{method: "POST", path: bombed + "/detect", headers: []string{"Content-Type: application/json"}, body: strings.NewReader(`[{"packet_count":7}]`), length: 20},
			{method: "POST", path: "/v1/tenants/acme/models/usual/versions", body: strings.NewReader("usual"), length: 5},
			{method: "GET", path: bombed + "/versions/1"},
		} {
			status, body, err := usual.throw(address)
			if err != nil || status/100 != 2 {
				t.Fatalf("%s: %d %s, %v", usual.path, status, body, err)
			}
		}
	}
	process := fmt.Sprintf("/proc/%d/", n.process.Process.Pid)
	if err := os.WriteFile(process+"clear_refs", []byte("5"), 0o200); err != nil { // the peak begins anew: proc(5)
		t.Fatal(err)
	}
	before := memoryOf(t, process, "VmRSS")
	began := time.Now()
	status, body, err := b.throw(address)
	took = time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	if status, text, err := (bomb{method: "GET", path: "/healthz"}).throw(address); err != nil || status != http.StatusOK {
		t.Errorf("the node is not well: %d %s, %v", status, text, err)
	}
	return status, body, took, memoryOf(t, process, "VmHWM") - before
}

// memoryOf reads one of the figures of proc(5), in bytes.
func memoryOf(t *testing.T, process, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(process + "status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("%sstatus has no %s", process, name)
	return 0
}

// throw sends the bomb over a connection of its own, until the node has answered.
func (b bomb) throw(address string) (status int, body string, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * timeJudged))
	sent := make(chan struct{})
	go func() { // ends when all is sent, or the connection is closed
		defer close(sent)
		b.write(conn)
	}()
	defer func() {
		conn.Close()
		<-sent
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", fmt.Errorf("read answer: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, string(text), err
}

// write sends the request. Where the node has enough of it and hangs up, the rest is not
// sent; that is no error here.
func (b bomb) write(conn net.Conn) {
	w := bufio.NewWriterSize(conn, 64<<10)
	fmt.Fprintf(w, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", b.method, b.path)
	for _, line := range b.headers {
		fmt.Fprintf(w, "%s\r\n", line)
	}
	switch {
	case b.length == chunked:
		fmt.Fprint(w, "Transfer-Encoding: chunked\r\n\r\n")
		chunks := httputil.NewChunkedWriter(w)
		if _, err := io.Copy(chunks, b.body); err != nil {
			return
		}
		chunks.Close()
		fmt.Fprint(w, "\r\n")
	case b.length == asItIs:
		io.Copy(w, b.body)
	default:
		fmt.Fprintf(w, "Content-Length: %d\r\n\r\n", b.length)
		if b.body != nil {
			io.Copy(w, b.body)
		}
	}
	w.Flush()
}

// again is a text over and over, without end.
type again struct {
	text string
	at   int
}

func (a *again) Read(p []byte) (n int, err error) {
	for n < len(p) {
		m := copy(p[n:], a.text[a.at:])
		n, a.at = n+m, (a.at+m)%len(a.text)
	}
	return n, nil
}

// forever begins with a text, and goes on with another one for ever.
func forever(begin, more string) io.Reader {
	if len(more) < 4096 {
		more = strings.Repeat(more, 4096/len(more)+1)
	}
	return io.MultiReader(strings.NewReader(begin), &again{text: more})
}

// many is a text n times, without holding it.
func many(n int, text string) io.Reader {
	return io.LimitReader(&again{text: text}, int64(n)*int64(len(text)))
}

func sized(b bomb, parts ...io.Reader) bomb {
	var whole bytes.Buffer
	io.Copy(&whole, io.MultiReader(parts...))
	b.body, b.length = &whole, int64(whole.Len())
	return b
}
