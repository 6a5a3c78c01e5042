package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// written is a bucket with an audit log of five batches in one chain, their keys with the
// oldest first.
func written(t *testing.T) (bucket blob.Bucket, batches []string) {
	t.Helper()
	bucket = blob.NewMemory()
	r := node(t, bucket)
	for range 3 {
		if _, err := publish(asCaller(t.Context(), "root"), r, registry.Publication{Tenant: acme, Model: fraud}, "content"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	batches = keys(t, bucket, "acme/_audit/")
	if len(batches) != 6 {
		t.Fatalf("batches %q", batches)
	}
	slices.Reverse(batches)
	return bucket, batches
}

// Whatever is done to the middle of a chain, check names it.
func TestAuditChainShows(t *testing.T) {
	for name, row := range map[string]struct {
		harm  func(t *testing.T, bucket blob.Bucket, batches []string)
		names int    // the batch that is named
		says  string // "": nothing is wrong
	}{
		"untouched": {func(*testing.T, blob.Bucket, []string) {}, 0, ""},
		"taken out": {func(t *testing.T, bucket blob.Bucket, batches []string) {
			remove(t, bucket, batches[2])
		}, 3, "those from 3 to 3 are missing"},
		"beginning cut off": {func(t *testing.T, bucket blob.Bucket, batches []string) {
			for _, key := range batches[:2] {
				remove(t, bucket, key)
			}
		}, 2, "those from 1 to 2 are missing"},
		"a bit flipped": {func(t *testing.T, bucket blob.Bucket, batches []string) {
			data := object(t, bucket, batches[2])
			data[len(data)/2] ^= 1
			put(t, bucket, batches[2], data)
		}, 2, "envelope"},
		"sealed anew": {func(t *testing.T, bucket blob.Bucket, batches []string) {
			data := bytes.Replace(object(t, bucket, batches[2]), []byte(`"by":"root"`), []byte(`"by":"toor"`), 1)
			at := bytes.Index(data, []byte(`","body":`))
			body := data[at+len(`","body":`) : len(data)-1]
			put(t, bucket, batches[2], slices.Concat(data[:at-64], []byte(digest(body)), data[at:at+len(`","body":`)], body, []byte("}")))
		}, 3, "does not follow on"},
		"put elsewhere": {func(t *testing.T, bucket blob.Bucket, batches []string) {
			put(t, bucket, batches[2], object(t, bucket, batches[4]))
		}, 2, "envelope"},
		"nothing of ours": {func(t *testing.T, bucket blob.Bucket, batches []string) {
			put(t, bucket, batches[2]+"x", nil)
		}, 2, "no object of ours"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket, batches := written(t)
				row.harm(t, bucket, batches)
				r := node(t, bucket)
				report := checked(t, r)
				switch {
				case row.says == "" && report.OK:
				case len(report.Problems) != 1 || !strings.HasPrefix(report.Problems[0].Key, batches[row.names]) ||
					!strings.Contains(report.Problems[0].Problem, row.says) && !strings.Contains(report.Problems[0].Problem, "digest") && !strings.Contains(report.Problems[0].Problem, "elsewhere"):
					t.Errorf("%+v, want of %s %q", report.Problems, batches[row.names], row.says)
				}
			})
		})
	}
}

// A change whose node dies between its two records is told of: whether it was made is
// found out from what was to be changed.
func TestAuditSettles(t *testing.T) {
	type deed func(ctx context.Context, r *registry.Registry) error
	text := "text"
	deeds := map[string]struct {
		ending string // of the key that the change lies under
		do     deed
	}{
		"publish": {".json", func(ctx context.Context, r *registry.Registry) error {
			_, err := publish(ctx, r, registry.Publication{Tenant: acme, Model: fraud}, "new")
			return err
		}},
		"alias.set": {"_aliases/stable.json", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.SetAlias(ctx, acme, fraud, "stable", registry.AliasChange{To: 1})
			return err
		}},
		"alias.delete": {"_aliases/champion.json", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.DeleteAlias(ctx, acme, fraud, "champion", registry.AliasChange{})
			return err
		}},
		"version.update": {".attributes.json", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.UpdateVersion(ctx, ref(t, "acme/fraud:2"), registry.Change{Description: &text})
			return err
		}},
		"version.delete": {".tombstone.json", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.DeleteVersion(ctx, ref(t, "acme/fraud:2"), registry.Deletion{})
			return err
		}},
		"model.update": {"_model.json", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.UpdateModel(ctx, acme, fraud, registry.Change{Description: &text})
			return err
		}},
		"tenant.update": {"_tenant.json", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.UpdateTenant(ctx, acme, registry.Change{Description: &text})
			return err
		}},
	}
	for name, d := range deeds {
		for _, outcome := range []string{registry.OutcomeMade, registry.OutcomeNotMade} {
			t.Run(name+" "+outcome, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					memory := blob.NewMemory()
					other := node(t, memory)
					mustPublish(t, other, registry.Publication{}, "one")
					mustPublish(t, other, registry.Publication{}, "two")
					if _, err := other.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1}); err != nil {
						t.Fatal(err)
					}
					dead := false
					bucket := &hooked{Bucket: memory}
					die := func(operation, key string) error {
						if dead = dead || operation == "put" && strings.HasSuffix(key, d.ending) && !strings.Contains(key, "_audit/") &&
							(name != "publish" || strings.Contains(key, "_versions/")); dead {
							return blob.ErrUnavailable
						}
						return nil
					}
					if outcome == registry.OutcomeMade {
						bucket.after = die
						bucket.before = func(string, string) error {
							if dead {
								return blob.ErrUnavailable
							}
							return nil
						}
					} else {
						bucket.before = die
					}
					ctx, cancel := context.WithTimeout(asCaller(t.Context(), "root"), time.Minute)
					defer cancel()
					if err := d.do(ctx, node(t, bucket)); err == nil {
						t.Fatal("it was answered as made by a dead node")
					}
					report := checked(t, other)
					if len(report.Open) != 1 || report.Open[0].Outcome != outcome || report.Open[0].By != "root" {
						t.Errorf("%+v", report.Open)
					}
				})
			})
		}
	}
}

// TestManyOpenSaves: a node dies before it wrote how many saves ended, some of which were
// not made. check tells of each what came of it.
func TestManyOpenSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := blob.NewMemory()
		other := node(t, memory)
		var mute, dead atomic.Bool // no call to the log succeeds; none at all
		bucket := &hooked{Bucket: memory, before: func(operation, key string) error {
			if dead.Load() || mute.Load() && strings.Contains(key, "_audit/") {
				return blob.ErrUnavailable
			}
			return nil
		}}
		r := node(t, bucket)
		ctx := asCaller(t.Context(), "root")
		const saves = 3*64 + 5 // the log is read in batches of 64
		want := map[string]int{registry.OutcomeMade: saves, registry.OutcomeNotMade: 1}
		mustPublish(t, other, registry.Publication{Model: "fraud1"}, "of another node")
		begun := make([]*registry.Upload, saves+1)
		for i := range begun {
			var err error
			if begun[i], err = r.Begin(ctx, registry.Publication{Tenant: acme, Model: registry.Model(fmt.Sprint("fraud", i%2))}); err != nil {
				t.Fatal(err)
			}
			if _, err := begun[i].File(ctx, "model.bin", strings.NewReader("x"), 1, ""); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // the intents are stored
		mute.Store(true)
		for i, u := range begun {
			if i == saves {
				dead.Store(true)
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Minute)
				defer cancel()
			}
			if _, err := u.Commit(ctx, registry.Facts{}); (err != nil) != dead.Load() {
				t.Fatal(i, err)
			}
		}
		got := map[string]int{}
		for _, open := range checked(t, other).Open {
			if open.By == "root" {
				got[open.Outcome]++
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("outcomes %v, want %v", got, want)
		}
	})
}
