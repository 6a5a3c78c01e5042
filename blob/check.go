package blob

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// What every driver checks before its store is asked.

const (
	maxKey     = 1024
	maxSegment = 254
	maxPage    = 1000
)

// checkKey refuses what Bucket says is no key.
func checkKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: it is empty", ErrInvalidKey)
	}
	if err := checkText(key); err != nil {
		return err
	}
	for s := range strings.SplitSeq(key, "/") {
		if err := checkSegment(key, s); err != nil {
			return err
		}
	}
	return nil
}

// checkPrefix refuses what no key begins with. Its last segment may be cut anywhere.
func checkPrefix(prefix string) error {
	if err := checkText(prefix); err != nil {
		return err
	}
	for rest := prefix; ; {
		s, behind, found := strings.Cut(rest, "/")
		if !found {
			if len(s) > maxSegment {
				return fmt.Errorf("%w: %q has a segment of more than %d bytes", ErrInvalidKey, prefix, maxSegment)
			}
			return nil
		}
		if err := checkSegment(prefix, s); err != nil {
			return err
		}
		rest = behind
	}
}

func checkText(s string) error {
	if len(s) > maxKey {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidKey, len(s), maxKey)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %q is not UTF-8", ErrInvalidKey, s)
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == '\\' {
			return fmt.Errorf("%w: %q has a control byte or a backslash", ErrInvalidKey, s)
		}
	}
	return nil
}

func checkSegment(key, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: %q has an empty segment", ErrInvalidKey, key)
	case s == "." || s == "..":
		return fmt.Errorf("%w: %q has the segment %q", ErrInvalidKey, key, s)
	case len(s) > maxSegment:
		return fmt.Errorf("%w: %q has a segment of more than %d bytes", ErrInvalidKey, key, maxSegment)
	}
	return nil
}

// begin is the head of every call on one key.
func begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return checkKey(key)
}

func (r Range) check() error {
	if r.Offset < 0 || r.Length < 0 {
		return fmt.Errorf("%w: from %d, %d bytes", ErrRange, r.Offset, r.Length)
	}
	return nil
}

// in gives the part of an object of size bytes that the range names.
func (r Range) in(size int64) (from, to int64, err error) {
	if err := r.check(); err != nil {
		return 0, 0, err
	}
	if r.Offset >= size && r.Offset > 0 {
		return 0, 0, fmt.Errorf("%w: from %d, the object has %d bytes", ErrRange, r.Offset, size)
	}
	if r.Length == 0 || r.Length > size-r.Offset {
		return r.Offset, size, nil
	}
	return r.Offset, r.Offset + r.Length, nil
}

func (o PutOptions) conditional() bool { return o.IfAbsent || o.IfMatch != "" }

func (o PutOptions) check() error {
	switch {
	case o.Size < -1:
		return fmt.Errorf("%w: size %d", ErrInvalidKey, o.Size)
	case o.conditional() && (o.Size < 0 || o.Size > MaxConditional):
		return fmt.Errorf("%w: a conditional Put takes a known size up to %d bytes, not %d", ErrInvalidKey, MaxConditional, o.Size)
	case o.IfAbsent && o.IfMatch != "":
		return fmt.Errorf("%w: IfAbsent and IfMatch exclude each other", ErrInvalidKey)
	}
	for _, r := range o.IfMatch {
		if r <= 0x20 || r >= 0x7f || r == '"' || r == '*' {
			return fmt.Errorf("%w: no ETag: %q", ErrInvalidKey, o.IfMatch)
		}
	}
	return nil
}

// check also fills in the page size.
func (o *ListOptions) check() error {
	switch {
	case o.Limit < 0:
		return fmt.Errorf("%w: limit %d", ErrInvalidKey, o.Limit)
	case o.Delimiter != "" && o.Delimiter != "/":
		return fmt.Errorf("%w: delimiter %q, only %q is one", ErrInvalidKey, o.Delimiter, "/")
	case o.Limit == 0 || o.Limit > maxPage:
		o.Limit = maxPage
	}
	if err := checkPrefix(o.Prefix); err != nil {
		return err
	}
	if len(o.StartAfter) > maxKey || !utf8.ValidString(o.StartAfter) { // may be any text that a key is compared with
		return fmt.Errorf("%w: no place to start after: %q", ErrInvalidKey, o.StartAfter)
	}
	return nil
}

// folded is the common prefix that key belongs to, or "" where it stands for itself.
func (o *ListOptions) folded(key string) string {
	if o.Delimiter == "" || !strings.HasPrefix(key, o.Prefix) {
		return ""
	}
	if i := strings.IndexByte(key[len(o.Prefix):], '/'); i >= 0 {
		return key[:len(o.Prefix)+i+1]
	}
	return ""
}

// sizedBody reads a body and ends with ErrSize unless it has exactly size bytes
// (-1: any number). Only an io.EOF of it is a whole body.
type sizedBody struct {
	body io.Reader
	size int64
	n    int64
}

func (b *sizedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.n += int64(n)
	switch {
	case b.size < 0:
	case b.n > b.size:
		return n, fmt.Errorf("%w: more than the %d bytes that were announced", ErrSize, b.size)
	case err == io.EOF && b.n < b.size:
		return n, fmt.Errorf("%w: %d of the %d bytes that were announced", ErrSize, b.n, b.size)
	}
	return n, err
}
