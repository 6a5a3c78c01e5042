package registry_test

import (
	"context"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/registry"
)

// A listing need not show one moment: here it shows that version 2 is deleted, and not
// that version 1 was deleted before that. Latest was never 1 after its deletion.
func TestLatestFromTornListing(t *testing.T) {
	bucket := blob.NewMemory()
	other := open(t, bucket)
	drop := func(name string) { mustDelete(t, other, name) }
	for range 3 {
		mustPublish(t, other, registry.Publication{}, "x")
	}
	drop("acme/fraud:3") // so that one listing is not enough
	torn := &tornList{Bucket: bucket, whole: 1, hidden: "-1.tombstone.json", between: func() { drop("acme/fraud:1"); drop("acme/fraud:2") }}
	_, err := open(t, torn).Resolve(t.Context(), ref(t, "acme/fraud"))
	if torn.between != nil {
		t.Fatal("no listing was torn")
	}
	wantErr(t, "latest", err, registry.ErrVersionNotFound)
}

// A listing may show a number that was added while it was made, and not the one before.
// Here it shows that 5 and 2 are deleted, and not 4. Latest was never 1.
func TestLatestFromListingWithGap(t *testing.T) {
	bucket := blob.NewMemory()
	other := open(t, bucket)
	drop := func(name string) { mustDelete(t, other, name) }
	for range 3 {
		mustPublish(t, other, registry.Publication{}, "x")
	}
	drop("acme/fraud:3")
	torn := &tornList{Bucket: bucket, whole: 1, hidden: "-4.json", between: func() {
		mustPublish(t, other, registry.Publication{}, "x")
		mustPublish(t, other, registry.Publication{}, "x")
		drop("acme/fraud:5")
		drop("acme/fraud:2")
	}}
	v, err := open(t, torn).Resolve(t.Context(), ref(t, "acme/fraud"))
	if torn.between != nil {
		t.Fatal("no listing was torn")
	}
	if err != nil || v.Version != 4 {
		t.Errorf("latest: got %+v, %v; want version 4", v, err)
	}
}

// tornList lists a log while something happens: of what was added meanwhile it hides
// one key. Some listings before are whole.
type tornList struct {
	blob.Bucket
	whole   int
	hidden  string // the end of the key
	between func()
}

func (b *tornList) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	if !strings.HasSuffix(o.Prefix, "_versions/") || b.between == nil {
		return b.Bucket.List(ctx, o)
	}
	if b.whole > 0 {
		b.whole--
		return b.Bucket.List(ctx, o)
	}
	b.between()
	b.between = nil
	page, err := b.Bucket.List(ctx, o)
	kept := page.Objects[:0]
	for _, o := range page.Objects {
		if !strings.HasSuffix(o.Key, b.hidden) {
			kept = append(kept, o)
		}
	}
	page.Objects = kept
	return page, err
}
