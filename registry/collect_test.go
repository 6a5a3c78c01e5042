package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

func collect(t *testing.T, r *registry.Registry, o registry.CollectOptions) *registry.CollectReport {
	t.Helper()
	report, err := r.Collect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// begin leaves an upload as a node leaves it that dies before its commit.
func begin(t *testing.T, r *registry.Registry) *registry.Upload {
	t.Helper()
	u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.File(t.Context(), "a", strings.NewReader("half a model"), -1, ""); err != nil {
		t.Fatal(err)
	}
	return u
}

// What a dead node left goes in two phases; what is committed stays.
func TestCollectUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		mustPublish(t, r, registry.Publication{}, "kept")
		begin(t, r)
		if report := collect(t, r, registry.CollectOptions{}); report.Condemned+report.Uploads != 0 {
			t.Errorf("a young upload: %+v", report)
		}
		time.Sleep(25 * time.Hour)
		if report := collect(t, r, registry.CollectOptions{DryRun: true}); report.Condemned != 1 || report.Objects != 0 {
			t.Errorf("dry run: %+v", report)
		}
		if report := collect(t, r, registry.CollectOptions{}); report.Condemned != 1 || report.Objects != 0 {
			t.Errorf("first phase: %+v", report)
		}
		if report := collect(t, r, registry.CollectOptions{}); report.Condemned+report.Uploads != 0 {
			t.Errorf("too early for the second phase: %+v", report)
		}
		time.Sleep(3 * time.Hour)
		if report := collect(t, r, registry.CollectOptions{DryRun: true}); report.Uploads != 1 || report.Objects != 2 {
			t.Errorf("dry run: %+v", report)
		}
		if report := collect(t, r, registry.CollectOptions{}); report.Uploads != 1 || report.Objects != 2 || report.Bytes == 0 {
			t.Errorf("second phase: %+v", report)
		}
		if report := wantClean(t, r); report.Versions != 1 || report.Uploads != 0 {
			t.Errorf("afterwards: %+v", report)
		}
	})
}

// The publisher of a condemned upload finds out before it writes anything more.
func TestCondemnedUploadCannotCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r, other := open(t, bucket), open(t, bucket)
		u := begin(t, r)
		time.Sleep(25 * time.Hour)
		collect(t, other, registry.CollectOptions{})
		_, err := u.File(t.Context(), "b", strings.NewReader("x"), 1, "")
		wantErr(t, "another file", err, registry.ErrConflict)
		_, err = u.Commit(t.Context(), registry.Facts{})
		wantErr(t, "commit", err, registry.ErrConflict)
		_, err = u.File(t.Context(), "c", strings.NewReader("x"), 1, "")
		wantErr(t, "a file after all", err, registry.ErrInvalid)
		time.Sleep(3 * time.Hour)
		collect(t, other, registry.CollectOptions{})
		wantErr(t, "the model", func() error { _, err := r.Model(t.Context(), acme, fraud); return err }(), registry.ErrModelNotFound)
		wantClean(t, r)
	})
}

// An upload that goes on slowly renews its intent and is left alone.
func TestSlowUploadIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r, other := open(t, bucket), open(t, bucket)
		u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud})
		if err != nil {
			t.Fatal(err)
		}
		body := &slow{rest: 60, pause: time.Hour, each: func() {
			if report := collect(t, other, registry.CollectOptions{}); report.Condemned != 0 {
				t.Error("condemned while under way")
			}
		}}
		if _, err := u.File(t.Context(), "a", body, -1, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Commit(t.Context(), registry.Facts{}); err != nil {
			t.Fatal(err)
		}
		wantClean(t, r)
	})
}

type slow struct {
	rest  int
	pause time.Duration
	each  func()
}

func (s *slow) Read(p []byte) (int, error) {
	if s.rest == 0 {
		return 0, io.EOF
	}
	s.rest--
	time.Sleep(s.pause)
	s.each()
	p[0] = 'x'
	return 1, nil
}

// The files of deleted versions go after the retention; numbers, labels and metadata
// stay, and until then a version can be restored.
func TestCollectDeletedVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		for i := range 4 {
			mustPublish(t, r, registry.Publication{Label: label(i + 1)}, "content")
		}
		mustDelete(t, r, "acme/fraud:2")
		time.Sleep(6 * 24 * time.Hour)
		if report := collect(t, r, registry.CollectOptions{}); report.Versions != 0 {
			t.Errorf("within the retention: %+v", report)
		}
		if _, err := r.Copy(t.Context(), ref(t, "acme/fraud:2"), registry.Publication{Tenant: acme, Model: fraud}); err != nil {
			t.Errorf("restore within the retention: %v", err)
		}
		time.Sleep(2 * 24 * time.Hour)
		if report := collect(t, r, registry.CollectOptions{}); report.Versions != 1 {
			t.Errorf("after the retention: %+v", report)
		}
		_, err := r.Copy(t.Context(), ref(t, "acme/fraud:2"), registry.Publication{Tenant: acme, Model: fraud})
		wantErr(t, "restore", err, registry.ErrVersionDeleted)
		_, err = r.Resolve(t.Context(), ref(t, "acme/fraud:v2"))
		wantErr(t, "the label", err, registry.ErrVersionDeleted)

		if _, err := r.DeleteModel(t.Context(), acme, fraud, registry.Deletion{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * 24 * time.Hour)
		collect(t, r, registry.CollectOptions{})
		for _, key := range keys(t, bucket, "acme/fraud/") {
			if strings.HasSuffix(key, "model.joblib") {
				t.Errorf("still there: %s", key)
			}
		}
		if report := wantClean(t, r); report.Deleted != 5 || report.Versions != 0 {
			t.Errorf("afterwards: %+v", report)
		}
	})
}

// Idempotency keys are remembered for seven days.
func TestCollectOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, blob.NewMemory())
		p := registry.Publication{Key: "k"}
		mustPublish(t, r, p, "x")
		time.Sleep(6 * 24 * time.Hour)
		collect(t, r, registry.CollectOptions{})
		if v := mustPublish(t, r, p, "x"); v.Version != 1 {
			t.Errorf("within seven days: got version %d, want 1", v.Version)
		}
		time.Sleep(2 * 24 * time.Hour)
		if report := collect(t, r, registry.CollectOptions{}); report.Operations != 1 {
			t.Errorf("after seven days: %+v", report)
		}
		if v := mustPublish(t, r, p, "x"); v.Version != 2 {
			t.Errorf("after seven days: got version %d, want 2", v.Version)
		}
		wantClean(t, r)
	})
}

// brokenList fails the n-th listing.
type brokenList struct {
	blob.Bucket
	n int
}

func (b *brokenList) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	if b.n--; b.n == 0 {
		return blob.Page{}, errors.New("listing broke off")
	}
	return b.Bucket.List(ctx, o)
}

// Whichever listing fails, the pass ends, and a later one completes the work.
func TestCollectEndsOnListError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n := 1; ; n++ {
			bucket := blob.NewMemory()
			r := open(t, bucket)
			kept := mustPublish(t, r, registry.Publication{}, "kept")
			begin(t, r)
			time.Sleep(25 * time.Hour)
			collect(t, r, registry.CollectOptions{})
			time.Sleep(3 * time.Hour)
			faulty := &brokenList{bucket, n}
			_, err := open(t, faulty).Collect(t.Context(), registry.CollectOptions{})
			if faulty.n > 0 {
				if n < 5 {
					t.Fatalf("only %d listings were made", n)
				}
				return
			}
			if err == nil {
				t.Fatalf("listing %d failed without a word", n)
			}
			collect(t, r, registry.CollectOptions{})
			if got, err := content(t.Context(), r, kept, "model.joblib", blob.Range{}); err != nil || got != "kept" {
				t.Fatalf("listing %d: %q, %v", n, got, err)
			}
			if report := wantClean(t, r); report.Uploads != 0 {
				t.Fatalf("listing %d: %+v", n, report)
			}
		}
	})
}

// Every byte of every small object of a version is flipped in turn: reading it is
// ErrCorrupt, verify and check name the object.
func TestDamageIsFound(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	v := mustPublish(t, r, registry.Publication{Label: "v1"}, "the content")
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, key := range keys(t, bucket, "acme/") {
		if strings.Contains(key, "/_operations/") || strings.Contains(key, "/_uploads/") {
			continue
		}
		good := object(t, bucket, key)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			put(t, bucket, key, bad)
			flipped++
			fresh := open(t, bucket)
			report, err := fresh.Check(t.Context(), registry.CheckOptions{Digests: true})
			if err != nil {
				t.Fatalf("%s, byte %d: %v", key, i, err)
			}
			if report.OK {
				t.Fatalf("%s, byte %d: check did not see it", key, i)
			}
			if strings.HasSuffix(key, "/model.joblib") {
				_, err := content(t.Context(), fresh, v, "model.joblib", blob.Range{})
				wantErr(t, "read", err, registry.ErrCorrupt)
				if report, err := fresh.Verify(t.Context(), ref(t, "acme/fraud:1")); err != nil || report.OK {
					t.Fatalf("verify: %+v, %v", report, err)
				}
			}
		}
		put(t, bucket, key, good)
	}
	t.Logf("%d flipped bits, all found", flipped)
	wantClean(t, r)
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	tests := map[string]struct {
		harm func(t *testing.T, b blob.Bucket, v *registry.Version)
		want string
	}{
		"a missing file": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			remove(t, b, "acme/fraud/"+string(v.ID)+"/model.joblib")
		}, "is missing"},
		"a missing metadata.json": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			remove(t, b, "acme/fraud/"+string(v.ID)+"/metadata.json")
		}, "is missing"},
		"a missing record": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			remove(t, b, "acme/fraud/_versions/999999/998-1.json")
		}, "no gaps"},
		"a missing model": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			remove(t, b, "acme/fraud/_model.json")
		}, "_model.json"},
		"a missing label": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			remove(t, b, "acme/fraud/_labels/v1.json")
		}, "is missing"},
		"a stray file": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			put(t, b, "acme/fraud/"+string(v.ID)+"/stray", []byte("x"))
		}, "does not name it"},
		"a stray folder": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			put(t, b, "acme/fraud/x.0199c2f0-0000-7000-8000-000000000000/f", []byte("x"))
		}, "belongs to no version"},
		"a foreign object": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			put(t, b, "acme/fraud/notes.txt", []byte("x"))
		}, "is no object of ours"},
		"a foreign object at the top": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			put(t, b, "notes.txt", []byte("x"))
		}, "top of the bucket"},
		"an object in another's place": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			put(t, b, "acme/fraud/_versions/999999/998-1.json", object(t, b, "acme/fraud/_versions/999999/997-2.json"))
		}, "belongs elsewhere"},
		"the files of another version": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			put(t, b, "acme/fraud/"+string(v.ID)+"/model.joblib", []byte("ONE"))
		}, "SHA-256"},
		"an older copy of an alias's version": {func(t *testing.T, b blob.Bucket, v *registry.Version) {
			remove(t, b, "acme/fraud/_versions/999999/997-2.json")
		}, "version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bucket := blob.NewMemory()
			r := open(t, bucket)
			v := mustPublish(t, r, registry.Publication{Label: "v1"}, "one")
			mustPublish(t, r, registry.Publication{Aliases: []registry.Alias{"champion"}}, "two")
			wantClean(t, r)
			test.harm(t, bucket, v)
			report, err := open(t, bucket).Check(t.Context(), registry.CheckOptions{Digests: true})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, p := range report.Problems {
				found = found || strings.Contains(p.Key+": "+p.Problem, test.want)
			}
			if !found {
				t.Errorf("got %+v, want one that says %q", report.Problems, test.want)
			}
		})
	}
}

func object(t *testing.T, b blob.Bucket, key string) []byte {
	t.Helper()
	body, _, err := b.Get(t.Context(), key, blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t *testing.T, b blob.Bucket, key string, data []byte) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, b blob.Bucket, key string) {
	t.Helper()
	if err := b.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// skewed is a store whose clock is far from the nodes'.
type skewed struct {
	blob.Bucket
	skew time.Duration
}

func (s skewed) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Object, error) {
	body, o, err := s.Bucket.Get(ctx, key, r)
	o.Modified = o.Modified.Add(s.skew)
	return body, o, err
}

func (s skewed) Stat(ctx context.Context, key string) (blob.Object, error) {
	o, err := s.Bucket.Stat(ctx, key)
	o.Modified = o.Modified.Add(s.skew)
	return o, err
}

func (s skewed) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	page, err := s.Bucket.List(ctx, o)
	for i := range page.Objects {
		page.Objects[i].Modified = page.Objects[i].Modified.Add(s.skew)
	}
	return page, err
}

// Nodes whose clocks differ from the store's by days, either way, neither collect what
// is young nor keep what is old: only the store's clock counts.
func TestClocksThatDiffer(t *testing.T) {
	for _, skew := range []time.Duration{-14 * 24 * time.Hour, -14 * time.Hour, 14 * time.Hour, 14 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket := skewed{blob.NewMemory(), skew}
				r := open(t, bucket)
				mustPublish(t, r, registry.Publication{}, "x")
				mustDelete(t, r, "acme/fraud:1")
				u := begin(t, r)
				if report := collect(t, r, registry.CollectOptions{}); report.Condemned+report.Versions != 0 {
					t.Fatalf("collected what is young: %+v", report)
				}
				if v, err := u.Commit(t.Context(), registry.Facts{}); err != nil || v.Version != 2 {
					t.Fatalf("commit: %v, %v", v, err)
				}
				begin(t, r)
				time.Sleep(8 * 24 * time.Hour)
				if report := collect(t, r, registry.CollectOptions{}); report.Condemned != 1 || report.Versions != 1 {
					t.Errorf("did not collect what is old: %+v", report)
				}
				wantClean(t, r)
			})
		})
	}
}

// A damaged object holds up only what hangs on it: the collector does the rest of its
// work, and ends with the name of what is damaged.
func TestCollectPastDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		begin(t, r)
		damaged := keys(t, bucket, "acme/fraud/_uploads/")[0]
		begin(t, r)
		other := mustPublish(t, r, registry.Publication{Tenant: acme, Model: "other"}, "x")
		if _, err := r.DeleteVersion(t.Context(), other.Ref(), registry.Deletion{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		put(t, bucket, damaged, []byte("{}"))
		time.Sleep(8 * 24 * time.Hour)
		report, err := r.Collect(t.Context(), registry.CollectOptions{})
		wantErr(t, "a pass over a damaged intent", err, registry.ErrCorrupt)
		if !strings.Contains(err.Error(), damaged) || report.Condemned != 1 || report.Versions != 1 {
			t.Errorf("%v; %+v", err, report)
		}
	})
}
