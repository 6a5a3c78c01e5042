package blob

import (
	"context"
	"errors"
	"io"
	"time"
)

// Call is one call to a store that has ended.
type Call struct {
	// Operation: get, stat, list, put, delete, abort_uploads; read is a body of a get
	// that broke off.
	Operation string
	// Outcome: ok, not_found, precondition, unavailable, denied, no_bucket, full,
	// invalid, range, cancelled (the caller's context was over), or other (the caller's
	// body failed).
	Outcome  string
	Duration time.Duration // of a get, up to the first byte; of a read, since then
}

// Observe tells f of each call. f is called by the goroutine that made the call.
func Observe(b Bucket, f func(Call)) Bucket { return &observed{b, f} }

type observed struct {
	bucket Bucket
	tell   func(Call)
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "cancelled"
	case errors.Is(err, ErrNotFound):
		return "not_found"
	case errors.Is(err, ErrPrecondition):
		return "precondition"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case errors.Is(err, ErrDenied):
		return "denied"
	case errors.Is(err, ErrNoBucket):
		return "no_bucket"
	case errors.Is(err, ErrFull):
		return "full"
	case errors.Is(err, ErrInvalidKey):
		return "invalid"
	case errors.Is(err, ErrRange):
		return "range"
	}
	return "other"
}

func (b *observed) ended(operation string, began time.Time, err error) {
	b.tell(Call{operation, outcome(err), time.Since(began)})
}

func (b *observed) String() string { return b.bucket.String() }

func (b *observed) Get(ctx context.Context, key string, r Range) (io.ReadCloser, Object, error) {
	began := time.Now()
	body, o, err := b.bucket.Get(ctx, key, r)
	b.ended("get", began, err)
	if err != nil {
		return nil, o, err
	}
	return &observedBody{ReadCloser: body, bucket: b, began: time.Now()}, o, nil
}

type observedBody struct {
	io.ReadCloser
	bucket *observed
	began  time.Time
	broken bool
}

func (b *observedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !b.broken {
		b.broken = true
		b.bucket.ended("read", b.began, err)
	}
	return n, err
}

func (b *observed) Stat(ctx context.Context, key string) (Object, error) {
	began := time.Now()
	o, err := b.bucket.Stat(ctx, key)
	b.ended("stat", began, err)
	return o, err
}

func (b *observed) List(ctx context.Context, o ListOptions) (Page, error) {
	began := time.Now()
	page, err := b.bucket.List(ctx, o)
	b.ended("list", began, err)
	return page, err
}

func (b *observed) Put(ctx context.Context, key string, body io.Reader, options PutOptions) (Object, error) {
	began := time.Now()
	o, err := b.bucket.Put(ctx, key, body, options)
	b.ended("put", began, err)
	return o, err
}

func (b *observed) Delete(ctx context.Context, key string) error {
	began := time.Now()
	err := b.bucket.Delete(ctx, key)
	b.ended("delete", began, err)
	return err
}

func (b *observed) AbortUploads(ctx context.Context, key string) error {
	began := time.Now()
	err := b.bucket.AbortUploads(ctx, key)
	b.ended("abort_uploads", began, err)
	return err
}
