package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"modelbucket/blob/blobtest"
)

// wire is a connection that sends the same request again and again, and costs next to
// nothing: client and server share the processors.
type wire struct {
	conn    net.Conn
	in      *textproto.Reader
	request []byte
}

func dial(target, kind string, body []byte) (*wire, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", u.RequestURI(), u.Host, kind, len(body))
	return &wire{conn, textproto.NewReader(bufio.NewReaderSize(conn, 64<<10)), append([]byte(head), body...)}, nil
}

// ask sends the request and reads the answer to its end, which must be 200.
func (w *wire) ask() error {
	status, _, err := w.answer()
	if err == nil && status != 200 {
		err = fmt.Errorf("answer %d", status)
	}
	return err
}

// answer sends the request and reads the answer to its end; most have no Retry-After. An
// answer may come before the whole body was taken.
func (w *wire) answer() (status int, retryAfter string, err error) {
	_, sendErr := w.conn.Write(w.request)
	line, err := w.in.ReadLine()
	if err != nil {
		return 0, "", errors.Join(sendErr, err)
	}
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if status, err = strconv.Atoi(rest[:min(3, len(rest))]); !ok || err != nil {
		return 0, "", fmt.Errorf("answer %s", line)
	}
	length := int64(-1)
	for {
		line, err := w.in.ReadLineBytes()
		if err != nil {
			return 0, "", err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value := string(bytes.TrimSpace(value)); {
		case strings.EqualFold(string(name), "Content-Length"):
			if length, err = strconv.ParseInt(value, 10, 64); err != nil {
				return 0, "", err
			}
		case strings.EqualFold(string(name), "Retry-After"):
			retryAfter = value
		}
	}
	if length < 0 {
		return 0, "", fmt.Errorf("an answer without its length")
	}
	_, err = io.CopyN(io.Discard, w.in.R, length)
	return status, retryAfter, err
}

// asked asks over some connections for two seconds, and returns the times taken, in
// order, and how long it all took.
func asked(b *testing.B, target string, body []byte, connections int) (times []time.Duration, all time.Duration) {
	b.Helper()
	var mu sync.Mutex
	var wait sync.WaitGroup
	began := time.Now()
	for range connections {
		wait.Go(func() {
			var own []time.Duration
			w, err := dial(target, "application/json", body)
			if err == nil {
				defer w.conn.Close()
				for err == nil && time.Since(began) < 2*time.Second {
					began := time.Now()
					err = w.ask()
					own = append(own, time.Since(began))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
			if err != nil {
				b.Error(err)
			}
		})
	}
	wait.Wait()
	if b.Failed() {
		b.FailNow()
	}
	all = time.Since(began)
	slices.Sort(times)
	return times, all
}

// processor is the time that a process has used of the processors.
func processor(b *testing.B, process *exec.Cmd) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.Process.Pid))
	if err != nil {
		b.Skipf("this system does not tell the processor time of a process: %v", err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // 100 of them a second, everywhere
}

// networkEvents is a JSON array of n events, with tails as heavy as those of networks.
func networkEvents(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	out := []byte("[")
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"bytes_transferred":%d,"packet_count":%d,"connection_duration":%.3f}`,
			int(4000*math.Exp(2*r.NormFloat64())), 1+int(12*math.Exp(1.5*r.NormFloat64())), math.Exp(r.NormFloat64()))
	}
	return append(out, ']')
}

// ask makes one request, and returns what it answers.
func ask(b *testing.B, method, target, kind string, body []byte) []byte {
	b.Helper()
	request, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		b.Fatalf("%s %s: %s, %v: %.300s", method, target, answer.Status, err, data)
	}
	return data
}

// trainedNode is a node with the detector acme/edge of 20,000 events, and its file.
func trainedNode(b *testing.B, env []string, store string) (n *testNode, file []byte) {
	b.Helper()
	n = benchNode(b, env, store, "--insecure")
	model := n.URL + "/v1/tenants/acme/models/edge"
	ask(b, "POST", model+"/train", "application/json", networkEvents(20_000))
	return n, ask(b, "GET", model+"/versions/1/files/model.joblib", "", nil)
}

// startServePeer serves the file with FastAPI, or tells why not.
func startServePeer(b *testing.B, file []byte) (target string, ok bool) {
	b.Helper()
	program := os.Getenv("MODELBUCKET_TEST_PYTHON")
	if program == "" {
		fmt.Println("no peer: MODELBUCKET_TEST_PYTHON names no Python with scikit-learn, fastapi and uvicorn")
		return "", false
	}
	if out, err := exec.Command(program, "-c", "import fastapi, uvicorn, sklearn").CombinedOutput(); err != nil {
		fmt.Printf("no peer: %s\n", bytes.TrimSpace(out[bytes.LastIndexByte(bytes.TrimSpace(out), '\n')+1:]))
		return "", false
	}
	path := filepath.Join(b.TempDir(), "model.joblib")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		b.Fatal(err)
	}
	c := exec.Command(program, "testdata/peers/serve.py", path)
	c.Stderr = os.Stderr
	return startPeer(b, c) + "/detect", true
}

// BenchmarkDetect asks a node on the embedded store, and FastAPI with scikit-learn, for
// the scores of the same events.
func BenchmarkDetect(b *testing.B) {
	_, env := build(b)
	node, file := trainedNode(b, env, "--store=dir:"+filepath.Join(b.TempDir(), "store"))
	ours := node.URL + "/v1/tenants/acme/models/edge/detect"
	peer, there := startServePeer(b, file)
	asked(b, ours, networkEvents(10_000), 1) // by then it has its tables
	for _, c := range []struct{ events, connections int }{{1, 1}, {1, 8}, {1000, 1}, {1000, 2}} {
		b.Run(fmt.Sprintf("events=%d/connections=%d", c.events, c.connections), func(b *testing.B) {
			body := networkEvents(c.events)
			for b.Loop() {
				rate := func(times []time.Duration, all time.Duration) float64 {
					return float64(len(times)*c.events) / all.Seconds()
				}
				milliseconds := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
				before := processor(b, node.process)
				times, all := asked(b, ours, body, c.connections)
				used := processor(b, node.process) - before
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(milliseconds(times[len(times)/2]), "ms-p50")
				b.ReportMetric(milliseconds(times[len(times)*99/100]), "ms-p99")
				b.ReportMetric(rate(times, all), "events/s")
				b.ReportMetric(float64(used.Microseconds())/float64(len(times)*c.events), "µs-of-processor/event")
				if there {
					slow, whole := asked(b, peer, body, c.connections)
					b.ReportMetric(milliseconds(slow[len(slow)/2]), "FastAPI-ms-p50")
					b.ReportMetric(rate(slow, whole), "FastAPI-events/s")
					b.ReportMetric(rate(times, all)/rate(slow, whole), "x-FastAPI-events/s")
					b.ReportMetric(float64(slow[len(slow)/2])/float64(times[len(times)/2]), "x-FastAPI-p50")
				}
			}
		})
	}
}

// BenchmarkColdDetect: the first event that a node scores with a detector: the latest
// version is looked up, its file fetched, checked and read.
func BenchmarkColdDetect(b *testing.B) {
	_, env := build(b)
	stores := map[string]func(b *testing.B) string{
		"embedded": func(b *testing.B) string { return "dir:" + filepath.Join(b.TempDir(), "store") },
		"versitygw": func(b *testing.B) string {
			return blobtest.StartVersityGW(b).NewBucket(b)
		},
	}
	for name, store := range stores {
		b.Run(name, func(b *testing.B) {
			where := "--store=" + store(b)
			node, file := trainedNode(b, env, where)
			const models = 41
			for i := range models {
				ask(b, "POST", fmt.Sprintf("%s/v1/tenants/acme/models/cold-%d/versions?filename=model.joblib", node.URL, i), "application/octet-stream", file)
			}
			for b.Loop() {
				fresh := benchNode(b, env, where, "--insecure") // which has seen none of them
				var times []time.Duration
				for i := range models {
					w, err := dial(fmt.Sprintf("%s/v1/tenants/acme/models/cold-%d/detect", fresh.URL, i), "application/json", networkEvents(1))
					if err != nil {
						b.Fatal(err)
					}
					began := time.Now()
					if err := w.ask(); err != nil {
						b.Fatal(err)
					}
					times = append(times, time.Since(began))
					w.conn.Close()
				}
				fresh.kill()
				slices.Sort(times)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(times[models/2].Microseconds())/1000, "ms-p50")
				b.ReportMetric(float64(times[models-1].Microseconds())/1000, "ms-max")
			}
		})
	}
}
