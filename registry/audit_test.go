package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// asCaller makes the changes of a context those of somebody.
func asCaller(ctx context.Context, name string) context.Context {
	return registry.WithCaller(ctx, registry.Caller{Name: name, Request: "request-of-" + name, Client: "192.0.2.1", Code: func(error) string { return "code" }})
}

// node opens a registry within a bubble.
func node(t *testing.T, bucket blob.Bucket) *registry.Registry {
	t.Helper()
	r, err := registry.Open(t.Context(), bucket, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// auditOf reads a whole log by pages of a few.
func auditOf(t *testing.T, r *registry.Registry, q registry.AuditQuery) (records []registry.AuditRecord) {
	t.Helper()
	for q.Limit = 3; ; {
		page, err := r.Audit(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, page.Records...)
		if page.Next == "" {
			return records
		}
		if q.After, err = registry.ParseAuditCursor(string(page.Next)); err != nil {
			t.Fatal(err)
		}
	}
}

func checked(t *testing.T, r *registry.Registry) *registry.CheckReport {
	t.Helper()
	report, err := r.Check(t.Context(), registry.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// changes are one of each kind, in an order in which all succeed.
func changes(t *testing.T, ctx context.Context, r *registry.Registry) (made []registry.AuditAction) {
	t.Helper()
	text := "text"
	do := func(action registry.AuditAction, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		made = append(made, action)
	}
	_, err := r.UpdateTenant(ctx, acme, registry.Change{Description: &text})
	do(registry.AuditTenantUpdate, err)
	_, err = publish(ctx, r, registry.Publication{Tenant: acme, Model: fraud, Label: "v1", Aliases: []registry.Alias{"stable"}}, "one")
	do(registry.AuditPublish, err)
	_, err = r.Copy(ctx, ref(t, "acme/fraud:1"), registry.Publication{Tenant: acme, Model: fraud})
	do(registry.AuditCopy, err)
	_, err = r.UpdateVersion(ctx, ref(t, "acme/fraud:v1"), registry.Change{Description: &text})
	do(registry.AuditVersionUpdate, err)
	_, err = r.SetAlias(ctx, acme, fraud, "champion", registry.AliasChange{To: 2})
	do(registry.AuditAliasSet, err)
	for _, alias := range []registry.Alias{"champion", "stable"} {
		_, err = r.DeleteAlias(ctx, acme, fraud, alias, registry.AliasChange{})
		do(registry.AuditAliasDelete, err)
	}
	_, err = r.DeleteVersion(ctx, ref(t, "acme/fraud:1"), registry.Deletion{})
	do(registry.AuditVersionDelete, err)
	_, err = r.UpdateModel(ctx, acme, fraud, registry.Change{Description: &text})
	do(registry.AuditModelUpdate, err)
	_, err = r.DeleteModel(ctx, acme, fraud, registry.Deletion{})
	do(registry.AuditModelDelete, err)
	key, _, err := r.CreateKey(ctx, registry.NewKey{Tenant: acme, Role: registry.Reader})
	do(registry.AuditKeyCreate, err)
	_, err = r.RevokeKey(ctx, registry.Revocation{Tenant: acme, ID: key.ID})
	do(registry.AuditKeyRevoke, err)
	_, err = r.DeleteTenant(ctx, acme, registry.Change{})
	do(registry.AuditTenantDelete, err)
	return made
}

// Each change has an intent and an end, and no change of the program's own has any.
func TestAuditOfEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := node(t, bucket)
		mustPublish(t, r, registry.Publication{Tenant: acme, Model: "own"}, "of the program's own")
		if _, err := r.DeleteModel(t.Context(), acme, "own", registry.Deletion{}); err != nil {
			t.Fatal(err)
		}
		made := changes(t, asCaller(t.Context(), "root"), r)
		time.Sleep(2 * time.Second)
		records := auditOf(t, r, registry.AuditQuery{Tenant: acme})
		ended := map[string]registry.AuditRecord{}
		n := len(made)
		for _, a := range records {
			if a.By != "root" || a.Request != "request-of-root" || a.Client != "192.0.2.1" || a.Tenant != acme || a.At.IsZero() {
				t.Errorf("%+v", a)
			}
			if a.Event != registry.AuditIntent {
				ended[a.ID] = a
				continue
			}
			n--
			if end := ended[a.ID]; end.Event != registry.AuditDone || end.Action != made[n] || a.Action != made[n] {
				t.Errorf("change %d, %s: intent %+v, end %+v", n, made[n], a, end)
			}
		}
		if n != 0 || len(records) != 2*len(made) {
			t.Errorf("%d records of %d changes", len(records), len(made))
		}
		if publish := auditOf(t, r, registry.AuditQuery{Tenant: acme, Event: registry.AuditDone, Action: registry.AuditPublish}); len(publish) != 1 ||
			publish[0].Version != 1 || publish[0].Label != "v1" || fmt.Sprint(publish[0].Aliases) != "[stable]" {
			t.Errorf("%+v", publish)
		}
		if copied := auditOf(t, r, registry.AuditQuery{Tenant: acme, Event: registry.AuditDone, Action: registry.AuditCopy}); len(copied) != 1 || copied[0].From != "acme/fraud:1" || copied[0].Version != 2 {
			t.Errorf("%+v", copied)
		}
		if report := checked(t, r); !report.OK || len(report.Open) != 0 {
			t.Errorf("%+v", report)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What failed, and what was refused; and the filters.
func TestAuditFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := node(t, blob.NewMemory())
		began := time.Now()
		for i, who := range []string{"key:a", "key:b"} {
			ctx := asCaller(t.Context(), who)
			if _, err := publish(ctx, r, registry.Publication{Tenant: acme, Model: registry.Model(fmt.Sprint("m", i)), Label: "v1"}, "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := publish(ctx, r, registry.Publication{Tenant: acme, Model: registry.Model(fmt.Sprint("m", i)), Label: "v1"}, "y"); !errors.Is(err, registry.ErrLabelTaken) {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		u, err := r.Begin(asCaller(t.Context(), "key:a"), registry.Publication{Tenant: acme, Model: "m0"})
		if err != nil {
			t.Fatal(err)
		}
		u.Abort()
		r.Refused(registry.AuditRecord{Tenant: acme, By: "key:c", Action: "alias.write", Code: strings.Repeat("é", 300), Count: 7})
		time.Sleep(2 * time.Second)
		for name, row := range map[string]struct {
			q    registry.AuditQuery
			want int
		}{
			"all":       {registry.AuditQuery{}, 11},
			"failed":    {registry.AuditQuery{Event: registry.AuditFailed}, 3},
			"by":        {registry.AuditQuery{By: "key:b"}, 4},
			"model":     {registry.AuditQuery{Model: "m0"}, 6},
			"since":     {registry.AuditQuery{Since: began.Add(30 * time.Minute)}, 7},
			"until":     {registry.AuditQuery{Until: began.Add(30 * time.Minute)}, 4},
			"between":   {registry.AuditQuery{Since: began.Add(30 * time.Minute), Until: began.Add(90 * time.Minute)}, 4},
			"never":     {registry.AuditQuery{Since: began.Add(30 * time.Hour)}, 0},
			"refused":   {registry.AuditQuery{Event: registry.AuditRefused}, 1},
			"both":      {registry.AuditQuery{Event: registry.AuditFailed, By: "key:a"}, 2},
			"no action": {registry.AuditQuery{Action: registry.AuditSign}, 0},
		} {
			row.q.Tenant = acme
			if got := auditOf(t, r, row.q); len(got) != row.want {
				t.Errorf("%s: %d records, want %d: %+v", name, len(got), row.want, got)
			}
		}
		if refused := auditOf(t, r, registry.AuditQuery{Tenant: acme, Event: registry.AuditRefused}); len(refused[0].Code) != 256 || refused[0].Count != 7 {
			t.Errorf("%+v", refused)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whoever comes first is written at once; who comes while that goes on shares the next
// batch; and ends wait for company without anybody waiting for them.
func TestAuditSharesBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := blob.NewMemory()
		var batches atomic.Int64
		slow := &parallelHook{Bucket: memory, before: func(operation, key string) {
			if operation == blobtest.Put && strings.Contains(key, "_audit/") {
				batches.Add(1)
				time.Sleep(100 * time.Millisecond)
			}
		}}
		r := node(t, slow)
		mustPublish(t, r, registry.Publication{}, "one")
		began := time.Now()
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				ctx := asCaller(t.Context(), "root")
				if _, err := r.SetAlias(ctx, acme, fraud, registry.Alias(fmt.Sprint("a", i)), registry.AliasChange{To: 1}); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Millisecond)
		}
		all.Wait()
		if took := time.Since(began); took > 250*time.Millisecond || batches.Load() > 3 {
			t.Errorf("50 changes at once took %v and %d batches", took, batches.Load())
		}
		time.Sleep(2 * time.Second)
		if batches.Load() > 4 {
			t.Errorf("with their ends they took %d batches", batches.Load())
		}
		if n := len(auditOf(t, r, registry.AuditQuery{Tenant: acme, Event: registry.AuditDone})); n != 50 {
			t.Errorf("%d ends", n)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// parallelHook acts before calls, any number at once.
type parallelHook struct {
	blob.Bucket
	before func(operation, key string)
}

func (b *parallelHook) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	b.before(blobtest.Put, key)
	return b.Bucket.Put(ctx, key, body, o)
}

// Without its intent nothing is changed; what was promised to be written down comes when
// the store is back, once, and in one chain.
func TestAuditWhileAway(t *testing.T) {
	for _, kind := range []string{"refused", "lost"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var away atomic.Bool
				fails := func(_, key string) error {
					if away.Load() && strings.Contains(key, "_audit/") {
						return blob.ErrUnavailable
					}
					return nil
				}
				bucket := &hooked{Bucket: blob.NewMemory(), before: fails}
				if kind == "lost" { // written, and not answered
					bucket.before, bucket.after = nil, fails
				}
				r := node(t, bucket)
				ctx := asCaller(t.Context(), "root")
				if _, err := publish(ctx, r, registry.Publication{Tenant: acme, Model: fraud}, "one"); err != nil {
					t.Fatal(err)
				}
				away.Store(true)
				for i := range 5 {
					if _, err := r.SetAlias(ctx, acme, fraud, "stable", registry.AliasChange{To: 1}); !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, registry.ErrOutcomeUnknown) {
						t.Errorf("change %d: %v", i, err)
					}
				}
				if _, err := publish(ctx, r, registry.Publication{Tenant: acme, Model: fraud}, "two"); !errors.Is(err, blob.ErrUnavailable) {
					t.Error(err)
				}
				if v, err := r.Version(t.Context(), ref(t, "acme/fraud")); err != nil || v.Version != 1 || len(v.Aliases) != 0 {
					t.Errorf("%+v, %v", v, err)
				}
				time.Sleep(10 * time.Minute)
				away.Store(false)
				time.Sleep(time.Minute)
				if _, err := r.SetAlias(ctx, acme, fraud, "stable", registry.AliasChange{To: 1}); err != nil {
					t.Error(err)
				}
				if err := r.Close(t.Context()); err != nil {
					t.Error(err)
				}
				report := checked(t, r)
				if !report.OK || len(report.Open) != 0 {
					t.Errorf("%+v", report)
				}
				if n := len(auditOf(t, r, registry.AuditQuery{Tenant: acme, Event: registry.AuditDone})); n != 2 {
					t.Errorf("%d changes are said to be made", n)
				}
				if n := len(auditOf(t, r, registry.AuditQuery{Tenant: acme, Event: registry.AuditFailed})); n != 6 {
					t.Errorf("%d changes are said to have failed", n)
				}
			})
		})
	}
}

// A store that is away for long costs no more memory than a node sets aside.
func TestAuditIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		bucket := &hooked{Bucket: blob.NewMemory(), before: func(_, key string) error {
			if away.Load() && strings.Contains(key, "_audit/") {
				return blob.ErrUnavailable
			}
			return nil
		}}
		r := node(t, bucket)
		const n = 35_000
		long := strings.Repeat("x", 256)
		for range n {
			r.Refused(registry.AuditRecord{Tenant: acme, By: long, Request: long, Client: long, Code: long, Count: 1})
		}
		away.Store(false)
		time.Sleep(time.Hour)
		kept := 0
		for q := (registry.AuditQuery{Tenant: acme, Limit: 1000}); ; {
			page, err := r.Audit(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			kept += len(page.Records)
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		if kept < 20_000 || kept > 40_000 {
			t.Errorf("of %d records %d were kept", n, kept)
		}
		if err := r.Close(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(n-kept)) {
			t.Errorf("closed with %v, and %d were lost", err, n-kept)
		}
		if report := checked(t, r); !report.OK {
			t.Errorf("%+v", report)
		}
	})
}
