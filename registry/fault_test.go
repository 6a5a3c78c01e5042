package registry_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// action is one change, and what repeating it may answer once it is done.
type action struct {
	name string
	do   func(ctx context.Context, r *registry.Registry) error
	done []error // answers to a repeat that say: it is done already
}

func actions(t *testing.T) []action {
	signed := bundle(t, "P-256.pem", "two")
	p := registry.Publication{Tenant: acme, Model: fraud, Label: "new", Key: "key", Aliases: []registry.Alias{"champion"}}
	return []action{
		{"publish", func(ctx context.Context, r *registry.Registry) error {
			_, err := publish(ctx, r, p, "new")
			return err
		}, nil},
		{"publish to a new model", func(ctx context.Context, r *registry.Registry) error {
			_, err := publish(ctx, r, registry.Publication{Tenant: acme, Model: "new", Key: "key"}, "new")
			return err
		}, nil},
		{"set alias", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.SetAlias(ctx, acme, fraud, "champion", registry.AliasChange{To: 1})
			return err
		}, nil},
		{"delete alias", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.DeleteAlias(ctx, acme, fraud, "stable", registry.AliasChange{})
			return err
		}, []error{registry.ErrAliasNotFound}},
		{"describe", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.UpdateVersion(ctx, registry.Ref{Tenant: acme, Model: fraud, Selector: registry.Selector{Number: 2}}, registry.Change{Description: pointer("d")})
			return err
		}, nil},
		{"delete version", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.DeleteVersion(ctx, registry.Ref{Tenant: acme, Model: fraud, Selector: registry.Selector{Number: 2}}, registry.Deletion{})
			return err
		}, []error{registry.ErrVersionDeleted}},
		{"delete model", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.DeleteModel(ctx, acme, "old", registry.Deletion{})
			return err
		}, []error{registry.ErrModelNotFound}},
		{"sign", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.Sign(ctx, registry.Ref{Tenant: acme, Model: fraud, Selector: registry.Selector{Number: 2}}, signed)
			return err
		}, nil},
		{"revoke key", func(ctx context.Context, r *registry.Registry) error {
			page, err := r.Keys(ctx, registry.KeyQuery{Tenant: acme})
			if err == nil {
				_, err = r.RevokeKey(ctx, registry.Revocation{ID: page.Keys[0].ID, Tenant: acme})
			}
			return err
		}, nil},
		{"delete tenant", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.DeleteTenant(ctx, "empty", registry.Change{})
			return err
		}, []error{registry.ErrTenantNotFound}},
		{"restore", func(ctx context.Context, r *registry.Registry) error {
			_, err := r.Copy(ctx, registry.Ref{Tenant: acme, Model: fraud, Selector: registry.Selector{Number: 1}}, registry.Publication{Tenant: acme, Model: fraud, Key: "restore"})
			return err
		}, nil},
	}
}

// Each call of each change goes wrong in turn, in each way. Whatever the answer was:
// what was there before is untouched, nothing half-done is seen, an error that leaves no
// doubt means that nothing was changed, and a repeat with the same key, on another node,
// leads to the same end as if nothing had happened.
func TestEveryCallFailsOnce(t *testing.T) {
	tried, unsure := 0, 0
	for _, fault := range []blobtest.Fault{blobtest.Before, blobtest.Lost, blobtest.Late, blobtest.Cut, blobtest.Flip} {
		for _, a := range actions(t) {
			for nth := 1; ; nth++ {
				fired := false
				t.Run(fmt.Sprintf("%s/%s/%d", a.name, fault, nth), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var err error
						fired, err = failOnce(t, a, blobtest.Rule{Fault: fault, Nth: nth, Delay: time.Minute})
						if errors.Is(err, registry.ErrOutcomeUnknown) {
							unsure++
						}
					})
				})
				if !fired {
					if nth == 1 && fault != blobtest.Cut && fault != blobtest.Flip {
						t.Errorf("%s made no call", a.name)
					}
					break
				}
				tried++
			}
		}
	}
	t.Logf("%d faults, one at a time; %d left the outcome unknown until a repeat", tried, unsure)
}

// setUp fills a bucket with what the actions change.
func setUp(t *testing.T, bucket blob.Bucket) *registry.Registry {
	t.Helper()
	r := open(t, bucket)
	mustPublish(t, r, registry.Publication{Label: "v1"}, "one")
	mustPublish(t, r, registry.Publication{Label: "v2"}, "two")
	mustPublish(t, r, registry.Publication{Tenant: acme, Model: "old"}, "old")
	if _, err := r.SetAlias(t.Context(), acme, fraud, "stable", registry.AliasChange{To: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateTenant(t.Context(), "empty", registry.Change{Description: pointer("e")}); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []registry.Tenant{acme, "empty"} {
		if _, _, err := r.CreateKey(t.Context(), registry.NewKey{Tenant: tenant, Role: registry.Writer}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func failOnce(t *testing.T, a action, rule blobtest.Rule) (fired bool, err error) {
	bucket := blob.NewMemory()
	first := setUp(t, bucket)
	wantClean(t, first)
	before := describe(t, first)

	faulty := blobtest.NewFaulty(bucket, 1)
	r := open(t, faulty)
	faulty.SetRules(rule)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = a.do(ctx, r)
	fired = len(faulty.Fired()) > 0
	if !fired && err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	wantUntouched(t, bucket)
	if closeErr := r.Close(t.Context()); closeErr != nil {
		t.Fatal(closeErr)
	}
	faulty.Wait()

	again := open(t, bucket)
	if after := describe(t, again); err != nil && !errors.Is(err, registry.ErrOutcomeUnknown) && after != before {
		t.Fatalf("the answer was %v, and yet there is\n%swhere there was\n%s", err, after, before)
	}
	if repeatErr := a.do(t.Context(), again); repeatErr != nil && !isOneOf(repeatErr, a.done...) {
		t.Fatalf("the first try said %v, the repeat %v", err, repeatErr)
	}
	wantUntouched(t, bucket)
	wantEnd(t, again, a)
	wantSound(t, again)
	return fired, err
}

// wantUntouched reads what no action changes.
func wantUntouched(t *testing.T, bucket blob.Bucket) {
	t.Helper()
	r := open(t, bucket)
	v := resolve(t, r, "acme/fraud:v1")
	if got, err := content(t.Context(), r, v, "model.joblib", blob.Range{}); err != nil || got != "one" || v.Version != 1 {
		t.Fatalf("version 1: got %q, %v", got, err)
	}
}

// wantEnd compares the end with that of the same action on a sound bucket.
func wantEnd(t *testing.T, r *registry.Registry, a action) {
	t.Helper()
	ideal := setUp(t, blob.NewMemory())
	if err := a.do(t.Context(), ideal); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, r), describe(t, ideal); got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
}

// describe is a bucket's content as a user sees it.
func describe(t *testing.T, r *registry.Registry) string {
	t.Helper()
	var b strings.Builder
	models, err := r.Models(t.Context(), acme, registry.ModelQuery{Latest: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range models.Models {
		if m.Latest == nil {
			continue // all that a first publish leaves that came to nothing
		}
		fmt.Fprintf(&b, "%s latest=%v aliases=%v\n", m.Model, *m.Latest, m.Aliases)
		page, err := r.Versions(t.Context(), acme, m.Model, registry.VersionQuery{Deleted: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			label := registry.Label("")
			if v.Label != nil {
				label = *v.Label
			}
			fmt.Fprintf(&b, "  %d %q %s %q %v %v\n", v.Version, label, v.State, v.Description, v.Aliases, v.Files)
		}
	}
	tenants, err := r.Tenants(t.Context(), registry.TenantQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range tenants.Tenants {
		fmt.Fprintf(&b, "tenant %s %q\n", info.Tenant, info.Description)
	}
	for _, tenant := range []registry.Tenant{acme, "empty"} {
		page, err := r.Keys(t.Context(), registry.KeyQuery{Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			fmt.Fprintf(&b, "key of %s: %s %s\n", *k.Tenant, k.Role, k.State)
		}
	}
	return b.String()
}

// wantSound: nothing is wrong in the bucket but what the collector will take.
func wantSound(t *testing.T, r *registry.Registry) {
	t.Helper()
	wantClean(t, r)
	time.Sleep(25 * time.Hour)
	collect(t, r, registry.CollectOptions{})
	time.Sleep(3 * time.Hour)
	collect(t, r, registry.CollectOptions{})
	if report := wantClean(t, r); report.Uploads != 0 {
		t.Errorf("the collector left %d uploads", report.Uploads)
	}
}

// A store that can't be reached at all is an outcome that is known: nothing was sent.
// One that does not answer is not, and neither keeps the caller for ever.
func TestStoreAway(t *testing.T) {
	notSent := fmt.Errorf("%w: %w", blob.ErrUnavailable, blob.ErrNotSent)
	for name, test := range map[string]struct {
		rule blobtest.Rule
		want error
		not  error
	}{
		"not reached":        {blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Put, Err: notSent}, blob.ErrUnavailable, registry.ErrOutcomeUnknown},
		"commit not reached": {blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Put, Key: regexp.MustCompile(`/_versions/`), Err: notSent}, blob.ErrUnavailable, registry.ErrOutcomeUnknown},
		"no answer":          {blobtest.Rule{Fault: blobtest.Before}, blob.ErrUnavailable, registry.ErrOutcomeUnknown},
		"no answer to the commit, nor to reads of it": {blobtest.Rule{Fault: blobtest.Before, Key: regexp.MustCompile(`/_versions/.*json$`)}, registry.ErrOutcomeUnknown, nil},
		"no answer to an alias":                       {blobtest.Rule{Fault: blobtest.Before, Key: regexp.MustCompile(`/_aliases/champion`)}, blob.ErrUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket := blob.NewMemory()
				setUp(t, bucket)
				faulty := blobtest.NewFaulty(bucket, 1)
				r := open(t, faulty)
				faulty.SetRules(test.rule)
				began := time.Now()
				_, err := publish(t.Context(), r, registry.Publication{Tenant: acme, Model: fraud, Aliases: []registry.Alias{"champion"}}, "x")
				wantErr(t, "publish", err, test.want)
				if test.not != nil && errors.Is(err, test.not) {
					t.Errorf("publish: got %v, which says that it may have been saved", err)
				}
				if unknown, ok := errors.AsType[*registry.OutcomeUnknown](err); ok && unknown.Key == "" {
					t.Errorf("no key to repeat with: %v", err)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("the answer took %v", took)
				}
			})
		})
	}
}
