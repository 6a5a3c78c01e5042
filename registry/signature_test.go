package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
	"modelbucket/registry/signature"
)

func keyFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("signature", "testdata", "keys", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func signerOf(t testing.TB, key string) *signature.Signer {
	t.Helper()
	s, err := signature.ParseSigner([]byte(keyFile(t, key)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bundle signs content as the one file of a version.
func bundle(t testing.TB, key, content string) []byte {
	t.Helper()
	data, err := registry.SignFiles(signerOf(t, key), fraud, []registry.File{{Name: "model.joblib", SHA256: digest([]byte(content))}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// publishSigned saves one small file with a signature (nil: none).
func publishSigned(ctx context.Context, r *registry.Registry, p registry.Publication, content string, signed []byte) (*registry.Version, error) {
	if p.Tenant == "" {
		p.Tenant, p.Model = acme, fraud
	}
	u, err := r.Begin(ctx, p)
	if err != nil {
		return nil, err
	}
	defer u.Abort()
	if _, err := u.File(ctx, "model.joblib", strings.NewReader(content), int64(len(content)), ""); err != nil {
		return nil, err
	}
	if signed != nil {
		if err := u.Signature(signed); err != nil {
			return nil, err
		}
	}
	return u.Commit(ctx, registry.Facts{})
}

func ask(t testing.TB, r *registry.Registry, mode registry.SignatureMode, keys ...string) {
	t.Helper()
	policy := &registry.SignaturePolicy{Policy: mode, Keys: []string{}}
	for _, key := range keys {
		policy.Keys = append(policy.Keys, keyFile(t, key))
	}
	if _, err := r.UpdateTenant(t.Context(), acme, registry.Change{Signatures: policy}); err != nil {
		t.Fatal(err)
	}
}

// state is the state of a version's signature, and whether the version is served.
func state(t testing.TB, r *registry.Registry, version string) string {
	t.Helper()
	v, err := r.Resolve(t.Context(), ref(t, version))
	if err != nil {
		t.Fatal(err)
	}
	info, err := r.Signature(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Served(t.Context(), ref(t, version))
	admitted := r.Admit(t.Context(), v)
	if (err == nil) != (admitted == nil) {
		t.Errorf("Served says %v, Admit says %v", err, admitted)
	}
	switch {
	case err == nil:
		return info.State
	case errors.Is(err, registry.ErrSignatureRequired):
		return info.State + ", kept"
	}
	t.Fatal(err)
	return ""
}

func wantState(t testing.TB, r *registry.Registry, version, want string) {
	t.Helper()
	if got := state(t, r, version); got != want {
		t.Errorf("%s is %s, want %s", version, got, want)
	}
}

// Whatever comes is kept; what is served is the tenant's word.
func TestSignaturePolicy(t *testing.T) {
	stale := bundle(t, "P-256.pem", "other content")
	for _, test := range []struct {
		name   string
		signed []byte
		want   map[registry.SignatureMode]string
	}{
		{"unsigned", nil, map[registry.SignatureMode]string{"none": "unsigned", "warn": "unsigned", "require": "unsigned, kept"}},
		{"signed", bundle(t, "P-256.pem", "x"), map[registry.SignatureMode]string{"none": "trusted", "warn": "trusted", "require": "trusted"}},
		{"by a stranger", bundle(t, "P-384.pem", "x"), map[registry.SignatureMode]string{"none": "untrusted", "warn": "untrusted", "require": "untrusted, kept"}},
		{"of other files", stale, map[registry.SignatureMode]string{"none": "invalid", "warn": "invalid", "require": "invalid, kept"}},
		{"no signature at all", []byte("{}"), map[registry.SignatureMode]string{"none": "invalid", "warn": "invalid", "require": "invalid, kept"}},
		{"empty", []byte{}, map[registry.SignatureMode]string{"none": "invalid", "warn": "invalid", "require": "invalid, kept"}},
	} {
		for mode, want := range test.want {
			t.Run(test.name+"/"+string(mode), func(t *testing.T) {
				r := open(t, blob.NewMemory())
				ask(t, r, mode, "P-256.pub")
				v, err := publishSigned(t.Context(), r, registry.Publication{Key: "once", Aliases: []registry.Alias{"champion"}}, "x", test.signed)
				wantState(t, r, "acme/fraud:1", want)
				wantClean(t, r) // what came wrong is no damage
				again, errAgain := publishSigned(t.Context(), open(t, r.Bucket()), registry.Publication{Key: "once", Aliases: []registry.Alias{"champion"}}, "x", test.signed)
				_, aliasErr := r.Alias(t.Context(), acme, fraud, "champion")
				if strings.HasSuffix(want, "kept") {
					kept, ok := errors.AsType[*registry.SignatureRequired](err)
					if !ok || kept.Ref.String() != "acme/fraud:1" || kept.Info.State+", kept" != want || kept.Info.Reason == "" {
						t.Errorf("publish: %v", err)
					}
					if errAgain == nil || errAgain.Error() != err.Error() {
						t.Errorf("its repeat: %v", errAgain)
					}
					wantErr(t, "its alias", aliasErr, registry.ErrAliasNotFound)
					_, err := r.SetAlias(t.Context(), acme, fraud, "champion", registry.AliasChange{To: 1})
					wantErr(t, "set an alias to it", err, registry.ErrSignatureRequired)
					_, err = r.Copy(t.Context(), ref(t, "acme/fraud:1"), registry.Publication{Tenant: "beta", Model: fraud})
					wantErr(t, "copy it to another tenant", err, registry.ErrSignatureRequired)
					return
				}
				if err != nil || v.Signature.State != want || v.Signature.Policy != mode {
					t.Fatalf("publish: %+v, %v", v, err)
				}
				if errAgain != nil || *again.Signature != *v.Signature {
					t.Errorf("its repeat: %+v, %v", again, errAgain)
				}
				if aliasErr != nil {
					t.Errorf("its alias: %v", aliasErr)
				}
			})
		}
	}
}

// A version that was kept is signed later, and then its request, repeated, ends as it was
// meant.
func TestSignLater(t *testing.T) {
	r := open(t, blob.NewMemory())
	ask(t, r, "require", "P-256.pub")
	p := registry.Publication{Key: "once", Aliases: []registry.Alias{"champion"}}
	_, err := publishSigned(t.Context(), r, p, "x", nil)
	wantErr(t, "publish", err, registry.ErrSignatureRequired)
	for name, signed := range map[string][]byte{
		"by a stranger": bundle(t, "P-384.pem", "x"), "of other files": bundle(t, "P-256.pem", "y"), "nonsense": []byte("x"), "nothing": nil,
	} {
		_, err := r.Sign(t.Context(), ref(t, "acme/fraud:1"), signed)
		wantErr(t, name, err, registry.ErrBadSignature)
	}
	wantState(t, r, "acme/fraud:1", "unsigned, kept")
	v, err := r.Sign(t.Context(), ref(t, "acme/fraud"), bundle(t, "P-256.pem", "x"))
	if err != nil || v.Signature.State != "trusted" || v.Signature.KeyID != signerOf(t, "P-256.pem").KeyID() {
		t.Fatalf("sign: %+v, %v", v, err)
	}
	wantState(t, r, "acme/fraud:1", "trusted")
	if v, err = publishSigned(t.Context(), r, p, "x", nil); err != nil || v.Version != 1 || len(v.Aliases) != 1 {
		t.Fatalf("the request again: %+v, %v", v, err)
	}
	// Another key takes over: what the old one signed is no longer served, until the new one signs.
	ask(t, r, "require", "P-384.pub")
	wantState(t, r, "acme/fraud:1", "untrusted, kept")
	if _, err := r.Sign(t.Context(), ref(t, "acme/fraud:1"), bundle(t, "P-384.pem", "x")); err != nil {
		t.Fatal(err)
	}
	wantState(t, r, "acme/fraud:1", "trusted")
	_, err = r.Sign(t.Context(), ref(t, "acme/fraud:1"), bundle(t, "P-256.pem", "x"))
	wantErr(t, "sign with the old key", err, registry.ErrBadSignature)
	mustPublishUnsigned := func() {
		ask(t, r, "none")
		mustPublish(t, r, registry.Publication{}, "y")
		ask(t, r, "require", "P-384.pub")
	}
	mustPublishUnsigned()
	wantState(t, r, "acme/fraud:1", "trusted")
	wantState(t, r, "acme/fraud", "unsigned, kept") // the latest is what it is
	_, err = r.Sign(t.Context(), ref(t, "acme/fraud:3"), bundle(t, "P-384.pem", "x"))
	wantErr(t, "sign what is not there", err, registry.ErrVersionNotFound)
	mustDelete(t, r, "acme/fraud:2")
	_, err = r.Sign(t.Context(), ref(t, "acme/fraud:2"), bundle(t, "P-384.pem", "y"))
	wantErr(t, "sign what is deleted", err, registry.ErrVersionDeleted)
	wantClean(t, r)
}

// Who signs at the same time: one signature is there in the end, and it is whole.
func TestSignTogether(t *testing.T) {
	r := open(t, blob.NewMemory())
	ask(t, r, "require", "P-256.pub", "P-384.pub", "P-521.pub")
	_, err := publishSigned(t.Context(), r, registry.Publication{}, "x", nil)
	wantErr(t, "publish", err, registry.ErrSignatureRequired)
	var all sync.WaitGroup
	for _, key := range []string{"P-256.pem", "P-384.pem", "P-521.pem"} {
		signed := bundle(t, key, "x")
		for range 3 {
			all.Go(func() {
				if _, err := r.Sign(t.Context(), ref(t, "acme/fraud:1"), signed); err != nil && !errors.Is(err, registry.ErrConflict) && !errors.Is(err, registry.ErrOutcomeUnknown) {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	wantState(t, r, "acme/fraud:1", "trusted")
	wantClean(t, r)
}

// The node's own word is above the tenant's, and its keys are above the tenant's keys.
func TestSignatureFloor(t *testing.T) {
	bucket := blob.NewMemory()
	plain := open(t, bucket)
	ask(t, plain, "none", "P-384.pub")
	for _, signed := range [][]byte{nil, bundle(t, "P-384.pem", "x"), bundle(t, "P-256.pem", "x")} {
		if _, err := publishSigned(t.Context(), plain, registry.Publication{}, "x", signed); err != nil {
			t.Fatal(err)
		}
	}
	trust, err := signature.ParseTrust([]string{keyFile(t, "P-256.pub")})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options registry.Options
		want    []string
	}{
		{"none", registry.Options{}, []string{"unsigned", "trusted", "untrusted"}},
		{"require", registry.Options{RequireSignature: true}, []string{"unsigned, kept", "trusted", "untrusted, kept"}},
		{"require, by the node's keys", registry.Options{RequireSignature: true, Trust: trust}, []string{"unsigned, kept", "untrusted, kept", "trusted"}},
		{"the node's keys", registry.Options{Trust: trust}, []string{"unsigned", "untrusted", "trusted"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := registry.Open(t.Context(), bucket, test.options)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range test.want {
				wantState(t, r, "acme/fraud:"+registry.Number(i+1).String(), want)
			}
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A node signs what it makes, where it has a key.
func TestSigner(t *testing.T) {
	r := open(t, blob.NewMemory())
	ask(t, r, "require", "P-256.pub")
	v, err := publishSigned(t.Context(), r, registry.Publication{Signer: signerOf(t, "P-256.pem")}, "x", nil)
	if err != nil || v.Signature.State != "trusted" {
		t.Fatalf("%+v, %v", v, err)
	}
	_, err = publishSigned(t.Context(), r, registry.Publication{Signer: signerOf(t, "P-384.pem")}, "x", nil)
	wantErr(t, "with a key that is not trusted", err, registry.ErrSignatureRequired)
	data, err := r.Bundle(t.Context(), v)
	if err != nil || !bytes.Equal(data, bundle(t, "P-256.pem", "x")) {
		t.Errorf("it is kept as %s, %v", data, err)
	}
	wantClean(t, r)
}

// A signature goes along with a copy, for it is of the same files, and with what is
// restored.
func TestCopySigned(t *testing.T) {
	r := open(t, blob.NewMemory())
	ask(t, r, "require", "P-256.pub")
	if _, err := publishSigned(t.Context(), r, registry.Publication{}, "x", bundle(t, "P-256.pem", "x")); err != nil {
		t.Fatal(err)
	}
	v, err := r.Copy(t.Context(), ref(t, "acme/fraud:1"), registry.Publication{Tenant: acme, Model: "copy"})
	if err != nil || v.Signature.State != "trusted" {
		t.Fatalf("%+v, %v", v, err)
	}
	if v, err = r.Copy(t.Context(), ref(t, "acme/fraud:1"), registry.Publication{Tenant: "beta", Model: fraud}); err != nil || v.Signature.State != "untrusted" {
		t.Fatalf("another tenant trusts others: %+v, %v", v, err)
	}
	mustDelete(t, r, "acme/fraud:1")
	if v, err = r.Copy(t.Context(), ref(t, "acme/fraud:1"), registry.Publication{Tenant: acme, Model: fraud}); err != nil || v.Signature.State != "trusted" {
		t.Fatalf("restore: %+v, %v", v, err)
	}
	wantClean(t, r)
}

// What the tenant wants to be warned of is logged, and served.
func TestSignatureWarning(t *testing.T) {
	var log bytes.Buffer
	r, err := registry.Open(t.Context(), blob.NewMemory(), registry.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, r, "warn", "P-256.pub")
	v := mustPublish(t, r, registry.Publication{}, "x")
	if err := r.Admit(t.Context(), v); err != nil || !strings.Contains(log.String(), "acme/fraud:1") || !strings.Contains(log.String(), "state=unsigned") {
		t.Errorf("%v, the log says %q", err, log.String())
	}
}

// What was seen to be signed is not what merely has the same number.
func TestVouchedFilesAreTheFiles(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	ask(t, r, "require", "P-256.pub")
	v, err := publishSigned(t.Context(), r, registry.Publication{}, "x", bundle(t, "P-256.pem", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Admit(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	forged := *v
	forged.Files = []registry.File{{Name: "model.joblib", Size: 1, SHA256: digest([]byte("y"))}}
	wantErr(t, "other files under the same id", r.Admit(t.Context(), &forged), registry.ErrSignatureRequired)
	forged.Files = append(forged.Files[:0:0], v.Files...)
	forged.Files[0].Name = "other.joblib"
	wantErr(t, "another name", r.Admit(t.Context(), &forged), registry.ErrSignatureRequired)
}

func TestPolicyThatCannotBeMeant(t *testing.T) {
	r := open(t, blob.NewMemory())
	for name, policy := range map[string]registry.SignaturePolicy{
		"unknown":          {Policy: "sometimes"},
		"empty":            {},
		"without a key":    {Policy: "require"},
		"no key":           {Policy: "warn", Keys: []string{"x"}},
		"a private key":    {Policy: "warn", Keys: []string{keyFile(t, "P-256.pem")}},
		"a key of another": {Policy: "warn", Keys: []string{keyFile(t, "rsa.pub")}},
	} {
		_, err := r.UpdateTenant(t.Context(), acme, registry.Change{Signatures: &policy})
		wantErr(t, name, err, registry.ErrInvalid)
	}
	_, err := r.UpdateTenant(t.Context(), acme, registry.Change{Signatures: &registry.SignaturePolicy{Policy: "warn", Keys: []string{strings.Repeat(" ", 1<<20)}}})
	wantErr(t, "too large", err, registry.ErrTooLarge)
	if _, err := r.Tenant(t.Context(), acme); !errors.Is(err, registry.ErrTenantNotFound) {
		t.Errorf("a tenant came of it: %v", err)
	}
}

// A policy outlives other changes of the tenant, and comes back as it was given.
func TestPolicyIsKept(t *testing.T) {
	r := open(t, blob.NewMemory())
	ask(t, r, "require", "P-256.pub", "root.crt")
	info, err := r.UpdateTenant(t.Context(), acme, registry.Change{Description: pointer("x")})
	if err != nil {
		t.Fatal(err)
	}
	if p := info.Signatures; p == nil || p.Policy != "require" || len(p.Keys) != 2 || p.Keys[1] != keyFile(t, "root.crt") {
		t.Errorf("it is %+v", p)
	}
	if text, err := json.Marshal(info); err != nil || !bytes.Contains(text, []byte(`"signatures":{"policy":"require","keys":["-----BEGIN`)) {
		t.Errorf("%s, %v", text, err)
	}
}

// Verify and check name a signature that is wrong; one that is missing is no damage.
func TestSignatureDamage(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	ask(t, r, "none", "P-256.pub")
	signed := bundle(t, "P-256.pem", "x")
	v, err := publishSigned(t.Context(), r, registry.Publication{}, "x", signed)
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, r, registry.Publication{}, "unsigned")
	key := "acme/fraud/" + string(v.ID) + "/model.sig"
	wantClean(t, r)
	put := func(data []byte) {
		if _, err := bucket.Put(t.Context(), key, bytes.NewReader(data), blob.PutOptions{Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
	}
	flipped := bytes.Clone(signed)
	flipped[bytes.Index(signed, []byte(`"sig":"`))+30] ^= 1
	for name, data := range map[string][]byte{
		"flipped": flipped, "cut": signed[:len(signed)-1], "empty": {}, "another's": bundle(t, "P-256.pem", "y"), "huge": make([]byte, 9<<20),
	} {
		put(data)
		wantState(t, r, "acme/fraud:1", "invalid")
		report, err := r.Verify(t.Context(), ref(t, "acme/fraud:1"))
		if err != nil || report.OK || len(report.Problems) != 1 || report.Problems[0].Key != key || report.Signature.State != "invalid" {
			t.Errorf("%s: verify says %+v, %v", name, report, err)
		}
		checked, err := r.Check(t.Context(), registry.CheckOptions{})
		if err != nil || len(checked.Problems) != 1 || checked.Problems[0].Key != key || !strings.Contains(checked.Problems[0].Advice, "modelbucket sign") {
			t.Errorf("%s: check says %+v, %v", name, checked, err)
		}
	}
	if _, err := r.Sign(t.Context(), ref(t, "acme/fraud:1"), signed); err != nil { // over the huge one
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	report, err := r.Verify(t.Context(), ref(t, "acme/fraud:1"))
	if err != nil || report.OK || len(report.Problems) != 1 || report.Problems[0].Problem != "is missing, and version 1 came with one" {
		t.Errorf("removed: %+v, %v", report, err)
	}
	if _, err := r.Sign(t.Context(), ref(t, "acme/fraud:1"), signed); err != nil {
		t.Fatal(err)
	}
	report, err = r.Verify(t.Context(), ref(t, "acme/fraud:1"))
	if err != nil || !report.OK || report.Signature.State != "trusted" {
		t.Errorf("verify says %+v, %v", report, err)
	}
	if report, err = r.Verify(t.Context(), ref(t, "acme/fraud:2")); err != nil || !report.OK || report.Signature.State != "unsigned" {
		t.Errorf("verify says %+v, %v", report, err)
	}
	wantClean(t, r)
}

// No file can be called like the signature, and a signature can't be larger than one is.
func TestSignatureName(t *testing.T) {
	_, err := registry.ParseFileName("model.sig")
	wantErr(t, "model.sig", err, registry.ErrBadName)
	if _, err := registry.ParseFileName("sub/model.sig"); err != nil {
		t.Error(err)
	}
	r := open(t, blob.NewMemory())
	u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "too large", u.Signature(make([]byte, signature.MaxBundle+1)), registry.ErrTooLarge)
	if err := u.Signature([]byte("{}")); err != nil {
		t.Error(err)
	}
	wantErr(t, "twice", u.Signature([]byte("{}")), registry.ErrInvalid)
	u.Abort()
	wantErr(t, "after the end", u.Signature([]byte("{}")), registry.ErrInvalid)
	wantClean(t, r)
}

// A tenant of which nobody knows what it asks has nothing served.
func TestUnreadablePolicy(t *testing.T) {
	bucket := blob.NewMemory()
	r := open(t, bucket)
	v := mustPublish(t, r, registry.Publication{}, "x")
	if _, err := bucket.Put(t.Context(), "acme/_tenant.json", strings.NewReader("x"), blob.PutOptions{Size: 1}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "admit", r.Admit(t.Context(), v), registry.ErrCorrupt)
	_, err := r.Served(t.Context(), v.Ref())
	wantErr(t, "served", err, registry.ErrCorrupt)
	_, err = publish(t.Context(), r, registry.Publication{}, "y")
	wantErr(t, "publish", err, registry.ErrCorrupt)
}
