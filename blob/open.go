package blob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Options of Open; the zero value is ready for use.
type Options struct {
	// ReadOnly writes nothing, so the store is not probed; its being there and our
	// right to list it are checked all the same.
	ReadOnly bool
	// Observe is told of each call to the store, every try by itself. Nil: nobody is.
	Observe func(Call)
	// Log hears when the store stops answering and when it is back. Nil: nobody does.
	Log *slog.Logger
}

// Open opens a store:
//
//	dir:path                  a folder of this machine
//	s3://bucket/prefix?…      a bucket, or the part of one below a prefix, with
//	    endpoint=http://…     the server, if it is not Amazon's (else AWS_ENDPOINT_URL_S3)
//	    region=us-east-1      (else AWS_REGION)
//	    path-style=true       bucket in the path, not in the host's name; where an endpoint is given
//	                          this is so unless it is false
//	    credentials-file=…    a file in the form of ~/.aws/credentials, and
//	    profile=…             its section; without both, credentials are found as the AWS tools do
//	memory:                   gone with the process
//
// It is probed first (Probe), and refused with ErrBroken if it does not keep its word.
// The bucket is Retry over Observe over the prefix over the driver: what is observed is
// what goes to the store.
func Open(ctx context.Context, store string, o Options) (Bucket, error) {
	b, err := open(ctx, store, o)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return b, nil
}

func open(ctx context.Context, store string, o Options) (Bucket, error) {
	l, err := parseLocation(store, os.Getenv)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := l.driver(ctx, o.ReadOnly)
	if err != nil {
		return nil, err
	}
	b = WithPrefix(b, l.prefix)
	if o.Observe != nil {
		b = Observe(b, o.Observe)
	}
	b = Retry(b, o.Log)
	if _, err := b.List(ctx, ListOptions{Limit: 1}); err != nil {
		return nil, fmt.Errorf("%s: %w", b, err)
	}
	if !o.ReadOnly {
		if _, err := Probe(ctx, b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (l *location) driver(ctx context.Context, readOnly bool) (Bucket, error) {
	switch l.kind {
	case "memory":
		return NewMemory(), nil
	case "dir":
		return openDir(l.path, readOnly)
	}
	return l.openS3(ctx)
}

func (l *location) openS3(ctx context.Context) (*S3, error) {
	c := l.s3Config()
	s, err := newS3(c)
	if err != nil {
		return nil, badURL("%v", err)
	}
	client := &http.Client{Transport: s.transport}
	if _, err := c.Credentials.GetWithContext(&credentials.CredContext{Client: client, Context: ctx}); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s: %w: %w", s, ErrDenied, err)
	}
	return s, nil
}

// CreateBucket makes the bucket that an s3 store URL names. One that is there already
// and ours is fine.
func CreateBucket(ctx context.Context, store string) error {
	l, err := parseLocation(store, os.Getenv)
	if err == nil && l.kind != "s3" {
		err = badURL("only a store that begins with s3:// has a bucket to be made")
	}
	if err != nil {
		return fmt.Errorf("create bucket: %w", err)
	}
	s, err := l.openS3(ctx)
	if err != nil {
		return fmt.Errorf("create bucket: %w", err)
	}
	err = s.core.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: l.region})
	if response, ok := errors.AsType[minio.ErrorResponse](err); ok && response.Code == "BucketAlreadyOwnedByYou" {
		return nil
	}
	if err = s3Error(ctx, err); err != nil {
		return fmt.Errorf("create bucket %s: %w", s, err)
	}
	return nil
}
