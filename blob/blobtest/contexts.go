package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"modelbucket/blob"
)

// contextOver: a call whose context is over returns its error and changes nothing.
func contextOver(t *testing.T, b blob.Bucket) {
	o := put(t, b, "k", "before")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancelLate()
	for ctx, want := range map[context.Context]error{cancelled: context.Canceled, late: context.DeadlineExceeded} {
		_, _, err := b.Get(ctx, "k", blob.Range{})
		wantError(t, "Get", err, want)
		_, err = b.Stat(ctx, "k")
		wantError(t, "Stat", err, want)
		_, err = b.List(ctx, blob.ListOptions{})
		wantError(t, "List", err, want)
		for _, options := range []blob.PutOptions{{Size: 5}, {Size: -1}, {Size: 5, IfAbsent: true}, {Size: 5, IfMatch: o.ETag}} {
			for _, key := range []string{"k", "new"} {
				body := strings.NewReader("after")
				_, err = b.Put(ctx, key, body, options)
				wantError(t, "Put", err, want)
				if body.Len() != 5 {
					t.Errorf("Put read %d bytes of the body", 5-body.Len())
				}
			}
		}
		wantError(t, "Delete", b.Delete(ctx, "k"), want)
		wantError(t, "AbortUploads", b.AbortUploads(ctx, "k"), want)
	}
	wantContent(t, b, "k", "before")
	wantList(t, b, blob.ListOptions{}, "k")
}

// cancelling ends a context when it is read up to after bytes.
type cancelling struct {
	io.Reader
	after  int
	cancel func()
}

func (c *cancelling) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.after -= n; c.after <= 0 {
		c.cancel()
	}
	return n, err
}

func contextOverInBody(t *testing.T, b blob.Bucket) {
	put(t, b, "old", "before")
	for _, c := range []struct {
		n, after int
		size     int64
	}{{100, 100, 100}, {100, 1, -1}, {large, large / 2, large}, {large, large, large}, {large, large - 1, -1}} {
		for _, key := range []string{"old", "new"} {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := b.Put(ctx, key, &cancelling{bytes.NewReader(pattern(c.n)), c.after, cancel}, blob.PutOptions{Size: c.size})
			cancel()
			wantError(t, "Put", err, context.Canceled)
		}
		wantContent(t, b, "old", "before")
		wantAbsent(t, b, "new")
	}
}

// contextOverWhileReading: what is cut off ends with an error.
func contextOverWhileReading(t *testing.T, b blob.Bucket) {
	put(t, b, "k", string(pattern(large)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, _, err := b.Get(ctx, "k", blob.Range{})
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatalf("read: %v", err)
	}
	cancel()
	rest, err := io.ReadAll(body)
	if err == nil && len(rest) != large-1000 {
		t.Fatalf("a clean end after %d of %d bytes", 1000+len(rest), large)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("read: %v, want %v", err, context.Canceled)
	}
}
