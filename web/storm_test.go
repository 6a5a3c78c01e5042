package web_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// caller is a client with connections of its own.
type caller struct {
	n      *node
	client *http.Client
}

func newCaller(n *node, connections int) *caller {
	return &caller{n, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}}
}

// send returns the status, and after how many seconds to come again.
func (c *caller) send(ctx context.Context, path, kind string, body []byte) (int, int, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", c.n.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", kind)
	answer, err := c.client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	after, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return answer.StatusCode, after, err
}

// p99 of requests of tenant bolt, one after another.
func (c *caller) p99(b *testing.B, requests int) time.Duration {
	b.Helper()
	took := make([]time.Duration, requests)
	for i := range took {
		began := time.Now()
		if status, _, err := c.send(b.Context(), path("bolt", "/detect"), "application/json", []byte(oneEvent)); status != 200 || err != nil {
			b.Fatalf("status %d, %v", status, err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[requests*99/100]
}

// BenchmarkStorm measures how much longer one tenant's requests take while another
// tenant sends all it can: the p99 of single events, in turn with and without the storm,
// and the median of the ratios. The storm's callers do as Retry-After says, and share
// the processors with the node.
func BenchmarkStorm(b *testing.B) {
	csv := []byte("packet_count\n" + strings.Repeat("1\n2\n3\n", 5000))
	large := []byte("[" + strings.Repeat(`{"packet_count":2},`, 20_000) + `{"packet_count":2}]`)
	for _, storm := range []struct {
		name, rest, kind string
		body             []byte
		callers          int
	}{
		{"nothing", "", "", nil, 0},
		{"single events", "/detect", "application/json", []byte(oneEvent), 64},
		{"large bodies", "/detect", "application/json", large, 16},
		{"trainings", "/train?n_estimators=100", "text/csv", csv, 16},
		{"uploads", "/versions", "application/octet-stream", bytes.Repeat([]byte("x"), 1<<20), 16},
	} {
		b.Run(strings.ReplaceAll(storm.name, " ", "_"), func(b *testing.B) {
			n := serve(b, nil)
			n.log = nil
			for _, tenant := range []string{"acme", "bolt"} {
				n.json("POST", path(tenant, "/train?n_estimators=100"), toJSON(b, events(300))).must(b, 201, nil)
			}
			calm := newCaller(n, 1)
			wild := newCaller(n, storm.callers)
			defer calm.client.CloseIdleConnections()
			defer wild.client.CloseIdleConnections()
			calm.p99(b, 200)
			for b.Loop() {
				var ratios []float64
				var without, with time.Duration
				sent := map[int]int{}
				for range 5 {
					without = calm.p99(b, 1000)
					ctx, stop := context.WithCancel(b.Context())
					var mu sync.Mutex
					var all sync.WaitGroup
					for range storm.callers {
						all.Go(func() {
							for ctx.Err() == nil {
								status, after, err := wild.send(ctx, path("acme", storm.rest), storm.kind, storm.body)
								if err != nil {
									continue
								}
								mu.Lock()
								sent[status]++
								mu.Unlock()
								if status >= 400 {
									select {
									case <-ctx.Done():
									case <-time.After(time.Duration(after) * time.Second):
									}
								}
							}
						})
					}
					time.Sleep(300 * time.Millisecond) // let it rise
					with = calm.p99(b, 1000)
					stop()
					all.Wait()
					ratios = append(ratios, float64(with)/float64(without))
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[2], "noisy.p99_ratio")
				b.ReportMetric(float64(with.Microseconds()), "µs_p99_in_it")
				b.ReportMetric(float64(without.Microseconds()), "µs_p99_without")
				b.Log(fmt.Sprintf("%s: ratios %.2f; the storm's answers %v", storm.name, ratios, sent))
			}
		})
	}
}
