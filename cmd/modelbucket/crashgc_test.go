package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// litter leaves in a bucket of versitygw what each part of a collector's pass has work
// with: an upload that is condemned, one that is abandoned, the files of a version that
// was deleted long ago, an alias that stands for it, and old idempotency keys.
func litter(t *testing.T, server *blobtest.Server, store string) {
	t.Helper()
	r := openRegistry(t, store)
	upload := func(key string, commit bool) {
		u, err := r.Begin(t.Context(), registry.Publication{Tenant: "acme", Model: "fraud", Key: key})
		if err == nil {
			_, err = u.File(t.Context(), "a", strings.NewReader(key), int64(len(key)), "")
		}
		if err == nil && commit {
			_, err = u.Commit(t.Context(), registry.Facts{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	upload("kept", true)
	upload("deleted", true)
	upload("condemned", false)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Age(t, server.Bucket(store), 2*24*time.Hour)
	if _, err := r.Collect(t.Context(), registry.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	upload("abandoned", false)
	for _, n := range []registry.Number{1, 2} {
		if _, err := r.SetAlias(t.Context(), "acme", "fraud", "champion", registry.AliasChange{To: n}); err != nil {
			t.Fatal(err)
		}
	}
	// As if the alias had been set behind the back of who deletes.
	unaware, err := registry.Open(t.Context(), noAliases{r.Bucket()}, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unaware.DeleteVersion(t.Context(), number("acme", "fraud", 2), registry.Deletion{}); err != nil {
		t.Fatal(err)
	}
	server.Age(t, server.Bucket(store), 8*24*time.Hour)
}

// noAliases shows no aliases in its listings.
type noAliases struct{ blob.Bucket }

func (b noAliases) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	if strings.HasSuffix(o.Prefix, "/_aliases/") {
		return blob.Page{}, nil
	}
	return b.Bucket.List(ctx, o)
}

// gc is a pass of the collector as a process. It is over when it returns.
func gc(ctx context.Context, store string, started func(*os.Process, <-chan struct{})) error {
	c := exec.CommandContext(ctx, "modelbucket", "gc", store)
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	started(c.Process, ended)
	err := c.Wait()
	close(ended)
	if err != nil {
		return errors.New(err.Error() + ": " + said.String())
	}
	return nil
}

// TestCrashedCollector: the collector is killed at each of its calls in turn. A pass
// after that ends where undisturbed ones do, and what is reachable stays.
func TestCrashedCollector(t *testing.T) {
	server := blobtest.StartVersityGW(t)
	var points atomic.Int64
	t.Run("kill", func(t *testing.T) {
		for _, when := range kills() {
			t.Run(string(when), func(t *testing.T) {
				t.Parallel()
				proxy := blobtest.StartProxy(t, server.Endpoint, 1)
				var want []string
				for nth := 1; ; nth++ {
					store := server.NewBucket(t)
					s := &site{server: server, store: store}
					litter(t, server, store)
					var hit atomic.Bool
					err := gc(t.Context(), s.through(proxy), func(process *os.Process, ended <-chan struct{}) {
						proxy.SetRules(blobtest.ProxyRule{Fault: when, Writes: !long(), URL: ofCollector, Nth: nth, Do: func() {
							hit.Store(true)
							process.Kill()
							<-ended
						}})
					})
					if (err != nil) != hit.Load() {
						t.Fatalf("call %d: killed: %v, and gc ended with %v", nth, hit.Load(), err)
					}
					proxy.SetRules()
					got := s.afterCollector(t)
					if want == nil {
						want = got // of the first; the last one, which is not killed, is held against it
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("killed at call %d (-want +got):\n%s", nth, diff)
					}
					if !hit.Load() {
						return
					}
					points.Add(1)
				}
			})
		}
	})
	t.Logf("crash.collector_points %d", points.Load())
	if points.Load() < 10 {
		t.Errorf("only %d points", points.Load())
	}
}

// ofCollector are a pass's calls, without those of the probe of the store before it.
var ofCollector = regexp.MustCompile(`acme|_system(/|%2F)gc`)

// collecting is the collector as a column of the matrix, over the bucket that litter makes.
var collecting = operation{
	change: change{name: "collector pass"},
	write:  target{"DELETE", `/%s/fraud/`}, body: target{"GET", `list-type=2.*%s%%2Ffraud%%2F_uploads`},
}

// collects is a cell of that column: however the pass ends, the next one ends where an
// undisturbed one does, and what is reachable stays.
func (m *matrix) collects(t *testing.T, f fault, proxy *blobtest.Proxy) (end string) {
	s := &site{server: m.server, store: m.server.NewBucket(t)}
	litter(t, m.server, s.store)
	ctx, strike, struck := f.waiting(t.Context())
	proxy.SetRules(f.rule(collecting, "acme", strike))
	err := gc(ctx, s.through(proxy), func(*os.Process, <-chan struct{}) {})
	switch {
	case err == nil:
		end = endOK
	case ctx.Err() != nil:
		end = endGone
	default:
		end = "unavailable"
	}
	proxy.SetRules()
	proxy.Wait()
	may := []string{endOK}
	switch {
	case (f.kind == blobtest.Hang || f.kind == blobtest.CommitThenHang) && long():
		may = []string{"unavailable"} // a call without an answer has had all the time there is
	case f.kind == blobtest.Hang || f.kind == blobtest.CommitThenHang:
		may = []string{endOK, endGone} // the caller's patience ends before the collector's
	case f.always && f.onBody:
		may = []string{endOK, "unavailable"}
	case f.always || f.kind == blobtest.Answer403:
		may = []string{"unavailable", endGone}
	}
	if !struck() || !slices.Contains(may, end) {
		t.Errorf("%s, collector: struck: %v; it ends with %s (%v), and may end with %v", f, struck(), end, err, may)
	}
	if diff := cmp.Diff(m.undisturbed, s.afterCollector(t)); diff != "" {
		t.Errorf("%s, collector: after the next pass (-want +got):\n%s", f, diff)
	}
	return end
}

// afterCollector is what there is when another pass has gone over the bucket: the kinds of its keys.
func (s *site) afterCollector(t *testing.T) []string {
	t.Helper()
	var err error
	if s.bucket, err = blob.Open(t.Context(), s.store, blob.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.examine(t, "").Problems {
		if !strings.Contains(p.Advice, "gc takes it back") {
			t.Errorf("after the pass that was ended: %+v", p)
		}
	}
	report, _ := s.sweep(t)
	if report.Versions != 1 || report.Deleted != 1 {
		t.Errorf("%d versions and %d deleted ones are there, want one each", report.Versions, report.Deleted)
	}
	var keys []string
	for after := ""; ; {
		page, err := s.bucket.List(t.Context(), blob.ListOptions{StartAfter: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			keys = append(keys, untimed(o.Key))
		}
		if after = page.Next; after == "" {
			return keys
		}
	}
}
