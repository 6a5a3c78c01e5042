package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowdSize is how many connections stand around.
const crowdSize = 5000

// crowd are the ways to stand around, a fifth of the connections each: what is sent at
// first, and what again each second.
var crowd = []struct{ name, first, then string }{
	{"silent", "", ""},
	{"idle", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", ""},
	{"half a header", "POST /v1/tenants/acme/models/edge/detect HTTP/1.1\r\nHost: localhost\r\n", "X-More: x\r\n"},
	{"a slow body", "POST /v1/tenants/acme/models/edge/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n[", " "},
	{"a stream that stands", "POST /v1/tenants/acme/models/edge/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 20000\r\n\r\n{\"packet_count\":1}\n{", ""},
}

// crowdMain is a program that keeps crowdSize connections to a node open until its stdin
// ends: one that is closed is opened anew. It says when all are there, and at its end how
// many it opened. Its own addresses are many, as a node takes only so many of one.
func crowdMain() {
	target := os.Args[1]
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var opened, there atomic.Int64
	var all sync.WaitGroup
	for i := range crowdSize {
		all.Go(func() {
			kind := crowd[i%len(crowd)]
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%50))}}
			for first := true; ctx.Err() == nil; {
				conn, err := dialer.DialContext(ctx, "tcp", target)
				if err != nil {
					select { // the node's queue of new connections is full
					case <-ctx.Done():
					case <-time.After(50 * time.Millisecond):
					}
					continue
				}
				opened.Add(1)
				if first && there.Add(1) == crowdSize {
					fmt.Println("there")
				}
				first = false
				stand(ctx, conn, kind.first, kind.then)
			}
		})
	}
	all.Wait()
	fmt.Println(opened.Load())
}

// stand keeps a connection until the node or ctx ends it.
func stand(ctx context.Context, conn net.Conn, first, then string) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	if _, err := io.WriteString(conn, first); err != nil {
		return
	}
	over := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(over)
		io.Copy(io.Discard, conn)
	})
	defer reading.Wait()
	defer conn.Close()
	for again := time.NewTicker(time.Second); ; {
		select {
		case <-over:
			again.Stop()
			return
		case <-again.C:
			if then == "" {
				continue
			}
			if _, err := io.WriteString(conn, then); err != nil {
				again.Stop()
				return
			}
		}
	}
}

// BenchmarkCrowd: how much longer a tenant's requests take while 5,000 connections of
// others stand around, silent, idle or slow. The p99 of all single events of 12 seconds,
// in which the node ends the slow ones and they come again, and of as many without them,
// in turn; of five such pairs the median of the ratios.
func BenchmarkCrowd(b *testing.B) {
	_, env := build(b)
	n, _ := trainedNode(b, env, "--store=dir:"+b.TempDir())
	ask(b, "POST", n.URL+"/v1/tenants/bolt/models/edge/train", "application/json", networkEvents(20_000))
	w, err := dial(n.URL+"/v1/tenants/bolt/models/edge/detect", "application/json", networkEvents(1))
	if err != nil {
		b.Fatal(err)
	}
	defer w.conn.Close()
	p99 := func(over time.Duration) time.Duration {
		var took []time.Duration
		for began := time.Now(); time.Since(began) < over; {
			asked := time.Now()
			if err := w.ask(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(asked))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	for b.Loop() {
		var ratios []float64
		var with, without time.Duration
		var opened []int
		before := memory(b, n.process, "VmRSS")
		for range 5 {
			p99(time.Second) // what the last crowd left behind
			without = p99(12 * time.Second)
			end := startCrowd(b, env, w.conn.RemoteAddr().String())
			with = p99(12 * time.Second)
			opened = append(opened, end())
			ratios = append(ratios, with.Seconds()/without.Seconds())
		}
		slices.Sort(ratios)
		b.ReportMetric(ratios[2], "crowd.p99_ratio")
		b.ReportMetric(float64(with.Microseconds()), "µs-p99-in-it")
		b.ReportMetric(float64(without.Microseconds()), "µs-p99-without")
		b.ReportMetric(memory(b, n.process, "VmHWM")-before, "MiB-more-at-most")
		b.Logf("%d connections stand around: ratios %.2f; opened in all %v", crowdSize, ratios, opened)
	}
}

// startCrowd starts a crowd, and returns when all of it is there. end ends it, and tells
// how many connections it opened.
func startCrowd(b *testing.B, env []string, target string) (end func() (opened int)) {
	b.Helper()
	c := exec.Command("nice", "-n", "19", "crowd", target)
	c.Env, c.Stderr = env, os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	said := bufio.NewReader(stdout)
	if line, err := said.ReadString('\n'); err != nil || line != "there\n" {
		b.Fatalf("the crowd says %q, %v", line, err)
	}
	return func() (opened int) {
		stdin.Close()
		if _, err := fmt.Fscan(said, &opened); err != nil {
			b.Errorf("crowd: %v", err)
		}
		if err := c.Wait(); err != nil {
			b.Errorf("crowd: %v", err)
		}
		return opened
	}
}
