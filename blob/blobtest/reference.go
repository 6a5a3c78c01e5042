package blobtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
)

// expected is the page that the contract asks for, computed in the plainest way.
func expected(keys []string, o blob.ListOptions) (objects, prefixes []string, next string) {
	slices.Sort(keys)
	last := ""
	for _, key := range keys {
		entry, folder := key, false
		if !strings.HasPrefix(key, o.Prefix) || key <= o.StartAfter {
			continue
		}
		if name, _, found := strings.Cut(key[len(o.Prefix):], "/"); found && o.Delimiter != "" {
			entry, folder = o.Prefix+name+"/", true
			if entry == last || strings.HasPrefix(o.StartAfter, entry) {
				continue
			}
		}
		if len(objects)+len(prefixes) == o.Limit {
			return objects, prefixes, last
		}
		last = entry
		if folder {
			prefixes = append(prefixes, entry)
		} else {
			objects = append(objects, entry)
		}
	}
	return objects, prefixes, ""
}

// listAtRandom asks for pages with all sorts of options over keys that lie close
// together, while keys come and go.
func listAtRandom(t *testing.T, b blob.Bucket) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func(most int) string {
		s := ""
		for range 1 + random.IntN(most) {
			s += []string{"a", "b", "-", "0", "a/", "b/", "a-/", "a0/", "="}[random.IntN(9)]
		}
		return s
	}
	keys := map[string]bool{}
	for step := range 150 {
		for range 3 {
			key := text(4) + "k" // never another's folder: not all servers keep both
			var err error
			if random.IntN(3) == 0 {
				err = b.Delete(t.Context(), key)
				delete(keys, key)
			} else {
				_, err = b.Put(t.Context(), key, strings.NewReader("x"), blob.PutOptions{Size: 1})
				keys[key] = true
			}
			if err != nil {
				t.Fatalf("step %d: %s: %v", step, key, err)
			}
		}
		o := blob.ListOptions{Limit: 1 + random.IntN(6)}
		if random.IntN(3) > 0 {
			o.Prefix = text(2)
		}
		if random.IntN(2) > 0 {
			o.StartAfter = o.Prefix + text(2)
		}
		if random.IntN(2) > 0 {
			o.Delimiter = "/"
		}
		var all []string
		for key := range keys {
			all = append(all, key)
		}
		objects, prefixes, next := expected(all, o)
		page, err := b.List(t.Context(), o)
		if err != nil {
			t.Fatalf("step %d: List %+v: %v", step, o, err)
		}
		var got []string
		for _, o := range page.Objects {
			got = append(got, o.Key)
		}
		if found := entries(page); next == "" && page.Next != "" && page.Next == found[len(found)-1] {
			o.StartAfter, next = page.Next, page.Next // allowed if nothing follows
			if rest, err := b.List(t.Context(), o); err != nil || len(entries(rest)) > 0 || rest.Next != "" {
				t.Fatalf("step %d: List %+v: %+v, %v", step, o, rest, err)
			}
		}
		if diff := cmp.Diff([]any{objects, prefixes, next}, []any{got, page.Prefixes, page.Next}); diff != "" {
			t.Fatalf("step %d: List %s of %q (-want +got):\n%s", step, fmt.Sprintf("%+v", o), all, diff)
		}
	}
}
