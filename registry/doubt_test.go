package registry_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// A store that takes no writes is no conflict with anybody. Whether something may have
// been changed depends on whether anything was sent.
func TestWriteOutage(t *testing.T) {
	changes := map[string]func(context.Context, *registry.Registry) error{
		"set alias": func(ctx context.Context, r *registry.Registry) error {
			_, err := r.SetAlias(ctx, acme, fraud, "champion", registry.AliasChange{To: 1})
			return err
		},
		"describe": func(ctx context.Context, r *registry.Registry) error {
			_, err := r.UpdateModel(ctx, acme, fraud, registry.Change{Description: pointer("x")})
			return err
		},
		"delete version": func(ctx context.Context, r *registry.Registry) error {
			_, err := r.DeleteVersion(ctx, ref(t, "acme/fraud:1"), registry.Deletion{})
			return err
		},
		"begin": func(ctx context.Context, r *registry.Registry) error {
			_, err := r.Begin(ctx, registry.Publication{Tenant: acme, Model: fraud, Key: "k", Label: "l"})
			return err
		},
		"publish": func(ctx context.Context, r *registry.Registry) error {
			_, err := publish(ctx, r, registry.Publication{}, "x")
			return err
		},
	}
	for name, change := range changes {
		for _, cause := range []error{errUnclear, errNotSent} {
			t.Run(fmt.Sprintf("%s/%v", name, cause), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bucket := &hooked{Bucket: blob.NewMemory()}
					mustPublish(t, open(t, bucket.Bucket), registry.Publication{}, "one")
					r := open(t, bucket)
					bucket.before = func(operation, key string) error {
						written := map[string]string{"set alias": "_aliases/", "describe": "_model.json", "delete version": ".tombstone.json", "begin": "_uploads/", "publish": "_versions/"}
						if operation == blobtest.Put && strings.Contains(key, written[name]) {
							return cause
						}
						return nil
					}
					began := time.Now()
					err := change(t.Context(), r)
					took := time.Since(began)
					wantErr(t, name, err, blob.ErrUnavailable)
					// What an upload left before its commit nobody will ever see.
					unknown := cause == errUnclear && name != "begin"
					if errors.Is(err, registry.ErrConflict) || errors.Is(err, registry.ErrOutcomeUnknown) != unknown {
						t.Errorf("unknown: want %v, got %v", unknown, err)
					}
					if took > time.Minute {
						t.Errorf("the answer took %v", took)
					}
				})
			})
		}
	}
}

// The last of many tries may be the one that went in.
func TestLastTryCounts(t *testing.T) {
	for _, fault := range []blobtest.Fault{blobtest.Lost, blobtest.Late} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket := blob.NewMemory()
				mustPublish(t, open(t, bucket), registry.Publication{}, "one")
				faulty := blobtest.NewFaulty(bucket, 1,
					blobtest.Rule{Operation: blobtest.Put, Fault: fault, Nth: 10, Delay: time.Minute},
					blobtest.Rule{Operation: blobtest.Put, Fault: blobtest.Before, Key: regexp.MustCompile("_aliases/")})
				r := open(t, faulty)
				_, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1})
				faulty.Wait()
				a, readErr := open(t, bucket).Alias(t.Context(), acme, fraud, "champion")
				if readErr != nil || a.Version != 1 {
					t.Fatalf("it was to be set: %+v, %v", a, readErr)
				}
				if err != nil {
					wantErr(t, "set", err, registry.ErrOutcomeUnknown)
				}
			})
		})
	}
}

// A change that may still be on its way is not called off by what goes wrong after it.
func TestLateChangeIsNotDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		mustPublish(t, open(t, bucket), registry.Publication{}, "one")
		faulty := blobtest.NewFaulty(bucket, 1,
			blobtest.Rule{Operation: blobtest.Put, Key: regexp.MustCompile("_model.json"), Fault: blobtest.Late, Nth: 1, Delay: time.Minute},
			blobtest.Rule{Operation: blobtest.Put, Key: regexp.MustCompile("_trash/"), Fault: blobtest.Before, Nth: 2, Err: blob.ErrFull})
		_, err := open(t, faulty).DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
		wantErr(t, "delete", err, registry.ErrOutcomeUnknown)
		faulty.Wait()
		_, err = open(t, bucket).Model(t.Context(), acme, fraud)
		wantErr(t, "the model", err, registry.ErrModelNotFound)
	})
}

// What is in the way of a save may be the save itself. As long as nobody has looked, it
// can't be said that nothing was saved.
func TestOwnRecordInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		line := doubled(bucket, "998-1.json", fail(errNotSent))
		_, err := publish(t.Context(), open(t, line), registry.Publication{Key: "k"}, "x")
		wantErr(t, "publish", err, registry.ErrOutcomeUnknown)
		v, err := publish(t.Context(), open(t, bucket), registry.Publication{Key: "k"}, "x")
		if err != nil || v.Version != 1 {
			t.Errorf("repeated: got %+v, %v; want version 1", v, err)
		}
	})
}

// Who set an alias is told of his own change, also where another has followed it before
// he could look.
func TestOwnAliasInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		other := open(t, bucket)
		mustPublish(t, other, registry.Publication{}, "one")
		mustPublish(t, other, registry.Publication{}, "two")
		set := func(r *registry.Registry, to registry.Number) *registry.AliasInfo {
			a, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: to})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		followed := false
		line := doubled(bucket, "champion.json", func() error {
			if !followed {
				followed = true
				set(other, 2)
			}
			return nil
		})
		if a := set(open(t, line), 1); !followed || a.Version != 1 || a.Revision != 1 {
			t.Errorf("followed: %v; got version %d at revision %d, want 1 at 1", followed, a.Version, a.Revision)
		}
		if a := set(other, 1); a.Revision != 3 {
			t.Errorf("the next: got revision %d, want 3", a.Revision)
		}
	})
}

// A file that may still land is not followed by another attempt in the same folder.
func TestUnclearFileEndsUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		faulty := blobtest.NewFaulty(bucket, 1, blobtest.Rule{Operation: blobtest.Put, Key: regexp.MustCompile("/model$"), Fault: blobtest.Late, Nth: 1, Delay: time.Minute})
		r := open(t, faulty)
		u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = u.File(t.Context(), "model", strings.NewReader("old"), 3, ""); err == nil {
			t.Fatal("the fault did not fire")
		}
		_, fileErr := u.File(t.Context(), "model", strings.NewReader("new"), 3, "")
		v, err := u.Commit(t.Context(), registry.Facts{})
		faulty.Wait()
		if err == nil {
			got, readErr := content(t.Context(), r, v, "model", blob.Range{})
			t.Fatalf("a version was made whose file reads as %q, %v", got, readErr)
		}
		wantErr(t, "the second file", fileErr, registry.ErrInvalid)
		wantErr(t, "commit", err, registry.ErrInvalid)
	})
}

// Who sets an alias and meets a deletion takes back its own change, and nobody else's.
func TestRepeatTakesNothingBack(t *testing.T) {
	bucket := blob.NewMemory()
	other := open(t, bucket)
	p := registry.Publication{Key: "k", Aliases: []registry.Alias{"champion"}}
	// The node dies before it writes down that the key is settled.
	dying := &hooked{Bucket: bucket}
	anchored := false
	dying.before = func(operation, key string) error {
		if operation == blobtest.Put && strings.Contains(key, "_operations/") {
			if anchored {
				return blob.ErrDenied
			}
			anchored = true
		}
		return nil
	}
	mustPublish(t, open(t, dying), p, "one")
	mustPublish(t, other, registry.Publication{Aliases: []registry.Alias{"champion"}}, "two")

	// Version 1 is deleted while the repeat looks whether its alias is set.
	repeating := &hooked{Bucket: bucket}
	repeating.before = on(blobtest.Stat, "998-1.tombstone.json", 2, func() error {
		_, err := other.DeleteVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Deletion{})
		return err
	})
	_, err := publish(t.Context(), open(t, repeating), p, "one")
	wantErr(t, "the repeat", err, registry.ErrVersionDeleted)
	a, err := other.Alias(t.Context(), acme, fraud, "champion")
	if err != nil || a.Version != 2 || a.Revision != 2 {
		t.Errorf("champion: got %+v, %v; want version 2 at revision 2, which nobody has changed", a, err)
	}
}

// Where an alias is taken back to may be deleted too, at any moment.
func TestAliasTakenBackTwice(t *testing.T) {
	for _, moment := range []string{"before it looks", "before it swaps"} {
		t.Run(moment, func(t *testing.T) {
			bucket := blob.NewMemory()
			other := open(t, bucket)
			mustPublish(t, other, registry.Publication{Aliases: []registry.Alias{"champion"}}, "one")
			mustPublish(t, other, registry.Publication{}, "two")
			// Somebody who looked for aliases before deletes version 2 now.
			first := on(blobtest.Stat, "997-2.tombstone.json", 2, func() error {
				put(t, bucket, "acme/fraud/_versions/999999/997-2.tombstone.json", []byte("{}"))
				return nil
			})
			drop := func() error {
				_, err := other.DeleteVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Deletion{})
				return err
			}
			second := on(blobtest.Put, "champion.json", 2, drop)
			if moment == "before it looks" {
				second = on(blobtest.Get, "champion.json", 2, drop)
			}
			setting := &hooked{Bucket: bucket, before: func(operation, key string) error {
				return errors.Join(first(operation, key), second(operation, key))
			}}
			_, err := open(t, setting).SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 2})
			wantErr(t, "set", err, registry.ErrVersionDeleted)
			_, err = other.Alias(t.Context(), acme, fraud, "champion")
			wantErr(t, "the alias", err, registry.ErrAliasNotFound)
			_, err = other.Resolve(t.Context(), ref(t, "acme/fraud:1"))
			wantErr(t, "version 1", err, registry.ErrVersionDeleted)
		})
	}
}

// Who deletes a model is told of an alias that was set meanwhile, as with a version.
func TestDeleteModelTellsOfAlias(t *testing.T) {
	bucket := blob.NewMemory()
	other := open(t, bucket)
	mustPublish(t, other, registry.Publication{}, "one")
	deleting := &hooked{Bucket: bucket, before: on(blobtest.Put, "_model.json", 1, func() error {
		_, err := other.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1})
		return err
	})}
	m, err := open(t, deleting).DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
	if err != nil || m.Aliases["champion"] != 1 {
		t.Errorf("got %+v, %v; want one that names champion", m, err)
	}
}

// However often an alias was moved since, a repeat does not move it.
func TestRepeatLeavesBusyAliasAlone(t *testing.T) {
	bucket := blob.NewMemory()
	r, other := open(t, bucket), open(t, bucket)
	p := registry.Publication{Key: "k", Aliases: []registry.Alias{"champion"}}
	mustPublish(t, r, p, "one")
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		mustPublish(t, other, registry.Publication{Aliases: []registry.Alias{"champion"}}, "x")
	}
	if v := mustPublish(t, other, p, "one"); v.Version != 1 {
		t.Errorf("the repeat: got version %d, want 1", v.Version)
	}
	if a, err := r.Alias(t.Context(), acme, fraud, "champion"); err != nil || a.Version != 61 {
		t.Errorf("champion: got %+v, %v; want version 61", a, err)
	}
	wantClean(t, r)
}

// A copy that is repeated with its key is the same copy, whatever has changed about
// the version that it was made from.
func TestCopyRepeated(t *testing.T) {
	r := open(t, blob.NewMemory())
	mustPublish(t, r, registry.Publication{Description: "as published", Aliases: []registry.Alias{"champion"}}, "one")
	for i, from := range []string{"acme/fraud", "acme/fraud@champion", "acme/fraud:1"} {
		p := registry.Publication{Tenant: acme, Model: fraud, Key: from}
		first, err := r.Copy(t.Context(), ref(t, from), p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: first.Version}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.UpdateVersion(t.Context(), ref(t, "acme/fraud:1"), registry.Change{Description: pointer(fmt.Sprint("changed ", i))}); err != nil {
			t.Fatal(err)
		}
		again, err := r.Copy(t.Context(), ref(t, from), p)
		if err != nil || again.ID != first.ID {
			t.Errorf("%s: got %v, %v; want version %d again", from, again, err, first.Version)
		}
	}
	_, err := r.Copy(t.Context(), ref(t, "acme/fraud:2"), registry.Publication{Tenant: acme, Model: fraud, Key: "acme/fraud:1"})
	wantErr(t, "another version under the same key", err, registry.ErrIdempotencyMismatch)
	wantClean(t, r)
}

// Check changes nothing, not even an index that could know more.
func TestCheckWritesNothing(t *testing.T) {
	bucket := blob.NewMemory()
	dying := &hooked{Bucket: bucket, before: on(blobtest.Put, "_labels/v1.json", 2, fail(blob.ErrDenied))}
	dead := open(t, dying)
	mustPublish(t, dead, registry.Publication{Label: "v1"}, "one")
	if err := dead.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	writes := 0
	watched := &hooked{Bucket: bucket}
	r := open(t, watched)
	watched.before = func(operation, key string) error {
		if operation == blobtest.Put || operation == blobtest.Delete {
			writes++
		}
		return nil
	}
	wantClean(t, r)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if writes != 0 {
		t.Errorf("check made %d writes", writes)
	}
}

// What a line with a wrong byte shows of one's own write is not another's.
func TestDamagedReadBack(t *testing.T) {
	for _, ending := range []string{"998-1.json", "998-1.tombstone.json", "_uploads/.*"} {
		t.Run(ending, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket := blob.NewMemory()
				faulty := blobtest.NewFaulty(bucket, 1,
					blobtest.Rule{Operation: blobtest.Put, Key: regexp.MustCompile(ending), Fault: blobtest.Lost, Nth: 1},
					blobtest.Rule{Operation: blobtest.Get, Key: regexp.MustCompile(ending), Fault: blobtest.Flip, Nth: 1})
				r := open(t, faulty)
				if v := mustPublish(t, r, registry.Publication{}, "content"); v.Version != 1 {
					t.Errorf("it is version %d", v.Version)
				}
				clean := open(t, bucket)
				if got, err := content(t.Context(), clean, resolve(t, clean, "acme/fraud:1"), "model.joblib", blob.Range{}); err != nil || got != "content" {
					t.Errorf("got %q, %v", got, err)
				}
				mustDelete(t, r, "acme/fraud:1")
				if len(faulty.Fired()) != 2 {
					t.Errorf("both faults were to fire: %v", faulty.Fired())
				}
				wantClean(t, clean)
			})
		})
	}
}

// A write that was repeated on its way may land once more after the upload was given up:
// the collector finds it.
func TestWriteLandsAfterAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		u := begin(t, r)
		if _, err := u.File(t.Context(), "b", strings.NewReader("b"), 1, ""); err != nil {
			t.Fatal(err)
		}
		var key string
		for _, k := range keys(t, bucket, "acme/fraud/") {
			if strings.HasSuffix(k, "/b") {
				key = k
			}
		}
		u.Abort()
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(keys(t, bucket, "acme/fraud/"), key) {
			t.Fatalf("%s was to be deleted at once", key)
		}
		put(t, bucket, key, []byte("b"))
		wantSound(t, r)
		if slices.Contains(keys(t, bucket, "acme/fraud/"), key) {
			t.Errorf("%s is left", key)
		}
	})
}
