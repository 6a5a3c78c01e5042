package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"modelbucket/blob/blobtest"
)

// The figures of a whole node, as a process of its own (README, "Measuring"):
//
//	go test ./cmd/modelbucket -run '^$' -bench . -benchtime 1x -timeout 60m

// build makes the program as it is shipped, and puts it before all else in the path.
func build(b *testing.B) (program string, env []string) {
	b.Helper()
	folder := b.TempDir()
	program = filepath.Join(folder, "modelbucket")
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return program, append(os.Environ(), "PATH="+folder+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func benchNode(b *testing.B, env []string, flags ...string) *testNode {
	b.Helper()
	n, err := startNode(b.TempDir(), "node", env, flags...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(n.kill)
	return n
}

// memory reads a figure of a process in MiB: VmRSS, VmHWM.
func memory(b *testing.B, process *exec.Cmd, name string) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Process.Pid))
	if err != nil {
		b.Skipf("this system does not tell the memory of a process: %v", err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatalf("no %s in the status of the process", name)
	return 0
}

// BenchmarkNode: the size of the program, the time from its start to its first answer
// on the embedded store, and the memory of a node that has nothing to do.
func BenchmarkNode(b *testing.B) {
	program, env := build(b)
	info, err := os.Stat(program)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.ReportMetric(float64(info.Size())/1e6, "MB-program")
		store := "--store=dir:" + filepath.Join(b.TempDir(), "store")
		var starts []time.Duration
		for range 11 {
			began := time.Now()
			n := benchNode(b, env, store, "--insecure")
			answer, err := http.Get(n.URL + "/v1/tenants")
			if err != nil {
				b.Fatal(err)
			}
			answer.Body.Close()
			starts = append(starts, time.Since(began))
			if answer.StatusCode != http.StatusOK {
				b.Fatalf("the first answer is %s", answer.Status)
			}
			b.ReportMetric(memory(b, n.process, "VmRSS"), "MiB-idle")
			n.kill()
		}
		slices.Sort(starts)
		b.ReportMetric(float64(starts[len(starts)/2].Microseconds())/1000, "ms-to-first-answer")
	}
}

// hopMain is the peer of BenchmarkTransfer, a process of its own:
//
//	hop ENDPOINT ACCESS-KEY BUCKET, the secret key in HOP_SECRET_KEY
func hopMain() {
	handler, err := blobtest.NewHop(os.Args[1], os.Args[2], os.Getenv("HOP_SECRET_KEY"), os.Args[3])
	if err == nil {
		var listener net.Listener
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			fmt.Println("http://" + listener.Addr().String())
			err = http.Serve(listener, handler)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func startHop(b *testing.B, s *blobtest.Server, store string) string {
	b.Helper()
	u, err := url.Parse(store)
	if err != nil {
		b.Fatal(err)
	}
	c := exec.Command("hop", s.Endpoint, s.AccessKey, u.Host)
	c.Env, c.Stderr = append(os.Environ(), "HOP_SECRET_KEY="+s.SecretKey), os.Stderr
	return startPeer(b, c)
}

// startPeer starts a server that prints its address, and ends it with the benchmark.
func startPeer(b *testing.B, c *exec.Cmd) (address string) {
	b.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Process.Kill(); c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

const transferSize = 2 << 30

// bulk is a body of transferSize bytes that costs next to nothing to make.
func bulk() io.Reader {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * i >> 7)
	}
	return io.LimitReader(&repeating{block: block}, transferSize)
}

type repeating struct {
	block []byte
	pos   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.block[r.pos:])
	r.pos = (r.pos + n) % len(r.block)
	return n, nil
}

// transfer makes one request and reads its answer to the end; what is read is counted,
// not kept.
func transfer(b *testing.B, method, target string, body io.Reader) (time.Duration, int64) {
	b.Helper()
	request, err := http.NewRequest(method, target, body)
	if err != nil {
		b.Fatal(err)
	}
	if body != nil {
		request.ContentLength = transferSize
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	began := time.Now()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		b.Fatalf("%s %s: %s, %v", method, target, answer.Status, err)
	}
	return time.Since(began), n
}

// BenchmarkTransfer: 2 GiB up and down through a node, and through a hop that does no
// more than minio-go and SHA-256 do; in turn. The memory is the node's, at its peak.
func BenchmarkTransfer(b *testing.B) {
	_, env := build(b)
	for name, start := range map[string]func(testing.TB) *blobtest.Server{
		"versitygw": blobtest.StartVersityGW, "minio": blobtest.StartMinIO,
	} {
		b.Run(name, func(b *testing.B) {
			server := start(b)
			store := server.NewBucket(b)
			hop := startHop(b, server, store)
			node := benchNode(b, env, "--store="+store, "--insecure")
			before := memory(b, node.process, "VmHWM")
			versions := node.URL + "/v1/tenants/acme/models/big/versions"
			for b.Loop() {
				var up, down []float64
				var mibUp, mibDown []float64
				for i := range 3 {
					bareUp, _ := transfer(b, http.MethodPut, fmt.Sprintf("%s/hop-%d", hop, i), bulk())
					ours, _ := transfer(b, http.MethodPost, versions+"?filename=big.bin", bulk())
					up, mibUp = append(up, float64(bareUp)/float64(ours)), append(mibUp, transferSize/(1<<20)/ours.Seconds())
					bareDown, _ := transfer(b, http.MethodGet, fmt.Sprintf("%s/hop-%d", hop, i), nil)
					ours, n := transfer(b, http.MethodGet, fmt.Sprintf("%s/%d/files/big.bin", versions, i+1), nil)
					if n != transferSize {
						b.Fatalf("%d bytes came back", n)
					}
					down, mibDown = append(down, float64(bareDown)/float64(ours)), append(mibDown, transferSize/(1<<20)/ours.Seconds())
				}
				for unit, values := range map[string][]float64{"up-of-bare": up, "down-of-bare": down, "MiB/s-up": mibUp, "MiB/s-down": mibDown} {
					slices.Sort(values)
					b.ReportMetric(values[1], unit)
				}
				b.ReportMetric(memory(b, node.process, "VmHWM")-before, "MiB-growth")
			}
		})
	}
}
