package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3 is a Bucket on S3, or on a server that speaks its protocol and keeps its word
// about conditional writes (Probe tells).
//
// Nothing here repeats a call that has failed, except the parts of a large upload,
// which nobody else could send again: Retry is the layer for that.
type S3 struct {
	bucket    string
	endpoint  string // for people
	host      string
	options   minio.Options
	core      minio.Core
	hashed    bool // the connection is not encrypted, so that each body is signed
	transport http.RoundTripper
}

// s3Config says where a bucket is.
type s3Config struct {
	Bucket      string
	Host        string // host or host:port
	Secure      bool
	Region      string
	PathStyle   bool
	Credentials *credentials.Credentials
}

func newS3(c s3Config) (*S3, error) {
	s := &S3{bucket: c.Bucket, host: c.Host, hashed: !c.Secure, transport: newTransport(c.Secure)}
	s.endpoint = "http://" + c.Host
	if c.Secure {
		s.endpoint = "https://" + c.Host
	}
	s.options = minio.Options{
		Creds: c.Credentials, Secure: c.Secure, Region: c.Region, Transport: s.transport,
		BucketLookup: minio.BucketLookupDNS, MaxRetries: 1,
	}
	if c.PathStyle {
		s.options.BucketLookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(c.Host, &s.options)
	if err != nil {
		return nil, err
	}
	s.core = *core
	return s, nil
}

func (s *S3) String() string { return "s3://" + s.bucket + " at " + s.endpoint }

func (s *S3) Get(ctx context.Context, key string, r Range) (io.ReadCloser, Object, error) {
	if err := begin(ctx, key); err != nil {
		return nil, Object{}, err
	}
	if err := r.check(); err != nil {
		return nil, Object{}, err
	}
	var options minio.GetObjectOptions
	switch {
	case r.Length > 0:
		options.Set("Range", fmt.Sprintf("bytes=%d-%d", r.Offset, r.Offset+r.Length-1))
	case r.Offset > 0:
		options.Set("Range", fmt.Sprintf("bytes=%d-", r.Offset))
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, key, options)
	if err = s3Error(ctx, err); err != nil {
		if errors.Is(err, ErrRange) && r.Offset == 0 {
			return s.Get(ctx, key, Range{}) // no part of an empty object can be asked for
		}
		return nil, Object{}, err
	}
	o, err := describe(key, info)
	if err != nil {
		return nil, Object{}, errors.Join(err, body.Close())
	}
	length := info.Size // of the body
	if part := header.Get("Content-Range"); part != "" {
		_, whole, _ := strings.Cut(part, "/")
		if o.Size, err = strconv.ParseInt(whole, 10, 64); err != nil {
			return nil, Object{}, errors.Join(fmt.Errorf("%w: Content-Range %q", ErrUnavailable, part), body.Close())
		}
	}
	from, to, err := r.in(o.Size)
	if err == nil && to-from != length {
		err = fmt.Errorf("%w: asked for %d bytes, the answer has %d", ErrUnavailable, to-from, length)
	}
	if err != nil {
		return nil, Object{}, errors.Join(err, body.Close())
	}
	return &s3Body{ctx: ctx, body: body, left: length}, o, nil
}

// s3Body ends cleanly only where the object does.
type s3Body struct {
	ctx  context.Context // of the Get: its end is the reason why a body breaks off
	body io.ReadCloser
	left int64
}

func (b *s3Body) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.left -= int64(n)
	switch {
	case err == nil || err == io.EOF && b.left == 0:
		return n, err
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, s3Error(b.ctx, err)
}

func (b *s3Body) Close() error { return b.body.Close() }

func (s *S3) Stat(ctx context.Context, key string) (Object, error) {
	if err := begin(ctx, key); err != nil {
		return Object{}, err
	}
	info, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err = s3Error(ctx, err); err != nil {
		return Object{}, err
	}
	return describe(key, info)
}

func describe(key string, info minio.ObjectInfo) (Object, error) {
	if info.Size < 0 || info.ETag == "" || info.LastModified.IsZero() {
		return Object{}, fmt.Errorf("%w: the answer lacks Content-Length, ETag or Last-Modified", ErrUnavailable)
	}
	return Object{Key: key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified}, nil
}

// Delete takes 404 for success too: of two deletes at once some servers tell one so.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	if response, ok := errors.AsType[minio.ErrorResponse](err); ok && response.StatusCode == http.StatusOK {
		return nil // S3 says 204, and a body of an error is what minio-go looks for in 200
	}
	if err = s3Error(ctx, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// AbortUploads asks for this very key: some servers list nothing for a mere prefix.
func (s *S3) AbortUploads(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	if err := s3Error(ctx, s.core.RemoveIncompleteUpload(ctx, s.bucket, key)); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil // completed or aborted meanwhile
}
