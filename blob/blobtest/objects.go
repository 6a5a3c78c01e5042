package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"modelbucket/blob"
)

func putGetStat(t *testing.T, b blob.Bucket) {
	written := put(t, b, "a/b", "content")
	if written.Key != "a/b" || written.Size != 7 || written.ETag == "" {
		t.Fatalf("Put: %+v", written)
	}
	wantContent(t, b, "a/b", "content")
	o, err := b.Stat(t.Context(), "a/b")
	if err != nil || o.Key != "a/b" || o.Size != 7 || o.Modified.IsZero() {
		t.Fatalf("Stat: %+v, %v", o, err)
	}
}

func absentKey(t *testing.T, b blob.Bucket) {
	put(t, b, "a/b", "x")
	for _, key := range []string{"a", "a/c", "a/b2", "b", "A/b"} {
		_, _, err := b.Get(t.Context(), key, blob.Range{})
		wantError(t, "Get "+key, err, blob.ErrNotFound)
		_, _, err = b.Get(t.Context(), key, blob.Range{Offset: 5, Length: 1})
		wantError(t, "Get a part of "+key, err, blob.ErrNotFound)
		wantAbsent(t, b, key)
	}
}

func overwrite(t *testing.T, b blob.Bucket) {
	for _, content := range []string{"first", "second, longer", "3"} {
		put(t, b, "k", content)
		wantContent(t, b, "k", content)
	}
}

func emptyObject(t *testing.T, b blob.Bucket) {
	put(t, b, "known", "")
	wantContent(t, b, "known", "")
	for i := range 20 { // a body of nothing must not disturb the calls that follow it
		key := fmt.Sprint("k", i)
		put(t, b, key, "")
		wantContent(t, b, key, "")
	}
	if _, err := b.Put(t.Context(), "unknown", onlyReader{strings.NewReader("")}, blob.PutOptions{Size: -1}); err != nil {
		t.Fatalf("Put: %v", err)
	}
	wantContent(t, b, "unknown", "")
	if _, err := b.Put(t.Context(), "once", strings.NewReader(""), blob.PutOptions{IfAbsent: true}); err != nil {
		t.Fatalf("Put IfAbsent: %v", err)
	}
	wantContent(t, b, "once", "")
	_, err := b.Put(t.Context(), "once", strings.NewReader(""), blob.PutOptions{IfAbsent: true})
	wantError(t, "Put IfAbsent again", err, blob.ErrPrecondition)
}

func etag(t *testing.T, b blob.Bucket) {
	seen := map[string]string{}
	for _, content := range []string{"1", "2", "11", "", "1\n", strings.Repeat("x", blob.MaxConditional), strings.Repeat("x", blob.MaxConditional+1)} {
		written := put(t, b, "k", content)
		if other, ok := seen[written.ETag]; ok {
			t.Fatalf("ETag %s for %s and for %s", written.ETag, short([]byte(content)), short([]byte(other)))
		}
		seen[written.ETag] = content
		o, err := b.Stat(t.Context(), "k")
		if err != nil || o.ETag != written.ETag {
			t.Fatalf("Stat: ETag %q, %v; Put gave %q", o.ETag, err, written.ETag)
		}
		if _, o, err = read(t.Context(), b, "k", blob.Range{}); err != nil || o.ETag != written.ETag {
			t.Fatalf("Get: ETag %q, %v; Put gave %q", o.ETag, err, written.ETag)
		}
	}
}

func modified(t *testing.T, b blob.Bucket) {
	put(t, b, "first", "x")
	put(t, b, "second", "x")
	first, err1 := b.Stat(t.Context(), "first")
	second, err2 := b.Stat(t.Context(), "second")
	if err1 != nil || err2 != nil || second.Modified.Before(first.Modified) || second.Modified.Sub(first.Modified) > time.Minute {
		t.Fatalf("first %v (%v), second %v (%v)", first.Modified, err1, second.Modified, err2)
	}
	_, got, err := read(t.Context(), b, "first", blob.Range{})
	page, listErr := b.List(t.Context(), blob.ListOptions{Prefix: "first"})
	if err != nil || listErr != nil || len(page.Objects) != 1 {
		t.Fatalf("Get: %v, List: %v, %+v", err, listErr, page)
	}
	for what, other := range map[string]time.Time{"Get": got.Modified, "List": page.Objects[0].Modified} {
		if d := other.Sub(first.Modified).Abs(); d >= time.Second { // S3 has whole seconds in some answers
			t.Errorf("%s says %v, Stat %v", what, other, first.Modified)
		}
	}
}

func deletes(t *testing.T, b blob.Bucket) {
	putAll(t, b, "a/b/c", "a/b/d", "a/e")
	for range 2 { // the second time it is absent
		if err := b.Delete(t.Context(), "a/b/c"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		wantAbsent(t, b, "a/b/c")
	}
	for _, key := range []string{"a", "a/b", "x", "x/y/z"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatalf("Delete of absent %s: %v", key, err)
		}
	}
	wantContent(t, b, "a/b/d", "a/b/d")
	wantContent(t, b, "a/e", "a/e")
	put(t, b, "a/b/c", "again")
	wantContent(t, b, "a/b/c", "again")
}

func deletesAtOnce(t *testing.T, b blob.Bucket) {
	for round := range 30 {
		key := fmt.Sprintf("folder-%d/k", round)
		put(t, b, key, "x")
		together(t, 4, func(int) error { return b.Delete(t.Context(), key) })
		wantAbsent(t, b, key)
	}
}

// together runs f n times at once and reports each error.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	start := make(chan struct{})
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { <-start; errs[i] = f(i) })
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func wrongSize(t *testing.T, b blob.Bucket) {
	put(t, b, "old", "before")
	for _, c := range []struct{ has, said int }{{4, 5}, {5, 4}, {0, 1}, {1, 0}, {large - 1, large}, {large + 1, large}, {100, large}} {
		for _, key := range []string{"old", "new"} {
			_, err := b.Put(t.Context(), key, onlyReader{bytes.NewReader(pattern(c.has))}, blob.PutOptions{Size: int64(c.said)})
			wantError(t, fmt.Sprintf("%d bytes announced as %d", c.has, c.said), err, blob.ErrSize)
		}
		wantContent(t, b, "old", "before")
		wantAbsent(t, b, "new")
	}
	_, err := b.Put(t.Context(), "new", strings.NewReader("12345"), blob.PutOptions{Size: 4, IfAbsent: true})
	wantError(t, "conditional Put", err, blob.ErrSize)
	wantAbsent(t, b, "new")
}

func bodyFails(t *testing.T, b blob.Bucket) {
	put(t, b, "old", "before")
	mine := errors.New("the body's own error")
	for _, after := range []int{0, 10, large - 10} {
		for _, size := range []int64{-1, large, int64(after + 1)} {
			for _, key := range []string{"old", "new"} {
				body := io.MultiReader(bytes.NewReader(pattern(after)), iotest.ErrReader(mine))
				_, err := b.Put(t.Context(), key, body, blob.PutOptions{Size: size})
				wantError(t, fmt.Sprintf("body that fails after %d of %d bytes", after, size), err, mine)
			}
			wantContent(t, b, "old", "before")
			wantAbsent(t, b, "new")
		}
	}
	// The body's last word comes with its last byte.
	_, err := b.Put(t.Context(), "new", io.MultiReader(strings.NewReader("1234"), iotest.ErrReader(mine)), blob.PutOptions{Size: 4})
	wantError(t, "body that fails at its end", err, mine)
	wantAbsent(t, b, "new")
}

func unknownSize(t *testing.T, b blob.Bucket) {
	for _, n := range []int{0, 1, 1 << 20, 8 << 20, 8<<20 + 1, large} {
		want := pattern(n)
		o, err := b.Put(t.Context(), "k", onlyReader{iotest.HalfReader(bytes.NewReader(want))}, blob.PutOptions{Size: -1})
		if err != nil || o.Size != int64(n) {
			t.Fatalf("Put of %d bytes: size %d, %v", n, o.Size, err)
		}
		wantContent(t, b, "k", string(want))
	}
}

func largeObjects(t *testing.T, b blob.Bucket) {
	for _, n := range []int{1<<20 + 1, 8<<20 - 1, 8 << 20, 8<<20 + 1, 16 << 20, large + 7} {
		want := pattern(n)
		o, err := b.Put(t.Context(), "k", onlyReader{bytes.NewReader(want)}, blob.PutOptions{Size: int64(n)})
		if err != nil || o.Size != int64(n) || o.ETag == "" {
			t.Fatalf("Put of %d bytes: %+v, %v", n, o, err)
		}
		wantContent(t, b, "k", string(want))
	}
}

func abortUploads(t *testing.T, b blob.Bucket) {
	mine := errors.New("broken off")
	_, err := b.Put(t.Context(), "a/k", io.MultiReader(bytes.NewReader(pattern(large)), iotest.ErrReader(mine)), blob.PutOptions{Size: -1})
	wantError(t, "Put", err, mine)
	put(t, b, "a/k2", "stays")
	for _, key := range []string{"a/k", "a/k", "a/k2", "a", "absent"} {
		if err := b.AbortUploads(t.Context(), key); err != nil {
			t.Fatalf("AbortUploads %s: %v", key, err)
		}
	}
	wantAbsent(t, b, "a/k")
	wantContent(t, b, "a/k2", "stays")
}

func manyAtOnce(t *testing.T, b blob.Bucket) {
	together(t, 16, func(i int) error {
		for j := range 10 {
			key := fmt.Sprintf("f%d/g%d/k", j%3, i)
			want := strings.Repeat(key, i*j)
			if _, err := b.Put(t.Context(), key, strings.NewReader(want), blob.PutOptions{Size: int64(len(want))}); err != nil {
				return fmt.Errorf("put %s: %w", key, err)
			}
			data, _, err := read(t.Context(), b, key, blob.Range{})
			if err != nil || string(data) != want {
				return fmt.Errorf("get %s: %w, %d bytes of %d", key, err, len(data), len(want))
			}
			if err := b.Delete(t.Context(), key); err != nil {
				return fmt.Errorf("delete %s: %w", key, err)
			}
		}
		return nil
	})
}

func name(t *testing.T, b blob.Bucket) {
	if s := b.String(); s == "" || strings.Contains(strings.ToLower(s), "secret") {
		t.Fatalf("String: %q", s)
	}
}
