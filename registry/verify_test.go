package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// threePieces is a file that metadata.json has three digests of.
var threePieces = strings.Repeat("0123456789abcdef", 20<<20/16)

// examined is a bucket with a version of several files and one that is deleted.
func examined(t *testing.T) (blob.Bucket, *registry.Version) {
	t.Helper()
	bucket := blob.NewMemory()
	r := open(t, bucket)
	mustPublish(t, r, registry.Publication{Label: "v1", Key: "k"}, "deleted")
	if err := deletion(t, r, "acme/fraud:1")(); err != nil {
		t.Fatal(err)
	}
	u, err := r.Begin(t.Context(), registry.Publication{Tenant: acme, Model: fraud, Label: "v2", Aliases: []registry.Alias{"champion"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[registry.FileName]string{"big": threePieces, "empty": "", "small": "content"} {
		if _, err := u.File(t.Context(), name, strings.NewReader(content), int64(len(content)), ""); err != nil {
			t.Fatal(err)
		}
	}
	v, err := u.Commit(t.Context(), registry.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	wantClean(t, r)
	return bucket, v
}

// examine is verify and check, each of which says what it finds wrong.
func examine() map[string]func(ctx context.Context, r *registry.Registry) ([]registry.Problem, error) {
	return map[string]func(ctx context.Context, r *registry.Registry) ([]registry.Problem, error){
		"verify": func(ctx context.Context, r *registry.Registry) ([]registry.Problem, error) {
			report, err := r.Verify(ctx, registry.Ref{Tenant: acme, Model: fraud, Selector: registry.Selector{Number: 2}})
			if err != nil {
				return nil, err
			}
			return report.Problems, nil
		},
		"check": func(ctx context.Context, r *registry.Registry) ([]registry.Problem, error) {
			report, err := r.Check(ctx, registry.CheckOptions{Digests: true})
			if err != nil {
				return nil, err
			}
			return report.Problems, nil
		},
	}
}

// A byte that arrives wrong once, or an answer that is cut off, is no damage of the store,
// whichever object it is of.
func TestWrongByteOnTheLine(t *testing.T) {
	bucket, _ := examined(t)
	for name, examine := range examine() {
		for _, fault := range []blobtest.Fault{blobtest.Flip, blobtest.Cut} {
			t.Run(fmt.Sprintf("%s/%s", name, fault), func(t *testing.T) {
				for nth := 1; ; nth++ {
					faulty := blobtest.NewFaulty(bucket, 1)
					r := open(t, blob.Retry(faulty, nil))
					faulty.SetRules(blobtest.Rule{Operation: blobtest.Get, Fault: fault, Nth: nth})
					problems, err := examine(t.Context(), r)
					if err != nil || len(problems) > 0 {
						t.Errorf("the %d. read: %+v, %v", nth, problems, err)
					}
					if len(faulty.Fired()) == 0 {
						if nth < 8 {
							t.Errorf("only %d reads", nth-1)
						}
						return
					}
				}
			})
		}
	}
}

// Answers may break off, and another arrive with a wrong byte: that is no damage yet.
func TestBadAnswersInARow(t *testing.T) {
	bucket, v := examined(t)
	key := regexp.MustCompile("/big$")
	const cut, flip = blobtest.Cut, blobtest.Flip
	for _, c := range []struct {
		faults []blobtest.Fault
		want   error
	}{
		{[]blobtest.Fault{cut, flip}, nil},
		{[]blobtest.Fault{flip, cut}, nil},
		{[]blobtest.Fault{cut, cut, flip}, nil},
		{[]blobtest.Fault{cut, flip, cut}, nil},
		{[]blobtest.Fault{flip, flip}, registry.ErrCorrupt},
		{[]blobtest.Fault{flip, cut, flip}, registry.ErrCorrupt},
		{[]blobtest.Fault{cut, flip, cut, cut}, blob.ErrUnavailable},
	} {
		var rules []blobtest.Rule
		for _, fault := range c.faults {
			rules = append(rules, blobtest.Rule{Key: key, Fault: fault, Nth: 1})
		}
		faulty := blobtest.NewFaulty(bucket, 1)
		r := open(t, faulty)
		faulty.SetRules(rules...)
		body, err := r.OpenFile(t.Context(), v, "big", blob.Range{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); !errors.Is(err, c.want) || err == nil && string(got) != threePieces {
			t.Errorf("%v: %d bytes, %v, want %v", c.faults, len(got), err, c.want)
		}
		fired := 0
		for _, n := range faulty.Fired() {
			fired += n
		}
		if fired != len(c.faults) {
			t.Errorf("%v: fired %v", c.faults, faulty.Fired())
		}
	}
}

// misread gets one byte of a key wrong, in one of its listings.
type misread struct {
	blob.Bucket
	entry, byte int // counted down to 0
	done        bool
}

func (b *misread) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	page, err := b.Bucket.List(ctx, o)
	for i := range page.Objects {
		if b.entry--; b.entry == 0 {
			key := []byte(page.Objects[i].Key)
			key[max(0, len(key)-b.byte)] ^= 1
			page.Objects[i].Key, b.done = string(key), true
		}
	}
	return page, err
}

// The same of listings: what lies in the bucket is not called missing, and what does not
// is not called stray.
func TestWrongByteInAListing(t *testing.T) {
	bucket, _ := examined(t)
	for name, examine := range examine() {
		t.Run(name, func(t *testing.T) {
			for _, at := range []int{6, 7, 12, 20} { // bytes before the end of the key
				for entry := 1; ; entry++ {
					wrong := &misread{Bucket: bucket, byte: at}
					r := open(t, wrong)
					wrong.entry = entry
					if problems, err := examine(t.Context(), r); err != nil || len(problems) > 0 {
						t.Errorf("entry %d, %d bytes before its end: %+v, %v", entry, at, problems, err)
					}
					if !wrong.done {
						if entry < 4 {
							t.Errorf("only %d entries", entry-1)
						}
						break
					}
				}
			}
		})
	}
}

// What is wrong in the store is found, wherever in a file it is, and also beside bytes that
// the line gets wrong.
func TestDamageInThePieces(t *testing.T) {
	bucket, v := examined(t)
	key := "acme/fraud/" + string(v.ID) + "/big"
	for _, at := range []int{0, 8<<20 - 1, 8 << 20, 12 << 20, 16 << 20, len(threePieces) - 1} {
		bad := bytes.Clone([]byte(threePieces))
		bad[at] ^= 0x40
		put(t, bucket, key, bad)
		for name, examine := range examine() {
			for _, line := range [][]blobtest.Rule{nil, {{Operation: blobtest.Get, Fault: blobtest.Flip, Nth: 3}}} {
				faulty := blobtest.NewFaulty(bucket, 1)
				r := open(t, faulty)
				faulty.SetRules(line...)
				problems, err := examine(t.Context(), r)
				if err != nil || len(problems) != 1 || problems[0].Key != key || !strings.Contains(problems[0].Problem, "SHA-256") {
					t.Errorf("%s, byte %d, %v on the line: %+v, %v", name, at, line, problems, err)
				}
			}
		}
	}
}

// Reading a second time takes no more memory than reading once, and both take no more than
// a piece: 8 MiB of the 20.
func TestMemoryOfVerify(t *testing.T) {
	bucket, v := examined(t)
	used := func() uint64 {
		var before, after runtime.MemStats
		r := open(t, bucket)
		runtime.ReadMemStats(&before)
		if _, err := r.Verify(t.Context(), v.Ref()); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	once := used()
	bad := slices.Concat([]byte(threePieces[1:]), []byte("0"))
	put(t, bucket, "acme/fraud/"+string(v.ID)+"/big", bad)
	if twice := used(); once > 10<<20 || twice > 10<<20 {
		t.Errorf("%d bytes to read what is sound, %d for what is damaged", once, twice)
	}
}
