package blob

import (
	"context"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// List asks for one page. The folder in which StartAfter lies is left out here, as the
// servers do not agree on it.
func (s *S3) List(ctx context.Context, o ListOptions) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	if err := o.check(); err != nil {
		return Page{}, err
	}
	core, err := s.within(ctx)
	if err != nil {
		return Page{}, s3Error(ctx, err)
	}
	ask := o.Limit
	if o.folded(o.StartAfter) != "" {
		ask = min(ask+1, maxPage) // that folder may be among them
	}
	for token := ""; ; {
		result, err := core.ListObjectsV2(s.bucket, o.Prefix, o.StartAfter, token, o.Delimiter, ask)
		if err = s3Error(ctx, err); err != nil {
			return Page{}, err
		}
		page := s.page(result, o)
		if token = result.NextContinuationToken; !result.IsTruncated || page.Next != "" {
			return page, nil
		}
	}
}

// page merges the two lists of an answer, as far as they fit.
func (s *S3) page(result minio.ListBucketV2Result, o ListOptions) (page Page) {
	objects, prefixes, last := result.Contents, result.CommonPrefixes, ""
	for len(objects) > 0 || len(prefixes) > 0 {
		isObject := len(prefixes) == 0 || len(objects) > 0 && objects[0].Key < prefixes[0].Prefix
		entry := ""
		if isObject {
			entry = objects[0].Key
		} else {
			entry = prefixes[0].Prefix
		}
		switch {
		case entry <= o.StartAfter:
		case len(page.Objects)+len(page.Prefixes) == o.Limit:
			page.Next = last
			return page
		case isObject:
			last = entry
			page.Objects = append(page.Objects, Object{Key: entry, Size: objects[0].Size, Modified: objects[0].LastModified})
		default:
			last = entry
			page.Prefixes = append(page.Prefixes, entry)
		}
		if isObject {
			objects = objects[1:]
		} else {
			prefixes = prefixes[1:]
		}
	}
	if result.IsTruncated {
		page.Next = last
	}
	return page
}

// within is a client whose calls end with ctx: the call for one page takes none.
func (s *S3) within(ctx context.Context) (*minio.Core, error) {
	options := s.options
	options.Transport = contextTransport{ctx, s.transport}
	return minio.NewCore(s.host, &options)
}

type contextTransport struct {
	ctx  context.Context
	next http.RoundTripper
}

func (t contextTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.next.RoundTrip(r.WithContext(t.ctx))
}
