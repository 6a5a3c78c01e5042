package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
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
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: storm.callers}}
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
				r, err := http.NewRequestWithContext(ctx, "POST", target+storm.path, bytes.NewReader(body))
				if err != nil {
					panic(err)
				}
				r.Header.Set("Content-Type", storm.kind)
				answer, err := client.Do(r)
				if err != nil {
					continue // the end, or a connection that is no more
				}
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				mu.Lock()
				statuses[answer.StatusCode]++
				mu.Unlock()
				if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
					select {
					case <-ctx.Done():
					case <-time.After(time.Duration(seconds) * time.Second):
					}
				}
			}
		})
	}
	all.Wait()
	fmt.Println(statuses)
}

// BenchmarkStorm: how much longer one tenant's requests take while another sends all that
// it can. Node, storm and caller are processes of their own, the storm at the lowest
// priority, for it would come from elsewhere. The p99 of 1,000 single events with and
// without the storm, in turn; of five such pairs the median of the ratios.
func BenchmarkStorm(b *testing.B) {
	_, env := build(b)
	for _, name := range append([]string{"nothing", neighbour}, slices.Sorted(func(yield func(string) bool) {
		for name := range storms {
			if !yield(name) {
				return
			}
		}
	})...) {
		b.Run(name, func(b *testing.B) {
			n, _ := trainedNode(b, env, "--store=dir:"+b.TempDir())
			ask(b, "PUT", n.URL+"/v1/tenants/bolt", "application/json", []byte(`{"limits":{"requests_per_second":"unlimited","events_per_second":"unlimited"}}`))
			if l := os.Getenv("STORM_LIMITS"); l != "" {
				ask(b, "PUT", n.URL+"/v1/tenants/acme", "application/json", []byte(`{"limits":{`+l+`}}`))
			}
			ask(b, "POST", n.URL+"/v1/tenants/bolt/models/edge/train", "application/json", networkEvents(20_000))
			w, err := dial(n.URL+"/v1/tenants/bolt/models/edge/detect", networkEvents(1))
			if err != nil {
				b.Fatal(err)
			}
			defer w.conn.Close()
			p99 := func() time.Duration {
				took := make([]time.Duration, 5000)
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
				var with, without time.Duration
				var said bytes.Buffer
				for range 5 {
					p99() // what the last storm left behind
					without = p99()
					end := func() {}
					if name != "nothing" {
						end = startStorm(b, env, n.URL, name, &said)
					}
					with = p99()
					end()
					ratios = append(ratios, with.Seconds()/without.Seconds())
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[2], "noisy.p99_ratio")
				b.ReportMetric(float64(with.Microseconds()), "µs-p99-in-it")
				b.ReportMetric(float64(without.Microseconds()), "µs-p99-without")
				b.Logf("%s: ratios %.2f; the storm was answered %s", name, ratios, strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", " "))
			}
		})
	}
}

// startStorm starts a storm, and returns when it has risen. end ends it.
func startStorm(b *testing.B, env []string, target, name string, said io.Writer) (end func()) {
	b.Helper()
	lower := "19"
	if name == neighbour {
		lower = "0"
	}
	args := []string{"nice", "-n", lower}
	if os.Getenv("STORM_IDLE") != "" && name != neighbour {
		args = []string{"chrt", "-i", "0"}
	}
	c := exec.Command(args[0], append(args[1:], "storm", target+"/v1/tenants/acme", name)...)
	c.Env, c.Stdout, c.Stderr = env, said, os.Stderr
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
