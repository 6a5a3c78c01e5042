package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"modelbucket/blob"
	"modelbucket/registry"
)

func TestPublishAndRead(t *testing.T) {
	r := open(t, blob.NewMemory())
	first := mustPublish(t, r, registry.Publication{Label: "v1.0", By: "ci", Description: "the first", Tags: map[string]string{"a": "b"}, UserMetadata: []byte(`{"accuracy":0.95}`)}, "one")
	second := mustPublish(t, r, registry.Publication{Aliases: []registry.Alias{"champion"}}, "two")
	if first.Version != 1 || second.Version != 2 {
		t.Fatalf("numbers: got %d and %d, want 1 and 2", first.Version, second.Version)
	}
	for name, want := range map[string]*registry.Version{
		"acme/fraud": second, "acme/fraud:latest": second, "acme/fraud:1": first,
		"acme/fraud:v1.0": first, "acme/fraud@champion": second,
	} {
		v, err := r.Version(t.Context(), ref(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if v.ID != want.ID {
			t.Errorf("%s: got version %d, want %d", name, v.Version, want.Version)
		}
	}
	got, err := content(t.Context(), r, first, "model.joblib", blob.Range{})
	if err != nil || got != "one" {
		t.Errorf("content: got %q, %v", got, err)
	}
	if *first.Label != "v1.0" || first.Description != "the first" || first.Tags["a"] != "b" || string(first.UserMetadata) != `{"accuracy":0.95}` || first.CreatedBy != "ci" {
		t.Errorf("facts got lost: %+v", first)
	}
	if report := wantClean(t, r); report.Versions != 2 || report.Uploads != 0 {
		t.Errorf("check counts %+v", report)
	}
}

// A label is given once, whoever asks for it again.
func TestLabelTaken(t *testing.T) {
	bucket := blob.NewMemory()
	r, other := open(t, bucket), open(t, bucket)
	mustPublish(t, r, registry.Publication{Label: "v1"}, "one")
	_, err := publish(t.Context(), other, registry.Publication{Label: "v1"}, "two")
	wantErr(t, "the same label", err, registry.ErrLabelTaken)
	if !strings.Contains(err.Error(), "version 1") {
		t.Errorf("the error does not say whose it is: %v", err)
	}
	mustDelete(t, r, "acme/fraud:1")
	_, err = publish(t.Context(), other, registry.Publication{Label: "v1"}, "two")
	wantErr(t, "the label of a deleted version", err, registry.ErrLabelTaken)
	_, err = r.Resolve(t.Context(), ref(t, "acme/fraud:v1"))
	wantErr(t, "resolving it", err, registry.ErrVersionDeleted)
	wantClean(t, r)
}

func TestIdempotencyKey(t *testing.T) {
	bucket := blob.NewMemory()
	r, other := open(t, bucket), open(t, bucket)
	p := registry.Publication{Key: "order 4711", Label: "v1", Aliases: []registry.Alias{"champion"}}
	first := mustPublish(t, r, p, "one")
	again, err := publish(t.Context(), other, p, "one")
	if err != nil || again.ID != first.ID {
		t.Fatalf("the same request: got %v, %v; want version 1 again", again, err)
	}
	_, err = publish(t.Context(), other, p, "something else")
	wantErr(t, "the same key with other bytes", err, registry.ErrIdempotencyMismatch)
	p.Label = "v2"
	_, err = publish(t.Context(), other, p, "one")
	wantErr(t, "the same key with another label", err, registry.ErrIdempotencyMismatch)
	if page, err := r.Versions(t.Context(), acme, fraud, registry.VersionQuery{}); err != nil || len(page.Versions) != 1 {
		t.Errorf("versions: got %v, %v; want one", page, err)
	}
	wantClean(t, r)
}

// A repeat does not move an alias back that was moved on since.
func TestRepeatLeavesAliasAlone(t *testing.T) {
	r := open(t, blob.NewMemory())
	p := registry.Publication{Key: "k", Aliases: []registry.Alias{"champion"}}
	mustPublish(t, r, p, "one")
	mustPublish(t, r, registry.Publication{Aliases: []registry.Alias{"champion"}}, "two")
	mustPublish(t, r, p, "one")
	a, err := r.Alias(t.Context(), acme, fraud, "champion")
	if err != nil || a.Version != 2 || a.Revision != 2 {
		t.Errorf("champion: got %+v, %v; want version 2 at revision 2", a, err)
	}
}

// What is refused leaves nothing that anybody sees, and in the end nothing at all.
func TestRefusedUploads(t *testing.T) {
	broken := errors.New("the line broke")
	tests := map[string]struct {
		body io.Reader
		size int64
		sha  string
		want error
	}{
		"wrong digest":      {strings.NewReader("abc"), 3, digest([]byte("abd")), registry.ErrDigestMismatch},
		"shorter than said": {strings.NewReader("abc"), 4, "", registry.ErrInvalid},
		"longer than said":  {strings.NewReader("abc"), 2, "", registry.ErrInvalid},
		"cut off":           {io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), 3, "", broken},
		"cut off, no size":  {io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), -1, "", broken},
		"too large":         {strings.NewReader("abc"), 1 << 40, "", registry.ErrTooLarge},
		"endless":           {endless{}, -1, "", registry.ErrTooLarge},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bucket := blob.NewMemory()
			r, err := registry.Open(t.Context(), bucket, registry.Options{MaxUpload: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud})
			if err != nil {
				t.Fatal(err)
			}
			_, err = u.File(t.Context(), "model.joblib", test.body, test.size, test.sha)
			wantErr(t, "File", err, test.want)
			u.Abort()
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err = r.Model(t.Context(), acme, fraud)
			wantErr(t, "the model", err, registry.ErrModelNotFound)
			if left := keys(t, bucket, "acme/"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestFilesOfOneVersion(t *testing.T) {
	r := open(t, blob.NewMemory())
	u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Abort()
	for name, want := range map[registry.FileName]string{"a": "1", "b/c d@e": "22", "b/empty": ""} {
		if _, err := u.File(t.Context(), name, strings.NewReader(want), -1, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []registry.FileName{"a", "a/b", "b"} {
		_, err := u.File(t.Context(), name, strings.NewReader("x"), 1, "")
		wantErr(t, "a second "+string(name), err, registry.ErrInvalid)
	}
	v, err := u.Commit(t.Context(), registry.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(v.Files); !strings.HasPrefix(got, "[{a 1 ") || len(v.Files) != 3 || v.Size != 3 {
		t.Errorf("files: got %v of %d bytes", got, v.Size)
	}
	for name, want := range map[registry.FileName]string{"b/c d@e": "22", "b/empty": ""} {
		if got, err := content(t.Context(), r, v, name, blob.Range{}); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	_, err = content(t.Context(), r, v, "c", blob.Range{})
	wantErr(t, "a file that is not there", err, registry.ErrFileNotFound)
	wantClean(t, r)
}

func TestEmptyVersionRefused(t *testing.T) {
	r := open(t, blob.NewMemory())
	u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud})
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.Commit(t.Context(), registry.Facts{})
	wantErr(t, "a version of no files", err, registry.ErrInvalid)
}

// A part of a large file is verified without the rest, at every edge of a piece.
func TestPartsAreVerified(t *testing.T) {
	const piece = 8 << 20
	data := bytes.Repeat([]byte("0123456789abcdef"), (2*piece+5000)/16)
	bucket := blob.NewMemory()
	r := open(t, bucket)
	v := mustPublish(t, r, registry.Publication{}, string(data))
	size := int64(len(data))
	for _, part := range []blob.Range{
		{}, {Offset: 1}, {Length: 1}, {Offset: piece - 1, Length: 2}, {Offset: piece, Length: piece},
		{Offset: piece}, {Offset: 2 * piece}, {Offset: size - 1}, {Offset: size - 1, Length: 10}, {Offset: 5, Length: size},
	} {
		end := size
		if part.Length > 0 {
			end = min(size, part.Offset+part.Length)
		}
		got, err := content(t.Context(), r, v, "model.joblib", part)
		if err != nil || got != string(data[part.Offset:end]) {
			t.Errorf("%+v: got %d bytes, %v; want %d", part, len(got), err, end-part.Offset)
		}
	}
	_, err := content(t.Context(), r, v, "model.joblib", blob.Range{Offset: size})
	wantErr(t, "beyond the end", err, blob.ErrRange)

	// One wrong byte in the second piece: the first and the last stay readable.
	key := "acme/fraud/" + string(v.ID) + "/model.joblib"
	data[piece+17] ^= 1
	if _, err := bucket.Put(t.Context(), key, bytes.NewReader(data), blob.PutOptions{Size: size}); err != nil {
		t.Fatal(err)
	}
	for part, want := range map[blob.Range]error{
		{Length: piece}: nil, {Offset: 2 * piece}: nil,
		{Offset: piece, Length: 1}: registry.ErrCorrupt, {}: registry.ErrCorrupt,
	} {
		_, err := content(t.Context(), r, v, "model.joblib", part)
		if !errors.Is(err, want) {
			t.Errorf("%+v of a damaged file: got %v, want %v", part, err, want)
		}
	}
}

// The context of a request that has ended stops it before anything is committed.
func TestCancelledPublish(t *testing.T) {
	r := open(t, blob.NewMemory())
	ctx, cancel := context.WithCancel(t.Context())
	u, err := r.Begin(ctx, registry.Publication{Tenant: acme, Model: fraud})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.File(ctx, "a", strings.NewReader("x"), 1, ""); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = u.Commit(ctx, registry.Facts{})
	wantErr(t, "commit", err, context.Canceled)
	_, err = r.Resolve(t.Context(), ref(t, "acme/fraud"))
	wantErr(t, "latest", err, registry.ErrModelNotFound)
}

// What is not there is told together with what is.
func TestNotFoundHelps(t *testing.T) {
	r := open(t, blob.NewMemory())
	mustPublish(t, r, registry.Publication{Label: "v1"}, "one")
	for name, want := range map[string]error{
		"acme/fraud:7": registry.ErrVersionNotFound, "acme/fraud:v7": registry.ErrVersionNotFound,
		"acme/fraud@champion": registry.ErrAliasNotFound, "acme/other:v1": registry.ErrModelNotFound,
		"acme/other": registry.ErrModelNotFound, "acme/other@champion": registry.ErrModelNotFound,
	} {
		_, err := r.Resolve(t.Context(), ref(t, name))
		wantErr(t, name, err, want)
		if want == registry.ErrVersionNotFound && !strings.Contains(err.Error(), "latest is 1") {
			t.Errorf("%s: %v does not tell what there is", name, err)
		}
	}
}

// The longest of all names together are longer than a store's keys may be: then the
// file's is refused, and nothing is left of it.
func TestLongestNames(t *testing.T) {
	r := open(t, blob.NewMemory())
	long := strings.Repeat("a", 200)
	for size, want := range map[int]error{600: nil, 700: registry.ErrBadName} {
		u, err := r.Begin(t.Context(), registry.Publication{
			Tenant: registry.Tenant(long[:63]), Model: registry.Model(long[:128]), Label: registry.Label(long[:127] + string(rune('a'+size/100))),
		})
		if err != nil {
			t.Fatal(err)
		}
		name, err := registry.ParseFileName((strings.Repeat(long+"/", 3) + long)[:size])
		if err != nil {
			t.Fatal(err)
		}
		_, err = u.File(t.Context(), name, strings.NewReader("x"), 1, "")
		wantErr(t, "upload", err, want)
		if want == nil {
			_, err = u.Commit(t.Context(), registry.Facts{})
			wantErr(t, "commit", err, nil)
		}
		u.Abort()
	}
}
