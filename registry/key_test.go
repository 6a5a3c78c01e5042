package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
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

var tokenForm = regexp.MustCompile(`^mbk_[srwpoa][0-9a-hjkmnp-tv-z]{10}_[A-Za-z0-9_-]{43}_[0-9A-Za-z]{6}$`)

func mustCreateKey(t testing.TB, r *registry.Registry, k registry.NewKey) (*registry.Key, string) {
	t.Helper()
	key, token, err := r.CreateKey(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return key, token.Reveal()
}

func mustParseToken(t testing.TB, text string) registry.Token {
	t.Helper()
	token, ok := registry.ParseToken(text)
	if !ok {
		t.Fatalf("%s is no token", text)
	}
	return token
}

// everything is all bytes of a bucket, keys included.
func everything(t testing.TB, b blob.Bucket) string {
	t.Helper()
	var all strings.Builder
	for _, key := range keys(t, b, "") {
		body, _, err := b.Get(t.Context(), key, blob.Range{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, key)
		if _, err := io.Copy(&all, body); err != nil {
			t.Fatal(err)
		}
		body.Close()
	}
	return all.String()
}

func TestKeys(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	end := time.Now().Add(time.Hour)
	tokens := map[string]*registry.Key{}
	for _, role := range registry.Roles() {
		n := registry.NewKey{Tenant: acme, Role: role, Note: "for " + string(role), By: "root", ExpiresAt: &end}
		if role == registry.Operator {
			n.Tenant = ""
		}
		key, token := mustCreateKey(t, r, n)
		if !tokenForm.MatchString(token) || token[4] != role[0] || token[5:15] != string(key.ID) {
			t.Errorf("the token of %s %s is %s", role, key.ID, token)
		}
		tokens[token] = key
	}
	for token, made := range tokens {
		key, err := open(t, bucket).Key(t.Context(), made.ID)
		if err != nil || key.Role != made.Role || key.CreatedBy != "root" || key.State != registry.KeyActive || key.ExpiresAt.Unix() != end.Unix() {
			t.Fatalf("%+v, %v", key, err)
		}
		for other := range tokens {
			parsed := mustParseToken(t, other)
			if key.Opens(parsed) != (other == token) {
				t.Errorf("token %s opens key %s: %v", other, key.ID, key.Opens(parsed))
			}
		}
		if (*registry.Key)(nil).Opens(mustParseToken(t, token)) {
			t.Error("a token opens no key at all")
		}
		// The secret is nowhere in the bucket, whole or in its parts.
		for _, part := range []string{token, token[16:59], token[60:]} {
			if strings.Contains(everything(t, bucket), part) {
				t.Errorf("the bucket holds %s of a token", part)
			}
		}
	}
	page, err := r.Keys(t.Context(), registry.KeyQuery{Tenant: acme})
	if err != nil || len(page.Keys) != 5 || page.Next != "" {
		t.Errorf("keys of acme: %d, %v", len(page.Keys), err)
	}
	page, err = r.Keys(t.Context(), registry.KeyQuery{})
	if err != nil || len(page.Keys) != 1 || page.Keys[0].Role != registry.Operator || page.Keys[0].Tenant != nil {
		t.Errorf("keys for all: %v, %v", page.Keys, err)
	}
	wantClean(t, r)
}

func TestNewKeysAreLookedAt(t *testing.T) {
	r := open(t, blob.NewMemory())
	past := time.Now().Add(-time.Second)
	for name, test := range map[string]struct {
		key  registry.NewKey
		want error
	}{
		"no role":              {registry.NewKey{Tenant: acme}, registry.ErrInvalid},
		"unknown role":         {registry.NewKey{Tenant: acme, Role: "auditor"}, registry.ErrInvalid},
		"operator of a tenant": {registry.NewKey{Tenant: acme, Role: registry.Operator}, registry.ErrInvalid},
		"over already":         {registry.NewKey{Tenant: acme, Role: registry.Reader, ExpiresAt: &past}, registry.ErrInvalid},
		"long note":            {registry.NewKey{Tenant: acme, Role: registry.Reader, Note: strings.Repeat("x", 1025)}, registry.ErrTooLarge},
	} {
		if _, _, err := r.CreateKey(t.Context(), test.key); !isOneOf(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if page, err := r.Keys(t.Context(), registry.KeyQuery{Tenant: acme}); err != nil || len(page.Keys) > 0 {
		t.Errorf("%v %v", page, err)
	}
}

func TestRevokeKey(t *testing.T) {
	bucket := blob.NewMemory()
	r, other := open(t, bucket), open(t, bucket)
	key, token := mustCreateKey(t, r, registry.NewKey{Tenant: acme, Role: registry.Writer})
	before, err := other.KeyEpoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []registry.Tenant{"evil", "acm"} {
		_, err := r.RevokeKey(t.Context(), registry.Revocation{ID: key.ID, Tenant: tenant})
		wantErr(t, "revoke as another tenant", err, registry.ErrKeyNotFound)
	}
	_, err = r.RevokeKey(t.Context(), registry.Revocation{ID: "0000000000", Tenant: acme})
	wantErr(t, "revoke what is not there", err, registry.ErrKeyNotFound)
	revoked, err := r.RevokeKey(t.Context(), registry.Revocation{ID: key.ID, Tenant: acme, By: "boss"})
	if err != nil || revoked.State != registry.KeyRevoked || revoked.RevokedBy != "boss" || revoked.RevokedAt == nil {
		t.Fatalf("%+v, %v", revoked, err)
	}
	again, err := other.RevokeKey(t.Context(), registry.Revocation{ID: key.ID, By: "somebody"})
	if err != nil || again.RevokedBy != "boss" || !again.RevokedAt.Equal(*revoked.RevokedAt) {
		t.Errorf("revoked a second time: %+v, %v", again, err)
	}
	after, err := other.KeyEpoch(t.Context())
	if err != nil || after <= before {
		t.Errorf("the epoch was %d and is %d, %v", before, after, err)
	}
	if !again.Opens(mustParseToken(t, token)) {
		t.Error("a revoked key does not know its token any more")
	}
	_, err = r.Key(t.Context(), "0000000000")
	wantErr(t, "read what is not there", err, registry.ErrKeyNotFound)
	wantClean(t, r)
}

func TestKeyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, blob.NewMemory())
		end := time.Now().Add(time.Hour)
		key, _ := mustCreateKey(t, r, registry.NewKey{Tenant: acme, Role: registry.Reader, ExpiresAt: &end})
		for _, at := range []struct {
			after time.Duration
			state string
		}{{0, registry.KeyActive}, {time.Hour, registry.KeyActive}, {time.Hour + 61*time.Second, registry.KeyExpired}} {
			time.Sleep(time.Until(end.Add(at.after - time.Hour)))
			now, err := r.Key(t.Context(), key.ID)
			if err != nil || now.State != at.state {
				t.Errorf("after %v: %s, %v", at.after, now.State, err)
			}
		}
	})
}

func TestKeyUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := blob.NewMemory()
		r := open(t, bucket)
		key, _ := mustCreateKey(t, r, registry.NewKey{Tenant: acme, Role: registry.Reader})
		used := func() *time.Time {
			t.Helper()
			page, err := r.Keys(t.Context(), registry.KeyQuery{Tenant: acme})
			if err != nil || len(page.Keys) != 1 {
				t.Fatal(page, err)
			}
			return page.Keys[0].LastUsedAt
		}
		if at := used(); at != nil {
			t.Errorf("used at %v, never was", at)
		}
		for range 2 {
			time.Sleep(time.Minute)
			if err := r.NoteKeyUse(t.Context(), key.ID); err != nil {
				t.Fatal(err)
			}
			if at := used(); at == nil || !at.Equal(time.Now()) {
				t.Errorf("used at %v, was at %v", at, time.Now())
			}
		}
		count := len(keys(t, bucket, ""))
		reader, err := registry.Open(t.Context(), bucket, registry.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := reader.NoteKeyUse(t.Context(), key.ID); err != nil || len(keys(t, bucket, "")) != count || used().Equal(time.Now()) {
			t.Errorf("a node that only reads wrote: %v", err)
		}
		wantClean(t, r)
	})
}

func TestKeyPages(t *testing.T) {
	r := open(t, blob.NewMemory())
	want := map[registry.KeyID]bool{}
	for range 25 {
		key, _ := mustCreateKey(t, r, registry.NewKey{Tenant: acme, Role: registry.Reader})
		want[key.ID] = true
		mustCreateKey(t, r, registry.NewKey{Tenant: "acme-2", Role: registry.Reader})
		mustCreateKey(t, r, registry.NewKey{Role: registry.Reader})
	}
	got := map[registry.KeyID]bool{}
	for q := (registry.KeyQuery{Tenant: acme, Limit: 4}); ; {
		page, err := r.Keys(t.Context(), q)
		if err != nil || len(page.Keys) > 4 {
			t.Fatal(page, err)
		}
		for _, k := range page.Keys {
			got[k.ID] = true
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys listed, want %d", len(got), len(want))
	}
	for id := range got {
		if !want[id] {
			t.Errorf("%s is none of acme's", id)
		}
	}
}

// Each call of making a key goes wrong in turn. Whatever the answer: no key works that
// is not listed, what was handed out works, and check finds nothing wrong.
func TestCreateKeyFails(t *testing.T) {
	for _, fault := range []blobtest.Fault{blobtest.Before, blobtest.Lost, blobtest.Late} {
		for nth := 1; ; nth++ {
			fired := false
			synctest.Test(t, func(t *testing.T) {
				bucket := blob.NewMemory()
				faulty := blobtest.NewFaulty(bucket, 1)
				r := open(t, faulty)
				faulty.SetRules(blobtest.Rule{Fault: fault, Nth: nth, Delay: time.Minute})
				key, token, err := r.CreateKey(t.Context(), registry.NewKey{Tenant: acme, Role: registry.Writer})
				fired = len(faulty.Fired()) > 0
				faulty.Wait()
				r = open(t, bucket)
				page, listErr := r.Keys(t.Context(), registry.KeyQuery{Tenant: acme})
				if listErr != nil {
					t.Fatal(listErr)
				}
				if err == nil && (len(page.Keys) != 1 || page.Keys[0].ID != key.ID || !page.Keys[0].Opens(mustParseToken(t, token.Reveal()))) {
					t.Errorf("%s %d: made %s, listed are %v", fault, nth, key.ID, page.Keys)
				}
				wantClean(t, r)
			})
			if !fired {
				break
			}
		}
	}
}

// A record that is damaged, or lies where it does not belong, is no key.
func TestDamagedKey(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	key, _ := mustCreateKey(t, r, registry.NewKey{Tenant: acme, Role: registry.Reader})
	admin, token := mustCreateKey(t, r, registry.NewKey{Tenant: acme, Role: registry.Admin})
	at := func(id registry.KeyID) string { return "_system/keys/" + string(id) + ".json" }
	read := func(id registry.KeyID) []byte { return object(t, bucket, at(id)) }
	sound := read(key.ID)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		data := bytes.Clone(sound)
		data[random.IntN(len(data))] ^= byte(1 + random.IntN(255))
		put(t, bucket, at(key.ID), data)
		_, err := r.Key(t.Context(), key.ID)
		wantErr(t, "read a damaged key", err, registry.ErrCorrupt)
	}
	put(t, bucket, at(key.ID), read(admin.ID)) // another's, with more rights
	if k, err := r.Key(t.Context(), key.ID); !isOneOf(err, registry.ErrCorrupt) {
		t.Errorf("%+v, %v", k, err)
	}
	report, err := r.Check(t.Context(), registry.CheckOptions{})
	if err != nil || !slices.ContainsFunc(report.Problems, func(p registry.Problem) bool { return p.Key == at(key.ID) && p.Advice != "" }) {
		t.Errorf("check: %+v, %v", report, err)
	}
	if k, err := r.Key(t.Context(), admin.ID); err != nil || !k.Opens(mustParseToken(t, token)) {
		t.Errorf("the other key: %v", err)
	}
}

// Check names a key that works unseen.
func TestCheckFindsUnlistedKeys(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	key, _ := mustCreateKey(t, r, registry.NewKey{Tenant: acme, Role: registry.Reader})
	entry := "_system/keys/_tenants/acme/" + string(key.ID) + ".json"
	if err := bucket.Delete(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	put(t, bucket, "_system/keys/stray.json", []byte("{}"))
	report, err := r.Check(t.Context(), registry.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{entry, "_system/keys/stray.json"} {
		if !slices.ContainsFunc(report.Problems, func(p registry.Problem) bool { return p.Key == want }) {
			t.Errorf("check does not name %s: %+v", want, report.Problems)
		}
	}
}

// A secret shows nowhere but where it is meant to.
func TestSecretsHide(t *testing.T) {
	const text = "canary-of-the-test"
	s := registry.Secret(text)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S registry.Secret }{s})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S registry.Secret }{s})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&log, verb+"\n", s)
		fmt.Fprintf(&log, verb+"\n", struct{ S registry.Secret }{s})
	}
	data, err := json.Marshal(map[string]any{"a": s, "b": []registry.Secret{s}})
	if err != nil {
		t.Fatal(err)
	}
	log.Write(data)
	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
		if strings.Contains(log.String(), form) {
			t.Errorf("it shows: %s", log.String())
		}
	}
	if s.Reveal() != text {
		t.Error("it cannot be had at all")
	}
}

// FuzzParseToken: only what CreateKey makes is taken for a token, whatever is changed
// about it.
func FuzzParseToken(f *testing.F) {
	r, err := registry.Open(context.Background(), blob.NewMemory(), registry.Options{})
	if err != nil {
		f.Fatal(err)
	}
	_, secret, err := r.CreateKey(context.Background(), registry.NewKey{Tenant: acme, Role: registry.Writer})
	if err != nil {
		f.Fatal(err)
	}
	token := secret.Reveal()
	for _, seed := range []string{
		token, token + " ", " " + token, token[1:], token[:65], strings.ToUpper(token), strings.Replace(token, "_", "-", 1), "mbk_root_" + token[9:],
		"", "mbk_", strings.Repeat("a", 66), strings.Repeat("_", 66), "mbk_" + strings.Repeat("\x00", 62), "mbk_x" + token[5:], token + token,
		strings.Replace(token, token[20:21], "ß"[:1], 1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, ok := registry.ParseToken(text)
		if !ok {
			return
		}
		if !tokenForm.MatchString(text) {
			t.Fatalf("%q was taken for a token", text)
		}
		if id, err := registry.ParseKeyID(string(parsed.ID)); err != nil || string(id) != text[5:15] {
			t.Fatalf("%q is said to have the id %q", text, parsed.ID)
		}
		for i := range text { // no single wrong byte passes
			changed := []byte(text)
			changed[i] ^= 1
			if _, ok := registry.ParseToken(string(changed)); ok {
				t.Fatalf("%q passes as well as %q", changed, text)
			}
		}
	})
}
