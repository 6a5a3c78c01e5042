package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]*registry.Limit{
		"requests_per_second=100":            pointer(registry.Limit(100)),
		" stored_bytes = 10 GiB ":            pointer(registry.Limit(10 << 30)),
		"upload_bytes=1TiB":                  pointer(registry.Limit(1 << 40)),
		"versions=0":                         pointer(registry.Limit(0)),
		"uploads=unlimited":                  pointer(registry.Unlimited),
		"cached_bytes=default":               nil,
		"events_per_second=9007199254740991": pointer(registry.Limit(1<<53 - 1)),
	} {
		name, limit, err := registry.ParseLimit(text)
		if err != nil || !cmp.Equal(limit, want) || !strings.HasPrefix(strings.TrimSpace(text), string(name)) {
			t.Errorf("%q is %s %v, %v; want %v", text, name, limit, err, want)
		}
	}
	for text, says := range map[string]string{
		"":                              "name=value",
		"requests_per_second":           "name=value",
		"rate=5":                        `no limit "rate"; there are requests_per_second, events_per_second`,
		"Versions=5":                    "no limit",
		"versions=-1":                   "whole number",
		"versions=1.5":                  "whole number",
		"versions=":                     "whole number",
		"versions=1KiB":                 "unlimited, or default",
		"stored_bytes=1PiB":             "KiB, MiB, GiB or TiB",
		"stored_bytes=8192TiB":          "from 0 to 9007199254740991",
		"versions=9007199254740992":     "from 0 to 9007199254740991",
		"versions=99999999999999999999": "whole number",
		"versions=" + strings.Repeat("9", 10_000): "u2026",
	} {
		_, _, err := registry.ParseLimit(text)
		if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), says) || len(err.Error()) > 500 {
			t.Errorf("%.40q: %.600v; want %q", text, err, says)
		}
	}
}

func TestLimitsInJSON(t *testing.T) {
	var limits registry.Limits
	if err := json.Unmarshal([]byte(`{"versions":7,"uploads":"unlimited","of_a_newer_program":3}`), &limits); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(limits)
	if want := `{"of_a_newer_program":3,"uploads":"unlimited","versions":7}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", text, err, want)
	}
	for _, text := range []string{`-1`, `1.5`, `1e3`, `"7"`, `""`, `true`, `[]`, `9007199254740992`} {
		var l registry.Limit
		if err := json.Unmarshal([]byte(text), &l); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%s is %v, %v", text, l, err)
		}
	}
}

// setLimits changes limits of acme; what is null goes.
func setLimits(t testing.TB, r *registry.Registry, limits map[registry.LimitName]*registry.Limit) *registry.TenantInfo {
	t.Helper()
	info, err := r.UpdateTenant(t.Context(), acme, registry.Change{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func inForce(t testing.TB, r *registry.Registry, tenant registry.Tenant) registry.Limits {
	t.Helper()
	limits, err := r.Limits(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	return limits
}

// TestLimitsOfATenant: its own count before the node's, at once where they are set and
// soon elsewhere; they outlive other changes, and a tenant without any costs nothing.
func TestLimitsOfATenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blobtest.NewFaulty(blob.NewMemory(), 1)
		node := func() *registry.Registry {
			r, err := registry.Open(t.Context(), bucket, registry.Options{Limits: registry.Limits{registry.LimitUploads: 4, registry.LimitVersions: 100}})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		here, there := node(), node()
		if got, want := inForce(t, there, acme), (registry.Limits{registry.LimitUploads: 4, registry.LimitVersions: 100}); !cmp.Equal(got, want) {
			t.Errorf("of a tenant that is not there: %s", cmp.Diff(want, got))
		}
		info := setLimits(t, here, map[registry.LimitName]*registry.Limit{registry.LimitVersions: pointer(registry.Unlimited), registry.LimitEvents: pointer(registry.Limit(0))})
		own := registry.Limits{registry.LimitVersions: registry.Unlimited, registry.LimitEvents: 0}
		if !cmp.Equal(info.Limits, own) {
			t.Errorf("set are %v", info.Limits)
		}
		want := registry.Limits{registry.LimitVersions: registry.Unlimited, registry.LimitEvents: 0, registry.LimitUploads: 4}
		if got := inForce(t, here, acme); !cmp.Equal(got, want) {
			t.Errorf("in force at once: %s", cmp.Diff(want, got))
		}
		calls := bucket.Calls()
		time.Sleep(9 * time.Second)
		inForce(t, here, acme)
		if n := bucket.Calls() - calls; n != 0 {
			t.Errorf("%d calls of the bucket within ten seconds", n)
		}
		time.Sleep(time.Second)
		if _, fresh := there.KnownLimits(acme); fresh {
			t.Error("known for more than ten seconds, and taken for fresh")
		}
		if got := inForce(t, there, acme); !cmp.Equal(got, want) {
			t.Errorf("on another node after ten seconds: %s", cmp.Diff(want, got))
		}
		if info, err := there.UpdateTenant(t.Context(), acme, registry.Change{Description: pointer("said")}); err != nil || !cmp.Equal(info.Limits, own) {
			t.Errorf("described: %v, %v", info, err)
		}
		info = setLimits(t, there, map[registry.LimitName]*registry.Limit{registry.LimitVersions: nil, registry.LimitUploads: nil})
		if want := (registry.Limits{registry.LimitEvents: 0}); !cmp.Equal(info.Limits, want) {
			t.Errorf("one taken away: %v", info.Limits)
		}
		_, err := here.UpdateTenant(t.Context(), acme, registry.Change{Limits: map[registry.LimitName]*registry.Limit{"rate": nil}})
		if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), "requests_per_second") {
			t.Errorf("an unknown one: %v", err)
		}

		time.Sleep(10 * time.Second)
		bucket.SetRules(blobtest.Rule{Fault: blobtest.Before, Err: blob.ErrUnavailable})
		if _, err := here.Limits(t.Context(), acme); !errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("asked while the store is away: %v", err)
		}
		if limits, fresh := here.KnownLimits(acme); fresh || limits.Of(registry.LimitEvents) != 0 {
			t.Errorf("known while the store is away: %v, %v", limits, fresh)
		}
		bucket.SetRules()
		for _, r := range []*registry.Registry{here, there} {
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
}
