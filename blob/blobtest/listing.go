package blobtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
)

func sorted(keys []string) []string { return slices.Sorted(slices.Values(keys)) }

// entries merges a page into one ordered list.
func entries(p blob.Page) []string {
	all := slices.Clone(p.Prefixes)
	for _, o := range p.Objects {
		all = append(all, o.Key)
	}
	slices.Sort(all)
	return all
}

// listAll follows the pages and checks what holds for each.
func listAll(t *testing.T, b blob.Bucket, o blob.ListOptions) []string {
	t.Helper()
	all := []string{}
	for {
		p, err := b.List(t.Context(), o)
		if err != nil {
			t.Fatalf("List %+v: %v", o, err)
		}
		found := entries(p)
		limit := o.Limit
		if limit == 0 || limit > 1000 {
			limit = 1000
		}
		switch {
		case len(found) > limit:
			t.Fatalf("List %+v: %d entries", o, len(found))
		case !slices.IsSortedFunc(p.Objects, func(a, b blob.Object) int { return strings.Compare(a.Key, b.Key) }) || !slices.IsSorted(p.Prefixes):
			t.Fatalf("List %+v is out of order: %+v", o, p)
		case p.Next != "" && (len(found) == 0 || p.Next != found[len(found)-1]):
			t.Fatalf("List %+v: Next is %q, the entries are %q", o, p.Next, found)
		}
		all = append(all, found...)
		if p.Next == "" {
			return all
		}
		o.StartAfter = p.Next
	}
}

func wantList(t *testing.T, b blob.Bucket, o blob.ListOptions, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), listAll(t, b, o)); diff != "" {
		t.Errorf("List %+v (-want +got):\n%s", o, diff)
	}
}

func listOrder(t *testing.T, b blob.Bucket) {
	putAll(t, b, "a-b/x", "a.b/x", "a/x", "a0/x", "A/x", "_v/x", "aa", "a/x-y", "a/x0", "ä", "z")
	want := []string{"A/x", "_v/x", "a-b/x", "a.b/x", "a/x", "a/x-y", "a/x0", "a0/x", "aa", "z", "ä"}
	for _, limit := range []int{0, 1, 2, 3, 5, 1000, 5000} {
		wantList(t, b, blob.ListOptions{Limit: limit}, want...)
	}
	folders := []string{"A/", "_v/", "a-b/", "a.b/", "a/", "a0/", "aa", "z", "ä"}
	for _, limit := range []int{0, 1, 2, 3, 5, 1000} {
		wantList(t, b, blob.ListOptions{Delimiter: "/", Limit: limit}, folders...)
	}
}

func listPages(t *testing.T, b blob.Bucket) {
	var keys []string
	for i := range 25 {
		keys = append(keys, fmt.Sprintf("p/%d/k", i))
	}
	putAll(t, b, keys...)
	slices.Sort(keys)
	for _, limit := range []int{1, 2, 7, 24, 25, 26} {
		wantList(t, b, blob.ListOptions{Prefix: "p/", Limit: limit}, keys...)
	}
	p, err := b.List(t.Context(), blob.ListOptions{Prefix: "p/", Limit: 26})
	if err != nil || len(p.Objects) != 25 || p.Next != "" {
		t.Fatalf("a last page: %d objects, Next %q, %v", len(p.Objects), p.Next, err)
	}
	p, err = b.List(t.Context(), blob.ListOptions{Prefix: "p/", Limit: 24})
	if err != nil || len(p.Objects) != 24 || p.Next != keys[23] {
		t.Fatalf("a page with one to follow: %d objects, Next %q, %v", len(p.Objects), p.Next, err)
	}
}

func listFolders(t *testing.T, b blob.Bucket) {
	putAll(t, b, "p/a/x", "p/a/y", "p/a-b/x", "p/a0/x", "p/b", "p/c/d/e", "p/d", "q/x")
	for _, limit := range []int{0, 1, 2, 3} {
		wantList(t, b, blob.ListOptions{Prefix: "p/", Delimiter: "/", Limit: limit}, "p/a-b/", "p/a/", "p/a0/", "p/b", "p/c/", "p/d")
		wantList(t, b, blob.ListOptions{Prefix: "p/a", Delimiter: "/", Limit: limit}, "p/a-b/", "p/a/", "p/a0/")
		wantList(t, b, blob.ListOptions{Prefix: "p/a/", Delimiter: "/", Limit: limit}, "p/a/x", "p/a/y")
		wantList(t, b, blob.ListOptions{Prefix: "p", Delimiter: "/", Limit: limit}, "p/")
		wantList(t, b, blob.ListOptions{Prefix: "p/c/d", Delimiter: "/", Limit: limit}, "p/c/d/")
		wantList(t, b, blob.ListOptions{Delimiter: "/", Limit: limit}, "p/", "q/")
	}
}

// listFoldersByZero pages without Next: what follows the folder x/ begins with x0.
func listFoldersByZero(t *testing.T, b blob.Bucket) {
	var keys, want, got []string
	for _, name := range []string{"a", "a-b", "a.b", "a0", "a00", "b", "A", "_v"} {
		keys = append(keys, "p/"+name+"/x", "p/"+name+"/y")
		want = append(want, "p/"+name+"/")
	}
	putAll(t, b, keys...)
	o := blob.ListOptions{Prefix: "p/", Delimiter: "/", Limit: 2}
	for {
		p, err := b.List(t.Context(), o)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		got = append(got, p.Prefixes...)
		if p.Next == "" {
			break
		}
		o.StartAfter = strings.TrimSuffix(got[len(got)-1], "/") + "0"
	}
	if diff := cmp.Diff(sorted(want), got); diff != "" {
		t.Fatalf("folders (-want +got):\n%s", diff)
	}
}

// listFolderBesideKey: the key a0 follows the folder a/ at once.
func listFolderBesideKey(t *testing.T, b blob.Bucket) {
	putAll(t, b, "a/x", "a0", "a0b", "b/x")
	for _, limit := range []int{0, 1, 2} {
		wantList(t, b, blob.ListOptions{Delimiter: "/", Limit: limit}, "a/", "a0", "a0b", "b/")
	}
}

func listStartAfter(t *testing.T, b blob.Bucket) {
	putAll(t, b, "p/a/x", "p/a/y", "p/b", "p/c/x", "q")
	for _, c := range []struct {
		after string
		want  []string
	}{
		{"a", []string{"p/a/x", "p/a/y", "p/b", "p/c/x"}}, // before the prefix
		{"p", []string{"p/a/x", "p/a/y", "p/b", "p/c/x"}},
		{"p/", []string{"p/a/x", "p/a/y", "p/b", "p/c/x"}},    // the prefix itself
		{"p/a", []string{"p/a/x", "p/a/y", "p/b", "p/c/x"}},   // a folder without its slash
		{"p/a/", []string{"p/a/x", "p/a/y", "p/b", "p/c/x"}},  // a folder
		{"p/a/x", []string{"p/a/y", "p/b", "p/c/x"}},          // a key
		{"p/a/w", []string{"p/a/x", "p/a/y", "p/b", "p/c/x"}}, // no key
		{"p/a/xx", []string{"p/a/y", "p/b", "p/c/x"}},
		{"p/a/y", []string{"p/b", "p/c/x"}},
		{"p/a0", []string{"p/b", "p/c/x"}},
		{"p/c/x", nil}, // the last key
		{"p/z", nil},
		{"p0", nil},
		{"z", nil}, // behind the prefix
	} {
		for _, limit := range []int{0, 1} {
			wantList(t, b, blob.ListOptions{Prefix: "p/", StartAfter: c.after, Limit: limit}, c.want...)
		}
	}
	for _, c := range []struct {
		after string
		want  []string
	}{
		{"p", []string{"p/a/", "p/b", "p/c/"}},
		{"p/a", []string{"p/a/", "p/b", "p/c/"}},
		{"p/a/", []string{"p/b", "p/c/"}}, // within a folder: that one is left out
		{"p/a/x", []string{"p/b", "p/c/"}},
		{"p/a/y", []string{"p/b", "p/c/"}},
		{"p/a0", []string{"p/b", "p/c/"}},
		{"p/b", []string{"p/c/"}},
		{"p/c", []string{"p/c/"}},
		{"p/c/", nil},
		{"p/c/a/b/c", nil},
	} {
		for _, limit := range []int{0, 1} {
			wantList(t, b, blob.ListOptions{Prefix: "p/", StartAfter: c.after, Delimiter: "/", Limit: limit}, c.want...)
		}
	}
	wantList(t, b, blob.ListOptions{StartAfter: "p/a/x"}, "p/a/y", "p/b", "p/c/x", "q")
	wantList(t, b, blob.ListOptions{StartAfter: "p/a/x", Delimiter: "/"}, "q")
}

func listPrefix(t *testing.T, b blob.Bucket) {
	putAll(t, b, "acme/fraud/1", "acme/fraud/2", "acme-corp/fraud/1", "acme/fraud-2/1", "acme2/x", "acm")
	for prefix, want := range map[string][]string{
		"acme/":       {"acme/fraud-2/1", "acme/fraud/1", "acme/fraud/2"},
		"acme":        {"acme-corp/fraud/1", "acme/fraud-2/1", "acme/fraud/1", "acme/fraud/2", "acme2/x"},
		"acme/fraud/": {"acme/fraud/1", "acme/fraud/2"},
		"acme/fraud":  {"acme/fraud-2/1", "acme/fraud/1", "acme/fraud/2"},
		"acme/fr":     {"acme/fraud-2/1", "acme/fraud/1", "acme/fraud/2"},
		"acme-":       {"acme-corp/fraud/1"},
		"acme2/x":     {"acme2/x"},
		"acme2/x/":    nil,
		"acme/x":      nil,
		"ACME/":       nil,
		"acm":         {"acm", "acme-corp/fraud/1", "acme/fraud-2/1", "acme/fraud/1", "acme/fraud/2", "acme2/x"},
	} {
		for _, limit := range []int{0, 2} {
			wantList(t, b, blob.ListOptions{Prefix: prefix, Limit: limit}, want...)
		}
	}
}

func listEmpty(t *testing.T, b blob.Bucket) {
	for _, o := range []blob.ListOptions{{}, {Prefix: "a/"}, {Delimiter: "/"}, {StartAfter: "x", Limit: 1}} {
		wantList(t, b, o)
	}
}

// listEmptiedFolder: a folder is nothing of its own.
func listEmptiedFolder(t *testing.T, b blob.Bucket) {
	putAll(t, b, "a/b/c", "a/d", "e/f/g")
	for _, key := range []string{"a/b/c", "e/f/g"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	wantList(t, b, blob.ListOptions{Delimiter: "/"}, "a/")
	wantList(t, b, blob.ListOptions{Prefix: "a/", Delimiter: "/"}, "a/d")
	wantList(t, b, blob.ListOptions{Prefix: "e/", Delimiter: "/"})
	wantList(t, b, blob.ListOptions{}, "a/d")
	put(t, b, "e/f/h", "x")
	wantList(t, b, blob.ListOptions{Delimiter: "/", Limit: 1}, "a/", "e/")
}

func listEntries(t *testing.T, b blob.Bucket) {
	put(t, b, "a", "12345")
	put(t, b, "b", "")
	p, err := b.List(t.Context(), blob.ListOptions{})
	if err != nil || len(p.Objects) != 2 || len(p.Prefixes) != 0 || p.Next != "" {
		t.Fatalf("List: %+v, %v", p, err)
	}
	for i, size := range []int64{5, 0} {
		if o := p.Objects[i]; o.Size != size || o.ETag != "" || o.Modified.IsZero() {
			t.Errorf("%+v, want size %d, no ETag and a time", o, size)
		}
	}
}

func listCounts(t *testing.T, b blob.Bucket) {
	var keys []string
	for _, n := range []int{0, 1, 999, 1000, 1001, 2001} {
		var more []string
		for i := len(keys); i < n; i++ {
			more = append(more, fmt.Sprintf("k/%04d", i))
		}
		putAll(t, b, more...)
		keys = append(keys, more...)
		wantList(t, b, blob.ListOptions{}, keys...)
		wantList(t, b, blob.ListOptions{Prefix: "k/", Limit: 1000}, keys...)
		p, err := b.List(t.Context(), blob.ListOptions{})
		if err != nil || len(p.Objects) != min(n, 1000) || (p.Next != "") != (n > 1000) {
			t.Fatalf("first page of %d: %d objects, Next %q, %v", n, len(p.Objects), p.Next, err)
		}
	}
}

func listManyFolders(t *testing.T, b blob.Bucket) {
	var keys, want []string
	for i := range 1001 {
		keys = append(keys, fmt.Sprintf("m/%04d/k", i))
		want = append(want, fmt.Sprintf("m/%04d/", i))
	}
	putAll(t, b, keys...)
	wantList(t, b, blob.ListOptions{Prefix: "m/", Delimiter: "/"}, want...)
	wantList(t, b, blob.ListOptions{Prefix: "m/", Delimiter: "/", Limit: 100}, want...)
	wantList(t, b, blob.ListOptions{Prefix: "m/", Delimiter: "/", StartAfter: "m/05000", Limit: 1000}, want[501:]...)
}

func listSeesAtOnce(t *testing.T, b blob.Bucket) {
	for i := range 20 {
		key := fmt.Sprintf("f%d/k", i%3)
		put(t, b, key, "x")
		wantList(t, b, blob.ListOptions{}, key)
		wantList(t, b, blob.ListOptions{Delimiter: "/"}, key[:3])
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		wantList(t, b, blob.ListOptions{})
		wantList(t, b, blob.ListOptions{Delimiter: "/"})
	}
}

// listWhileWriting: pages together hold every key that lived throughout, once.
func listWhileWriting(t *testing.T, b blob.Bucket) {
	var lasting []string
	for i := range 60 {
		lasting = append(lasting, fmt.Sprintf("l/%03d/k", 2*i))
	}
	putAll(t, b, lasting...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; ; i = (i + 1) % 60 {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("l/%03d/w%d", 2*i+1, w)
				_, err := b.Put(t.Context(), key, strings.NewReader("x"), blob.PutOptions{Size: 1})
				if err = errors.Join(err, b.Delete(t.Context(), key)); err != nil {
					t.Errorf("write %s: %v", key, err)
					return
				}
			}
		})
	}
	for range 5 {
		for _, o := range []blob.ListOptions{{Prefix: "l/", Limit: 7}, {Prefix: "l/", Delimiter: "/", Limit: 7}} {
			var got []string
			for _, e := range listAll(t, b, o) {
				if e = strings.TrimSuffix(e, "/"); o.Delimiter != "" {
					e += "/k"
				}
				if slices.Contains(lasting, e) {
					got = append(got, e)
				}
			}
			if diff := cmp.Diff(lasting, got); diff != "" {
				t.Errorf("List %+v (-want +got):\n%s", o, diff)
			}
		}
	}
	close(stop)
	wg.Wait()
}
