package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

const (
	partSize   = 8 << 20 // bytes: up to here an object is sent in one request
	maxParts   = 10_000
	partsAhead = 2 // under way while the next is read: an upload holds three parts in memory
	partTries  = 4
	abortTime  = 10 * time.Second
)

// Put reads the body into memory, up to partSize, before it sends anything: what the
// body has to say, its digest for the signature and its size are known by then. A
// larger one goes out part by part, and is there when all parts have been joined.
func (s *S3) Put(ctx context.Context, key string, body io.Reader, o PutOptions) (Object, error) {
	if err := begin(ctx, key); err != nil {
		return Object{}, err
	}
	if err := o.check(); err != nil {
		return Object{}, err
	}
	body = &sizedBody{body: body, size: o.Size}
	size := max(partSize, (o.Size+maxParts-1)/maxParts) // of a part
	first, err := readFirst(body, o.Size, size, &s.buffers)
	switch {
	case err == io.EOF:
		return s.putWhole(ctx, key, first, o)
	case err != nil:
		return Object{}, err
	}
	return s.putParts(ctx, key, first, body)
}

// readFirst reads the beginning of a body, at most limit bytes. The error is io.EOF if
// that was all.
func readFirst(body io.Reader, size, limit int64, b *buffers) ([]byte, error) {
	if size > limit {
		buffer := b.get(limit)
		n, err := fill(body, buffer)
		return buffer[:n], err
	}
	n := min(size, limit) + 1 // one more shows the end
	if size < 0 {
		n = 64 << 10
	}
	buffer, have := make([]byte, n), 0
	for {
		n, err := fill(body, buffer[have:])
		if have += n; err != nil || int64(have) >= limit {
			return buffer[:have], err
		}
		grown := b.get(min(limit, 8*int64(len(buffer))))
		copy(grown, buffer)
		buffer = grown
	}
}

// fill reads until the buffer is full (nil) or the body ends (io.EOF) or fails.
func fill(body io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var m int
		m, err = body.Read(buffer[n:])
		n += m
	}
	return n, err
}

// digest is what the signature covers: on an encrypted connection the bytes need no
// protection of their own.
func (s *S3) digest(data []byte) string {
	if !s.hashed {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (s *S3) putWhole(ctx context.Context, key string, data []byte, o PutOptions) (Object, error) {
	options := minio.PutObjectOptions{DisableContentSha256: true} // no second digest: sum is given
	switch {
	case o.IfAbsent:
		options.SetMatchETagExcept("*")
	case o.IfMatch != "":
		options.SetMatchETag(o.IfMatch)
	}
	sum := s.digest(data)
	for try := 1; ; try++ {
		info, err := s.core.PutObject(ctx, s.bucket, key, bytes.NewReader(data), int64(len(data)), "", sum, options)
		if o.conditional() && undecided(err) && try < 10 {
			err = wait(ctx, try)
			if err == nil {
				continue
			}
		}
		if err = s3Error(ctx, err); err != nil {
			return Object{}, err
		}
		return Object{Key: key, Size: int64(len(data)), ETag: info.ETag}, nil
	}
}

// putParts sends first and the rest of the body. Parts of an upload that fails are
// dropped at once, as far as the server can be reached.
func (s *S3) putParts(ctx context.Context, key string, first []byte, body io.Reader) (_ Object, err error) {
	id, err := s.core.NewMultipartUpload(ctx, s.bucket, key, minio.PutObjectOptions{})
	if err = s3Error(ctx, err); err != nil {
		return Object{}, err
	}
	u := &partUpload{s: s, key: key, id: id}
	err = u.send(ctx, first, body)
	if err == nil {
		err = u.complete(ctx)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		abortErr := s3Error(ctx, s.core.AbortMultipartUpload(ctx, s.bucket, key, id))
		if abortErr != nil && !errors.Is(abortErr, ErrNotFound) {
			err = fmt.Errorf("%w (and its parts stay until AbortUploads: %v)", err, abortErr)
		}
		return Object{}, err
	}
	return Object{Key: key, Size: u.size, ETag: u.etag}, nil
}

// partUpload is one object on its way in parts.
type partUpload struct {
	s    *S3
	key  string
	id   string
	etag string // of the object, when complete
	size int64  // bytes read from the body

	mu    sync.Mutex
	parts []minio.CompletePart
}

// send reads and sends: buffer holds the first part, and is as long as each but the last.
func (u *partUpload) send(ctx context.Context, buffer []byte, body io.Reader) error {
	size := len(buffer)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAhead)
	n, err := size, error(nil)
	for number := 1; n > 0; number++ {
		if number > maxParts {
			err = fmt.Errorf("%w: more than %d bytes, which an object of unknown size may have", ErrSize, int64(maxParts)*int64(size))
			break
		}
		u.size += int64(n)
		full, data := buffer, buffer[:n]
		g.Go(func() error { // waits while partsAhead are under way
			defer u.s.buffers.put(full)
			return u.part(gctx, number, data)
		})
		if err == io.EOF || gctx.Err() != nil {
			break
		}
		buffer = u.s.buffers.get(int64(size))
		if n, err = fill(body, buffer); err != nil && err != io.EOF {
			break
		}
	}
	sendErr := g.Wait()
	switch {
	case err != nil && err != io.EOF: // the body's own
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return sendErr
}

// part sends one, again if need be.
func (u *partUpload) part(ctx context.Context, number int, data []byte) error {
	options := minio.PutObjectPartOptions{Sha256Hex: u.s.digest(data), DisableContentSha256: true}
	for try := 1; ; try++ {
		part, err := u.s.core.PutObjectPart(ctx, u.s.bucket, u.key, u.id, number, bytes.NewReader(data), int64(len(data)), options)
		err = s3Error(ctx, err)
		switch {
		case err == nil:
			u.mu.Lock()
			defer u.mu.Unlock()
			u.parts = append(u.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
			return nil
		case !errors.Is(err, ErrUnavailable) || try == partTries:
			return fmt.Errorf("part %d: %w", number, err)
		}
		if err := wait(ctx, try); err != nil {
			return err
		}
	}
}

// complete joins the parts. If an answer is lost, a second try finds the upload gone;
// then the object itself tells whether it was this upload that made it.
func (u *partUpload) complete(ctx context.Context) error {
	slices.SortFunc(u.parts, func(a, b minio.CompletePart) int { return a.PartNumber - b.PartNumber })
	for try := 1; ; try++ {
		info, err := u.s.core.CompleteMultipartUpload(ctx, u.s.bucket, u.key, u.id, u.parts, minio.PutObjectOptions{})
		err = s3Error(ctx, err)
		switch {
		case err == nil:
			u.etag = info.ETag
			return nil
		case errors.Is(err, ErrNotFound) && try > 1:
			return u.completed(ctx)
		case !errors.Is(err, ErrUnavailable) || try == partTries:
			return err
		}
		if err := wait(ctx, try); err != nil {
			return err
		}
	}
}

func (u *partUpload) completed(ctx context.Context) error {
	o, err := u.s.Stat(ctx, u.key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	// The ETag of an object in parts ends in their number, on all servers.
	if err != nil || o.Size != u.size || !strings.HasSuffix(o.ETag, fmt.Sprintf("-%d", len(u.parts))) {
		return fmt.Errorf("%w: the upload of %s is gone, and what is there is not it", ErrUnavailable, u.key)
	}
	u.etag = o.ETag
	return nil
}

// buffers keeps the buffers of parts for the next upload.
type buffers struct{ pool sync.Pool }

func (b *buffers) get(size int64) []byte {
	if size == partSize {
		if p, ok := b.pool.Get().(*[]byte); ok {
			return *p
		}
	}
	return make([]byte, size)
}

func (b *buffers) put(buffer []byte) {
	if cap(buffer) == partSize {
		buffer = buffer[:partSize]
		b.pool.Put(&buffer)
	}
}
