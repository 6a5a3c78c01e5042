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
	"sync/atomic"
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
	size := max(partSize, (o.Size+maxParts-1)/maxParts) // of a part
	_, rewinds := body.(io.Seeker)                      // then Retry sends it again
	body = &sizedBody{body: body, size: o.Size}
	first, err := readFirst(body, o.Size, size)
	switch {
	case err == io.EOF:
		return s.putWhole(ctx, key, first, o, rewinds)
	case err != nil:
		return Object{}, err
	}
	return s.putParts(ctx, key, first, body)
}

// readFirst reads the beginning of a body, at most limit bytes. The error is io.EOF if
// that was all.
func readFirst(body io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		buffer := make([]byte, limit)
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
		grown := make([]byte, min(limit, 8*int64(len(buffer))))
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

// putWhole sends an object in one request: again, if two conditional writes met, and if
// an unconditional one failed whose bytes nobody else has any more.
func (s *S3) putWhole(ctx context.Context, key string, data []byte, o PutOptions, rewinds bool) (Object, error) {
	options := minio.PutObjectOptions{DisableContentSha256: true} // no second digest: sum is given
	switch {
	case o.IfAbsent:
		options.SetMatchETagExcept("*")
	case o.IfMatch != "":
		options.SetMatchETag(o.IfMatch)
	}
	sum := s.digest(data)
	var info minio.UploadInfo
	err := again(ctx, func() (err error) {
		info, err = s.core.PutObject(ctx, s.bucket, key, bytes.NewReader(data), int64(len(data)), "", sum, options)
		return s3Error(ctx, err)
	}, func(err error) bool {
		return errors.Is(err, errMet) || !o.conditional() && !rewinds
	})
	return Object{Key: key, Size: int64(len(data)), ETag: info.ETag}, err
}

// again calls f until it does not fail with ErrUnavailable, or its failure is none to
// repeat, or partTries are used up.
func again(ctx context.Context, f func() error, repeat func(error) bool) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || !errors.Is(err, ErrUnavailable) || !repeat(err) || try == partTries {
			return err
		}
		if err := wait(ctx, try); err != nil {
			return err
		}
	}
}

// putParts sends first and the rest of the body. Parts of an upload that fails are
// dropped at once, as far as the server can be reached.
func (s *S3) putParts(ctx context.Context, key string, first []byte, body io.Reader) (_ Object, err error) {
	var id string
	err = again(ctx, func() (err error) {
		id, err = s.core.NewMultipartUpload(ctx, s.bucket, key, minio.PutObjectOptions{})
		return s3Error(ctx, err)
	}, always)
	if err != nil {
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
	sent := make(chan []byte, partsAhead+1) // buffers to be filled again
	var g errgroup.Group                    // when one fails the others end: what is cut off may still land after the abort
	var stop atomic.Bool
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
			err := u.part(ctx, number, data)
			if err != nil {
				stop.Store(true)
			}
			sent <- full
			return err
		})
		if err == io.EOF || stop.Load() {
			break
		}
		select {
		case buffer = <-sent:
		default:
			buffer = make([]byte, size)
		}
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
	var part minio.ObjectPart
	err := again(ctx, func() (err error) {
		part, err = u.s.core.PutObjectPart(ctx, u.s.bucket, u.key, u.id, number, bytes.NewReader(data), int64(len(data)), options)
		return s3Error(ctx, err)
	}, always)
	if err != nil {
		return fmt.Errorf("part %d: %w", number, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	return nil
}

// complete joins the parts. If an answer is lost, a second try finds the upload gone;
// then the object itself tells whether it was this upload that made it.
func (u *partUpload) complete(ctx context.Context) error {
	slices.SortFunc(u.parts, func(a, b minio.CompletePart) int { return a.PartNumber - b.PartNumber })
	unclear := false
	err := again(ctx, func() error {
		info, err := u.s.core.CompleteMultipartUpload(ctx, u.s.bucket, u.key, u.id, u.parts, minio.PutObjectOptions{})
		err = s3Error(ctx, err)
		if errors.Is(err, ErrNotFound) && unclear {
			return u.completed(ctx)
		}
		unclear = unclear || errors.Is(err, ErrUnavailable)
		u.etag = info.ETag
		return err
	}, always)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: somebody dropped the upload: %w", ErrUnavailable, err)
	}
	return err
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
