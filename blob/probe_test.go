package blob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

// lying is a bucket that breaks one promise: what is set here is done instead.
type lying struct {
	blob.Bucket
	put    func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error)
	get    func(b blob.Bucket, ctx context.Context, key string) (io.ReadCloser, blob.Object, error)
	stat   func(b blob.Bucket, ctx context.Context, key string) (blob.Object, error)
	list   func(b blob.Bucket, ctx context.Context, o blob.ListOptions) (blob.Page, error)
	delete func(b blob.Bucket, ctx context.Context, key string) error
}

func (l *lying) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	if l.put == nil {
		return l.Bucket.Put(ctx, key, body, o)
	}
	return l.put(l.Bucket, ctx, key, body, o)
}

func (l *lying) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Object, error) {
	if l.get == nil {
		return l.Bucket.Get(ctx, key, r)
	}
	return l.get(l.Bucket, ctx, key)
}

func (l *lying) Stat(ctx context.Context, key string) (blob.Object, error) {
	if l.stat == nil {
		return l.Bucket.Stat(ctx, key)
	}
	return l.stat(l.Bucket, ctx, key)
}

func (l *lying) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	if l.list == nil {
		return l.Bucket.List(ctx, o)
	}
	return l.list(l.Bucket, ctx, o)
}

func (l *lying) Delete(ctx context.Context, key string) error {
	if l.delete == nil {
		return l.Bucket.Delete(ctx, key)
	}
	return l.delete(l.Bucket, ctx, key)
}

// lies are the ways in which stores are known to fall short, each with the check that
// finds it.
var lies = []struct {
	name  string
	check string
	bad   lying
}{
	{"reads what was there before", "read after write", lying{get: func(b blob.Bucket, ctx context.Context, key string) (io.ReadCloser, blob.Object, error) {
		body, o, err := b.Get(ctx, key, blob.Range{})
		if err == nil {
			body = io.NopCloser(strings.NewReader("stale"))
		}
		return body, o, err
	}}},
	{"does not find what was written", "read after write", lying{get: func(blob.Bucket, context.Context, string) (io.ReadCloser, blob.Object, error) {
		return nil, blob.Object{}, blob.ErrNotFound
	}}},
	{"says another size", "read after write", lying{stat: func(b blob.Bucket, ctx context.Context, key string) (blob.Object, error) {
		o, err := b.Stat(ctx, key)
		o.Size++
		return o, err
	}}},
	{"says another ETag", "read after write", lying{stat: func(b blob.Bucket, ctx context.Context, key string) (blob.Object, error) {
		o, err := b.Stat(ctx, key)
		o.ETag += "x"
		return o, err
	}}},
	{"gives all objects one ETag", "read after write", lying{
		put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
			object, err := b.Put(ctx, key, body, o)
			object.ETag = "1"
			return object, err
		},
		get: func(b blob.Bucket, ctx context.Context, key string) (io.ReadCloser, blob.Object, error) {
			body, o, err := b.Get(ctx, key, blob.Range{})
			o.ETag = "1"
			return body, o, err
		},
		stat: func(b blob.Bucket, ctx context.Context, key string) (blob.Object, error) {
			o, err := b.Stat(ctx, key)
			o.ETag = "1"
			return o, err
		},
	}},
	{"does not know If-None-Match", "create once", lying{put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
		o.IfAbsent = false
		return b.Put(ctx, key, body, o)
	}}},
	{"refuses a second create, and stores it", "create once", lying{put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
		data, err := io.ReadAll(body)
		if err != nil {
			return blob.Object{}, err
		}
		object, err := b.Put(ctx, key, bytes.NewReader(data), o)
		if o.IfAbsent && errors.Is(err, blob.ErrPrecondition) {
			_, putErr := b.Put(ctx, key, bytes.NewReader(data), blob.PutOptions{Size: o.Size})
			err = errors.Join(err, putErr)
		}
		return object, err
	}}},
	{"looks, and writes later", "create once, eight at a time", lying{put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
		if o.IfAbsent {
			if _, err := b.Stat(ctx, key); err == nil {
				return blob.Object{}, blob.ErrPrecondition
			}
			time.Sleep(time.Millisecond)
			o.IfAbsent = false
		}
		return b.Put(ctx, key, body, o)
	}}},
	{"does not know If-Match", "compare and swap", lying{put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
		o.IfMatch = ""
		return b.Put(ctx, key, body, o)
	}}},
	{"refuses every If-Match", "compare and swap", lying{put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
		if o.IfMatch != "" {
			return blob.Object{}, blob.ErrPrecondition
		}
		return b.Put(ctx, key, body, o)
	}}},
	{"answers If-Match on nothing with 412", "compare and swap", lying{put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
		object, err := b.Put(ctx, key, body, o)
		if o.IfMatch != "" && errors.Is(err, blob.ErrNotFound) {
			err = blob.ErrPrecondition
		}
		return object, err
	}}},
	{"lists late", "listed at once", lying{list: func(b blob.Bucket, ctx context.Context, o blob.ListOptions) (blob.Page, error) {
		page, err := b.List(ctx, o)
		if n := len(page.Objects); n > 0 && strings.HasSuffix(page.Objects[n-1].Key, "/k2") {
			page.Objects = page.Objects[:n-1]
		}
		return page, err
	}}},
	{"lists out of order", "listed in order", lying{list: func(b blob.Bucket, ctx context.Context, o blob.ListOptions) (blob.Page, error) {
		if o.Limit == 0 && o.Delimiter == "" && o.StartAfter == "" {
			return b.List(ctx, o)
		}
		o.StartAfter = strings.Replace(o.StartAfter, "a-b/x", "a/x", 1) // passes over one
		return b.List(ctx, o)
	}}},
	{"lists folders like their names, not like keys", "listed in order", lying{list: func(b blob.Bucket, ctx context.Context, o blob.ListOptions) (blob.Page, error) {
		limit := o.Limit
		if o.Delimiter != "" {
			o.Limit = 0
		}
		page, err := b.List(ctx, o)
		if o.Delimiter != "" && limit == 1 && len(page.Prefixes) > 1 {
			slices.SortFunc(page.Prefixes, func(a, b string) int {
				return strings.Compare(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
			})
			page.Prefixes = page.Prefixes[:1]
			page.Next = page.Prefixes[0]
		}
		return page, err
	}}},
	{"does not know start-after", "listed in order", lying{list: func(b blob.Bucket, ctx context.Context, o blob.ListOptions) (blob.Page, error) {
		o.StartAfter = ""
		return b.List(ctx, o)
	}}},
	{"does not know the delimiter", "listed in order", lying{list: func(b blob.Bucket, ctx context.Context, o blob.ListOptions) (blob.Page, error) {
		o.Delimiter = ""
		return b.List(ctx, o)
	}}},
	{"finds what was deleted", "deleted at once", lying{stat: func(b blob.Bucket, ctx context.Context, key string) (blob.Object, error) {
		o, err := b.Stat(ctx, key)
		if errors.Is(err, blob.ErrNotFound) {
			return blob.Object{Key: key}, nil
		}
		return o, err
	}}},
	{"lists folders that are empty", "deleted at once", lying{list: func(b blob.Bucket, ctx context.Context, o blob.ListOptions) (blob.Page, error) {
		page, err := b.List(ctx, o)
		if o.Delimiter != "" && len(page.Prefixes) == 0 && o.StartAfter == "" {
			page.Prefixes = []string{o.Prefix + "a/"}
		}
		return page, err
	}}},
}

// Probe finds each lie, by the check that is there for it, and goes on all the same.
func TestProbeLies(t *testing.T) {
	for _, lie := range lies {
		t.Run(lie.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad := lie.bad
				bad.Bucket = blob.NewMemory()
				report, err := blob.Probe(t.Context(), &bad)
				if !errors.Is(err, blob.ErrBroken) || !strings.Contains(err.Error(), lie.check) {
					t.Errorf("%v, want %v that names the check %q", err, blob.ErrBroken, lie.check)
				}
				if got := outcomeOf(report, lie.check); got != "broken" {
					t.Errorf("check %q: %s", lie.check, got)
				}
				if len(report.Checks) != 8 {
					t.Errorf("%d checks", len(report.Checks))
				}
			})
		})
	}
}

func outcomeOf(r blob.ProbeReport, check string) string {
	for _, c := range r.Checks {
		if c.Name == check {
			return c.Outcome
		}
	}
	return "not made"
}

func TestProbe(t *testing.T) {
	for name, b := range map[string]blob.Bucket{"memory": blob.NewMemory(), "dir": openDir(t, t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			put(t, b, "acme/fraud/model", "x")
			report, err := blob.Probe(t.Context(), b)
			if err != nil || len(report.Checks) != 8 || report.Store != b.String() {
				t.Fatalf("%v, %+v", err, report)
			}
			for _, c := range report.Checks {
				if c.Outcome != "kept" || c.Detail != "" || c.Duration <= 0 {
					t.Errorf("%+v", c)
				}
			}
			page, err := b.List(t.Context(), blob.ListOptions{})
			if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != "acme/fraud/model" {
				t.Errorf("left behind: %+v, %v", page, err)
			}
		})
	}
}

// What can't be found out is told from what is broken.
func TestProbeFails(t *testing.T) {
	var once sync.Once
	for _, c := range []struct {
		name  string
		bad   blob.Bucket
		want  error
		check string
	}{
		{"no answer", blobtest.NewFaulty(blob.NewMemory(), 1, blobtest.Rule{Fault: blobtest.Before}), blob.ErrUnavailable, "read after write"},
		{"no right to write", blobtest.NewFaulty(blob.NewMemory(), 1, blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Put, Err: blob.ErrDenied}), blob.ErrDenied, "create once"},
		{"no right to delete", blobtest.NewFaulty(blob.NewMemory(), 1, blobtest.Rule{Fault: blobtest.Before, Operation: blobtest.Delete, Err: blob.ErrDenied}), blob.ErrDenied, "cleaned up"},
		{"a failure and a lie", &lying{Bucket: blob.NewMemory(),
			put: func(b blob.Bucket, ctx context.Context, key string, body io.Reader, o blob.PutOptions) (_ blob.Object, err error) {
				if once.Do(func() { err = blob.ErrFull }); err != nil {
					return blob.Object{}, err
				}
				o.IfMatch = ""
				return b.Put(ctx, key, body, o)
			}}, blob.ErrBroken, "read after write"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, err := blob.Probe(t.Context(), c.bad)
			if !errors.Is(err, c.want) || c.want != blob.ErrBroken && errors.Is(err, blob.ErrBroken) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if got := outcomeOf(report, c.check); got != "failed" {
				t.Errorf("check %q: %s", c.check, got)
			}
		})
	}
}
