package registry_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// A commit that was on its way for longer than an upload is waited for is answered
// while the collector deletes its folder: either it did not come to pass, or all of it
// is there.
func TestCommitDuringItsSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		committed, swept := make(chan struct{}), make(chan struct{})
		// The commit lands once the collector has read the log, and is answered at once.
		publishing := &frozen{hooked{Bucket: bucket, before: on(blobtest.Put, "998-1.json", 1, func() error { <-swept; return nil })}}
		// The collector deletes its first file once the commit has been answered.
		collecting := &hooked{Bucket: bucket, before: on(blobtest.Delete, "/model.joblib", 1, func() error {
			close(swept)
			<-committed
			return nil
		})}
		r, collector := open(t, publishing), open(t, collecting)
		var err error
		go func() {
			_, err = publish(t.Context(), r, registry.Publication{}, "content")
			close(committed)
		}()
		time.Sleep(25 * time.Hour)
		collect(t, collector, registry.CollectOptions{})
		time.Sleep(3 * time.Hour)
		if report := collect(t, collector, registry.CollectOptions{}); report.Uploads != 1 {
			t.Fatalf("the upload was to be swept: %+v", report)
		}
		v, readErr := open(t, bucket).Resolve(t.Context(), ref(t, "acme/fraud"))
		if err == nil {
			t.Fatalf("acknowledged, and then read as %+v, %v", v, readErr)
		}
		wantErr(t, "publish", err, registry.ErrConflict)
		wantErr(t, "latest", readErr, registry.ErrVersionNotFound)
	})
}

// frozen sends what it was about to send, however late that is.
type frozen struct{ hooked }

func (b *frozen) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	return b.hooked.Put(context.WithoutCancel(ctx), key, body, o)
}

// Two collectors have listed an old upload when its publisher goes on with it. What the
// one has condemned just now the other does not delete as if that were long ago.
func TestTwoCollectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		u := begin(t, r)
		time.Sleep(25 * time.Hour)
		first := &hooked{Bucket: bucket, after: on(blobtest.List, "_uploads/", 1, func() error {
			_, err := u.File(t.Context(), "b", strings.NewReader("the other half"), -1, "")
			return err
		})}
		second := &hooked{Bucket: bucket, after: on(blobtest.List, "_uploads/", 1, func() error {
			_, err := open(t, first).Collect(t.Context(), registry.CollectOptions{})
			return err
		})}
		collect(t, open(t, second), registry.CollectOptions{})
		v, err := u.Commit(t.Context(), registry.Facts{})
		if err != nil {
			t.Fatalf("an upload that was renewed just now was given up: %v", err)
		}
		if got, err := content(t.Context(), open(t, bucket), v, "a", blob.Range{}); err != nil || got != "half a model" {
			t.Fatalf("acknowledged, and then: %q, %v", got, err)
		}
		wantClean(t, r)
	})
}

// However many foreign objects lie before the log, what is committed is not taken for
// abandoned.
func TestCollectBesideForeignObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		dying := &hooked{Bucket: bucket, before: func(operation, key string) error {
			if operation == blobtest.Delete {
				return blob.ErrDenied
			}
			return nil
		}}
		v := mustPublish(t, open(t, dying), registry.Publication{}, "content")
		for i := range 1100 {
			put(t, bucket, fmt.Sprintf("acme/fraud/_versions/000000/foreign-%04d", i), []byte("x"))
		}
		r := open(t, bucket)
		time.Sleep(25 * time.Hour)
		collect(t, r, registry.CollectOptions{})
		time.Sleep(3 * time.Hour)
		if report := collect(t, r, registry.CollectOptions{}); report.Uploads != 0 || report.Objects != 1 {
			t.Errorf("only the intent was to go: %+v", report)
		}
		if got, err := content(t.Context(), r, v, "model.joblib", blob.Range{}); err != nil || got != "content" {
			t.Errorf("got %q, %v", got, err)
		}
		if got := resolve(t, r, "acme/fraud"); got.ID != v.ID {
			t.Errorf("latest is %s, want %s", got.Ref(), v.Ref())
		}
		_, err := r.Versions(t.Context(), acme, fraud, registry.VersionQuery{})
		wantErr(t, "versions", err, registry.ErrCorrupt)
	})
}

// The retention begins when a version is deleted, not when somebody failed to do so.
func TestRetentionBeginsWithDeletion(t *testing.T) {
	tests := map[string]func(t *testing.T, r *registry.Registry) error{
		"model": func(t *testing.T, r *registry.Registry) error {
			_, err := r.DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
			return err
		},
		"version": func(t *testing.T, r *registry.Registry) error {
			_, err := r.DeleteVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Deletion{})
			return err
		},
	}
	for name, remove := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket := blob.NewMemory()
				r := open(t, bucket)
				mustPublish(t, r, registry.Publication{}, "one")
				mustPublish(t, r, registry.Publication{}, "two")
				dying := &hooked{Bucket: bucket, before: on(blobtest.Put, "_model.json", 0, fail(blob.ErrDenied))}
				_, err := open(t, dying).DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
				wantErr(t, "the first attempt", err, blob.ErrDenied)
				time.Sleep(8 * 24 * time.Hour)
				mustPublish(t, r, registry.Publication{}, "three")
				if err := remove(t, r); err != nil {
					t.Fatal(err)
				}
				collect(t, r, registry.CollectOptions{})
				if _, err := r.Copy(t.Context(), ref(t, "acme/fraud:1"), registry.Publication{Tenant: acme, Model: fraud}); err != nil {
					t.Fatalf("restore within the retention: %v", err)
				}
				time.Sleep(8 * 24 * time.Hour)
				if report := collect(t, r, registry.CollectOptions{}); report.Versions == 0 {
					t.Errorf("after the retention: %+v", report)
				}
				_, err = r.Copy(t.Context(), ref(t, "acme/fraud:1"), registry.Publication{Tenant: acme, Model: fraud})
				wantErr(t, "restore after the retention", err, registry.ErrVersionDeleted)
				wantClean(t, r)
			})
		})
	}
}

// An idempotency key is remembered for seven days from the last request that came to
// nothing, not from the first.
func TestKeyIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		p := registry.Publication{Tenant: acme, Model: fraud, Key: "k"}
		u, err := r.Begin(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		u.Abort()
		time.Sleep(7*24*time.Hour - time.Minute)
		// This node dies once its commit was sent, and the key is collected before that.
		dead := false
		dying := &hooked{Bucket: bucket, before: func(operation, key string) error {
			if dead {
				return errUnclear
			}
			return nil
		}}
		dying.after = on(blobtest.Put, "998-1.json", 1, func() error { dead = true; return errUnclear })
		if u, err = open(t, dying).Begin(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if _, err := u.File(t.Context(), "model.joblib", strings.NewReader("x"), 1, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		collect(t, r, registry.CollectOptions{})
		_, err = u.Commit(t.Context(), registry.Facts{})
		wantErr(t, "commit", err, registry.ErrOutcomeUnknown)
		if v := mustPublish(t, r, p, "x"); v.Version != 1 {
			t.Errorf("the repeat: got version %d, want 1", v.Version)
		}
	})
}

// Nobody can ask for so little patience that an upload under way is deleted.
func TestConfirmHasAFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, blob.NewMemory())
		u := begin(t, r)
		time.Sleep(time.Second)
		o := registry.CollectOptions{Grace: 1, Confirm: 1}
		collect(t, r, o)
		time.Sleep(time.Second)
		collect(t, r, o)
		v, err := u.Commit(t.Context(), registry.Facts{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := content(t.Context(), r, v, "a", blob.Range{}); err != nil || got != "half a model" {
			t.Errorf("acknowledged, and then: %q, %v", got, err)
		}
		wantClean(t, r)
	})
}
