package blob

import (
	"context"
	"io"
	"strings"
)

// WithPrefix is the part of a bucket whose keys begin with prefix ("" or segments with
// a "/" behind each): a bucket of its own that knows nothing of the rest.
func WithPrefix(b Bucket, prefix string) Bucket {
	if prefix == "" {
		return b
	}
	return &prefixed{b, strings.TrimSuffix(prefix, "/") + "/"}
}

type prefixed struct {
	bucket Bucket
	prefix string
}

func (p *prefixed) String() string { return p.prefix + " in " + p.bucket.String() }

func (p *prefixed) strip(o Object) Object {
	o.Key = strings.TrimPrefix(o.Key, p.prefix)
	return o
}

func (p *prefixed) Get(ctx context.Context, key string, r Range) (io.ReadCloser, Object, error) {
	body, o, err := p.bucket.Get(ctx, p.prefix+key, r)
	return body, p.strip(o), err
}

func (p *prefixed) Stat(ctx context.Context, key string) (Object, error) {
	o, err := p.bucket.Stat(ctx, p.prefix+key)
	return p.strip(o), err
}

func (p *prefixed) Put(ctx context.Context, key string, body io.Reader, options PutOptions) (Object, error) {
	o, err := p.bucket.Put(ctx, p.prefix+key, body, options)
	return p.strip(o), err
}

func (p *prefixed) Delete(ctx context.Context, key string) error {
	return p.bucket.Delete(ctx, p.prefix+key)
}

func (p *prefixed) AbortUploads(ctx context.Context, key string) error {
	return p.bucket.AbortUploads(ctx, p.prefix+key)
}

func (p *prefixed) List(ctx context.Context, o ListOptions) (Page, error) {
	o.Prefix = p.prefix + o.Prefix
	if o.StartAfter != "" {
		o.StartAfter = p.prefix + o.StartAfter
	}
	page, err := p.bucket.List(ctx, o)
	for i := range page.Objects {
		page.Objects[i] = p.strip(page.Objects[i])
	}
	for i := range page.Prefixes {
		page.Prefixes[i] = strings.TrimPrefix(page.Prefixes[i], p.prefix)
	}
	page.Next = strings.TrimPrefix(page.Next, p.prefix)
	return page, err
}
