package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// countTime is how long the listing of acme takes in these tests.
const countTime = 100 * time.Millisecond

var wholeTenant = regexp.MustCompile(`^acme/$`)

// quotas runs a test on two nodes over one bucket, in virtual time. acme may have so many
// versions and bytes.
func quotas(t *testing.T, versions, stored registry.Limit, test func(t *testing.T, bucket *blobtest.Faulty, here, there *registry.Registry)) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blobtest.NewFaulty(blob.NewMemory(), 1, blobtest.Rule{Fault: blobtest.Slow, Operation: blobtest.List, Key: wholeTenant, Delay: countTime})
		here, there := open(t, bucket), open(t, bucket)
		setLimits(t, here, map[registry.LimitName]*registry.Limit{registry.LimitVersions: &versions, registry.LimitStoredBytes: &stored})
		test(t, bucket, here, there)
	})
}

// counts are how often acme was listed.
func counts(b *blobtest.Faulty) int { return b.Fired()["list slow"] }

// exceeded is the quota that an error is about, which it has to be.
func exceeded(t testing.TB, err error) registry.QuotaExceeded {
	t.Helper()
	var e *registry.QuotaExceeded
	if !errors.As(err, &e) || !errors.Is(err, registry.ErrQuota) {
		t.Fatalf("got %v, want %v", err, registry.ErrQuota)
	}
	return *e
}

func usage(t testing.TB, r *registry.Registry) registry.Usage {
	t.Helper()
	u, err := r.Usage(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	return *u
}

// TestQuotaOfVersions: as many as may be, of all models together; a repeat of what is
// there takes nothing, and what is deleted makes room at once, also from another node.
func TestQuotaOfVersions(t *testing.T) {
	quotas(t, 3, registry.Unlimited, func(t *testing.T, bucket *blobtest.Faulty, here, there *registry.Registry) {
		first := registry.Publication{Tenant: acme, Model: fraud, Key: "first"}
		mustPublish(t, here, first, "1")
		mustPublish(t, here, registry.Publication{Tenant: acme, Model: "other"}, "2")
		mustPublish(t, here, registry.Publication{}, "3")
		synctest.Wait() // for what is cleared away behind an answer
		calls := bucket.Calls()
		_, err := publish(t.Context(), here, registry.Publication{}, "4")
		if got, want := exceeded(t, err), (registry.QuotaExceeded{Tenant: acme, Limit: registry.LimitVersions, Max: 3, Used: 3, Asked: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if n := bucket.Calls() - calls; n != 0 {
			t.Errorf("%d calls of the bucket for what is refused", n)
		}
		if v := mustPublish(t, here, first, "1"); v.Version != 1 {
			t.Errorf("a repeat made version %d", v.Version)
		}
		_, err = publish(t.Context(), here, registry.Publication{Tenant: acme, Model: fraud, Key: "another"}, "4")
		exceeded(t, err)
		mustPublish(t, here, registry.Publication{Tenant: "bolt", Model: fraud}, "another tenant's")

		mustDelete(t, here, "acme/fraud:1")
		mustPublish(t, here, registry.Publication{}, "4")
		time.Sleep(5 * time.Second)
		mustDelete(t, there, "acme/fraud:2")
		mustPublish(t, here, registry.Publication{}, "5")
		if _, err := here.DeleteModel(t.Context(), acme, "other", registry.Deletion{}); err != nil {
			t.Fatal(err)
		}
		mustPublish(t, here, registry.Publication{}, "6")
		_, err = publish(t.Context(), here, registry.Publication{}, "7")
		exceeded(t, err)
		if u := usage(t, here); u.Versions != 3 {
			t.Errorf("usage %+v", u)
		}
	})
}

// unannounced is a body whose length nobody knows; it counts what was read of it.
type unannounced struct{ read, most int64 }

func (e *unannounced) Read(p []byte) (int, error) {
	n := min(int64(len(p)), 1000, e.most-e.read)
	if n == 0 {
		return 0, io.EOF
	}
	e.read += n
	return int(n), nil
}

// TestQuotaOfBytes: what is announced is refused before it is read, what is not as soon as
// it is too much; of many at once no more go in than fit, and who gives up gives back.
func TestQuotaOfBytes(t *testing.T) {
	const most = 100_000
	quotas(t, registry.Unlimited, most, func(t *testing.T, bucket *blobtest.Faulty, here, _ *registry.Registry) {
		ctx := t.Context()
		if _, err := here.Begin(ctx, registry.Publication{Tenant: acme, Model: fraud, Size: most + 1}); exceeded(t, err).Asked != most+1 {
			t.Error(err)
		}
		u, err := here.Begin(ctx, registry.Publication{Tenant: acme, Model: fraud})
		if err != nil {
			t.Fatal(err)
		}
		body := &unannounced{most: 1 << 30}
		if _, err := u.File(ctx, "model.joblib", body, 200_000, ""); exceeded(t, err).Limit != registry.LimitStoredBytes || body.read != 0 {
			t.Errorf("an announced file: %v, %d bytes were read", err, body.read)
		}
		if _, err := u.File(ctx, "model.joblib", body, -1, ""); exceeded(t, err).Limit != registry.LimitStoredBytes || body.read > most+1000 {
			t.Errorf("a file of no known size: %v, %d bytes were read", err, body.read)
		}
		u.Abort()
		if u := usage(t, here); u.StoredBytes > 10_000 {
			t.Errorf("what was given up counts: %+v", u)
		}

		var all sync.WaitGroup
		var mu sync.Mutex
		saved, refused := 0, 0
		var one *registry.Version // that is saved
		for i := range 30 {
			all.Go(func() {
				v, err := publish(ctx, here, registry.Publication{Tenant: acme, Model: registry.Model(fmt.Sprint("m", i))}, strings.Repeat("x", 9000))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					saved++
					one = v
				case errors.Is(err, registry.ErrQuota):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		now := usage(t, here).StoredBytes
		if saved < 8 || saved+refused != 30 || now > most {
			t.Fatalf("%d saved, %d refused, %d bytes", saved, refused, now)
		}
		calls := bucket.Calls()
		_, err = here.Copy(ctx, one.Ref(), registry.Publication{Tenant: acme, Model: "copy"})
		exceeded(t, err)
		t.Logf("a copy that does not fit: %d calls of the bucket", bucket.Calls()-calls)
		if _, err := here.Copy(ctx, one.Ref(), registry.Publication{Tenant: "bolt", Model: "copy"}); err != nil {
			t.Errorf("a copy to a tenant with room: %v", err)
		}
	})
}

// TestQuotaCountsSeldom: a tenant is listed once a minute, and not for each publish; what
// others do is known within two.
func TestQuotaCountsSeldom(t *testing.T) {
	quotas(t, 1000, registry.Unlimited, func(t *testing.T, bucket *blobtest.Faulty, here, there *registry.Registry) {
		for range 100 {
			mustPublish(t, here, registry.Publication{}, "x")
		}
		if n := counts(bucket); n != 1 {
			t.Errorf("listed %d times for 100 publishes", n)
		}
		mustPublish(t, there, registry.Publication{}, "elsewhere")
		before := usage(t, here)
		if before.Versions != 100 {
			t.Errorf("usage %+v", before)
		}
		time.Sleep(70 * time.Second)
		began := time.Now()
		mustPublish(t, here, registry.Publication{}, "x") // has it counted behind
		if took := time.Since(began); took != 0 {
			t.Errorf("it was waited %v for", took)
		}
		time.Sleep(2 * countTime)
		if u := usage(t, here); u.Versions < 102 || u.Versions > 103 || !u.CountedAt.After(before.CountedAt) { // the last one may count twice
			t.Errorf("usage %+v", u)
		}
		mustPublish(t, there, registry.Publication{}, "elsewhere")
		time.Sleep(10 * time.Minute)
		if u := usage(t, here); u.Versions != 103 {
			t.Errorf("after a long time: %+v", u)
		}

		bucket.SetRules(blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.List, Key: wholeTenant})
		time.Sleep(10 * time.Minute)
		if _, err := publish(t.Context(), here, registry.Publication{}, "x"); !errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("while nobody can count: %v", err)
		}
		bucket.SetRules()
		mustPublish(t, here, registry.Publication{}, "x")
	})
}

// TestUsage: whatever is done, usage is what a look at everything finds.
func TestUsage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bucket := blob.NewMemory()
		r, err := registry.Open(t.Context(), bucket, registry.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		models := []registry.Model{"A", "a", "b.1", "z.1"}
		for range rapid.IntRange(0, 25).Draw(rt, "steps") {
			m := rapid.SampledFrom(models).Draw(rt, "model")
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				_, err = r.DeleteModel(t.Context(), acme, m, registry.Deletion{})
			case 1:
				n := registry.Number(rapid.IntRange(1, 4).Draw(rt, "version"))
				_, err = r.DeleteVersion(t.Context(), registry.Ref{Tenant: acme, Model: m, Selector: registry.Selector{Number: n}}, registry.Deletion{})
			default:
				_, err = publish(t.Context(), r, registry.Publication{Tenant: acme, Model: m}, strings.Repeat("x", rapid.IntRange(0, 100).Draw(rt, "size")))
			}
			if err != nil && !errors.Is(err, registry.ErrModelNotFound) && !errors.Is(err, registry.ErrVersionNotFound) && !errors.Is(err, registry.ErrVersionDeleted) {
				rt.Fatal(err)
			}
		}
		if err := r.Close(context.Background()); err != nil {
			rt.Fatal(err)
		}
		fresh, err := registry.Open(t.Context(), bucket, registry.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		got, err := fresh.Usage(t.Context(), acme)
		if err != nil {
			rt.Fatal(err)
		}
		want := registry.Usage{CountedAt: got.CountedAt}
		for _, m := range models {
			page, err := fresh.Versions(t.Context(), acme, m, registry.VersionQuery{Limit: 1000})
			if err != nil && !errors.Is(err, registry.ErrModelNotFound) {
				rt.Fatal(err)
			}
			want.Versions += int64(len(page.Versions))
			list, err := bucket.List(t.Context(), blob.ListOptions{Prefix: "acme/" + string(m) + "/"})
			if err != nil {
				rt.Fatal(err)
			}
			for _, o := range list.Objects {
				want.StoredBytes += o.Size
			}
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			rt.Error(diff)
		}
	})
}

// What a tenant has is counted past its audit log, however long that is.
func TestUsagePassesTheAuditLog(t *testing.T) {
	memory, lists := blob.NewMemory(), 0
	bucket := &hooked{Bucket: memory, before: func(operation, key string) error {
		if operation == blobtest.List && key == "acme/" {
			lists++
		}
		return nil
	}}
	r := open(t, bucket)
	for _, m := range []registry.Model{"0", "z"} {
		mustPublish(t, r, registry.Publication{Tenant: acme, Model: m}, "content")
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	usage := func() (*registry.Usage, int) {
		t.Helper()
		lists = 0
		u, err := open(t, bucket).Usage(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		return u, lists
	}
	before, _ := usage()
	for i := range 5000 {
		if _, err := memory.Put(t.Context(), fmt.Sprintf("acme/_audit/%04d", i), strings.NewReader("x"), blob.PutOptions{Size: 1}); err != nil {
			t.Fatal(err)
		}
	}
	after, n := usage()
	if after.Versions != before.Versions || after.StoredBytes != before.StoredBytes || after.Versions != 2 || n > 3 {
		t.Errorf("%+v after %d listings, and before there was a log %+v", after, n, before)
	}
}
