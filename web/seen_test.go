package web_test

import (
	"context"
	"io"

	"modelbucket/blob"
)

// seen is a store that tells of each call: of its key, or of the prefix that it lists.
type seen struct {
	blob.Bucket
	see func(key string)
}

func (s seen) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Object, error) {
	s.see(key)
	return s.Bucket.Get(ctx, key, r)
}

func (s seen) Stat(ctx context.Context, key string) (blob.Object, error) {
	s.see(key)
	return s.Bucket.Stat(ctx, key)
}

func (s seen) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	s.see(o.Prefix)
	return s.Bucket.List(ctx, o)
}

func (s seen) Put(ctx context.Context, key string, body io.Reader, o blob.PutOptions) (blob.Object, error) {
	s.see(key)
	return s.Bucket.Put(ctx, key, body, o)
}

func (s seen) Delete(ctx context.Context, key string) error {
	s.see(key)
	return s.Bucket.Delete(ctx, key)
}

func (s seen) AbortUploads(ctx context.Context, key string) error {
	s.see(key)
	return s.Bucket.AbortUploads(ctx, key)
}
