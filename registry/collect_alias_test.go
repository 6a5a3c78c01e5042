package registry_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// leftBehind sets champion to a version that meanwhile does what happen does, on a node
// that dies once that is written.
func leftBehind(t *testing.T, bucket blob.Bucket, to registry.Number, happen func() error) {
	t.Helper()
	dead := false
	dying := &hooked{Bucket: bucket}
	dying.before = func(operation, key string) error {
		switch {
		case dead:
			return errUnclear
		case operation == blobtest.Put && strings.HasSuffix(key, "/champion.json"):
			return happen()
		}
		return nil
	}
	dying.after = on(blobtest.Put, "/champion.json", 1, func() error { dead = true; return nil })
	_, err := open(t, dying).SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: to, By: "ann"})
	wantErr(t, "set", err, registry.ErrOutcomeUnknown)
}

func deletion(t *testing.T, r *registry.Registry, name string) func() error {
	return func() error {
		_, err := r.DeleteVersion(t.Context(), ref(t, name), registry.Deletion{})
		return err
	}
}

// Who sets an alias and dies before it sees that the version is deleted leaves an alias
// that stands for a deleted version. The collector takes that back as its setter would have done.
func TestCollectTakesAliasesBack(t *testing.T) {
	tests := map[string]struct {
		before func(t *testing.T, r *registry.Registry) // versions 1 to 3 are there
		meets  func(t *testing.T, r *registry.Registry) func() error
		want   registry.Number // 0: none
	}{
		"it was not set before": {
			func(*testing.T, *registry.Registry) {},
			func(t *testing.T, r *registry.Registry) func() error { return deletion(t, r, "acme/fraud:2") }, 0,
		},
		"it stood for another before": {
			func(t *testing.T, r *registry.Registry) { set(t, r, 1) },
			func(t *testing.T, r *registry.Registry) func() error { return deletion(t, r, "acme/fraud:2") }, 1,
		},
		"that is deleted by now": {
			func(t *testing.T, r *registry.Registry) { set(t, r, 1) },
			func(t *testing.T, r *registry.Registry) func() error {
				return func() error {
					// Who deletes 1 has looked for aliases before champion stood for it.
					put(t, r.Bucket(), "acme/fraud/_versions/999999/998-1.tombstone.json", []byte("{}"))
					return deletion(t, r, "acme/fraud:2")()
				}
			}, 0,
		},
		"the model is deleted": {
			func(*testing.T, *registry.Registry) {},
			func(t *testing.T, r *registry.Registry) func() error {
				return func() error {
					_, err := r.DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
					mustPublish(t, r, registry.Publication{}, "anew")
					return err
				}
			}, 0,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bucket := blob.NewMemory()
			r := open(t, bucket)
			for range 3 {
				mustPublish(t, r, registry.Publication{}, "x")
			}
			test.before(t, r)
			leftBehind(t, bucket, 2, test.meets(t, r))
			_, err := r.Resolve(t.Context(), ref(t, "acme/fraud@champion"))
			wantErr(t, "what it stands for", err, registry.ErrVersionDeleted)
			wantDangling(t, r, "gc takes it back")

			if report := collect(t, r, registry.CollectOptions{DryRun: true}); report.Aliases != 1 {
				t.Errorf("dry run: %+v", report)
			}
			wantDangling(t, r, "gc takes it back")
			if report := collect(t, r, registry.CollectOptions{}); report.Aliases != 1 {
				t.Errorf("the pass: %+v", report)
			}
			if report := collect(t, r, registry.CollectOptions{}); report.Aliases != 0 {
				t.Errorf("the next pass: %+v", report)
			}
			a, err := r.Alias(t.Context(), acme, fraud, "champion")
			if test.want == 0 {
				wantErr(t, "afterwards", err, registry.ErrAliasNotFound)
				last := mustPublish(t, r, registry.Publication{}, "y").Version
				set(t, r, last) // it shows its history again
				if a, err = r.Alias(t.Context(), acme, fraud, "champion"); err == nil {
					a = &registry.AliasInfo{ChangedBy: a.History[0].By, Note: a.History[0].Note, History: a.History[1:]}
				}
			}
			if err != nil || a.Version != test.want {
				t.Fatalf("afterwards: %+v, %v; want version %d", a, err, test.want)
			}
			if want := "taken back by the collector: version 2 is deleted"; a.Note != want || a.ChangedBy != "collector" || *a.History[0].Version != 2 || a.History[0].By != "ann" {
				t.Errorf("history: %+v, want %q", a, want)
			}
		})
	}
}

func set(t *testing.T, r *registry.Registry, to registry.Number) {
	t.Helper()
	if _, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: to}); err != nil {
		t.Fatal(err)
	}
}

// wantDangling: check finds nothing but champion, and says what can be done.
func wantDangling(t *testing.T, r *registry.Registry, advice string) {
	t.Helper()
	report, err := r.Check(t.Context(), registry.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		if strings.HasSuffix(p.Key, "/champion.json") && strings.Contains(p.Advice, advice) {
			return
		}
	}
	t.Errorf("got %+v, want champion, and advice that says %q", report.Problems, advice)
}

// An alias whose version is there is left as it is, whatever else of its model is deleted,
// and where nothing is deleted nobody looks.
func TestCollectLeavesAliasesAlone(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	for range 3 {
		mustPublish(t, r, registry.Publication{}, "x")
	}
	set(t, r, 1)
	set(t, r, 2)
	looked := 0
	looking := open(t, &hooked{Bucket: bucket, before: func(_, key string) error {
		if strings.Contains(key, "/_aliases/") {
			looked++
		}
		return nil
	}})
	if collect(t, looking, registry.CollectOptions{}); looked != 0 {
		t.Errorf("where nothing was deleted, %d calls were for aliases", looked)
	}
	for _, name := range []string{"acme/fraud:1", "acme/fraud:3"} {
		if err := deletion(t, r, name)(); err != nil {
			t.Fatal(err)
		}
	}
	if report := collect(t, looking, registry.CollectOptions{}); report.Aliases != 0 || looked == 0 {
		t.Errorf("%+v after %d calls for aliases", report, looked)
	}
	if a, err := r.Alias(t.Context(), acme, fraud, "champion"); err != nil || a.Version != 2 || a.Revision != 2 {
		t.Errorf("champion: %+v, %v", a, err)
	}
	wantClean(t, r)
}

// A collector, a setter at work, another who sets the alias, and another collector: each
// alias is taken back once, and what follows is nobody's to take back.
func TestCollectAliasesBesideOthers(t *testing.T) {
	setUp := func(t *testing.T) (blob.Bucket, *registry.Registry) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		for range 3 {
			mustPublish(t, r, registry.Publication{}, "x")
		}
		set(t, r, 1)
		return bucket, r
	}
	want := func(t *testing.T, r *registry.Registry, version registry.Number, revision int64) {
		t.Helper()
		if a, err := r.Alias(t.Context(), acme, fraud, "champion"); err != nil || a.Version != version || a.Revision != revision {
			t.Errorf("champion: %+v, %v; want version %d, revision %d", a, err, version, revision)
		}
		wantClean(t, r)
	}
	overtaken := func(t *testing.T, bucket blob.Bucket, happen func() error) {
		t.Helper()
		sweeping := &hooked{Bucket: bucket, before: on(blobtest.Put, "/champion.json", 1, happen)}
		if report := collect(t, open(t, sweeping), registry.CollectOptions{}); report.Aliases != 0 {
			t.Errorf("the pass: %+v", report)
		}
	}
	t.Run("its setter looks again after the pass", func(t *testing.T) {
		bucket, r := setUp(t)
		setting := &hooked{Bucket: bucket, before: on(blobtest.Put, "/champion.json", 1, deletion(t, r, "acme/fraud:2"))}
		setting.after = on(blobtest.Put, "/champion.json", 1, func() error {
			if report := collect(t, r, registry.CollectOptions{}); report.Aliases != 1 {
				t.Errorf("the pass: %+v", report)
			}
			return nil
		})
		_, err := open(t, setting).SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 2})
		wantErr(t, "set", err, registry.ErrVersionDeleted)
		want(t, r, 1, 3)
	})
	t.Run("its setter takes it back during the pass", func(t *testing.T) {
		bucket, r := setUp(t)
		written, swapping, told := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		setting := &hooked{Bucket: bucket, before: on(blobtest.Put, "/champion.json", 1, deletion(t, r, "acme/fraud:2"))}
		setting.after = on(blobtest.Put, "/champion.json", 1, func() error {
			close(written)
			<-swapping
			return nil
		})
		setter := open(t, setting)
		go func() {
			_, err := setter.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 2})
			told <- err
		}()
		<-written
		overtaken(t, bucket, func() error {
			close(swapping)
			wantErr(t, "set", <-told, registry.ErrVersionDeleted)
			return nil
		})
		want(t, r, 1, 3)
	})
	t.Run("another sets it", func(t *testing.T) {
		bucket, r := setUp(t)
		leftBehind(t, bucket, 2, deletion(t, r, "acme/fraud:2"))
		overtaken(t, bucket, func() error { set(t, r, 3); return nil })
		want(t, r, 3, 3)
	})
	t.Run("another collector", func(t *testing.T) {
		bucket, r := setUp(t)
		leftBehind(t, bucket, 2, deletion(t, r, "acme/fraud:2"))
		overtaken(t, bucket, func() error {
			if report := collect(t, r, registry.CollectOptions{}); report.Aliases != 1 {
				t.Errorf("the other pass: %+v", report)
			}
			return nil
		})
		want(t, r, 1, 3)
	})
}

// A pass that fails at any of its calls leaves an alias as it was or as it is to be, and
// the next pass ends the same.
func TestCollectAliasCallByCall(t *testing.T) {
	for _, fault := range []blobtest.Fault{blobtest.Before, blobtest.Lost, blobtest.Late, blobtest.Cut, blobtest.Flip} {
		for nth, fired := 1, true; fired; nth++ {
			t.Run(fmt.Sprintf("%s/%d", fault, nth), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bucket := blob.NewMemory()
					r := open(t, bucket)
					for range 2 {
						mustPublish(t, r, registry.Publication{}, "x")
					}
					set(t, r, 1)
					leftBehind(t, bucket, 2, deletion(t, r, "acme/fraud:2"))
					faulty := blobtest.NewFaulty(bucket, 1)
					sweeping := open(t, faulty)
					faulty.SetRules(blobtest.Rule{Fault: fault, Nth: nth, Delay: time.Minute})
					report, err := sweeping.Collect(t.Context(), registry.CollectOptions{})
					if fired = len(faulty.Fired()) > 0; err == nil && report.Aliases != 1 {
						t.Errorf("the pass: %+v", report)
					}
					faulty.Wait()
					collect(t, r, registry.CollectOptions{})
					if a, err := r.Alias(t.Context(), acme, fraud, "champion"); err != nil || a.Version != 1 || a.Revision != 3 {
						t.Errorf("champion: %+v, %v", a, err)
					}
					wantSound(t, r)
				})
			})
		}
	}
}

// However short the retention, word of a deletion outlasts whoever may set an alias to the
// version; and no alias that cannot be read is forgotten.
func TestWordOfDeletionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		for range 3 {
			mustPublish(t, r, registry.Publication{}, "x")
		}
		set(t, r, 1)
		o := registry.CollectOptions{Retention: time.Second}
		leftBehind(t, bucket, 2, func() error {
			if err := deletion(t, r, "acme/fraud:2")(); err != nil {
				return err
			}
			time.Sleep(2 * time.Second)
			if report := collect(t, r, o); report.Versions != 1 || report.Objects != 1 {
				t.Errorf("the files alone were to go: %+v", report)
			}
			return nil
		})
		key := "acme/fraud/_aliases/champion.json"
		good := object(t, bucket, key)
		put(t, bucket, key, good[1:])
		time.Sleep(2 * time.Hour)
		report, err := r.Collect(t.Context(), o)
		wantErr(t, "a pass over a damaged alias", err, registry.ErrCorrupt)
		if !strings.Contains(err.Error(), key) || report.Aliases+report.Versions+report.Objects != 0 {
			t.Errorf("%v; %+v", err, report)
		}
		put(t, bucket, key, good)
		if report := collect(t, r, o); report.Aliases != 1 || report.Versions != 0 || report.Objects != 1 {
			t.Errorf("afterwards: %+v", report)
		}
		if left := keys(t, bucket, "acme/fraud/_trash/"); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		wantClean(t, r)
	})
}

// What no pass of the collector mends is not said to be.
func TestCheckAdvisesOnAliases(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	mustPublish(t, r, registry.Publication{Aliases: []registry.Alias{"champion"}}, "x")
	put(t, bucket, "acme/fraud/_versions/999999/998-1.tombstone.json", []byte("{}"))
	report, err := r.Check(t.Context(), registry.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		if strings.HasSuffix(p.Key, "/champion.json") {
			if p.Advice != "set it to another version, or delete it" {
				t.Errorf("got %+v", p)
			}
			return
		}
	}
	t.Errorf("got %+v, want champion", report.Problems)
}
