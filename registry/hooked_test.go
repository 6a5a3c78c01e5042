package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
)

// hooked lets a test act right before and right after the calls that a node makes. An
// error of before takes the place of the call.
type hooked struct {
	blob.Bucket
	before func(operation, key string) error
	after  func(operation, key string) error

	mu sync.Mutex // one hook at a time
}

func (b *hooked) call(operation, key string, do func() error) error {
	if err := b.hook(b.before, operation, key); err != nil {
		return err
	}
	err := do()
	return errors.Join(err, b.hook(b.after, operation, key))
}

func (b *hooked) hook(f func(string, string) error, operation, key string) error {
	if f == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return f(operation, key)
}

func (b *hooked) Get(ctx context.Context, key string, r blob.Range) (body io.ReadCloser, o blob.Object, err error) {
	err = b.call(blobtest.Get, key, func() error { body, o, err = b.Bucket.Get(ctx, key, r); return err })
	return body, o, err
}

func (b *hooked) Stat(ctx context.Context, key string) (o blob.Object, err error) {
	err = b.call(blobtest.Stat, key, func() error { o, err = b.Bucket.Stat(ctx, key); return err })
	return o, err
}

func (b *hooked) List(ctx context.Context, o blob.ListOptions) (page blob.Page, err error) {
	err = b.call(blobtest.List, o.Prefix, func() error { page, err = b.Bucket.List(ctx, o); return err })
	return page, err
}

func (b *hooked) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (object blob.Object, err error) {
	err = b.call(blobtest.Put, key, func() error { object, err = b.Bucket.Put(ctx, key, body, o); return err })
	return object, err
}

func (b *hooked) Delete(ctx context.Context, key string) error {
	return b.call(blobtest.Delete, key, func() error { return b.Bucket.Delete(ctx, key) })
}

// on makes a hook that acts at the nth call of an operation on a key that ends so, and
// on all calls where n is 0.
func on(operation, ending string, n int, act func() error) func(string, string) error {
	seen := 0
	return func(o, key string) error {
		if o != operation || !strings.HasSuffix(key, ending) {
			return nil
		}
		if seen++; n != 0 && seen != n {
			return nil
		}
		return act()
	}
}

var (
	errUnclear = fmt.Errorf("%w: on purpose", blob.ErrUnavailable)
	errNotSent = fmt.Errorf("%w: %w: on purpose", blob.ErrUnavailable, blob.ErrNotSent)
)

func fail(err error) func() error { return func() error { return err } }

// doubled is a line on which the first write of an object goes out twice: the second
// answer, "precondition failed", is the one that comes. then acts before the next call
// for that object; its error takes the place of that and all later ones.
func doubled(bucket blob.Bucket, ending string, then func() error) *hooked {
	sent := false
	return &hooked{
		Bucket: bucket,
		before: func(_, key string) error {
			if sent && strings.HasSuffix(key, ending) {
				return then()
			}
			return nil
		},
		after: func(operation, key string) error {
			if sent || operation != blobtest.Put || !strings.HasSuffix(key, ending) {
				return nil
			}
			sent = true
			return blob.ErrPrecondition
		},
	}
}
