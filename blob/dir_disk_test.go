package blob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"modelbucket/blob"
)

func put(t *testing.T, b blob.Bucket, key, data string) blob.Object {
	t.Helper()
	o, err := b.Put(t.Context(), key, strings.NewReader(data), blob.PutOptions{Size: int64(len(data))})
	if err != nil {
		t.Fatalf("Put %s: %v", key, err)
	}
	return o
}

// An object and a folder of the same name, also where the name ends in what the
// layout adds to names, lie side by side.
func TestDirNamesDoNotCollide(t *testing.T) {
	d := openDir(t, t.TempDir())
	keys := []string{"a", "a/b", "a=", "a=/b", "a==", "a==/b", "a=~", "a=~/b", "a~", "a~/b", "a=/b=/c=", "a=/b=/c=/d"}
	for _, key := range keys {
		put(t, d, key, key)
	}
	for _, key := range keys {
		if got, err := get(t, d, key); err != nil || got != key {
			t.Errorf("%s holds %q, %v", key, got, err)
		}
	}
	page, err := d.List(t.Context(), blob.ListOptions{})
	var got []string
	for _, o := range page.Objects {
		got = append(got, o.Key)
	}
	if slices.Sort(keys); err != nil || !slices.Equal(got, keys) {
		t.Errorf("List: %q, %v, want %q", got, err, keys)
	}
}

func get(t *testing.T, b blob.Bucket, key string) (string, error) {
	t.Helper()
	body, _, err := b.Get(t.Context(), key, blob.Range{})
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(body)
	return string(data), errors.Join(err, body.Close())
}

func TestDirRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(path string) error
		want    error
		says    string
	}{
		{"a folder with other things", func(p string) error { return os.WriteFile(p+"/letter.txt", nil, 0o600) }, blob.ErrDenied, "letter.txt"},
		{"another layout", func(p string) error { return os.WriteFile(p+"/format", []byte("modelbucket dir 2\n"), 0o600) }, blob.ErrNoBucket, "modelbucket dir 2"},
		{"a disk that folds case", func(p string) error {
			_, err := blob.OpenDir(p)
			return errors.Join(err, os.WriteFile(p+"/FORMAT", nil, 0o600))
		}, blob.ErrDenied, "upper and lower case"},
		{"a file", func(p string) error { return errors.Join(os.Remove(p), os.WriteFile(p, nil, 0o600)) }, blob.ErrUnavailable, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			if err := errors.Join(os.Mkdir(path, 0o700), c.prepare(path)); err != nil {
				t.Fatal(err)
			}
			_, err := blob.OpenDir(path)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want %v that names %q and the path", err, c.want, c.says)
			}
		})
	}
}

// No symbolic link leads out of the store.
func TestDirLinks(t *testing.T) {
	outside, path := t.TempDir(), filepath.Join(t.TempDir(), "store")
	d := openDir(t, path)
	if err := errors.Join(os.WriteFile(outside+"/secret=", []byte("x"), 0o600), os.Symlink(outside, path+"/o/way")); err != nil {
		t.Fatal(err)
	}
	if got, err := get(t, d, "way/secret"); err == nil {
		t.Errorf("read %q through a link", got)
	}
	if _, err := d.Put(t.Context(), "way/new", strings.NewReader("x"), blob.PutOptions{Size: 1}); err == nil {
		t.Error("wrote through a link")
	}
	if _, err := os.Stat(outside + "/new="); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("outside: %v", err)
	}
}

// A start removes what broken Puts left behind, and nothing that may be in use.
func TestDirRemovesOldFiles(t *testing.T) {
	path := t.TempDir()
	openDir(t, path)
	old := time.Now().Add(-25 * time.Hour)
	if err := errors.Join(
		os.WriteFile(path+"/tmp/old", []byte("x"), 0o600), os.Chtimes(path+"/tmp/old", old, old),
		os.WriteFile(path+"/tmp/new", []byte("x"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	put(t, openDir(t, path), "k", "x")
	if left := names(t, path+"/tmp"); !slices.Equal(left, []string{"new"}) {
		t.Errorf("tmp holds %q, want only the new one", left)
	}
}

// Puts, whether they work or not, leave nothing in tmp/, and Deletes no folders.
func TestDirLeavesNothing(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	put(t, d, "a/b/c", "x")
	for _, o := range []blob.PutOptions{{Size: 2}, {Size: 1, IfAbsent: true}, {Size: 1, IfMatch: "x"}} {
		if _, err := d.Put(t.Context(), "a/b/c", strings.NewReader("y"), o); err == nil {
			t.Errorf("Put %+v worked", o)
		}
	}
	if err := d.Delete(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if left := append(names(t, path+"/tmp"), names(t, path+"/o")...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func names(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A file that somebody cut short never ends cleanly.
func TestDirCutFile(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	put(t, d, "k", strings.Repeat("x", 2<<20))
	body, _, err := d.Get(t.Context(), "k", blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := os.Truncate(path+"/o/k=", 1<<20); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(body); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("%d bytes, %v, want %v", len(data), err, blob.ErrUnavailable)
	}
}

// Somebody who holds a lock and stands still holds up changes, but no longer than their
// contexts last, and neither reading nor creating.
func TestDirLockIsHeld(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	o := put(t, d, "k", "before")
	for i := range 256 {
		f, err := os.OpenFile(fmt.Sprintf("%s/lock/%02x", path, i), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range map[string]func(context.Context) error{
		"put": func(ctx context.Context) error { return putWith(ctx, d, "k", "after", blob.PutOptions{}) },
		"swap": func(ctx context.Context) error {
			return putWith(ctx, d, "k", "after", blob.PutOptions{IfMatch: o.ETag})
		},
		"delete": func(ctx context.Context) error { return d.Delete(ctx, "k") },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if err := putWith(t.Context(), d, "new", "x", blob.PutOptions{IfAbsent: true}); err != nil {
		t.Errorf("create: %v", err)
	}
	if got, err := get(t, d, "k"); got != "before" {
		t.Errorf("%q, %v", got, err)
	}
	if left := names(t, path+"/tmp"); len(left) > 0 {
		t.Errorf("tmp holds %q", left)
	}
}

func putWith(ctx context.Context, b blob.Bucket, key, data string, o blob.PutOptions) error {
	o.Size = int64(len(data))
	_, err := b.Put(ctx, key, strings.NewReader(data), o)
	return err
}

// A folder takes the keys that memory takes, and lists them in the same order.
func FuzzDirKeys(f *testing.F) {
	for _, keys := range [][2]string{{"a", "a/b"}, {"a=", "a=/b"}, {"a=~", "a=~/b"}, {"a-b/x", "a/x"}, {"..", "a//b"}, {"a\x00", "ü"}} {
		f.Add(keys[0], keys[1], "a", "a/", true)
	}
	f.Fuzz(func(t *testing.T, one, two, prefix, after string, folders bool) {
		if strings.Count(one+two, "/") > 20 {
			t.Skip("deep folders only take long")
		}
		memory, dir := blob.NewMemory(), openDir(t, t.TempDir())
		for _, key := range []string{one, two} {
			inMemory, inDir := putWith(t.Context(), memory, key, key, blob.PutOptions{}), putWith(t.Context(), dir, key, key, blob.PutOptions{})
			if fmt.Sprint(inMemory) != fmt.Sprint(inDir) {
				t.Fatalf("%q: %v in memory, %v in a folder", key, inMemory, inDir)
			}
			if inMemory == nil {
				if got, err := get(t, dir, key); err != nil || got != key {
					t.Fatalf("%q holds %q, %v", key, got, err)
				}
			}
		}
		o := blob.ListOptions{Prefix: prefix, StartAfter: after, Limit: 1}
		if folders {
			o.Delimiter = "/"
		}
		for _, limit := range []int{1, 2, 3} {
			o.Limit = limit
			want, memoryErr := memory.List(t.Context(), o)
			got, dirErr := dir.List(t.Context(), o)
			ignoreTime := cmpopts.IgnoreFields(blob.Object{}, "Modified")
			if diff := cmp.Diff(want, got, ignoreTime); diff != "" || fmt.Sprint(memoryErr) != fmt.Sprint(dirErr) {
				t.Fatalf("List %+v: %v in memory, %v in a folder\n%s", o, memoryErr, dirErr, diff)
			}
		}
	})
}

// A folder may go between being opened and being read: it was empty then.
func TestDirListsFoldersThatGo(t *testing.T) {
	b := openDir(t, t.TempDir())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			_, err := b.Put(t.Context(), "a/b/c", strings.NewReader("x"), blob.PutOptions{Size: 1})
			if err := errors.Join(err, b.Delete(t.Context(), "a/b/c")); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
		}
		if _, err := b.List(t.Context(), blob.ListOptions{Prefix: "a/", Limit: 10}); err != nil {
			t.Errorf("List: %v", err)
			<-done
			return
		}
	}
}
