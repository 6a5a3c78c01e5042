package blobtest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
)

func invalidKeys(t *testing.T, b blob.Bucket) {
	ctx := t.Context()
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/..", "./a", "../a", "a/../b", "a/./b",
		"a\x00b", "a\nb", "a\x7fb", `a\b`, "a\xffb",
		strings.Repeat("x", 255), "a/" + strings.Repeat("x", 255) + "/b", strings.Repeat("a/", 512) + "b",
	} {
		_, _, err := b.Get(ctx, key, blob.Range{})
		wantError(t, "Get", err, blob.ErrInvalidKey)
		_, err = b.Stat(ctx, key)
		wantError(t, "Stat", err, blob.ErrInvalidKey)
		_, err = b.Put(ctx, key, strings.NewReader("x"), blob.PutOptions{Size: 1})
		wantError(t, "Put", err, blob.ErrInvalidKey)
		wantError(t, "Delete", b.Delete(ctx, key), blob.ErrInvalidKey)
		wantError(t, "AbortUploads", b.AbortUploads(ctx, key), blob.ErrInvalidKey)
	}
	for _, prefix := range []string{"/", "a//", "../", "a/../b", "./", "a\x00", `a\`, "\xff", strings.Repeat("x", 255)} {
		_, err := b.List(ctx, blob.ListOptions{Prefix: prefix})
		wantError(t, "List with the prefix "+prefix, err, blob.ErrInvalidKey)
	}
	for _, after := range []string{"\xff", strings.Repeat("x", 1025)} {
		_, err := b.List(ctx, blob.ListOptions{StartAfter: after})
		wantError(t, "List after "+after, err, blob.ErrInvalidKey)
	}
}

func invalidOptions(t *testing.T, b blob.Bucket) {
	for _, o := range []blob.PutOptions{
		{Size: -2},
		{Size: -1, IfAbsent: true},
		{Size: -1, IfMatch: "x"},
		{Size: blob.MaxConditional + 1, IfAbsent: true},
		{Size: 1, IfAbsent: true, IfMatch: "x"},
		{Size: 1, IfMatch: "*"},
		{Size: 1, IfMatch: `"x"`},
		{Size: 1, IfMatch: "x\r\ny"},
	} {
		_, err := b.Put(t.Context(), "k", strings.NewReader("x"), o)
		wantError(t, "Put", err, blob.ErrInvalidKey)
		wantAbsent(t, b, "k")
	}
	for _, o := range []blob.ListOptions{{Limit: -1}, {Delimiter: "-"}, {Delimiter: "//"}} {
		_, err := b.List(t.Context(), o)
		wantError(t, "List", err, blob.ErrInvalidKey)
	}
}

func longKeys(t *testing.T, b blob.Bucket) {
	segment := strings.Repeat("s", 254)
	roundTrip(t, b, segment, "a/"+segment+"/"+segment+"/b", strings.Repeat("a/", 60)+strings.Repeat(segment+"/", 3)+"b", strings.Repeat("ü", 127))
}

func unusualKeys(t *testing.T, b blob.Bucket) {
	roundTrip(t, b, "with space", "a+b", "a%20b", "a%2Fb", "a=b", "a=", "b=/c", "b=~/c", "a==", "~", "a@b", "ü/ä", "日本", "a&b=c?d#e", "'q'", "(p)", "a:b", "a;b",
		"-", "_x/_y", "...", "..a", ".hidden", "a,b", "a!b$c", "[x]", "{y}", "<z>", "a^b`c|d", "😀")
}

// roundTrip takes keys through every call.
func roundTrip(t *testing.T, b blob.Bucket, keys ...string) {
	t.Helper()
	for _, key := range keys {
		put(t, b, key, "under "+key)
	}
	for _, key := range keys {
		wantContent(t, b, key, "under "+key)
	}
	if diff := cmp.Diff(sorted(keys), listAll(t, b, blob.ListOptions{})); diff != "" {
		t.Fatalf("List (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sorted(keys), listAll(t, b, blob.ListOptions{Limit: 1})); diff != "" {
		t.Fatalf("List page by page (-want +got):\n%s", diff)
	}
	for _, key := range keys {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatalf("Delete %s: %v", key, err)
		}
		wantAbsent(t, b, key)
	}
	if rest := listAll(t, b, blob.ListOptions{}); len(rest) > 0 {
		t.Fatalf("left after Delete: %q", rest)
	}
}
