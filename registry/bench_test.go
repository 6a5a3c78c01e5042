package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// These benchmarks print ratios against a peer that is measured in the same run, in
// turn with what it is compared to: README, "Measuring". Each needs one iteration:
//
//	go test ./registry -run '^$' -bench . -benchtime 1x -timeout 60m

// A task prepares something, and returns what is to be timed.
type task func() func()

func median(n int, t task) time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		f := t()
		began := time.Now()
		f()
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[n/2]
}

// inTurn times two tasks alternately, in rounds, and gives the median of each and the
// median of the ratios.
func inTurn(rounds, each int, a, b task) (ta, tb time.Duration, ratio float64) {
	var as, bs []time.Duration
	var ratios []float64
	for range rounds {
		x, y := median(each, a), median(each, b)
		as, bs, ratios = append(as, x), append(bs, y), append(ratios, float64(x)/float64(y))
	}
	slices.Sort(as)
	slices.Sort(bs)
	slices.Sort(ratios)
	return as[rounds/2], bs[rounds/2], ratios[rounds/2]
}

// benchStores leaves out the memory: nothing of interest is measured there.
func benchStores() map[string]func(testing.TB) blob.Bucket {
	all := stores()
	delete(all, "memory")
	return all
}

func report(b *testing.B, d time.Duration, unit string) {
	b.ReportMetric(float64(d.Microseconds())/1000, unit)
}

// BenchmarkColdLatest: a node that knows nothing asks for latest, of a model with
// 100,000 versions and of one with 10.
func BenchmarkColdLatest(b *testing.B) {
	const many = 100_000
	for name, newBucket := range benchStores() {
		b.Run(name, func(b *testing.B) {
			bucket := newBucket(b)
			setUp := open(b, bucket)
			for range 10 {
				mustPublish(b, setUp, registry.Publication{Tenant: acme, Model: "few"}, "x")
			}
			mustPublish(b, setUp, registry.Publication{Tenant: acme, Model: "many"}, "x")
			fillLog(b, bucket, "acme/many", 2, many-1)
			if v := mustPublish(b, setUp, registry.Publication{Tenant: acme, Model: "many"}, "x"); v.Version != many {
				b.Fatalf("the log has %d versions, want %d", v.Version, many)
			}
			cold := func(model string) task {
				return func() func() {
					r, name := open(b, bucket), ref(b, model)
					return func() {
						if _, err := r.Resolve(b.Context(), name); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			for b.Loop() {
				big, small, ratio := inTurn(11, 20, cold("acme/many"), cold("acme/few"))
				report(b, big, "ms-of-100000")
				report(b, small, "ms-of-10")
				b.ReportMetric(ratio, "ratio")
			}
		})
	}
}

// fillLog puts keys where records first to last would lie. Latest reads none of them:
// it reads the record of the newest, which is a real one.
func fillLog(b *testing.B, bucket blob.Bucket, model string, first, last int) {
	b.Helper()
	parallel(b, 16, last-first+1, func(i int) error {
		n := first + i
		inverse := int(registry.MaxNumber) - n
		key := fmt.Sprintf("%s/_versions/%06d/%03d-%d.json", model, inverse/1000, inverse%1000, n)
		_, err := bucket.Put(b.Context(), key, strings.NewReader("{}"), blob.PutOptions{Size: 2})
		return err
	})
}

// parallel calls f for 0 to n−1 from so many goroutines.
func parallel(b *testing.B, workers, n int, f func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || b.Failed() {
					return
				}
				if err := f(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// bareSave makes the calls of a publish before its answer, under keys of their own.
func bareSave(ctx context.Context, bucket blob.Bucket, prefix, content string) error {
	if _, err := bucket.List(ctx, blob.ListOptions{Prefix: "acme/fraud/_versions/", Limit: 1}); err != nil {
		return err
	}
	for _, o := range []struct {
		size int
		once bool
	}{{300, true}, {len(content), false}, {900, false}, {600, true}} {
		body := bytes.NewReader(make([]byte, o.size))
		if _, err := bucket.Put(ctx, fmt.Sprintf("%s%d", prefix, o.size), body, blob.PutOptions{Size: int64(o.size), IfAbsent: o.once}); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkPublish: the publish of a small artifact, without label and key, and the
// five calls that it makes one after another, made bare.
func BenchmarkPublish(b *testing.B) {
	content := strings.Repeat("x", 4096)
	for name, newBucket := range benchStores() {
		b.Run(name, func(b *testing.B) {
			bucket := newBucket(b)
			r := open(b, bucket)
			mustPublish(b, r, registry.Publication{}, content)
			n := 0
			bare := func() func() {
				n++
				ctx, prefix := b.Context(), fmt.Sprintf("bare/%d/", n)
				return func() {
					if err := bareSave(ctx, bucket, prefix, content); err != nil {
						b.Fatal(err)
					}
				}
			}
			save := func() func() {
				return func() { mustPublish(b, r, registry.Publication{}, content) }
			}
			for b.Loop() {
				ours, theirs, ratio := inTurn(9, 40, save, bare)
				report(b, ours, "ms-publish")
				report(b, theirs, "ms-bare")
				b.ReportMetric(ratio, "ratio")
			}
		})
	}
}

// BenchmarkCreates: 16 writers on 2 nodes, all to one model, and each to its own; and
// the same calls bare, which show what the store can do.
func BenchmarkCreates(b *testing.B) {
	const saves = 1600
	second := func(save func(i int) error) float64 {
		began := time.Now()
		parallel(b, 16, saves, save)
		return saves / time.Since(began).Seconds()
	}
	for name, newBucket := range benchStores() {
		for _, models := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/models=%d", name, models), func(b *testing.B) {
				for b.Loop() {
					bucket := newBucket(b)
					nodes := []*registry.Registry{open(b, bucket), open(b, bucket)}
					ours := second(func(i int) error {
						p := registry.Publication{Tenant: acme, Model: registry.Model(fmt.Sprintf("m%d", i%models))}
						_, err := publish(b.Context(), nodes[i%2], p, "content")
						return err
					})
					bare := second(func(i int) error {
						prefix := fmt.Sprintf("bare/%d/", i)
						if err := bareSave(b.Context(), bucket, prefix, "content"); err != nil {
							return err
						}
						return bucket.Delete(b.Context(), prefix+"300")
					})
					b.ReportMetric(ours, "creates/s")
					b.ReportMetric(bare, "bare/s")
				}
			})
		}
	}
}

// BenchmarkListModels: the first page of 100 of a tenant with 10,000 models, and the
// listing call alone.
func BenchmarkListModels(b *testing.B) {
	for name, newBucket := range benchStores() {
		b.Run(name, func(b *testing.B) {
			bucket := newBucket(b)
			r := open(b, bucket)
			parallel(b, 16, 10_000, func(i int) error {
				_, err := publish(b.Context(), r, registry.Publication{Tenant: acme, Model: registry.Model(fmt.Sprintf("m%05d", i))}, "x")
				return err
			})
			page := func() {
				page, err := r.Models(b.Context(), acme, registry.ModelQuery{})
				if err != nil || len(page.Models) != 100 {
					b.Fatalf("got %d models, %v", len(page.Models), err)
				}
			}
			list := func() {
				if _, err := bucket.List(context.Background(), blob.ListOptions{Prefix: "acme/", Delimiter: "/", Limit: 101}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				ours, bare, ratio := inTurn(9, 10, func() func() { return page }, func() func() { return list })
				report(b, ours, "ms-page")
				report(b, bare, "ms-list-call")
				b.ReportMetric(ratio, "ratio")
			}
		})
	}
}
