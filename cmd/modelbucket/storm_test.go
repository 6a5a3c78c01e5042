package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// storms are what one tenant does all at once.
var storms = map[string]struct {
	path, kind string
	body       func() []byte
	callers    int
}{
	"single_events": {"/models/edge/detect", "application/json", func() []byte { return networkEvents(1) }, 64},
	"large_bodies":  {"/models/edge/detect", "application/json", func() []byte { return networkEvents(20_000) }, 16},
	"trainings":     {"/models/new/train", "application/json", func() []byte { return networkEvents(20_000) }, 16},
	"uploads":       {"/models/new/versions", "application/octet-stream", func() []byte { return bytes.Repeat([]byte("x"), 4<<20) }, 16},
	"unknown_names": {"/models/none/detect", "application/json", func() []byte { return networkEvents(1) }, 64},
}

// neighbour is no storm: a process that asks the node for nothing and keeps one processor
// busy, at the caller's own priority. Work within the node can hardly cost less, since
// the system shares processors out no better: that is the floor of the other figures.
const neighbour = "busy_neighbour"

// stormMain is a program that sends a storm to a node until its stdin ends, and tells
// what was answered. It comes again when Retry-After says so.
func stormMain() {
	if os.Args[2] == neighbour {
		go func() {
			for sum := [sha256.Size]byte{}; ; {
				sum = sha256.Sum256(sum[:])
			}
		}()
		io.Copy(io.Discard, os.Stdin)
		return
	}
	target, storm := os.Args[1], storms[os.Args[2]]
	body := storm.body()
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range storm.callers {
		all.Go(func() {
			for ctx.Err() == nil {
				w, err := dial(target+storm.path, storm.kind, body)
				if err != nil {
					continue
				}
				closed := context.AfterFunc(ctx, func() { w.conn.Close() })
				for err == nil {
					var status int
					var retryAfter string
					if status, retryAfter, err = w.answer(); err != nil {
						break // the end, or a connection that is no more
					}
					mu.Lock()
					statuses[status]++
					mu.Unlock()
					if seconds, err := strconv.Atoi(retryAfter); err == nil {
						select {
						case <-ctx.Done():
						case <-time.After(time.Duration(seconds) * time.Second):
						}
					}
				}
				closed()
				w.conn.Close()
			}
		})
	}
	all.Wait()
	fmt.Println(statuses)
}

// BenchmarkStorm: how much longer one tenant's requests take while another sends all that
// it can to a node as it is without flags. Node, storm and caller are processes of their
// own; the storm has one processor at most, and when nobody else wants it, for it would
// come from elsewhere. The p99 of single events with and without the storm, in turn; of
// the pairs the median of the ratios.
func BenchmarkStorm(b *testing.B) {
	const pairs, asked = 15, 10_000
	_, env := build(b)
	for _, name := range append([]string{"nothing", neighbour}, slices.Sorted(maps.Keys(storms))...) {
		b.Run(name, func(b *testing.B) {
			flags := []string{"--store=dir:" + b.TempDir(), "--insecure"}
			var unlimited []string
			for _, limit := range rateLimits {
				flags = append(flags, "--limit="+limit+"=default")
				unlimited = append(unlimited, `"`+limit+`":"unlimited"`)
			}
			n := benchNode(b, env, flags...)
			ask(b, "PUT", n.URL+"/v1/tenants/bolt", "application/json", []byte(`{"limits":{`+strings.Join(unlimited, ",")+`}}`))
			for _, tenant := range []string{"acme", "bolt"} {
				ask(b, "POST", n.URL+"/v1/tenants/"+tenant+"/models/edge/train", "application/json", networkEvents(20_000))
			}
			w, err := dial(n.URL+"/v1/tenants/bolt/models/edge/detect", "application/json", networkEvents(1))
			if err != nil {
				b.Fatal(err)
			}
			defer w.conn.Close()
			p99 := func() time.Duration {
				took := make([]time.Duration, asked)
				for i := range took {
					began := time.Now()
					if err := w.ask(); err != nil {
						b.Fatal(err)
					}
					took[i] = time.Since(began)
				}
				slices.Sort(took)
				return took[len(took)*99/100]
			}
			for b.Loop() {
				var ratios []float64
				var with, without []time.Duration
				var said bytes.Buffer
				for i := range pairs {
					p99() // what the last storm left behind
					without = append(without, p99())
					end := func() {}
					if name != "nothing" {
						end = startStorm(b, env, n.URL, name, &said)
					}
					with = append(with, p99())
					end()
					ratios = append(ratios, with[i].Seconds()/without[i].Seconds())
				}
				for _, all := range [][]time.Duration{with, without} {
					slices.Sort(all)
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[pairs/2], "noisy.p99_ratio")
				b.ReportMetric(float64(with[pairs/2].Microseconds()), "µs-p99-in-it")
				b.ReportMetric(float64(without[pairs/2].Microseconds()), "µs-p99-without")
				b.Logf("%s: ratios %.2f; the storm was answered %s", name, ratios, strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", " "))
			}
		})
	}
}

// startStorm starts a storm, and returns when it has risen. end ends it.
func startStorm(b *testing.B, env []string, target, name string, said io.Writer) (end func()) {
	b.Helper()
	args := []string{"nice", "-n", "19"}
	switch _, err := exec.LookPath("chrt"); {
	case name == neighbour:
		args[2] = "0"
	case err == nil:
		args = []string{"chrt", "--idle", "0"}
	}
	c := exec.Command(args[0], append(args[1:], "storm", target+"/v1/tenants/acme", name)...)
	c.Env, c.Stdout, c.Stderr = append(env, "GOMAXPROCS=1"), said, os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	time.Sleep(700 * time.Millisecond)
	return func() {
		stdin.Close()
		if err := c.Wait(); err != nil {
			b.Errorf("storm: %v", err)
		}
	}
}
